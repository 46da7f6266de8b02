"""apvit on pictures, as a user would call it: python peer_apvit.py WEIGHTS ENGINE MIN_FACE SECONDS PICTURE..."""

from __future__ import annotations

import sys

from peer_loop import run


def main() -> None:
    weights, engine, min_face, seconds, *pictures = sys.argv[1:]
    import apvit

    recognizer = apvit.Recognizer(weights, engine=engine, min_face=float(min_face))
    run(lambda path: len(recognizer(path)), pictures, float(seconds))


if __name__ == "__main__":
    main()
