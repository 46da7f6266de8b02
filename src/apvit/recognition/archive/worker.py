"""What runs on every core of every machine: one shard after the other, from pictures to a file of results.

Detection and classification are together in one worker. Apart, in pools of their own, they would send faces from
process to process and a shard's rows would have to be put together again somewhere; a worker that does its whole shard
and renames one file is exactly-once by itself.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from apvit.files import OutputFile, sha256
from apvit.recognition.archive.errors import ArchiveError
from apvit.recognition.archive.folder import WORK, ResultFolder
from apvit.recognition.results import Recognition
from apvit.recognition.sinks import ROW_GROUP, ParquetSink

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from apvit.recognition.archive.inputs import Shard
    from apvit.recognition.archive.pictures import Read
    from apvit.recognition.recognizer import Recognizer

GIVEN_UP_AFTER = 2
"""So many workers may die at a picture. Once is chance (a machine was taken away); a picture that kills every worker
would end the job."""


@dataclass(frozen=True)
class Task:
    """What all shards share: the weights, the recognizer's other arguments, and the folder of results.

    columns: a pyarrow.Schema of the inputs' columns that are carried to the results
    videos: whether there are any; every, smooth: as for `Recognizer.video`
    """

    weights: str
    weights_sha256: str
    options: Mapping[str, Any]
    output: str
    columns: Any = None
    videos: bool = False
    every: int | str = 1
    smooth: float = 0.5


@dataclass(frozen=True)
class ShardReport:
    """A finished shard: its counts, the seconds it took in the worker, the worker's process and peak memory (bytes).

    errors: of pictures and videos; frames: those of a video that were looked at
    """

    number: int
    pictures: int
    faces: int
    errors: int
    seconds: float
    pid: int
    peak_memory: int
    videos: int = 0
    frames: int = 0


class ShardWorker:
    """Does shards. Made cheaply, so that `load` can fail with an error of its own that travels."""

    def __init__(self) -> None:
        # Before torch and the other engines are imported: workers with all cores' threads each would fight for them.
        os.environ["OMP_NUM_THREADS"] = "1"
        import cv2

        cv2.setNumThreads(1)

    def load(self, task: Task) -> None:
        """Load the weights. Raises ArchiveError where this machine has other ones, and the recognizer's errors."""
        from apvit.recognition.recognizer import Recognizer
        from apvit.weights import find_weights

        found = sha256(find_weights(task.weights))
        if found != task.weights_sha256:
            raise ArchiveError(
                f"the weights {task.weights} have the SHA-256 {found[:8]}... on the machine {os.uname().nodename} and "
                f"{task.weights_sha256[:8]}... where the job was started; give all machines the same file"
            )
        self._recognizer: Recognizer = Recognizer(task.weights, **task.options)
        self._folder = ResultFolder(task.output)
        self._task = task
        self._schema, self._carried = self._columns()

    def run(self, shard: Shard, *, carefully: bool = False) -> ShardReport:
        """Recognise the shard's pictures or video and publish its file.

        carefully: picture by picture, noting in the folder which one it is at: for a shard that failed before. What
        raises then, or killed GIVEN_UP_AFTER workers, is a picture with an error. Raises OSError where the file cannot
        be written.
        """
        start = time.monotonic()
        file = _Memory()
        if shard.video is not None:
            counts, positions = self._video(shard, file, carefully)
        else:
            counts, positions = self._pictures(shard, file, carefully)
        self._folder.publish(shard.number, self._with_columns(file.data, shard, positions))
        seconds = time.monotonic() - start
        return ShardReport(shard.number, seconds=seconds, pid=os.getpid(), peak_memory=peak_memory(), **counts)

    def _columns(self) -> tuple[Any, dict[str, str]]:
        """The schema of every file of results, and the names in it of the inputs' columns by their own.

        A column whose name is taken becomes input_NAME.
        """
        import pyarrow as pa  # type: ignore[import-untyped]

        from apvit.recognition.sinks import parquet_schema
        from apvit.recognition.video.table import parquet_schema as video_schema

        expressions, embeddings = self._recognizer.expressions, self._recognizer.embeddings
        schema = parquet_schema(expressions, embeddings=embeddings)
        fields = list(schema)
        if self._task.videos:
            of_videos = video_schema(expressions, embeddings=embeddings, mixed=True)
            fields += [field for field in of_videos if field.name not in schema.names]
        taken = {field.name for field in fields}
        carried = {}
        for field in self._task.columns or ():
            name = field.name
            while name in taken:
                name = f"input_{name}"
            taken.add(name)
            carried[field.name] = name
            fields.append(field.with_name(name))
        return pa.schema(fields), carried

    def _pictures(self, shard: Shard, file: OutputFile, carefully: bool) -> tuple[dict[str, int], list[int]]:
        """Recognise pictures: how many there were of what, and which one each row is of."""
        positions: list[int] = []
        pictures = faces = errors = 0
        recognizer = self._recognizer
        sink = ParquetSink(file, recognizer.expressions, embeddings=recognizer.embeddings, every_picture=True)
        for found in self._carefully(shard) if carefully else self._recognitions(shard):
            sink.write(found)
            positions += [pictures] * max(1, len(found.faces))
            pictures, faces, errors = pictures + 1, faces + len(found.faces), errors + (found.error is not None)
        sink.close()
        if pictures != len(shard) and shard.tar is None:
            raise ArchiveError(f"shard {shard.number} has {len(shard)} inputs and {pictures} results; report this")
        return {"pictures": pictures, "faces": faces, "errors": errors}, positions

    def _video(self, shard: Shard, file: OutputFile, carefully: bool) -> tuple[dict[str, int], list[int]]:
        """Recognise a video: how many frames and faces there were. What stops it early is a last row with an error."""
        from apvit.recognition.archive.videos import frames
        from apvit.recognition.video.errors import VideoError
        from apvit.recognition.video.sampling import Every
        from apvit.recognition.video.table import ParquetTable

        assert shard.video is not None
        rows = seen = faces = 0
        recognizer = self._recognizer
        table = ParquetTable(file, recognizer.expressions, embeddings=recognizer.embeddings, mixed=True)
        trail = _Trail(self._folder, shard.number) if carefully else None
        error: Exception | None = None
        try:
            if trail is not None:
                trail.enter(0, shard.video)
            every = Every.parse(self._task.every)
            for frame in frames(recognizer, shard.video, every, self._task.smooth):
                table.write(frame)
                seen, faces, rows = seen + 1, faces + len(frame.tracks), rows + max(1, len(frame.tracks))
            if not seen:
                raise VideoError(f"{shard.video} has no frame; check the file")
        except (ArchiveError, VideoError, OSError) as one:
            error = one
        except Exception as other:
            if not carefully:
                raise
            error = other
        if trail is not None:
            trail.leave()
        if error is not None:
            table.write_picture(Recognition(shard.video, None, None, [], error))
            rows += 1
        table.close()
        counts = {"pictures": 0, "videos": 1, "frames": seen, "faces": faces, "errors": int(error is not None)}
        return counts, [0] * rows

    def _recognitions(self, shard: Shard) -> Iterator[Recognition]:
        """The result of every input, in order, in the recognizer's batches across pictures."""
        from apvit.recognition.archive.pictures import pictures

        return self._recognise(pictures(shard))

    def _recognise(self, inputs: Iterator[tuple[str, Read]]) -> Iterator[Recognition]:
        from apvit.faces.pictures import PictureError

        waiting: deque[tuple[str, Exception | None]] = deque()

        def readable() -> Iterator[npt.NDArray[np.uint8]]:
            for name, read in inputs:
                try:
                    picture = read()
                except (PictureError, ArchiveError, OSError) as error:
                    waiting.append((name, error))
                else:
                    waiting.append((name, None))
                    yield picture

        def unreadable() -> Iterator[Recognition]:
            while waiting and waiting[0][1] is not None:
                name, error = waiting.popleft()
                yield Recognition(name, None, None, [], error)

        for found in self._recognizer.recognitions(readable()):
            yield from unreadable()
            yield replace(found, source=waiting.popleft()[0], picture=None)
        yield from unreadable()

    def _with_columns(self, data: bytes, shard: Shard, positions: list[int]) -> bytes:
        """A shard's file in the columns that all files of the job have."""
        import pyarrow as pa
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        from apvit.recognition.archive.pictures import other_columns

        table = pq.read_table(io.BytesIO(data))
        if table.schema == self._schema:
            return data
        columns = dict(zip(table.column_names, table.columns, strict=True))
        if self._task.columns is not None:
            others = other_columns(shard, self._task.columns, positions[-1] + 1).take(pa.array(positions, pa.int64()))
            columns |= {self._carried[name]: others[name] for name in others.column_names}
        everything = [
            columns[field.name].cast(field.type) if field.name in columns else pa.nulls(len(table), field.type)
            for field in self._schema
        ]
        file = io.BytesIO()
        pq.write_table(pa.table(everything, schema=self._schema), file, row_group_size=ROW_GROUP)
        return file.getvalue()

    def _carefully(self, shard: Shard) -> Iterator[Recognition]:
        from apvit.recognition.archive.pictures import pictures

        trail = _Trail(self._folder, shard.number)
        for position, (name, read) in enumerate(pictures(shard)):
            try:
                trail.enter(position, name)
                (found,) = self._recognise(iter([(name, read)]))
            except Exception as other:
                found = Recognition(name, None, None, [], other)
            yield found
        trail.leave()


def peak_memory() -> int:
    """The most memory that this process has held, in bytes."""
    try:
        # The kernel's own mark: what getrusage says also counts the process that started this one.
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _Trail:
    """A note in the folder of results: at which input of a shard a worker is, and how many have died at which."""

    def __init__(self, folder: ResultFolder, number: int):
        self._folder, self._part = folder, f"{WORK}/part-{number:06d}.trail"
        note = json.loads(folder.read(self._part) or b"{}")
        self.deaths: dict[int, int] = {int(k): v for k, v in note.get("deaths", {}).items()}
        if (at := note.get("at")) is not None:
            self.deaths[at] = self.deaths.get(at, 0) + 1

    def enter(self, position: int, name: str) -> None:
        """A worker that dies from now on died at this input. Raises ArchiveError where too many have."""
        if (deaths := self.deaths.get(position, 0)) >= GIVEN_UP_AFTER:
            raise ArchiveError(
                f"{name!r} was given up: {deaths} workers died at it (out of memory, or a crash); look at it alone"
            )
        self._write(position)

    def leave(self) -> None:
        """A worker that dies from now on died of something else."""
        self._write(None)

    def _write(self, at: int | None) -> None:
        self._folder.write(self._part, json.dumps({"at": at, "deaths": self.deaths}).encode())


class _Memory(OutputFile):
    """A sink's file in memory: a shard's rows are small, and its file is then written at once wherever it belongs."""

    def __init__(self) -> None:
        self.path = None
        self.stream = io.BytesIO()

    @property
    def data(self) -> bytes:
        """All that was written."""
        return self.stream.getvalue()  # type: ignore[attr-defined,no-any-return]
