"""What a face detector is: pictures in, boxes with scores and five landmarks out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from apvit.files import unknown

DETECTORS = ("mtcnn", "yunet")
"""Names that `create_detector` knows."""

Runtime: TypeAlias = Literal["torch", "onnx"]
"""What MTCNN's nets run in."""

DEFAULT_MIN_FACE = 24.0
"""Pixels; width and height of the smallest faces sought."""


LANDMARK_STEP = 1 / 8
"""Part of a pixel. A detector's numbers depend on its batch and on the processor in the last bit, and an 8-bit crop
turns that into a grey level; aligned by rounded landmarks, the crop is the same. Landmarks are far less exact."""


SMALLER = "shrink the picture, or search only for larger faces (min_face)"
"""What to do where a detector has not enough memory."""


class DetectorError(ValueError):
    """A detector cannot be made (unknown name or option, missing or foreign model file), or fails over a picture."""


@dataclass(frozen=True, eq=False)
class Detection:
    """One face, in pixels of the upright picture it was found in.

    `box` x1, y1, x2, y2: edges, 0 <= x1 < x2 <= width. `score` 0..1, the detector's own; scores of different detectors
    do not compare. `landmarks` float32 [5, 2]: image-left eye, image-right eye, nose, image-left mouth corner,
    image-right mouth corner, (0, 0) being the centre of the first pixel as in OpenCV; they may lie outside the picture.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: npt.NDArray[np.float32]

    @property
    def sides(self) -> tuple[float, float]:
        """Width and height of the box."""
        x1, y1, x2, y2 = self.box
        return (x2 - x1, y2 - y1)

    @property
    def steady_landmarks(self) -> npt.NDArray[np.float32]:
        """The landmarks rounded to LANDMARK_STEP, [5, 2]: what faces are aligned by."""
        return np.asarray(np.round(self.landmarks / LANDMARK_STEP) * LANDMARK_STEP, dtype=np.float32)


class Detector(Protocol):
    """Finds faces; made by `create_detector`."""

    def detect(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> list[list[Detection]]:
        """The faces of each picture uint8 [H, W, 3] RGB, best score first; pictures may differ in size."""
        ...


def create_detector(
    name: str,
    *,
    device: str = "cpu",
    min_face: float = DEFAULT_MIN_FACE,
    min_score: float | None = None,
    model: str | Path | None = None,
    runtime: Runtime = "torch",
) -> Detector:
    """The detector called `name`: "mtcnn" or "yunet".

    `device` is a torch device; only MTCNN uses it. `min_face`: side in pixels of the smallest faces sought; the time
    for a picture grows with its pixels over min_face². `min_score` 0..1: faces with a lower score are left out; None is
    the detector's own default, chosen by benchmarks/detection/thresholds.py. `model`: YuNet's ONNX file, instead of the
    one in the Hugging Face cache or on the hub; MTCNN's nets come with the package `mtcnn`.

    `runtime` is what MTCNN's nets preferably run in: "torch", or "onnx" for ONNX Runtime on the CPU, which imports no
    torch (packages onnx and onnxruntime). The other takes its place where it is not installed, and torch on any device
    but "cpu": the device and what is installed decide, never what was imported before. Scores of both differ by less
    than 1e-5, boxes and landmarks by less than a hundredth of a pixel.

    Raises DetectorError.
    """
    if not 1 <= min_face < math.inf:
        raise DetectorError(f"min_face must be a finite number of at least 1 pixel, not {min_face}")
    if min_score is not None and not 0 <= min_score <= 1:
        raise DetectorError(f"min_score must lie between 0 and 1, not {min_score}")
    if name == "mtcnn":
        if model is not None:
            raise DetectorError("the detector mtcnn takes no model file; leave it out, or choose yunet")
        from apvit.faces.mtcnn import MTCNN

        return MTCNN(device=device, runtime=runtime, min_face=min_face, min_score=min_score)
    if name == "yunet":
        from apvit.faces.yunet import YuNet

        return YuNet(min_face=min_face, min_score=min_score, model=model)
    raise DetectorError(unknown("detector", name, DETECTORS))
