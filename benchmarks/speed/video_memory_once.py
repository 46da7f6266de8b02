"""Peak memory of one process that recognises a clip, after its 2,000th frame and at its end; video.py starts it."""

from __future__ import annotations

import json
import sys

from resident import peak_bytes

from apvit.recognition import Recognizer

SETTLED = 2_000
"""Frames after which nothing should grow any more."""

if __name__ == "__main__":
    count = faces = settled = 0
    for frame in Recognizer().video(sys.argv[1]):
        count, faces = count + 1, faces + len(frame.tracks)
        if count == SETTLED:
            settled = peak_bytes()
    print(json.dumps({"frames": count, "faces": faces, "settled": settled, "end": peak_bytes()}))
