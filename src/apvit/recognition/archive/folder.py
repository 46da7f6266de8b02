"""The folder of results: one Parquet file per finished shard, and the manifest of the job they belong to."""

from __future__ import annotations

import glob
import json
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from apvit.files import write_whole
from apvit.recognition.archive.errors import ArchiveError
from apvit.recognition.archive.locations import absolute, is_uri, join, locate

MANIFEST = "_manifest.json"
WORK = "_work"
"""Files being written, and notes on shards that killed their worker. Readers pass over names with "_" in front."""

_PART = re.compile(r"part-(\d{6,})\.parquet")


@dataclass(frozen=True)
class Job:
    """All that decides what the files of an archive's results hold.

    inputs: number of pictures; inputs_sha256: of their names; shard_size: pictures per file
    tars, videos: how many; each has a file of results of its own
    weights_sha256: of the weight file; options: the recognizer's other arguments, as JSON values
    """

    inputs: int
    inputs_sha256: str
    shard_size: int
    weights_sha256: str
    options: Mapping[str, Any]
    tars: int = 0
    videos: int = 0

    @property
    def shards(self) -> int:
        """Number of files of the finished job."""
        return -(-self.inputs // self.shard_size) + self.tars + self.videos

    def size(self, number: int) -> int:
        """Pictures of shard `number`: all have `shard_size` but the last. Tars and videos count as 0."""
        return max(0, min(self.shard_size, self.inputs - number * self.shard_size))

    def difference(self, recorded: Mapping[str, Any]) -> str | None:
        """What a manifest's job has that this one has not, in words; None where both are the same."""
        mine = _flat(asdict(self))
        theirs = _flat(recorded)
        parts = [
            f"{name.replace('_', ' ')} {_short(theirs.get(name))} there and {_short(mine.get(name))} here"
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        ]
        return ", ".join(parts) or None


class ResultFolder:
    """The files of an archive's results in `name`, a local path or a URI. Raises OSError where it cannot be written."""

    def __init__(self, name: str):
        self.name = absolute(name)

    def start(self, job: Job) -> set[int]:
        """Make the folder ready for `job`: the numbers of the shards that are finished.

        Raises ArchiveError for a folder that holds shards of another job, or Parquet files of no job.
        """
        finished = self.finished()
        recorded = self._manifest()
        if finished and recorded is None:
            raise ArchiveError(f"{self.name} holds Parquet files but no {MANIFEST}; choose another output")
        difference = None if recorded is None else job.difference(recorded)
        if finished and difference is not None:
            raise ArchiveError(
                f"{self.name} holds the results of another job ({difference}); choose another output, or start as "
                "before to go on"
            )
        if recorded is None or difference is not None:
            self.write(MANIFEST, json.dumps(asdict(job), indent=1).encode() + b"\n")
        return finished

    def finished(self) -> set[int]:
        """Numbers of the shards whose file is there."""
        from pyarrow.fs import FileSelector  # type: ignore[import-untyped]

        filesystem, path = locate(self.name)
        listed = filesystem.get_file_info(FileSelector(path, allow_not_found=True))
        return {int(match[1]) for info in listed if (match := _PART.fullmatch(info.base_name))}

    def publish(self, number: int, data: bytes) -> None:
        """Put the whole Parquet file of a shard in place. Doing it twice changes nothing."""
        self.write(f"part-{number:06d}.parquet", data)

    def write(self, part: str, data: bytes) -> None:
        """A file that appears complete or not at all."""
        filesystem, target = locate(join(self.name, part))
        if not is_uri(self.name):
            write_whole(target, data)
            return
        _, partial = locate(join(self.name, f"{WORK}/{os.path.basename(part)}.{uuid.uuid4().hex}"))
        filesystem.create_dir(os.path.dirname(partial))
        with filesystem.open_output_stream(partial, compression=None) as file:
            file.write(data)
        filesystem.move(partial, target)

    def read(self, part: str) -> bytes | None:
        """A file's bytes, None where it is not there."""
        filesystem, path = locate(join(self.name, part))
        try:
            with filesystem.open_input_file(path) as file:
                data: bytes = file.read()
                return data
        except FileNotFoundError:
            return None

    def tidy(self) -> None:
        """Remove what killed workers left, once all shards are finished."""
        from pyarrow.fs import FileType

        filesystem, path = locate(join(self.name, WORK))
        if filesystem.get_file_info(path).type == FileType.Directory:
            filesystem.delete_dir(path)
        if not is_uri(self.name):
            for unfinished in glob.glob(os.path.join(glob.escape(self.name), ".apvit-*.parquet")):
                os.unlink(unfinished)

    def _manifest(self) -> dict[str, Any] | None:
        data = self.read(MANIFEST)
        if data is None:
            return None
        try:
            manifest = json.loads(data)
        except ValueError:
            manifest = None
        if not isinstance(manifest, dict):
            raise ArchiveError(f"{join(self.name, MANIFEST)} is damaged; choose another output")
        return manifest


def _flat(job: Mapping[str, Any]) -> dict[str, Any]:
    options = job.get("options")
    return {**{k: v for k, v in job.items() if k != "options"}, **(options if isinstance(options, Mapping) else {})}


def _short(value: Any) -> str:
    return f"{value[:8]}..." if isinstance(value, str) and len(value) == 64 else str(value)
