"""YuNet: one small convolutional net through OpenCV's FaceDetectorYN; faster than MTCNN, blinder to small faces.

Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023. Its model is in no wheel: it comes from a path, the
Hugging Face cache or the hub, and is used only when its SHA-256 is the known one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from apvit.faces.boxes import clip, suppress
from apvit.faces.detection import DEFAULT_MIN_FACE, SMALLER, Detection, DetectorError
from apvit.hub import hub_is_reachable
from apvit.runtimes import failing_as

Picture = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float32]

DEFAULT_MIN_SCORE = 0.8
"""The score below which a face is left out; chosen by benchmarks/detection/thresholds.py."""

REPOSITORY = "opencv/face_detection_yunet"
FILE = "face_detection_yunet_2023mar.onnx"
SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"

# Of faces smaller than 24 pixels YuNet finds few (benchmarks/detection), of those larger than about 350 pixels it
# reports parts, or nothing.
_SMALLEST, _LARGEST = 24, 320
_STEP = 4  # from one level of the pyramid to the next: the ranges overlap
_ALIGNED = 32  # the net halves five times


class YuNet:
    """A Detector; see `create_detector` for the arguments. Raises DetectorError.

    A large picture is first shrunk until its smallest faces sought are 24 pixels; faces too large for the net in it are
    sought in further copies of a quarter of the size each.
    """

    def __init__(
        self,
        *,
        min_face: float = DEFAULT_MIN_FACE,
        min_score: float | None = None,
        model: str | Path | None = None,
    ) -> None:
        self.min_face = min_face
        self.min_score = DEFAULT_MIN_SCORE if min_score is None else min_score
        self._model = _read_model(model)
        self._net = self._open()

    def _open(self) -> cv2.FaceDetectorYN:
        content, nothing = np.frombuffer(self._model, np.uint8), np.zeros(0, np.uint8)
        return cv2.FaceDetectorYN.create("onnx", content, nothing, (_ALIGNED, _ALIGNED), self.min_score, 0.3)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_net": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._net = self._open()

    def detect(self, pictures: Sequence[Picture]) -> list[list[Detection]]:
        """The faces of each picture uint8 [H, W, 3] RGB, best score first; pictures may differ in size."""
        return [self._detect(picture) for picture in pictures]

    def _detect(self, picture: Picture) -> list[Detection]:
        height, width = picture.shape[:2]
        found = []
        for level_height, level_width in _pyramid(height, width, self.min_face):
            last = max(level_height, level_width) <= _LARGEST
            faces = self._run(_shrink(picture, level_height, level_width))
            if not last:
                faces = faces[faces[:, 2:4].max(axis=1) <= _LARGEST]
            shrunk = np.array([width / level_width, height / level_height], np.float32)
            faces[:, 2:4] += faces[:, :2]
            faces[:, :4] *= np.tile(shrunk, 2)
            # Landmarks are measured from the centre of the first pixel, boxes from its edge.
            faces[:, 4:14] = (faces[:, 4:14] + 0.5) * np.tile(shrunk, 5) - 0.5
            found.append(faces)
        faces = np.concatenate(found)
        boxes = clip(faces[:, :4], height, width)
        scores = faces[:, 14]
        good = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
        good = good[suppress(boxes[good], scores[good], 0.7, over="smaller")]
        # OpenCV's order is the person's right eye, left eye, nose, right and left mouth corner: image-left first.
        return [Detection(tuple(boxes[i].tolist()), float(scores[i]), faces[i, 4:14].reshape(5, 2)) for i in good]

    def _run(self, picture: Picture) -> Array:
        """The net's faces in `picture` [H, W, 3]: x, y, width, height, five landmarks x, y, and the score, [N, 15]."""
        height, width = picture.shape[:2]
        # OpenCV would pad too, but only to 32 pixels, and where a side is no longer its net (4.14) reports faces at
        # random, with a score of 1, even in a black picture.
        below, right = (max(-side % _ALIGNED, 2 * _ALIGNED - side) for side in (height, width))
        padded = cv2.copyMakeBorder(picture[..., ::-1], 0, below, 0, right, cv2.BORDER_CONSTANT)
        with failing_as(DetectorError, "OpenCV", SMALLER):
            self._net.setInputSize((padded.shape[1], padded.shape[0]))
            _, faces = self._net.detect(padded)
        return np.zeros((0, 15), np.float32) if faces is None else np.asarray(faces, np.float32)


def _read_model(path: str | Path | None) -> bytes:
    """The content of YuNet's ONNX file; DetectorError where it cannot be had or is another file."""
    where = _find_model() if path is None else Path(path)
    try:
        content = where.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise DetectorError(f"YuNet's model {str(where)!r} cannot be read ({reason}); {_ADVICE}") from error
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise DetectorError(
            f"YuNet's model {str(where)!r} is not the known {FILE} (its SHA-256 differs) and was not used; {_ADVICE}"
        )
    return content


_ADVICE = f"get {FILE} from https://huggingface.co/{REPOSITORY} and give its path: detector_model='FILE'"


def _find_model() -> Path:
    """YuNet's file in the Hugging Face cache, downloaded into it first where it is missing."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    # Asking the cache first saves the hub's many seconds of trying to connect on machines without a network.
    cached = try_to_load_from_cache(REPOSITORY, FILE)
    if isinstance(cached, str):
        return Path(cached)
    try:
        return Path(hf_hub_download(REPOSITORY, FILE, local_files_only=not hub_is_reachable()))
    except (OSError, ValueError) as error:  # no connection, HF_HUB_OFFLINE, no access
        raise DetectorError(
            f"YuNet's model is not in the Hugging Face cache and cannot be downloaded; {_ADVICE}"
        ) from error


def _pyramid(height: int, width: int, min_face: float) -> Iterator[tuple[int, int]]:
    """The sizes to search: the first shrinks faces of min_face to the net's smallest, the last fits its largest."""
    scale = min(1.0, _SMALLEST / min_face)
    while True:
        level = max(1, round(height * scale)), max(1, round(width * scale))
        yield level
        if max(level) <= _LARGEST:
            return
        scale /= _STEP


def _shrink(picture: Picture, height: int, width: int) -> Picture:
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
