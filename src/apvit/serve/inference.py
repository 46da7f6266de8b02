"""What the worker process does: requests in, faces out. It reads strangers' pictures, so it does nothing else."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import time
import traceback
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt
from PIL import Image

from apvit.faces.pictures import PictureError, read_picture
from apvit.files import counted
from apvit.recognition import Recognition, Recognizer
from apvit.recognition.profile import Profile
from apvit.recognition.results import Record

from .messages import Asked, Upload, receive
from .options import Options
from .schema import ExplainedRecord, Model, ServedExplanation
from .settings import Limits, Network

if TYPE_CHECKING:
    from apvit.explain.explanation import Explanation

RECOGNIZERS = 6
"""How many are kept, one per network, compute dial and detector that requests ask for; another takes 40 ms to make."""


def work(connection: Connection, network: Network, limits: Limits) -> None:
    """Answer requests until the connection ends. The first message says whether the network could be loaded."""
    # Ctrl-C, and a supervisor's SIGTERM, reach every process; the service ends this one when its work is done.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Decoders written in C comment on damaged pictures there; what matters goes through the connection.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        recognizers = Recognizers(network, limits)
        ready = _describe(recognizers.get(Options(), explain=False), network)
    except (ValueError, OSError, ImportError, MemoryError) as error:
        connection.send_bytes(json.dumps({"error": " ".join(str(error).split())}).encode())
        _end()
    connection.send_bytes(json.dumps(ready).encode())
    while True:
        try:
            batch = receive(connection)
        except (EOFError, OSError):  # the service has ended, or ends this worker
            _end()
        connection.send_bytes(json.dumps(recognizers.answer(batch), allow_nan=False).encode())


def _end() -> NoReturn:
    os._exit(0)  # Python would take seconds to take everything apart


class _TooManyFacesError(ValueError):
    """A picture has more faces than the service looks at."""


class Recognizers:
    """One recognizer for each network, compute dial and detector that is asked for, the latest few."""

    def __init__(self, network: Network, limits: Limits) -> None:
        self._network, self._limits = network, limits
        self._made: OrderedDict[Any, Recognizer] = OrderedDict()

    def get(self, options: Options, *, explain: bool) -> Recognizer:
        """A recognizer that does what the options say. Raises ValueError where the weights cannot."""
        network = self._network
        detector = options.detector or network.detector
        keep = network.keep if options.keep is None else options.keep
        key = (explain, detector, keep, options.min_face, options.min_detection)
        recognizer = self._made.pop(key, None) or Recognizer(
            network.weights,
            detector,
            "torch" if explain else network.engine,
            network.device,
            min_face=options.min_face,
            min_detection=options.min_detection,
            detector_model=None if detector == "none" else network.detector_model,
            keep=keep,
        )
        self._made[key] = recognizer
        while len(self._made) > RECOGNIZERS:
            self._made.popitem(last=False)
        # These two are no part of what is loaded. One face too many tells that there are too many.
        recognizer.max_faces = options.max_faces or self._limits.faces + 1
        recognizer.min_probability = options.min_probability
        return recognizer

    def answer(self, batch: Sequence[Asked]) -> list[dict[str, Any]]:
        """An answer for each request, in order.

        Either {"results", "seconds", "pictures"}, of its pictures and of what was done together with them; or
        {"refused"} with what is wrong with its options; or {"failed"} with a traceback, for a fault of ours.
        """
        groups: dict[tuple[bool, Options], list[int]] = {}
        for i, asked in enumerate(batch):
            groups.setdefault((asked.explain, asked.options), []).append(i)
        answers: list[dict[str, Any]] = [{} for _ in batch]
        for (explain, options), members in groups.items():
            for i, answer in zip(members, self._together([batch[i] for i in members], options, explain), strict=True):
                answers[i] = answer
        return answers

    def _together(self, group: list[Asked], options: Options, explain: bool) -> list[dict[str, Any]]:
        """Answers to requests that ask for the same."""
        uploads = [upload for asked in group for upload in asked.uploads]
        try:
            recognizer = self.get(options, explain=explain)
        except (ValueError, ImportError) as error:
            return [{"refused": " ".join(str(error).split())} for _ in group]
        try:
            look = _Look(recognizer, self._limits, asked_for=options.max_faces)
            results = iter(look.explained(uploads) if explain else look.recognised(uploads))
            return [
                {"results": [next(results) for _ in asked.uploads], "seconds": look.seconds, "pictures": len(uploads)}
                for asked in group
            ]
        except Exception:  # not foreseen; the process lives on, and the service says that it failed
            return [{"failed": traceback.format_exc()} for _ in group]


class _Look:
    """One look at some pictures with one recognizer; `seconds` says afterwards where the time went."""

    def __init__(self, recognizer: Recognizer, limits: Limits, *, asked_for: int | None) -> None:
        self._recognizer, self._limits, self._asked_for = recognizer, limits, asked_for
        self.seconds: dict[str, float] = {}

    def recognised(self, uploads: Sequence[Upload]) -> list[Record]:
        """What `apvit recognize --format jsonl` says of each picture."""
        bad: dict[int, Recognition] = {}

        def good() -> Iterator[npt.NDArray[np.uint8]]:
            for i, upload in enumerate(uploads):
                try:
                    yield self._decode(upload)
                except PictureError as error:
                    bad[i] = _failed(upload, error)

        profile = Profile()
        records = [self._record(one) for one in self._recognizer.recognitions(good(), profile=profile)]
        stages = {"sources": "decoding", "detect": "detecting", "align": "aligning", "classify": "classifying"}
        self.seconds = {name: profile.seconds[stage] for stage, name in stages.items()}
        for i, one in sorted(bad.items()):
            records.insert(i, one.to_dict())
        return [{**record, "source": upload.name} for record, upload in zip(records, uploads, strict=True)]

    def explained(self, uploads: Sequence[Upload]) -> list[ExplainedRecord]:
        """The same, with an explanation of each face, and the aligned face as a picture."""
        start = time.perf_counter()
        results = [self._explained(upload) for upload in uploads]
        self.seconds = {"explaining": time.perf_counter() - start}
        return results

    def _explained(self, upload: Upload) -> ExplainedRecord:
        try:
            picture = self._decode(upload)
        except PictureError as error:
            return {**_failed(upload, error).to_dict(), "faces": []}
        found, explanations = self._recognizer.explained(picture)
        record = self._record(replace(found, source=upload.name))
        if record["error"] is not None:
            return {**record, "faces": []}
        pairs = zip(record["faces"], explanations, strict=True)
        return {**record, "faces": [{**face, "explanation": _served(explanation)} for face, explanation in pairs]}

    def _decode(self, upload: Upload) -> npt.NDArray[np.uint8]:
        return read_picture(upload.data, max_pixels=self._limits.pixels, name=repr(upload.name))

    def _record(self, found: Recognition) -> Record:
        """The record of a picture; where it has too many faces, of that error."""
        limit = self._limits.faces
        if self._asked_for is None and len(found.faces) > limit:
            many = _TooManyFacesError(
                f"the picture has more than {counted(limit, 'face')}; ask for the largest with max_faces={limit}"
            )
            found = Recognition(found.source, None, None, [], many)
        elif not isinstance(found.source, str):
            found = replace(found, source="")  # an array's text is long
        return found.to_dict()


def _failed(upload: Upload, error: Exception) -> Recognition:
    return Recognition(upload.name, None, None, [], error)


def _served(explanation: Explanation) -> ServedExplanation:
    """An explanation with the aligned face as a page shows it."""
    file = io.BytesIO()
    Image.fromarray(explanation.face).save(file, "PNG")
    face = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return {"face": face, **explanation.to_dict()}


def _describe(recognizer: Recognizer, network: Network) -> Model:
    """What `/v1/models` says of the weights."""
    card = recognizer.card
    alignment = card.preprocessing.alignment
    return {
        "name": os.path.basename(network.weights),
        "architecture": card.architecture,
        "expressions": list(card.labels.expressions),
        "detector": network.detector,
        "alignment": None if alignment is None else alignment.name,
        "input": {"size": card.preprocessing.size, "colour": card.preprocessing.colour},
        "pooling": {
            "grid": recognizer.grid,
            "patch_keep": card.parameters.get("patch_keep"),
            "token_keep": card.parameters.get("token_keep"),
        },
        "metrics": list(card.metrics),
        "licence": card.licence,
        "intended_use": card.intended_use,
    }
