"""What becomes of listed faces, kept in files while a dataset is aligned, so that a killed run loses little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from apvit.data.aligning_faces import AlignedFace
from apvit.data.errors import DataError
from apvit.files import completing, reason

_FACE = [field.name for field in fields(AlignedFace)]


def write_results(path: Path, results: Sequence[AlignedFace | str]) -> None:
    """Write faces, and the sentences of those without one, whole or not at all. DataError where the disk refuses."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    nothing = dict.fromkeys(_FACE)
    rows = [
        nothing | {"missing": result} if isinstance(result, str) else asdict(result) | {"missing": None}
        for result in results
    ]
    table = pa.Table.from_pylist(rows, schema=_schema())
    try:
        with completing(path) as temporary:
            pq.write_table(table, temporary, use_dictionary=False, compression="none")  # PNG does not shrink again
    except OSError as error:
        raise DataError(f"cannot write {path}: {reason(error)}; make room and run again") from error


def holds_results(path: Path, count: int) -> bool:
    """Whether `path` is a file with `count` results. What a crash of the machine cut short lacks its last bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return bool(pq.read_metadata(path).num_rows == count)
    except (pa.ArrowException, OSError, ValueError):
        return False


def read_results(path: Path) -> list[AlignedFace | str]:
    """What `write_results` wrote; DataError where the file is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path, partitioning=None).cast(_schema()).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"cannot read {path} ({str(error).splitlines()[0]}); delete it and run again") from error
    return [
        row["missing"]
        if row["missing"] is not None
        else AlignedFace(row["image"], tuple(row["landmarks"]), row["framing"], row["group"])
        for row in rows
    ]


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            ("image", pa.binary()),
            ("landmarks", pa.list_(pa.float64())),
            ("framing", pa.string()),
            ("group", pa.string()),
            ("missing", pa.string()),
        ]
    )
