"""The most memory that recognising a list of pictures holds, in a fresh process: started by folder.py.

    python folder_memory_once.py PICTURE LENGTH WORKERS

The picture is recognised LENGTH times. Prints bytes.
"""

from __future__ import annotations

import sys
from itertools import repeat

from resident import peak_bytes

import apvit

SMALLEST = 100
"""Pixels; of interest is what is held, not the search for small faces."""


def main() -> None:
    picture, length, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    recognizer = apvit.Recognizer(min_face=SMALLEST, workers=workers)
    for _, faces in recognizer.many(repeat(picture, length)):
        if isinstance(faces, Exception) or not faces:
            raise SystemExit(f"{picture} was not recognised: {faces}")
    print(peak_bytes())


if __name__ == "__main__":
    main()
