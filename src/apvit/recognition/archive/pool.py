"""A pool of Ray actors that does shards, whatever dies.

Plain actors rather than Ray Data: its operators cut and merge blocks as they go, so that which picture is in which file
depends on timing, its writer names files by task, and a driver that starts again finds nothing to go on from. Here a
shard is a function of the list alone, one actor does all of it and renames one file, and a shard whose actor died is
given to another: nothing has to be remembered but which files are there. The actors are our own to restart (not Ray's
max_restarts), so that a shard never waits for an actor that no machine has room for.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from apvit.machine import core_count
from apvit.recognition.archive.errors import ArchiveError
from apvit.recognition.archive.inputs import Shard
from apvit.recognition.archive.worker import ShardReport, ShardWorker, Task

LOCAL = "local"
OBJECT_STORE = 100 << 20
"""Bytes of a local cluster's shared memory: only names and counts pass through it."""

MOST_ATTEMPTS = 20
"""A shard that failed so often has not just been unlucky; neither has a pool whose workers died so often at loading,
with no shard done in between."""

_LOOK_AGAIN = 5.0
"""Seconds after which machines that joined are noticed, where no shard finishes before."""


def require_ray() -> None:
    """Raises ModuleNotFoundError where Ray is not installed; does not import it, which takes seconds."""
    if find_spec("ray") is None:
        raise ModuleNotFoundError("--ray needs Ray: pip install 'apvit[archive]'")


@contextmanager
def cluster(address: str, workers: int | None) -> Iterator[None]:
    """A connection to Ray: "local" starts it on this machine, "auto" or an address joins a cluster.

    A process that is connected already stays so. Raises ArchiveError where there is no cluster.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing here asks for a network
        # Ray's 15 lets workers stand still on a machine that does anything else; `nice apvit ...` is there for that.
        os.environ.setdefault("RAY_worker_niceness", "0")
        ray.init(
            LOCAL,
            num_cpus=workers or core_count(),
            object_store_memory=OBJECT_STORE,
            include_dashboard=False,
            **quiet,
        )
    else:
        try:
            ray.init(address, **quiet)
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise ArchiveError(
                f"no Ray cluster answers at {address!r} ({reason}); start one with `ray start --head`, or use "
                "--ray local"
            ) from None
    try:
        yield
    finally:
        ray.shutdown()


def run_shards(
    numbers: Iterable[int], shard: Callable[[int], Shard], task: Task, *, workers: int | None, gpus: int = 0
) -> Generator[ShardReport, None, None]:
    """Do the shards of these numbers in `workers` actors (None: one for each CPU, or GPU, that the cluster has).

    gpus: GPUs of each actor, which has one CPU. Reports come as shards finish, in any order. When the iterator is
    closed or fails, the actors end. Raises what loading or a careful run of a shard raised, and ArchiveError for
    workers that keep dying.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    make: Any = ray.remote(ShardWorker).options(num_cpus=1, num_gpus=gpus, max_restarts=0)
    waiting = deque(numbers)
    attempts: dict[int | None, int] = {}
    idle: list[Any] = []
    running: dict[Any, tuple[Any, int | None]] = {}  # what an actor is at: a shard, or None while it loads
    number: int | None
    try:
        while waiting or any(number is not None for _, number in running.values()):
            while idle and waiting:
                actor, following = idle.pop(), waiting.popleft()
                call = actor.run.remote(shard(following), carefully=following in attempts)
                running[call] = (actor, following)
            # Asked again and again, so that machines which join are used.
            missing = (workers or _capacity("GPU" if gpus else "CPU")) - len(running) - len(idle)
            for _ in range(min(missing, len(waiting))):
                actor = make.remote()
                running[actor.load.remote(task)] = (actor, None)
            for done in ray.wait(list(running), timeout=_LOOK_AGAIN)[0]:
                actor, number = running.pop(done)
                try:
                    report = ray.get(done)
                except RayError as error:
                    ray.kill(actor)
                    if isinstance(error, RayTaskError) and (number is None or number in attempts):
                        raise _cause(error) from error
                    attempts[number] = attempts.get(number, 0) + 1
                    if attempts[number] == MOST_ATTEMPTS:
                        raise ArchiveError(_hopeless(number, error)) from None
                    if number is not None:
                        waiting.appendleft(number)
                else:
                    idle.append(actor)
                    if number is not None:
                        attempts.pop(None, None)
                        yield report
    finally:
        for actor in [*idle, *(actor for actor, _ in running.values())]:
            ray.kill(actor)


def _capacity(resource: str) -> int:
    import ray

    # With none there yet, a first actor asks a cluster that grows for a machine.
    return max(1, int(ray.cluster_resources().get(resource, 0)))  # type: ignore[no-untyped-call]


def _cause(error: Any) -> Exception:
    return error.cause if isinstance(error.cause, Exception) else error


def _hopeless(number: int | None, error: Exception) -> str:
    what = "workers died as they started" if number is None else f"the worker of shard {number} died"
    reason = " ".join(str(error).split()).rstrip(".")
    return f"{MOST_ATTEMPTS} times {what}, at last by: {reason}; look at the memory of the machines"
