"""A detector that finds a face which cannot be aligned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from apvit.recognition import Recognizer


class _Spoiled:
    """The real detector, which cannot follow; in every picture the face of this rank by width lies on one point."""

    def __init__(self, detector: Any, rank: int):
        self.detector, self.rank = detector, rank

    def detect(self, pictures: Any) -> Any:
        found = self.detector.detect(pictures)
        for faces in found:
            faces.sort(key=lambda one: one.box[0] - one.box[2])
            if faces:
                faces[self.rank] = replace(faces[self.rank], landmarks=np.ones((5, 2), np.float32))
        return found


def spoil(recognizer: Recognizer, rank: int) -> Recognizer:
    """The recognizer, whose detector finds the widest face (rank 0) or the narrowest (-1) without landmarks."""
    recognizer._detector = _Spoiled(recognizer._detector, rank)  # type: ignore[assignment]
    return recognizer
