"""A pool of Ray actors that does shards, whatever dies.

Plain actors rather than Ray Data: its operators cut and merge blocks as they go, so that which picture is in which file
depends on timing, its writer names files by task, and a driver that starts again finds nothing to go on from. Here a
shard is a function of the list alone, one actor does all of it and renames one file, and a shard whose actor died is
given to another: nothing has to be remembered but which files are there. The actors are our own to restart (not Ray's
max_restarts), so that a shard never waits for an actor that no machine has room for.

Ray writes to the terminal as it likes, waits for a cluster that never answers, and ends the process whose cluster is
lost. So all of it happens in a process of its own, whose output goes nowhere and whose end is an ArchiveError.
"""

from __future__ import annotations

import _thread
import copy
import os
import re
import socket
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from multiprocessing.connection import Connection, Pipe
from threading import Thread
from typing import Any

from apvit.files import reason
from apvit.machine import core_count
from apvit.recognition.archive.errors import ArchiveError
from apvit.recognition.archive.inputs import Shard
from apvit.recognition.archive.worker import ShardReport, ShardWorker, Task

LOCAL, AUTO = "local", "auto"
OBJECT_STORE = 100 << 20
"""Bytes of a local cluster's shared memory: only names and counts pass through it."""

MOST_ATTEMPTS = 20
"""A shard that failed so often has not just been unlucky; neither has a pool whose workers died so often at loading,
with no shard done in between."""

ANSWER_WITHIN = 20.0
"""Seconds in which a cluster must answer."""

_LOOK_AGAIN = 5.0
"""Seconds after which machines that joined or died are noticed, where no shard finishes before."""

_LEAVE_WITHIN = 10.0
"""Seconds that Ray's process has to end its workers and itself."""

_ADDRESS = re.compile(r"(?:ray://)?(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:/]+)):(?P<port>\d{1,5})")


def require_ray() -> None:
    """Raises ModuleNotFoundError where Ray is not installed; does not import it, which takes seconds."""
    if find_spec("ray") is None:
        raise ModuleNotFoundError("an archive needs Ray: pip install 'apvit[archive]'")


def check_address(address: str) -> None:
    """Raises ArchiveError where `address` names no cluster, or nothing answers at its host and port."""
    if address in (LOCAL, AUTO):
        return
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ArchiveError(
            f"{address!r} is not the address of a Ray cluster; give HOST:PORT (the port is usually 6379), auto or local"
        )
    try:
        socket.create_connection((match["ipv6"] or match["host"], int(match["port"])), ANSWER_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, reason(error)) from None


def drive(
    address: str,
    numbers: Sequence[int],
    shard: Callable[[int], Shard],
    task: Task,
    *,
    workers: int | None,
    gpus: int = 0,
) -> Generator[ShardReport, None, None]:
    """`run_shards` on the cluster at `address`, in a process of its own.

    address: "local" starts Ray on this machine, "auto" or an address joins a cluster

    Raises ArchiveError also where no cluster answers, and where it is lost.
    """
    check_address(address)
    ours, theirs = Pipe()
    # Not multiprocessing's own start, which runs the user's script once more. Ctrl-C is for this process alone.
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import _drive; _drive({theirs.fileno()})"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    theirs.close()
    assert process.stdin is not None
    left = len(numbers)
    try:
        with ours:
            ours.send((address, numbers, task, workers, gpus))
            _receive(ours, process)  # Ray is imported, which may take long
            if address != LOCAL and not ours.poll(ANSWER_WITHIN):
                process.kill()
                raise _no_cluster(address, f"there is no answer within {ANSWER_WITHIN:.0f} seconds")
            while left:
                message = _receive(ours, process)
                if isinstance(message, ShardReport):
                    left -= 1
                    yield message
                elif message is not None:
                    with suppress(OSError):  # where the process ended, there is no next message
                        ours.send(shard(message))
    finally:
        if left:
            process.stdin.close()  # which tells it to end
        try:
            process.wait(_LEAVE_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _receive(connection: Connection, process: subprocess.Popen[bytes]) -> Any:
    """The next message of Ray's process. Raises the error that it sends, and ArchiveError where the process ended."""
    try:
        message = connection.recv()
    except (EOFError, OSError):
        status = process.wait()
        raise ArchiveError(
            f"Ray ended in the middle of the job (exit status {status}), as it does when its cluster is gone; "
            "finished shards stay: start again to go on"
        ) from None
    if isinstance(message, Exception):
        raise message
    return message


def _drive(descriptor: int) -> None:
    """What Ray's process does. It sends None when Ray is imported and again when the cluster answers, then the numbers
    of shards, which it is sent, and reports; or an error. It ends when standard input does."""
    os.set_inheritable(descriptor, False)  # whoever else held it would keep it open when this process is gone
    connection = Connection(descriptor)
    address, numbers, task, workers, gpus = connection.recv()

    def end_with_parent() -> None:
        sys.stdin.read()
        _thread.interrupt_main()

    def shard(number: int) -> Any:
        connection.send(number)
        return connection.recv()

    Thread(target=end_with_parent, daemon=True).start()
    try:
        from ray.exceptions import RayError

        connection.send(None)
        with cluster(address, workers):
            connection.send(None)
            with closing(run_shards(numbers, shard, task, workers=workers, gpus=gpus)) as reports:
                for report in reports:
                    connection.send(report)
    except Exception as error:
        sent = error
        try:
            copy.copy(error)  # rebuilt as on the other side of the connection
        except Exception:  # of whatever constructor the error has
            sent = ArchiveError(reason(error))
        if isinstance(error, RayError):
            sent = ArchiveError(f"Ray failed ({reason(error).rstrip('.')}); finished shards stay: start again to go on")
        sent.add_note(traceback.format_exc())  # for --debug
        connection.send(sent)


@contextmanager
def cluster(address: str, workers: int | None) -> Iterator[None]:
    """A connection to Ray: "local" starts it on this machine, "auto" or an address joins a cluster.

    Raises ArchiveError where Ray cannot be started or there is no cluster.
    """
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == LOCAL:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing here asks for a network
            # Ray's 15 lets workers stand still on a machine that does anything else; for that there is `nice apvit`.
            os.environ.setdefault("RAY_worker_niceness", "0")
            ray.init(
                LOCAL,
                num_cpus=workers or core_count(),
                object_store_memory=OBJECT_STORE,
                include_dashboard=False,
                **quiet,
            )
        else:
            ray.init(address, **quiet)
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        if address == LOCAL:
            why = reason(error).rstrip(".")
            raise ArchiveError(
                f"Ray cannot be started on this machine ({why}); look at its memory and its temporary folder"
            ) from error
        raise _no_cluster(address, "none runs on this machine" if address == AUTO else reason(error)) from error
    try:
        yield
    finally:
        ray.shutdown()


def _no_cluster(address: str, why: str) -> ArchiveError:
    return ArchiveError(
        f"no Ray cluster answers at {address!r} ({why.rstrip('.')}); start one with `ray start --head`, or name "
        "'local', which is this machine"
    )


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
            ready = ray.wait(list(running), timeout=_LOOK_AGAIN)[0]
            if not ready:
                _check_node()
            for done in ready:
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


def _check_node() -> None:
    """Raises ArchiveError where Ray's own process on this machine died: then Ray waits for ever."""
    import ray

    mine = ray.get_runtime_context().get_node_id()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    if not any(node["NodeID"] == mine and node["Alive"] for node in nodes):
        raise ArchiveError(
            "Ray's process on this machine (the raylet) died; finished shards stay: start again to go on, and look at "
            "the machine's memory where it dies again"
        )


def _cause(error: Any) -> Exception:
    return error.cause if isinstance(error.cause, Exception) else error


def _hopeless(number: int | None, error: Exception) -> str:
    what = "workers died as they started" if number is None else f"the worker of shard {number} died"
    reason = " ".join(str(error).split()).rstrip(".")
    return f"{MOST_ATTEMPTS} times {what}, at last by: {reason}; look at the memory of the machines"
