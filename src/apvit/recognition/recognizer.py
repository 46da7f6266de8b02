"""The recognizer: pictures in, faces with expressions out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from apvit.recognition.results import Face, Recognition

if TYPE_CHECKING:
    from PIL.Image import Image

    from apvit.engines import Engine, Keep
    from apvit.explain.explanation import Explanation
    from apvit.faces.alignment import AlignmentError, AlignmentTemplate
    from apvit.faces.detection import Detection, Detector
    from apvit.weights import Card

    PictureSource: TypeAlias = str | Path | bytes | Image | npt.NDArray[Any]

Picture: TypeAlias = npt.NDArray[np.uint8]

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
    min_face: smallest face searched for, in pixels of the upright picture (None: the detector's default); faces whose
        box's longer side is shorter are left out, while a detector alone takes it as a hint
    min_detection: lowest detection score that counts as a face, 0..1 (None: the detector's default)
    max_faces: keep only the largest so many faces of a picture (None: all)
    min_probability: a face whose top probability is lower keeps its probabilities, but its expression is left open
        (None), 0..1; what a threshold costs and brings stands in the card's metrics, under "coverage"
    batch_size: faces per pass through the network, and pictures read ahead by `many`
    embeddings: also fill `Face.embedding`
    keep: the compute dial: what pooling keeps instead of what the weights' card says, without retraining; "0.8" keeps
        that share of the patches, "0.8:1,1,.9,.9" also sets the tokens kept after each block

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
        min_probability: float = 0.0,
        batch_size: int = 32,
        embeddings: bool = False,
        detector_model: str | Path | None = None,
        keep: str | Keep | None = None,
    ):
        for name, value in (("batch_size", batch_size), ("max_faces", max_faces)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise RecognizerError(f"{name} must be a positive whole number, got {value!r}")
        if not 0 <= min_probability <= 1:
            raise RecognizerError(f"min_probability must lie in 0..1, got {min_probability}")
        search = {"min_face": min_face, "min_detection": min_detection, "detector_model": detector_model}
        if detector == "none" and (useless := [name for name, value in search.items() if value is not None]):
            raise RecognizerError(f"the detector 'none' searches for no faces; leave out {', '.join(useless)}")
        from apvit.engines import Keep, create_engine
        from apvit.engines.exported import OnnxEngine, OpenVinoEngine
        from apvit.faces.detection import DEFAULT_MIN_FACE, create_detector

        self.min_face = min_face
        self.max_faces = max_faces
        self.min_probability = min_probability
        self.batch_size = batch_size
        self.embeddings = embeddings
        self._detector: Detector | None = None
        dial = Keep.parse(keep) if isinstance(keep, str) else keep
        self._engine: Engine = create_engine(weights, engine, device, keep=dial)
        if detector != "none":
            # After the engine, which decides whether torch is there at all: an exported file must not bring it in.
            exported = isinstance(self._engine, (OnnxEngine, OpenVinoEngine))
            self._detector = create_detector(
                detector,
                device="cpu" if exported else _detector_device(detector, device),
                min_face=DEFAULT_MIN_FACE if min_face is None else min_face,
                min_score=min_detection,
                model=detector_model,
                runtime="onnx" if exported else "torch",
            )
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
        stages: int = len(parameters["stem_stages"])  # each halves the map
        return int(parameters["image_size"] // 2**stages)

    def __call__(self, source: PictureSource) -> list[Face]:
        """The faces of one picture, largest first; an empty list where there is none.

        source: path, encoded bytes, PIL image, or RGB uint8 [H, W, 3]. Raises PictureError where it cannot be read, and
        AlignmentError for a face whose landmarks make no face.
        """
        from apvit.faces.pictures import read_picture

        (faces,) = self._recognize([read_picture(source)])
        if isinstance(faces, Exception):
            raise faces
        return faces

    def explain(self, source: PictureSource) -> list[tuple[Face, Explanation]]:
        """The faces of one picture, largest first, each with why: what pooling kept, what spoke for its expression.

        Needs the engine "torch" (EngineError otherwise), since relevance needs gradients; else as calling.
        """
        from apvit.explain.explanation import explain
        from apvit.faces.pictures import read_picture

        picture = read_picture(source)
        (faces,) = self._recognize([picture])
        crops = self._frame(picture, self._detect([picture])[0])
        if isinstance(faces, Exception):
            raise faces
        if isinstance(crops, Exception):
            raise crops
        return list(zip(faces, explain(self._engine, np.stack(crops)), strict=True)) if crops else []

    def many(self, sources: Iterable[S]) -> Iterator[tuple[S, list[Face] | Exception]]:
        """(source, faces) of each source in order; for a picture that cannot be used, its error instead of the faces.

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
            results = iter(self._recognize([found.picture for found in window if found.picture is not None]))
            for found in window:
                if found.picture is None:
                    yield found
                    continue
                faces = next(results)
                if isinstance(faces, Exception):
                    yield Recognition(found.source, None, None, [], faces)
                else:
                    yield replace(found, faces=faces)

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

    def _recognize(self, pictures: Sequence[Picture]) -> list[list[Face] | AlignmentError]:
        """The faces of each picture, with one stream of batches through the network for all."""
        detections = self._detect(pictures)
        framed = [self._frame(picture, found) for picture, found in zip(pictures, detections, strict=True)]
        outputs = self._classify([crop for crops in framed if isinstance(crops, list) for crop in crops])
        results: list[list[Face] | AlignmentError] = []
        for picture, found, crops in zip(pictures, detections, framed, strict=True):
            if isinstance(crops, list):
                results.append([self._face(picture, detection, *next(outputs)) for detection in found])
            else:
                results.append(crops)
        return results

    def _detect(self, pictures: Sequence[Picture]) -> Sequence[Sequence[Detection | None]]:
        """The faces that each picture keeps, largest first; None stands for the whole picture."""
        if self._detector is None:
            return [[None] for _ in pictures]
        if not pictures:
            return []
        results = []
        for found in self._detector.detect(pictures):
            large = [d for d in found if max(_sides(d)) >= (self.min_face or 0)]
            results.append(sorted(large, key=lambda d: math.prod(_sides(d)), reverse=True)[: self.max_faces])
        return results

    def _frame(self, picture: Picture, found: Sequence[Detection | None]) -> list[Picture] | AlignmentError:
        """Each face as the network was trained to see it, uint8 [S, S, 3]."""
        from apvit.faces.alignment import AlignmentError, align, resize_face

        size, template = self.card.preprocessing.size, self.template
        try:
            return [
                resize_face(picture, size)
                if detection is None or template is None
                else align(picture, detection.steady_landmarks, template, size)
                for detection in found
            ]
        except AlignmentError as error:
            return error

    def _classify(self, crops: Sequence[Picture]) -> Iterator[tuple[Any, Any, Any]]:
        """Probabilities [K], kept patches and embedding [D] of each crop, batch by batch."""
        for start in range(0, len(crops), self.batch_size):
            batch = np.stack(crops[start : start + self.batch_size])
            output = self._engine.run(self.card.preprocessing.normalise(batch))
            yield from zip(output.probabilities, output.patches, output.embedding, strict=True)

    def _face(
        self, picture: Picture, detection: Detection | None, probabilities: Any, patches: Any, embedding: Any
    ) -> Face:
        best = int(np.argmax(probabilities))
        sure = float(probabilities[best]) >= self.min_probability
        height, width = picture.shape[:2]
        return Face(
            box=(0.0, 0.0, float(width), float(height)) if detection is None else detection.box,
            landmarks=None if detection is None else detection.landmarks,
            detection_score=None if detection is None else detection.score,
            expression=self.expressions[best] if sure else None,
            probability=float(probabilities[best]),
            probabilities={name: float(p) for name, p in zip(self.expressions, probabilities, strict=True)},
            patches=patches,
            embedding=embedding if self.embeddings else None,
        )


def _sides(detection: Detection) -> tuple[float, float]:
    x1, y1, x2, y2 = detection.box
    return (x2 - x1, y2 - y1)


def _detector_device(detector: str, device: str) -> str:
    """What "auto" means to a detector beside torch: a GPU where it has one. Only MTCNN runs on torch."""
    if device != "auto" or detector != "mtcnn":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
