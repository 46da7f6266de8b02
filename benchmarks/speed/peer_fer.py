"""The package fer on pictures, in its own environment: python peer_fer.py haar|mtcnn SECONDS PICTURE..."""

from __future__ import annotations

import sys

from peer_loop import run


def main() -> None:
    detector, seconds, *pictures = sys.argv[1:]
    import cv2
    from fer.fer import FER

    recognizer = FER(mtcnn=detector == "mtcnn")
    run(lambda path: len(recognizer.detect_emotions(cv2.imread(path))), pictures, float(seconds))


if __name__ == "__main__":
    main()
