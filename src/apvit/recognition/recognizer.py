"""The recognizer: pictures in, faces with expressions out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from apvit.recognition.results import Face, Recognition

if TYPE_CHECKING:
    from PIL.Image import Image

    from apvit.engines import Engine
    from apvit.faces.alignment import AlignmentTemplate
    from apvit.faces.detection import Detection, Detector
    from apvit.weights import Card

    PictureSource: TypeAlias = str | Path | bytes | Image | npt.NDArray[Any]

S = TypeVar("S", bound="PictureSource")

WINDOW_PIXELS = 64_000_000
"""Pictures decoded at once, in pixels (3 bytes each): five of a telephone's, or one huge one."""


class RecognizerError(ValueError):
    """A recognizer cannot be made or used as asked."""


class Recognizer:
    """Finds every face of a picture, aligns it as the weights were trained, and names its expression.

    weights: a bundled name, a path, or "hf://owner/repo[/file][@revision]"; its card decides alignment, size, colour
        and label order
    detector: "mtcnn", "yunet", or "none" for pictures that already are one face each
    detector_model: YuNet's model file, where it is not to come from the cache or the hub
    engine, device: "auto" chooses what is there
    min_face: smallest face searched for, in pixels of the upright picture (None: the detector's default)
    min_detection: lowest detection score that counts as a face, 0..1 (None: the detector's default)
    max_faces: keep only the largest so many faces of a picture (None: all)
    batch_size: faces per pass through the network, and pictures read ahead by `many`
    embeddings: also fill `Face.embedding`

    A face's result does not depend on what else is in its batch. Raises RecognizerError for arguments that do not fit
    (and the detector's, the card's or the engine's own error, all ValueErrors).
    """

    def __init__(
        self,
        weights: str | Path = "apvit_tiny",
        detector: str = "mtcnn",
        engine: str = "auto",
        device: str = "auto",
        *,
        min_face: float | None = None,
        min_detection: float | None = None,
        max_faces: int | None = None,
        batch_size: int = 32,
        embeddings: bool = False,
        detector_model: str | Path | None = None,
    ):
        for name, value in (("batch_size", batch_size), ("max_faces", max_faces)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise RecognizerError(f"{name} must be a positive whole number, got {value!r}")
        if min_face is not None and not 0 < min_face < float("inf"):
            raise RecognizerError(f"min_face must be a positive number of pixels, got {min_face!r}")
        if min_detection is not None and not 0 <= min_detection <= 1:
            raise RecognizerError(f"min_detection is a score in 0..1, got {min_detection!r}")
        from apvit.engines import create_engine
        from apvit.faces.detection import create_detector

        self.max_faces = max_faces
        self.batch_size = batch_size
        self.embeddings = embeddings
        self._detector: Detector | None = None
        if detector != "none":  # before the network: an unknown detector or a missing model is the cheaper error
            options = {} if min_face is None else {"min_face": min_face}
            self._detector = create_detector(
                detector, device=device, min_score=min_detection, model=detector_model, **options
            )
        self._engine: Engine = create_engine(weights, engine, device)
        if self._detector is not None and self.card.preprocessing.alignment is None:
            raise RecognizerError(
                f"the weights {weights} name no alignment template, so faces that a detector found cannot be framed as "
                f"in training; crop the faces yourself and use the detector 'none'"
            )

    @property
    def card(self) -> Card:
        """The card of the weights: label space, preprocessing, provenance, measured metrics."""
        return self._engine.card

    @property
    def expressions(self) -> tuple[str, ...]:
        """The expressions that the weights tell apart, in their order."""
        return self.card.labels.expressions

    @property
    def template(self) -> AlignmentTemplate | None:
        """Where the landmarks of every face are put, or None with detector "none" (the whole picture is the face)."""
        return None if self._detector is None else self.card.preprocessing.alignment

    @property
    def grid(self) -> int:
        """Side of the square of patches that `Face.patches` counts, row by row, over the aligned face."""
        parameters = self.card.parameters
        return int(parameters["image_size"]) // 2 ** len(parameters["stem_stages"])  # every stage of the stem halves

    def __call__(self, source: PictureSource) -> list[Face]:
        """The faces of one picture, largest first; an empty list where there is none.

        source: path, encoded bytes, PIL image, or RGB uint8 [H, W, 3]. Raises PictureError where it cannot be read.
        """
        from apvit.faces.pictures import read_picture

        return self._recognize([read_picture(source)])[0]

    def many(self, sources: Iterable[S]) -> Iterator[tuple[S, list[Face] | Exception]]:
        """(source, faces) of each source in order; for a picture that cannot be read, its PictureError for the faces.

        Sources are taken and results given as it goes, so neither a million paths nor an endless generator is too
        many; faces go through the network in batches across pictures.
        """
        for found in self.recognitions(sources):
            yield found.source, found.faces if found.error is None else found.error

    def recognitions(self, sources: Iterable[PictureSource]) -> Iterator[Recognition]:
        """`many` with all there is to know of each picture: its size, its pixels, its faces or its error."""
        if isinstance(sources, (str, bytes, Path)):
            raise RecognizerError(f"several sources are expected, got one {type(sources).__name__}; use recognizer(it)")
        for window in self._windows(sources):
            pictures = [found.picture for found in window if found.picture is not None]
            faces = iter(self._recognize(pictures))
            for found in window:
                if found.picture is not None:
                    found.faces.extend(next(faces))
                yield found

    def _windows(self, sources: Iterable[PictureSource]) -> Iterator[list[Recognition]]:
        """Pictures read together, without their faces. Windows grow from one, so that the first result comes soon."""
        from apvit.faces.pictures import PictureError, read_picture

        window: list[Recognition] = []
        pixels, size = 0, 1
        for source in sources:
            try:
                picture = read_picture(source)
            except (PictureError, OSError) as error:
                window.append(Recognition(source, None, None, [], error))
            else:
                height, width = picture.shape[:2]
                pixels += height * width
                window.append(Recognition(source, width, height, [], None, picture))
            if len(window) >= size or pixels >= WINDOW_PIXELS:
                yield window
                window, pixels, size = [], 0, min(2 * size, self.batch_size)
        if window:
            yield window

    def _recognize(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> list[list[Face]]:
        """The faces of each picture (uint8 [H, W, 3]), with one stream of batches through the network for all."""
        detections = self._detect(pictures)
        crops = [
            self._crop(picture, detection)
            for picture, found in zip(pictures, detections, strict=True)
            for detection in found
        ]
        results = iter(self._classify(crops))
        return [
            [self._face(picture, detection, *next(results)) for detection in found]
            for picture, found in zip(pictures, detections, strict=True)
        ]

    def _detect(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> Sequence[Sequence[Detection | None]]:
        """The faces that each picture keeps, largest first; None stands for the whole picture."""
        if self._detector is None:
            return [[None] for _ in pictures]
        if not pictures:
            return []
        return [sorted(found, key=_area, reverse=True)[: self.max_faces] for found in self._detector.detect(pictures)]

    def _crop(self, picture: npt.NDArray[np.uint8], detection: Detection | None) -> npt.NDArray[np.uint8]:
        """The face as the network was trained to see it: uint8 [S, S, 3]."""
        from apvit.faces.alignment import align, resize_face

        preprocessing = self.card.preprocessing
        if detection is None:
            return resize_face(picture, preprocessing.size)
        assert preprocessing.alignment is not None  # checked when the recognizer was made
        return align(picture, detection.landmarks, preprocessing.alignment, preprocessing.size)

    def _classify(self, crops: Sequence[npt.NDArray[np.uint8]]) -> Iterator[tuple[Any, Any, Any]]:
        """Probabilities [K], kept patches and embedding [D] of each crop, batch by batch."""
        for start in range(0, len(crops), self.batch_size):
            batch = np.stack(crops[start : start + self.batch_size])
            output = self._engine.run(self.card.preprocessing.normalise(batch))
            yield from zip(output.probabilities, output.patches, output.embedding, strict=True)

    def _face(
        self, picture: npt.NDArray[np.uint8], detection: Detection | None, probabilities: Any, patches: Any, embedding: Any
    ) -> Face:
        best = int(np.argmax(probabilities))
        height, width = picture.shape[:2]
        return Face(
            box=(0.0, 0.0, float(width), float(height)) if detection is None else detection.box,
            landmarks=None if detection is None else detection.landmarks,
            detection_score=None if detection is None else detection.score,
            expression=self.expressions[best],
            probability=float(probabilities[best]),
            probabilities={name: float(p) for name, p in zip(self.expressions, probabilities, strict=True)},
            patches=patches,
            embedding=embedding if self.embeddings else None,
        )


def _area(detection: Detection) -> float:
    x1, y1, x2, y2 = detection.box
    return (x2 - x1) * (y2 - y1)
