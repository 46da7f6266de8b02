"""The recognizer: pictures in, faces with expressions out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from numbers import Integral
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from apvit.files import counted
from apvit.recognition.loading import RecognizerError, load
from apvit.recognition.pipeline import FaceOutput, Picture, Pipeline, Prepared
from apvit.recognition.profile import Profile
from apvit.recognition.results import Face, Recognition

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image

    from apvit.engines import Keep
    from apvit.explain.explanation import Explanation
    from apvit.faces.alignment import AlignmentTemplate
    from apvit.faces.detection import Detection
    from apvit.faces.pictures import PictureError
    from apvit.recognition.video.results import VideoFrame
    from apvit.weights import Card

    PictureSource: TypeAlias = str | Path | bytes | Image | npt.NDArray[Any]

S = TypeVar("S", bound="PictureSource")

MOST_WORKERS = 8
"""Workers by default at most: each holds a picture, and what Python itself does keeps more of them waiting."""


class FaceWarning(UserWarning):
    """A face was found but left out of the result."""


class Recognizer:
    """Finds every face of a picture, aligns it as the weights were trained, and names its expression.

    weights: a bundled name, a path, or `hf://owner/repo[/file][@revision]`; its card decides alignment, size, colour
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
    batch_size: most faces per pass through the network; the memory of `many` grows with it. On a CPU more than 16 gain
        nothing, a GPU likes more
    workers: pictures that `many` works on at a time, each with its share of the cores (None: as many as there are
        cores or OMP_NUM_THREADS allows, up to 8); with 1 everything happens one after the other
    embeddings: also fill `Face.embedding`
    keep: the compute dial: what pooling keeps instead of what the weights' card says, without retraining; "0.8" keeps
        that share of the patches, "0.8:1,1,.9,.9" also sets the tokens kept after each block

    A face's result does not depend on what else is in its batch. A face whose landmarks make no face (mirrored, in
    disorder) cannot be framed as the network knows faces, so it is left out with a FaceWarning; the picture's other
    faces stay. A recognizer may be called from several threads, pickled and copied, and used in processes that are
    forked later, if it is not at work then; torch has one thread there and no GPU. Raises RecognizerError for arguments
    that do not fit (and the detector's, the card's or the engine's own error, all ValueErrors).
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
        batch_size: int = 16,
        workers: int | None = None,
        embeddings: bool = False,
        detector_model: str | Path | None = None,
        keep: str | Keep | None = None,
    ):
        from apvit.engines.exported import OpenVinoEngine

        for name, value in (("batch_size", batch_size), ("workers", workers), ("max_faces", max_faces)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, Integral) or value < 1):
                raise RecognizerError(f"{name} must be a positive whole number, got {value!r}")
        if not 0 <= min_probability <= 1:
            raise RecognizerError(f"min_probability must lie in 0..1, got {min_probability}")
        self._engine, self._detector = load(
            weights,
            detector,
            engine,
            device,
            keep=keep,
            min_face=min_face,
            min_detection=min_detection,
            detector_model=detector_model,
        )
        self.min_face = min_face
        self.max_faces = max_faces
        self.min_probability = min_probability
        self.batch_size = batch_size
        self.workers = _default_workers() if workers is None else workers
        self.embeddings = embeddings
        # OpenCV's and OpenVINO's objects hold what they are at, so only one thread may use them at a time.
        alone = {"detect": detector == "yunet", "classify": isinstance(self._engine, OpenVinoEngine)}
        self._turns = {stage: _Turn() if one else nullcontext() for stage, one in alone.items()}
        self._lanes = {"read": self.workers, "align": self.workers} | {
            stage: 1 if one else self.workers for stage, one in alone.items()
        }

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

        source: path or http(s) URL, encoded bytes, PIL image, or RGB uint8 [H, W, 3]. Raises PictureError where it
        cannot be read.
        """
        prepared = self._prepare(source, Profile())
        found = self._finish(prepared, self._classify(prepared.crops))
        _warn(found, stacklevel=3)
        return found.faces

    def explain(self, source: PictureSource) -> list[tuple[Face, Explanation]]:
        """The faces of one picture, largest first, each with why: what pooling kept, what spoke for its expression.

        Needs the engine "torch" (EngineError otherwise), since relevance needs gradients; else as calling.
        """
        found, explanations = self.explained(source)
        _warn(found, stacklevel=3)
        return list(zip(found.faces, explanations, strict=True))

    def explained(self, source: PictureSource) -> tuple[Recognition, list[Explanation]]:
        """`explain` with all there is to know of the picture: its size, its pixels, its warning."""
        from apvit.explain.explanation import explain
        from apvit.explain.tracing import photograph_corners

        prepared = self._prepare(source, Profile())
        found = self._finish(prepared, self._classify(prepared.crops))
        picture = found.picture
        assert picture is not None  # what cannot be read has raised
        landmarks = [None if detection is None else detection.steady_landmarks for detection, _ in prepared.framed]
        explanations = explain(
            self._engine,
            np.stack(prepared.crops) if prepared.framed else np.empty((0,), np.uint8),
            corners=[photograph_corners(self.grid, picture.shape, points, self.template) for points in landmarks],
            min_probability=self.min_probability,
        )
        return found, list(explanations)

    def many(
        self, sources: Iterable[S], *, profile: Profile | None = None
    ) -> Iterator[tuple[S, list[Face] | Exception]]:
        """(source, faces) of each source in order; for a picture that cannot be used, its error instead of the faces.

        Sources are taken and results given as it goes, so neither a million paths nor an endless generator is too
        many. Several pictures are worked on at a time (see `workers`), and faces go through the network in batches
        across pictures. Sources are taken in the caller's thread; closing the iterator ends the others. Arrays and PIL
        images are copied when they are taken, so a camera loop may refill one array.
        profile: filled with where the time goes

        Raises RecognizerError where `sources` is one picture instead of several.
        """
        recognitions = self.recognitions(sources, profile=profile)

        def pairs() -> Iterator[tuple[S, list[Face] | Exception]]:
            for found in recognitions:
                _warn(found, stacklevel=3)
                yield found.source, found.faces if found.error is None else found.error

        return pairs()

    def recognitions(
        self, sources: Iterable[PictureSource], *, profile: Profile | None = None
    ) -> Iterator[Recognition]:
        """`many` with all there is to know of each picture: its size, its pixels, its faces, its error or warning."""
        from apvit.recognition.sources import is_one_source, taken

        if is_one_source(sources):
            raise RecognizerError(
                f"several sources are expected, got one {type(sources).__name__}; call recognizer(source) for one "
                "picture, or give a list"
            )
        profile = Profile() if profile is None else profile
        profile.lanes |= self._lanes
        return Pipeline(
            partial(self._prepare_or_error, profile),
            partial(self._classify, profile=profile),
            self._finish,
            workers=self.workers,
            batch_size=self.batch_size,
            profile=profile,
        ).run((source, taken(source)) for source in sources)

    def video(self, source: str | Path, *, every: int | str = 1, smooth: float = 0.5) -> Iterator[VideoFrame]:
        """The frames of a video, with faces that keep their track's number from frame to frame.

        source: a video file, "webcam:0", or the URL of a stream (rtsp, http ...). every: 5 looks at each fifth frame,
        "0.2s" at one per 0.2 seconds. smooth: window in seconds of the smoothed probabilities. Frames come as they are
        done, so that a stream may be endless:

            for frame in recognizer.video("clip.mp4"):
                for face in frame.tracks:
                    print(frame.time, face.track, face.expression, face.box)

        Raises VideoError where it cannot be read; StoppedError, which is one, after the last good frame of a video
        that ends early.
        """
        from apvit.recognition.video.clip import Clip
        from apvit.recognition.video.recognising import recognise
        from apvit.recognition.video.sampling import Every

        taken = Every.parse(every)
        with Clip(source) as clip:
            yield from recognise(self, clip, taken, smooth=smooth)

    # The way of every picture, alone or among many: _prepare (read, _detect, _frame), _classify, _finish.
    # Frames of a video take the same steps, with tracks between them: video/recognising.py.

    def _prepare(self, source: PictureSource, profile: Profile, content: PictureSource | None = None) -> Prepared:
        """A source, or its `content`, read, its faces found and framed. Raises PictureError, DetectorError, OSError."""
        from apvit.recognition.sources import read_source

        with profile.stage("read"):
            picture = read_source(source if content is None else content)
        found = self._detect(picture, profile)
        with profile.stage("align"):
            framed, warning = self._frame(picture, found)
        height, width = picture.shape[:2]
        return Prepared(Recognition(source, width, height, [], None, picture, warning), framed)

    def _prepare_or_error(self, profile: Profile, item: tuple[PictureSource, PictureSource | PictureError]) -> Prepared:
        """`_prepare` of a source and what was `taken` of it, or the error of a picture that cannot be used."""
        from apvit.faces.detection import DetectorError
        from apvit.faces.pictures import PictureError

        source, content = item
        try:
            if isinstance(content, PictureError):
                raise content
            return self._prepare(source, profile, content)
        except (PictureError, DetectorError, OSError) as error:
            return Prepared(Recognition(source, None, None, [], error), [])

    def _detect(self, picture: Picture, profile: Profile | None = None) -> Sequence[Detection | None]:
        """The faces that the picture keeps, largest first; None stands for the whole picture."""
        if self._detector is None:
            return [None]
        # One picture at a time: on a CPU several together are no faster (benchmarks/speed/folder.py).
        with self._turns["detect"], _timed(profile, "detect"):
            (found,) = self._detector.detect([picture])
        large = [d for d in found if max(d.sides) >= (self.min_face or 0)]
        return sorted(large, key=lambda d: math.prod(d.sides), reverse=True)[: self.max_faces]

    def _frame(
        self, picture: Picture, found: Sequence[Detection | None]
    ) -> tuple[list[tuple[Detection | None, Picture]], str | None]:
        """Each face with what the network is to see of it, uint8 [S, S, 3], as in training; and a warning.

        Faces that cannot be aligned are left out: framed by their box they would get an answer, but no sound one.
        """
        from apvit.faces.alignment import AlignmentError, align, resize_face

        size, template = self.card.preprocessing.size, self.template
        framed: list[tuple[Detection | None, Picture]] = []
        why: AlignmentError | None = None
        for detection in found:
            try:
                if detection is None or template is None:
                    crop = resize_face(picture, size)
                else:
                    crop = align(picture, detection.steady_landmarks, template, size)
            except AlignmentError as error:
                why = error
            else:
                framed.append((detection, crop))
        if why is None:
            return framed, None
        left_out = len(found) - len(framed)
        return framed, f"{left_out} of {counted(found, 'face')} {'was' if left_out == 1 else 'were'} left out: {why}"

    def _classify(self, crops: Sequence[Picture], profile: Profile | None = None) -> list[FaceOutput]:
        """What the network says of each crop, in passes of at most `batch_size`."""
        results: list[FaceOutput] = []
        for start in range(0, len(crops), self.batch_size):
            with self._turns["classify"], _timed(profile, "classify"):
                batch = np.stack(crops[start : start + self.batch_size])
                output = self._engine.run(self.card.preprocessing.normalise(batch))
            results += zip(output.probabilities, output.patches, output.embedding, strict=True)
        return results

    def _finish(self, prepared: Prepared, outputs: Sequence[FaceOutput]) -> Recognition:
        """A picture with its faces."""
        picture = prepared.recognition.picture
        if picture is None:
            return prepared.recognition
        pairs = zip(prepared.framed, outputs, strict=True)
        return replace(prepared.recognition, faces=[self._face(picture, found, output) for (found, _), output in pairs])

    def _face(self, picture: Picture, detection: Detection | None, output: FaceOutput) -> Face:
        """What was detected (None: the whole picture) with what the network says of it."""
        probabilities, patches, embedding = output
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


class _Turn:
    """A lock, of which a copy of its owner has its own."""

    def __init__(self) -> None:
        self._lock = Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[_Turn], tuple[()]]:
        return _Turn, ()


def _warn(found: Recognition, stacklevel: int) -> None:
    """Show a recognition's warning, as that of the frame `stacklevel` calls up."""
    if found.warning is not None:
        named = f"{found.source}: " if isinstance(found.source, (str, Path)) else ""
        warnings.warn(named + found.warning, FaceWarning, stacklevel=stacklevel)


def _timed(profile: Profile | None, stage: str) -> AbstractContextManager[None]:
    return nullcontext() if profile is None else profile.stage(stage)


def _default_workers() -> int:
    from apvit.machine import core_count, thread_count

    return min(thread_count() or core_count(), MOST_WORKERS)
