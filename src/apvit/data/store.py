"""The prepared split: one Parquet file with the faces, their labels and votes, and where they came from.

Columns: `image` (encoded bytes), `source` (str), `label` (int64, null where unknown), `votes` (list of int64, null
where nobody voted), `landmarks` (list of 10 float32, null where unknown), `group` (str: faces that must not straddle
splits share it), `attributes` (list of str, null where the dataset has none), `framing` (str: how the picture was cut,
null where nobody noted it). Files from before the last two are read as if these were null. The file's metadata key
`apvit` holds SplitMetadata as JSON. Only plain Arrow types are used, so that pyarrow, Hugging Face `datasets` and Ray
Data open the file alike.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from apvit.data.errors import DataError
from apvit.data.rows import FaceRow, SplitMetadata
from apvit.files import completing, reason

METADATA_KEY = b"apvit"
ROW_GROUP = 4096
ROW_GROUP_BYTES = 1 << 26
"""Most faces and most bytes of pictures in one row group: what a writer holds, and a streaming reader gets at once."""
_LATER = ("attributes", "framing")
"""Columns that older files lack."""


@dataclass(frozen=True)
class Split:
    """A prepared split in memory."""

    metadata: SplitMetadata
    images: list[bytes]
    """Encoded pictures, N of them."""
    sources: list[str]
    """Names of the pictures."""
    labels: npt.NDArray[np.int64]
    """[N] indices in `metadata.labels`; -1 where unknown."""
    groups: list[str]
    votes: npt.NDArray[np.float32] | None
    """[N, V] counts of votes, in the order of `metadata.vote_names`; None where nobody voted."""
    landmarks: npt.NDArray[np.float32] | None
    """[N, 5, 2] in pixels of each picture, NaN where unknown; None where no face has them."""
    attributes: list[tuple[str, ...]] | None = None
    """Values in the order of `metadata.attribute_names`, empty where unknown; None where no face has them."""
    framing: list[str | None] | None = None
    """How each picture was cut; None where no face says."""

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def from_rows(cls, rows: Iterable[FaceRow], metadata: SplitMetadata) -> Split:
        """The split that `write_split` and `read_split` would give for these rows, without a file."""
        rows = list(_checked(rows, metadata))
        attributes = [row.attributes for row in rows]
        framing = [row.framing for row in rows]
        unknown = ("",) * len(metadata.attribute_names or ())
        points = _matrix([row.landmarks for row in rows], 10, float("nan"))
        return cls(
            metadata=metadata,
            images=[row.image for row in rows],
            sources=[row.source for row in rows],
            labels=np.array([-1 if row.label is None else row.label for row in rows], np.int64),
            groups=[row.group for row in rows],
            votes=_matrix([row.votes for row in rows], len(metadata.vote_names or ()), 0.0),
            landmarks=None if points is None else points.reshape(-1, 5, 2),
            attributes=[values or unknown for values in attributes] if any(attributes) else None,
            framing=framing if any(framing) else None,
        )

    def select(self, indices: Sequence[int] | npt.NDArray[np.integer[Any]] | npt.NDArray[np.bool_]) -> Split:
        """The split of the faces at `indices` ([n] integers, or an [N] boolean mask), in that order."""
        # An empty list would become floats, which do not index.
        chosen = np.arange(len(self))[np.asarray(indices) if len(indices) else np.zeros(0, np.int64)]
        return Split(
            metadata=self.metadata,
            images=[self.images[i] for i in chosen],
            sources=[self.sources[i] for i in chosen],
            labels=self.labels[chosen],
            groups=[self.groups[i] for i in chosen],
            votes=None if self.votes is None else self.votes[chosen],
            landmarks=None if self.landmarks is None else self.landmarks[chosen],
            attributes=None if self.attributes is None else [self.attributes[i] for i in chosen],
            framing=None if self.framing is None else [self.framing[i] for i in chosen],
        )

    def pixels(self, colour: str = "grey") -> npt.NDArray[np.uint8]:
        """The decoded faces: uint8 [N, S, S] for `grey` (ITU-R 601 luma of coloured ones), [N, S, S, 3] for `rgb`.

        Raises DataError where a picture cannot be decoded, is not square, or differs in size from the first.
        """
        if colour not in ("grey", "rgb"):
            raise DataError(f"unknown colour {colour!r}; known are grey and rgb")
        if not self.images:
            return np.zeros((0, 0, 0) if colour == "grey" else (0, 0, 0, 3), np.uint8)
        faces: list[npt.NDArray[np.uint8]] = []
        for image, source in zip(self.images, self.sources, strict=True):
            try:
                with Image.open(io.BytesIO(image)) as picture:
                    face = np.asarray(picture.convert("L" if colour == "grey" else "RGB"))
            except Exception as error:  # Pillow raises many kinds for a broken picture
                raise DataError(f"the picture of {source} in this split is unreadable ({error})") from error
            height, width = face.shape[:2]
            size = len(faces[0]) if faces else height
            if (height, width) != (size, size):
                raise DataError(
                    f"the faces of a split must be square and of one size, but {source} is {width}x{height} pixels "
                    f"and the first face is {size} pixels high"
                )
            faces.append(face)
        return np.stack(faces)


def write_split(path: str | Path, faces: Iterable[FaceRow], metadata: SplitMetadata) -> None:
    """Write one split to `path`, whole or not at all: a temporary name beside it is renamed at the end.

    `faces` is read once and never held as a whole, so it may be an iterator over more than fits into memory.

    Raises DataError for rows that contradict the metadata and where the disk refuses.
    """
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    path = Path(path)
    schema = _schema().with_metadata({METADATA_KEY: metadata.to_json().encode()})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Nearly all values differ, so dictionaries would only cost.
        with (
            completing(path) as temporary,
            pq.ParquetWriter(
                temporary, schema, use_dictionary=False, compression="zstd", write_page_checksum=True
            ) as writer,
        ):
            for rows in _row_groups(_checked(faces, metadata)):
                writer.write_table(_table(rows, schema))
    except OSError as error:
        raise DataError(f"cannot write {path}: {reason(error)}") from error


def _row_groups(rows: Iterable[FaceRow]) -> Iterator[list[FaceRow]]:
    """The rows in runs of at most ROW_GROUP that hold at most ROW_GROUP_BYTES, or one row."""
    group: list[FaceRow] = []
    size = 0
    for row in rows:
        if group and (len(group) == ROW_GROUP or size + len(row.image) > ROW_GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(row)
        size += len(row.image)
    if group:
        yield group


def _table(rows: Sequence[FaceRow], schema: Any) -> Any:
    """The rows as an Arrow table."""
    import pyarrow as pa

    return pa.Table.from_pydict({name: [getattr(row, name) for row in rows] for name in schema.names}, schema=schema)


def read_split(path: str | Path) -> Split:
    """Read a file that `write_split` wrote; DataError where it is missing, foreign or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} is not a file: give a Parquet file written by `apvit data prepare`")
    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file ({str(error).splitlines()[0]})") from error
    stored = (table.schema.metadata or {}).get(METADATA_KEY)
    if stored is None:
        raise DataError(f"{path} was not written by `apvit data prepare`: its metadata lacks the key apvit")
    metadata = SplitMetadata.from_json(stored)
    schema = _schema()
    for name in _LATER:
        if name not in table.schema.names:
            table = table.append_column(name, pa.nulls(table.num_rows, schema.field(name).type))
    try:
        # Other programs may have re-written the file with wider types of the same meaning.
        columns = table.select(schema.names).cast(schema).to_pydict()
    except (pa.ArrowException, KeyError) as error:
        raise DataError(f"{path} lacks the columns of a prepared split ({error}): prepare the dataset again") from error
    if any(value is None for name in ("image", "source", "group") for value in columns[name]):
        raise DataError(f"{path} has faces without an image, a source or a group: prepare the dataset again")
    rows = [
        FaceRow(
            image=image,
            source=source,
            label=label,
            group=group,
            votes=None if votes is None else tuple(votes),
            landmarks=None if landmarks is None else tuple(landmarks),
            attributes=None if attributes is None else tuple(attributes),
            framing=framing,
        )
        for image, source, label, votes, landmarks, group, attributes, framing in zip(*columns.values(), strict=True)
    ]
    return Split.from_rows(rows, metadata)


def _schema() -> Any:
    """The Arrow schema of a prepared split, without metadata."""
    import pyarrow as pa

    return pa.schema(
        [
            ("image", pa.binary()),
            ("source", pa.string()),
            ("label", pa.int64()),
            ("votes", pa.list_(pa.int64())),
            ("landmarks", pa.list_(pa.float32())),
            ("group", pa.string()),
            ("attributes", pa.list_(pa.string())),
            ("framing", pa.string()),
        ]
    )


def _checked(rows: Iterable[FaceRow], metadata: SplitMetadata) -> Iterator[FaceRow]:
    """The rows, until one contradicts the metadata: DataError."""
    classes = len(metadata.labels)
    voters = None if metadata.vote_names is None else len(metadata.vote_names)
    attributes = None if metadata.attribute_names is None else len(metadata.attribute_names)
    for row in rows:
        if row.label is not None and not 0 <= row.label < classes:
            raise DataError(f"{row.source} has label {row.label}, outside the {classes} of {metadata.labels.name!r}")
        if row.votes is not None and len(row.votes) != voters:
            raise DataError(f"{row.source} has {len(row.votes)} vote columns, but the split names {voters}")
        if row.landmarks is not None and len(row.landmarks) != 10:
            raise DataError(f"{row.source} has {len(row.landmarks)} landmark numbers instead of 10")
        if row.attributes is not None and len(row.attributes) != attributes:
            raise DataError(f"{row.source} has {len(row.attributes)} attributes, but the split names {attributes}")
        yield row


def _matrix(values: Sequence[Sequence[float] | None], width: int, absent: float) -> npt.NDArray[np.float32] | None:
    """[N, width], rows of `absent` where a value is None; None where all are."""
    if all(value is None for value in values):
        return None
    return np.array([(absent,) * width if value is None else value for value in values], np.float32)
