"""Reading a dataset's faces, as they are, cropped or aligned, and remembering all but their pictures."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from apvit.data.duplicates import perceptual_hash
from apvit.data.errors import DataError
from apvit.data.listing import Listed, Listing
from apvit.data.pictures import NoFaceError, ReadFace, decode, pixel_group, read_shipped, work_on_faces
from apvit.data.rows import SPLITS, Progress
from apvit.data.sources import Source

if TYPE_CHECKING:
    from apvit.faces.alignment import AlignmentTemplate

_T = TypeVar("_T")


@dataclass(frozen=True)
class Alignment:
    """How faces are aligned: the arguments of `aligning.align_faces`."""

    template: AlignmentTemplate
    size: int | None = None
    """Side of the crops in pixels; None: the template's."""
    choose: str = "nearest-centre"
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Face:
    """A face that was read, without its picture."""

    listed: Listed
    identity: str
    """Equal for equal pixels of the picture that is stored."""
    hashed: bytes
    """`duplicates.perceptual_hash` of these pixels."""
    group: str
    framing: str | None
    landmarks: tuple[float, ...] | None
    """In pixels of the picture that is stored."""
    place: tuple[int, int] | None
    """Offset and length in the file of pictures made anew; None where the picture stays as shipped."""

    def picture(self, source: Source, listing: Listing, made: IO[bytes]) -> bytes:
        """The encoded picture that is stored."""
        if self.place is None:
            return read_shipped(source, listing, self.listed.picture)
        made.seek(self.place[0])
        return made.read(self.place[1])


@dataclass(frozen=True)
class LeftOut:
    """A face of which no picture could be cut."""

    split: str
    source: str
    reason: str
    """One sentence."""


@dataclass(frozen=True)
class Readout:
    """What was read of a dataset."""

    faces: dict[str, list[Face]] = field(default_factory=dict)
    """By split, in the order of the listing."""
    left_out: list[LeftOut] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the pictures of each split as shipped, in the order of the listing."""


def read_dataset(
    source: Source,
    listing: Listing,
    splits: AbstractSet[str],
    made: IO[bytes],
    *,
    alignment: Alignment | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Readout:
    """Read the faces of `splits`; pictures that are made anew are appended to `made`.

    With `alignment` the pictures are first read through, so that a bad one is found before hours of work; `folder`
    keeps what is aligned, for another run to go on with. Raises DataError for pictures that are missing or unreadable.
    """
    faces = [face for split in SPLITS if split in splits for face in listing.faces if face.split == split]
    readout = Readout({split: [] for split in SPLITS if split in splits})
    reader = _Reader(source, listing, made, readout)
    if alignment is None:
        reader.read(faces, progress)
    else:
        reader.align(faces, alignment, folder or Path(), progress)
    return readout


class _Reader:
    def __init__(self, source: Source, listing: Listing, made: IO[bytes], readout: Readout):
        self._source, self._listing, self._made, self._readout = source, listing, made, readout

    def read(self, faces: Sequence[Listed], progress: Progress | None) -> None:
        """Read and, where there is a box, crop."""
        for listed, cut in self._work(faces, _cut, progress):
            if isinstance(cut, NoFaceError):
                self._leave_out(listed, str(cut))
            else:
                place = None if cut.made is None else self._append(cut.made)
                group = listed.group or cut.identity
                self._keep(Face(listed, cut.identity, cut.hashed, group, cut.framing, cut.landmarks, place))

    def align(self, faces: Sequence[Listed], alignment: Alignment, folder: Path, progress: Progress | None) -> None:
        """Align to the template, after a look at all pictures."""
        from apvit.data.aligning import align_faces

        rows = align_faces(
            self._source,
            faces,
            alignment.template,
            size=alignment.size,
            choose=alignment.choose,
            workers=alignment.workers,
            folder=folder,
            progress=progress,
            read=self._listing.read,
        )
        for _ in self._work([replace(face, box=None) for face in faces], lambda _: None, progress):
            pass
        with closing(rows):
            for listed, row in zip(faces, rows, strict=True):
                if isinstance(row, str):
                    self._leave_out(listed, row)
                else:
                    pixels = decode(row.image, row.source)
                    identity, hashed = pixel_group(pixels), perceptual_hash(pixels).tobytes()
                    place = self._append(row.image)
                    self._keep(Face(listed, identity, hashed, row.group, row.framing, row.landmarks, place))

    def _work(
        self, faces: Sequence[Listed], work: Callable[[ReadFace], _T], progress: Progress | None
    ) -> Iterator[tuple[Listed, _T | NoFaceError]]:
        """What `work` makes of each face that can be read; at the end DataError where some could not."""
        bad: list[str] = []
        digests = {face.split: hashlib.sha256() for face in faces}
        results = work_on_faces(self._source, self._listing, faces, lambda face: (face.shipped, work(face)))
        for done, (listed, result) in enumerate(results, 1):
            if isinstance(result, NoFaceError):
                yield listed, result
            elif isinstance(result, DataError):
                bad.append(str(result))
            else:
                shipped, made = result
                digests[listed.split].update(shipped)
                yield listed, made
            if progress is not None:
                progress(done, len(faces))
        if bad:
            raise DataError(
                f"{len(bad)} of {len(faces)} pictures cannot be used, the first: {bad[0]}; "
                f"`apvit data verify {self._listing.dataset}` lists them: repair them, or remove their lines"
            )
        if self._listing.read is None:  # what stands in tables has their digests
            inputs = {f"pictures of {split}": digest.hexdigest() for split, digest in digests.items()}
            self._readout.inputs.update(inputs)

    def _append(self, picture: bytes) -> tuple[int, int]:
        place = self._made.seek(0, os.SEEK_END), len(picture)
        self._made.write(picture)
        return place

    def _keep(self, face: Face) -> None:
        self._readout.faces[face.listed.split].append(face)

    def _leave_out(self, listed: Listed, reason: str) -> None:
        self._readout.left_out.append(LeftOut(listed.split, listed.source, reason))


@dataclass(frozen=True, slots=True)
class _Cut:
    identity: str
    hashed: bytes
    made: bytes | None
    framing: str
    landmarks: tuple[float, ...] | None


def _cut(face: ReadFace) -> _Cut:
    made = None if face.corner is None else face.encode()
    hashed = perceptual_hash(face.pixels).tobytes()
    return _Cut(pixel_group(face.pixels), hashed, made, face.framing, face.landmarks)
