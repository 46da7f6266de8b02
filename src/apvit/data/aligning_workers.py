"""The processes that align faces: each takes one job after the other and leaves a finished file for it.

They are our own rather than an executor's, for three reasons: an executor's processes outlive a parent that was
killed, one of them that is killed cannot be named with the picture it died of, and on Ctrl-C each prints a traceback.
All that comes of a job is in its file; only signs of progress travel back.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import cv2

from apvit.data.aligning_faces import AlignedFace, align_picture
from apvit.data.aligning_results import write_results
from apvit.data.aligning_search import Detectors
from apvit.data.errors import DataError
from apvit.data.listing import Listed
from apvit.data.pictures import MAX_PICTURE_BYTES
from apvit.data.sources import Source
from apvit.faces.alignment import AlignmentTemplate


@dataclass(frozen=True)
class Job:
    """Some pictures with their listed faces, and the file for what becomes of them."""

    path: Path
    pictures: tuple[tuple[str, tuple[Listed, ...]], ...]


@dataclass(frozen=True)
class Task:
    """What all jobs share."""

    source: Source
    read: Callable[[str], bytes] | None
    """Gives the encoded picture of a name where pictures are not files of the source; it travels to the processes."""
    template: AlignmentTemplate
    """With points in pixels of the crops to make."""
    choose: str

    def align(self, picture: str, faces: Sequence[Listed], detectors: Detectors) -> list[AlignedFace | str]:
        """`align_picture` on a picture by its name."""
        try:
            encoded = self.source.read(picture, most=MAX_PICTURE_BYTES) if self.read is None else self.read(picture)
        except DataError as error:
            return [str(error) for _ in faces]
        try:
            return align_picture(encoded, faces, self.template, self.choose, detectors)
        except Exception as error:
            error.add_note(f"in the picture {picture}")
            raise

    def __getstate__(self) -> dict[str, Any]:
        # A zip's handle does not travel; a folder's list of files does, and need not be made again.
        return self.__dict__ | {"source": self.source.path if self.source.is_zip else self.source}

    def __setstate__(self, state: dict[str, Any]) -> None:
        source = state["source"]
        opened = Source(source, "the zip that was there") if isinstance(source, Path) else source
        self.__dict__.update(state | {"source": opened})


@dataclass
class _Worker:
    """A process as seen from here."""

    process: SpawnProcess
    connection: Connection[Any, Any]
    briefed: bool = False
    """Whether it has the task."""
    job: Job | None = None
    done: int = 0
    """Pictures of the job that are finished."""

    def died(self) -> DataError:
        """Why the process ended unasked."""
        self.process.join()
        code = self.process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"
        # After the last picture it writes.
        at = "as it started" if self.job is None else f"at {self.job.pictures[: self.done + 1][-1][0]}"
        hint = "if memory ran out, use fewer workers" if -code == signal.SIGKILL else "its own message is above"
        return DataError(f"a process that aligns faces {how} {at} ({hint}); run again to go on from what is finished")


def run_jobs(jobs: Sequence[Job], task: Task, workers: int) -> Generator[tuple[Job, int | None], None, None]:
    """Do the jobs in `workers` processes: (job, faces) after each picture, (job, None) when a job's file is in place.

    A job's file depends neither on the number of processes nor on the order. When the iterator is closed or fails, the
    processes end at once. Raises DataError where one of them died or could not write, and whatever else failed in one.
    """
    waiting = iter(jobs)
    running: dict[Any, _Worker] = {}
    try:
        for _ in range(min(workers, len(jobs))):
            worker = _start()
            running[worker.connection] = worker
        while running:
            for connection in wait(list(running)):
                worker = running[connection]
                try:
                    message = worker.connection.recv()
                except (EOFError, ConnectionError):
                    raise worker.died() from None
                if isinstance(message, Exception):
                    raise message
                if message is not None and worker.job is not None:
                    worker.done += 1
                    yield worker.job, message
                    continue
                if worker.job is not None:
                    yield worker.job, None
                answer: Task | Job | None = task
                if worker.briefed:
                    answer = worker.job = next(waiting, None)
                    worker.done = 0
                try:
                    worker.connection.send(answer)
                except ConnectionError:
                    raise worker.died() from None
                worker.briefed = True
                if answer is None:
                    running.pop(connection)
                    worker.process.join()
                    worker.connection.close()
    finally:
        for worker in running.values():
            worker.process.kill()
        for worker in running.values():
            worker.process.join()
            worker.connection.close()


def _start() -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    with _interrupts_held_back():
        process.start()
    # Held open here as well, their end would hide their death.
    theirs.close()
    return _Worker(process, ours)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits until the end, and never reaches the processes that are started within: this one ends them."""
    resource_tracker.ensure_running()  # starting it later would let interrupts through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: Connection[Any, Any]) -> None:
    """A process's life.

    It sends None to ask for the task and for each job, a number of faces after each picture, and an error that ends it.
    The task is not an argument of the process: a list of a million files would hold up the start of the next one.
    """
    # With more threads the processes would fight for the cores; results depend on their number, too.
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        detectors = Detectors.create()
        connection.send(None)
        task: Task = connection.recv()
        connection.send(None)
        while (job := connection.recv()) is not None:
            results = []
            for picture, faces in job.pictures:
                results += task.align(picture, faces, detectors)
                connection.send(len(faces))
            write_results(job.path, results)
            connection.send(None)
    except (EOFError, ConnectionError):
        pass  # the other side was killed
    except Exception as error:
        error.add_note(traceback.format_exc())  # the traceback itself does not travel
        connection.send(error)
