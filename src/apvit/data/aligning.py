"""Alignment of a dataset: every listed face found, warped to a template and kept, on all cores and resumable.

The listed faces are cut into jobs of some whole pictures. What becomes of a job is a file, named by a hash of all that
determines its content; so a run after a killed one finds what is finished, and nothing that was made otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL

from apvit.data.aligning_faces import CHOICES, MIN_OVERLAP, AlignedFace
from apvit.data.aligning_results import holds_results, read_results
from apvit.data.aligning_search import BORDER, CLOSE_UP, CLOSE_UP_MIN_FACE, DETECTOR, SMALL
from apvit.data.aligning_workers import Job, Task, run_jobs
from apvit.data.errors import DataError
from apvit.data.listing import Listed
from apvit.data.rows import FaceRow, Progress
from apvit.data.sources import Source
from apvit.faces.alignment import TEMPLATES, AlignmentError, AlignmentTemplate
from apvit.faces.detection import DEFAULT_MIN_FACE
from apvit.faces.mtcnn import DEFAULT_MIN_SCORE
from apvit.files import reason, unknown

VERSION = 1
"""Raised with every change of this code, or of the detector's, that changes a result: unfinished work starts anew."""

FACES_PER_JOB = 64
"""Least faces of a job but the last: seconds of work, so that little is lost and all processes are busy to the end."""


def align_faces(
    source: Source,
    faces: Sequence[Listed],
    template: AlignmentTemplate,
    *,
    size: int | None = None,
    choose: str = "nearest-centre",
    workers: int = 1,
    folder: Path,
    progress: Progress | None = None,
    read: Callable[[str], bytes] | None = None,
) -> Generator[FaceRow | str, None, None]:
    """For each of the `faces`, in order: its row, or one sentence why it has none.

    A row's image is a lossless PNG of the face warped to `template` at `size` x `size` pixels (None: the template's),
    its landmarks lie in that image, its framing says how the face was chosen (`AlignedFace.framing`), and its group is
    the listed one or else the picture's identity. `choose` is one of CHOICES; a box given with a face always decides.
    Results depend neither on the number of `workers`, which are processes, nor on interruptions.

    `read` gives the encoded picture of a name where pictures are not files of the source (`Listing.read`); it travels
    to the processes, and what it reads must stand in files of the source.

    `folder` takes the finished work: give the same one again to go on after an interruption, delete it when the rows
    are safe. Close the iterator, or let it end, to end the processes.

    Raises DataError for arguments that do not fit, and while iterating where a process dies or the disk refuses;
    DetectorError where the detector is not installed.
    """
    if choose not in CHOICES:
        raise DataError(unknown("choice of face", choose, CHOICES))
    for name, value in (("size", template.size if size is None else size), ("workers", workers)):
        if value < 1:
            raise DataError(f"{name} must be at least 1, not {value}")
    scaled = _scale(template, template.size if size is None else size)
    return _align(faces, Task(source, read, scaled, choose), workers, Path(folder), progress)


def load_template(name: str | Path) -> AlignmentTemplate:
    """A template by its name (`TEMPLATES`), or from a user's JSON file with the keys name, size and points.

    Raises DataError for an unknown name, a file that is no template, and one that has a known name but other points.
    """
    if str(name) in TEMPLATES:
        return TEMPLATES[str(name)]
    path = Path(name)
    if not path.is_file() or path.suffix == ".safetensors":
        raise DataError(
            f"{unknown('alignment template', str(name), TEMPLATES)}, or give a JSON file with name, size and "
            f"points; for a weight file give the name that `apvit models` shows as its alignment"
        )
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise AlignmentError("its content is not an object")
        template = AlignmentTemplate.from_dict(values)
    except (OSError, ValueError) as error:  # of text, JSON and templates
        raise DataError(
            f"{path} is not an alignment template ({error}); give JSON with name, size and points"
        ) from error
    if template.name in TEMPLATES and template != TEMPLATES[template.name]:
        raise DataError(
            f"{path} names its template {template.name!r}, which is known with other points; give yours another name"
        )
    return template


def _scale(template: AlignmentTemplate, size: int) -> AlignmentTemplate:
    """The template for crops of another size. Pixel centres count, so that the square's edges stay its edges."""
    ratio = size / template.size
    points = tuple(((x + 0.5) * ratio - 0.5, (y + 0.5) * ratio - 0.5) for x, y in template.points)
    return AlignmentTemplate(template.name, size, points)


def _align(
    faces: Sequence[Listed], task: Task, workers: int, folder: Path, progress: Progress | None
) -> Generator[FaceRow | str, None, None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the folder {folder}: {reason(error)}") from error
    plan = _plan(faces, task, folder)
    finished = {job.path for job, indices in plan if holds_results(job.path, len(indices))}
    done = sum(len(indices) for job, indices in plan if job.path in finished)
    if progress is not None:
        progress(done, len(faces))
    waiting = [job for job, _ in plan if job.path not in finished]
    results: dict[int, AlignedFace | str] = {}
    position = 0
    with closing(run_jobs(waiting, task, workers)) as events:
        for job, indices in plan:
            while job.path not in finished:
                other, count = next(events)
                if count is None:
                    finished.add(other.path)
                else:
                    done += count
                    if progress is not None:
                        progress(done, len(faces))
            results.update(zip(indices, read_results(job.path), strict=True))
            # Faces of one picture may stand far apart in the list; those between them wait here.
            while position in results:
                yield _row(faces[position], results.pop(position))
                position += 1


def _row(face: Listed, result: AlignedFace | str) -> FaceRow | str:
    if isinstance(result, str):
        return result
    return FaceRow(
        image=result.image,
        source=face.source,
        label=face.label,
        group=result.group if face.group is None else face.group,
        votes=face.votes,
        landmarks=result.landmarks,
        attributes=face.attributes,
        framing=result.framing,
    )


def _plan(faces: Sequence[Listed], task: Task, folder: Path) -> list[tuple[Job, list[int]]]:
    """Jobs of whole pictures, in the order in which these first appear, and the indices of each job's faces."""
    of_picture: dict[str, list[int]] = {}
    for index, face in enumerate(faces):
        of_picture.setdefault(face.picture, []).append(index)
    shared = _shared(task)
    stands_alone = task.read is None and not task.source.is_zip
    plan: list[tuple[Job, list[int]]] = []
    pictures: list[tuple[str, tuple[Listed, ...]]] = []
    indices: list[int] = []
    for number, (picture, members) in enumerate(of_picture.items(), 1):
        pictures.append((picture, tuple(faces[index] for index in members)))
        indices += members
        if len(indices) >= FACES_PER_JOB or number == len(of_picture):
            digest = hashlib.sha256(shared)
            for name, shown in pictures:
                stamp = _stamp(task.source.path / name) if stands_alone else []
                entry = [name, stamp, [[face.source, face.box, face.landmarks] for face in shown]]
                digest.update(json.dumps(entry).encode())
            plan.append((Job(folder / f"{digest.hexdigest()[:32]}.parquet", tuple(pictures)), indices))
            pictures, indices = [], []
    return plan


def _shared(task: Task) -> bytes:
    """All that determines results besides a folder's pictures and annotations; the template's name does not."""
    source, template = task.source, task.template
    files: list[object] = [str(source.path.resolve())]
    if source.is_zip:
        files.append(_stamp(source.path))
    elif task.read is not None:
        files += [[name, _stamp(source.path / name)] for name in source.names]
    programs = {"cv2": cv2.__version__, "numpy": np.__version__, "PIL": PIL.__version__, "torch": version("torch")}
    search = [DETECTOR, DEFAULT_MIN_FACE, DEFAULT_MIN_SCORE, SMALL, CLOSE_UP, BORDER, CLOSE_UP_MIN_FACE, MIN_OVERLAP]
    return json.dumps([VERSION, files, template.size, template.points, task.choose, search, programs]).encode()


def _stamp(path: Path) -> list[int]:
    """What tells a file from a changed one without reading it: its size, and when it last changed."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]
