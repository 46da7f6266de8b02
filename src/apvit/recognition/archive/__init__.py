"""Archives: pictures by the million, on one machine or many, exactly once each, whatever is killed meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from apvit.recognition.archive.errors import ArchiveError

if TYPE_CHECKING:
    from apvit.recognition.archive.worker import ShardReport

__all__ = ["SHARD_SIZE", "Archive", "ArchiveError"]

SHARD_SIZE = 1000
"""Pictures per shard: minutes of one core's work, which is what a killed worker loses."""


_ONLY_SPEED = ("batch_size", "workers")
"""Options that change no result: a job may go on with others."""


class Archive:
    """The pictures and videos that `names` mean (see `gather_inputs`), and a folder for what is recognised in them.

    output: a local folder or a URI, which every machine reaches under this name. Each picture stands in it as one row
        per face, as one row without a face, or as one row with an error, in the columns of `ParquetSink`
    shard_size: pictures per file of results
    weights: as for the Recognizer; every machine must have the same file under this name
    options: the Recognizer's other arguments, as JSON values; with the device "cuda" each worker gets a GPU
    every, smooth: of the videos, as for `Recognizer.video`
    warn: called with a sentence about inputs that the user may not have meant

    Making it lists the inputs, and compares the job with what the folder holds. Raises ArchiveError for inputs that
    cannot be listed and for a folder with another job's results, WeightsError for weights that are not there, and
    ModuleNotFoundError without Ray.
    """

    def __init__(
        self,
        names: Sequence[str],
        output: str,
        *,
        shard_size: int = SHARD_SIZE,
        weights: str = "apvit_tiny",
        options: Mapping[str, Any] | None = None,
        every: int | str = 1,
        smooth: float = 0.5,
        warn: Callable[[str], None] = lambda message: None,
    ):
        from apvit.files import sha256
        from apvit.recognition.archive.folder import Job, ResultFolder
        from apvit.recognition.archive.inputs import gather_inputs
        from apvit.recognition.archive.pool import require_ray
        from apvit.recognition.archive.worker import Task
        from apvit.recognition.video.sampling import Every
        from apvit.weights import find_weights

        require_ray()
        if shard_size < 1:
            raise ArchiveError(f"shard_size must be at least 1, got {shard_size}")
        self.options = dict(options or {})
        file = find_weights(weights)
        if os.path.exists(weights) and os.path.samefile(weights, file):
            weights = os.path.abspath(weights)  # a worker's current folder may be another
        digest = sha256(file)
        self.folder = ResultFolder(output)
        self.inputs = gather_inputs(names, skip=output, warn=warn)
        matters = {name: value for name, value in self.options.items() if name not in _ONLY_SPEED}
        tars, videos = len(self.inputs.tars), len(self.inputs.videos)
        every = str(Every.parse(every))
        if videos:
            if find_spec("av") is None:
                raise ModuleNotFoundError("videos need PyAV: pip install 'apvit[video]'")
            matters |= {"every": every, "smooth": smooth}
        self.job = Job(len(self.inputs), self.inputs.digest(), shard_size, digest, matters, tars, videos)
        self.finished = self.folder.start(self.job)
        self._task = Task(
            *(weights, digest, self.options, self.folder.name, self.inputs.columns),
            videos=bool(videos),
            every=every,
            smooth=smooth,
        )

    def run(self, address: str, *, workers: int | None = None) -> Generator[ShardReport, None, None]:
        """Do the shards that are not finished; a report of each as it is done.

        address: "local" starts Ray on this machine, "auto" or an address joins a cluster
        workers: how many at once (None: one for each CPU; with the device "cuda", for each GPU)

        What is done stays done when the iterator is closed, raises, or the process is killed; another run goes on from
        there. Raises ArchiveError for a cluster that is not there or is lost and for workers that keep dying, OSError
        for results that cannot be written, and the Recognizer's errors.
        """
        from apvit.recognition.archive.pool import drive

        # From the end, where the videos and tar files are, of which one alone may take long.
        left = [number for number in reversed(range(self.job.shards)) if number not in self.finished]
        if left:
            gpus = int(str(self.options.get("device", "auto")).startswith("cuda"))
            with closing(drive(address, left, self._shard, self._task, workers=workers, gpus=gpus)) as reports:
                for report in reports:
                    self.finished.add(report.number)
                    yield report
        if lost := self.finished - self.folder.finished():
            raise ArchiveError(
                f"{len(lost):,} of {self.job.shards:,} finished shards are not in {self.folder.name} as this machine "
                "sees it; the output must be a folder that all machines share, or a URI"
            )
        self.folder.tidy()

    def _shard(self, number: int) -> Any:
        return self.inputs.shard(number, self.job.shard_size)
