"""What peers.py runs in every program's own process. Standard library alone, as fer's environment has no apvit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

from resident import peak_bytes


def run(count_faces: Callable[[str], int], pictures: Sequence[str], seconds: float) -> None:
    """Recognise the pictures in turn for `seconds`, at least twice each after a first time; print one JSON line.

    count_faces: path -> number of faces, with all the work that a user would have done for it. `first_answer` is on
    the clock of time.monotonic, which all processes share.
    """
    faces, taken = {pictures[0]: count_faces(pictures[0])}, {picture: [] for picture in pictures}
    first_answer = time.monotonic()
    for picture in pictures[1:]:
        faces[picture] = count_faces(picture)
    end = time.monotonic() + seconds
    while len(taken[pictures[-1]]) < 2 or time.monotonic() < end:
        for picture in pictures:
            start = time.monotonic()
            count_faces(picture)
            taken[picture].append(time.monotonic() - start)
    report = {"first_answer": first_answer, "faces": faces, "seconds": taken, "peak_bytes": peak_bytes()}
    print(json.dumps(report), flush=True)
