"""apvit on pictures, as a user would call it: python peer_apvit.py WEIGHTS ENGINE SECONDS PICTURE..."""

from __future__ import annotations

import sys

from peer_loop import run


def main() -> None:
    weights, engine, seconds, *pictures = sys.argv[1:]
    import apvit

    recognizer = apvit.Recognizer(weights, engine=engine)
    run(lambda path: len(recognizer(path)), pictures, float(seconds))


if __name__ == "__main__":
    main()
