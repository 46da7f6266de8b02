"""Looking for the faces of a dataset's picture, whether it is a photograph or a face's crop.

A detector made for photographs misses faces that fill the picture or come in 48 pixels. A close-up helps: the part
in question is resized to one size, and its border replicated outwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from apvit.faces.detection import DEFAULT_MIN_FACE, Detection, Detector, create_detector

Picture = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the picture: edges."""

DETECTOR = "mtcnn"
"""The paper's faces were aligned with it."""

SMALL = 256
"""Pixels; a picture whose longer side is shorter may well be a face's crop, so its close-up comes first."""

CLOSE_UP, BORDER = 192, 48
"""Pixels of a close-up: the longer side of its subject, and the replicated border. MTCNN's last net looks at 48 px,
and its squares reach beyond a tight crop; `benchmarks/framing/measure_template.py` measures like this."""

CLOSE_UP_MIN_FACE = 80.0
"""Pixels of a close-up: its subject is supposed to be about a face."""

SMALLEST_SUBJECT = 8.0
"""Pixels; what is smaller is not enlarged further, because nobody could find a face in it."""


@dataclass(frozen=True)
class Detectors:
    """What looks for faces: one detector for whole pictures, one for close-ups."""

    whole: Detector
    close_up: Detector

    @classmethod
    def create(cls) -> Detectors:
        """Raises DetectorError where the detector's nets are missing."""
        # The recogniser's smallest face, so that a photograph gives the same crop here as there.
        whole = create_detector(DETECTOR, min_face=DEFAULT_MIN_FACE)
        return cls(whole, create_detector(DETECTOR, min_face=CLOSE_UP_MIN_FACE))


class Search:
    """The search in one picture, uint8 [H, W, 3]; alone, so that what is found depends on no other picture."""

    def __init__(self, pixels: Picture, detectors: Detectors):
        self.pixels = pixels
        self.height, self.width = pixels.shape[:2]
        self._detectors = detectors

    @cached_property
    def found(self) -> list[Detection]:
        """The faces of the whole picture, best score first."""
        whole = (0.0, 0.0, float(self.width), float(self.height))
        if max(self.height, self.width) < SMALL:
            return self.close_up(whole) or self._as_it_is()
        return self._as_it_is() or self.close_up(whole)

    def close_up(self, subject: Box) -> list[Detection]:
        """The faces in `subject`, a box inside the picture, and half its longer side around it, best score first."""
        corner, opposite = np.array(subject[:2]), np.array(subject[2:])
        side = max((opposite - corner).max(), SMALLEST_SUBJECT)
        size = np.array([self.width, self.height])
        first = np.clip(np.floor(corner - side / 2), 0, size - 1).astype(int)
        last = np.clip(np.ceil(opposite + side / 2), first + 1, size).astype(int)
        shown = np.maximum(np.rint((last - first) * (CLOSE_UP / side)), 1).astype(int)
        resized = cv2.resize(
            self.pixels[first[1] : last[1], first[0] : last[0]],
            (int(shown[0]), int(shown[1])),
            interpolation=cv2.INTER_AREA if side > CLOSE_UP else cv2.INTER_LINEAR,
        )
        view = cv2.copyMakeBorder(resized, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE)
        scale = shown / (last - first)
        results = []
        for face in self._detectors.close_up.detect([np.asarray(view, dtype=np.uint8)])[0]:
            x1, y1, x2, y2 = (((np.reshape(face.box, (2, 2)) - BORDER) / scale) + first).ravel().tolist()
            # Landmarks count from the centre of the first pixel, boxes from its edge.
            landmarks = (face.steady_landmarks - BORDER + 0.5) / scale + first - 0.5
            results.append(Detection((x1, y1, x2, y2), face.score, landmarks.astype(np.float32)))
        return results

    def _as_it_is(self) -> list[Detection]:
        found = self._detectors.whole.detect([self.pixels])[0]
        return [Detection(face.box, face.score, face.steady_landmarks) for face in found]
