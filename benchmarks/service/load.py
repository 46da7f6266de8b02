"""The service at twice its capacity: who is accepted is answered rightly, the rest is refused at once, memory is flat.

    python benchmarks/service/load.py                # five minutes
    python benchmarks/service/load.py --seconds 15   # a try

starts `apvit serve` on a free port of 127.0.0.1, measures how many photographs a second it answers, then sends twice as
many for so long, and writes load.json and load.png beside this file. Exit status 1 where one of the claims fails. Run
it on a quiet machine; sender and service share its cores.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image

from apvit.machine import describe_machine

CLIENTS = 56
"""Requests at the same time while the capacity is measured: enough for full batches, fewer than may wait."""

MOST = 500
"""Requests in flight at most: beyond, the sender itself would be what is measured."""

AT_ONCE = 0.5
"""Seconds within which 99 of 100 refusals must be back, on cores that sender and service share."""

GROWTH = 0.05
"""Growth of memory that still counts as flat, from the second tenth of the run to the last."""


@dataclass(frozen=True)
class Outcome:
    """One request: when it was sent (seconds of the run), how long it took, its status, whether it was right."""

    sent: float
    seconds: float
    status: int
    right: bool


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300, help="length of the overload (at most 3600)")
    parser.add_argument("--factor", type=float, default=2, help="requests sent, as a multiple of the capacity")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("load.json"))
    arguments = parser.parse_args()
    seconds = min(arguments.seconds, 3600)
    photo = photograph()
    with service() as (url, pids):
        capacity, expected = asyncio.run(measure_capacity(url, photo, min(10, max(3, seconds / 10))))
        print(f"capacity {capacity:.1f} photographs/s; sending {arguments.factor * capacity:.1f}/s for {seconds:g} s")
        with watched(pids) as memory:
            outcomes = asyncio.run(overload(url, photo, expected, arguments.factor * capacity, seconds))
    result = {
        "what": "apvit serve at a multiple of its capacity: one photograph of one face per request",
        "photograph": {"bytes": len(photo), "size": [256, 256]},
        "seconds": seconds,
        "capacity_per_second": round(capacity, 2),
        "sent_per_second": round(len(outcomes) / max(one.sent for one in outcomes), 2),
        **summary(outcomes),
        "memory_mb": memory_summary(memory),
    }
    result["claims"] = claims(result)
    result |= describe_machine()
    write(arguments.output, json.dumps(result, indent=1) + "\n")
    title = f"apvit serve at {arguments.factor:g} times its capacity"
    draw(arguments.output.with_suffix(".png"), title, outcomes, memory, seconds, capacity)
    print(json.dumps({name: result[name] for name in ("answered", "refused", "memory_mb", "claims")}, indent=1))
    return 0 if all(result["claims"].values()) else 1


def photograph() -> bytes:
    """A portrait as a small JPEG file."""
    import skimage.data

    file = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).resize((256, 256)).save(file, "JPEG", quality=90)
    return file.getvalue()


@contextmanager
def service() -> Iterator[tuple[str, dict[str, int]]]:
    """`apvit serve` with its defaults: its address, and the numbers of its processes."""
    code = "from apvit.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        url = ""
        for line in process.stderr:
            url = json.loads(line).get("url", "")
            if url:
                break
        if not url:
            raise SystemExit("the service did not start")
        # Its log must be read, or the pipe fills and it stops.
        threading.Thread(target=lambda: [None for _ in process.stderr or ()], daemon=True).start()
        yield url, {"service": process.pid, "worker": worker_of(process.pid)}
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        process.kill()


def worker_of(pid: int) -> int:
    """The process that recognises."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise SystemExit("the service has no worker")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    retry_after: int  # seconds, 0 where nothing is said of them
    body: bytes


async def ask(client: aiohttp.ClientSession, photo: bytes) -> Answer:
    form = aiohttp.FormData()
    form.add_field("picture", photo, filename="photo.jpg")
    async with client.post("/v1/recognize", data=form) as answer:
        return Answer(answer.status, int(answer.headers.get("Retry-After", 0)), await answer.read())


def new_client(url: str) -> aiohttp.ClientSession:
    # Of Python's clients the one that takes least of the cores it shares with the service.
    return aiohttp.ClientSession(
        url, timeout=aiohttp.ClientTimeout(90), connector=aiohttp.TCPConnector(limit=MOST), trust_env=False
    )


async def measure_capacity(url: str, photo: bytes, seconds: float) -> tuple[float, Any]:
    """Photographs per second with `CLIENTS` that each send the next when the last is answered, and the right answer."""
    async with new_client(url) as client:
        first = await ask(client, photo)
        if first.status != 200:
            raise SystemExit(f"the first photograph was answered by {first.status}: {first.body.decode()}")
        await asyncio.gather(*(ask(client, photo) for _ in range(CLIENTS)))  # warms up
        start, done = time.perf_counter(), 0

        async def keep_asking() -> None:
            nonlocal done
            while time.perf_counter() - start < seconds:
                answered = (await ask(client, photo)).status == 200
                done += answered

        await asyncio.gather(*(keep_asking() for _ in range(CLIENTS)))
        return done / (time.perf_counter() - start), json.loads(first.body)["results"]


async def overload(url: str, photo: bytes, expected: Any, rate: float, seconds: float) -> list[Outcome]:
    """Requests at a fixed rate, whatever becomes of them."""
    outcomes: list[Outcome] = []
    start = time.perf_counter()

    async def one(client: aiohttp.ClientSession) -> None:
        sent = time.perf_counter()
        try:
            answer = await ask(client, photo)
            status, right = answer.status, is_right(answer, expected)
        except (aiohttp.ClientError, TimeoutError):
            status, right = 0, False
        outcomes.append(Outcome(sent - start, time.perf_counter() - sent, status, right))

    async with new_client(url) as client:
        tasks: set[asyncio.Task[None]] = set()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
            if len(tasks) < MOST:
                task = asyncio.create_task(one(client))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    return outcomes


def is_right(answer: Answer, expected: Any) -> bool:
    """An answer with the same face, or a refusal that says when to come again."""
    if answer.status != 200:
        return answer.status in (429, 503) and answer.retry_after >= 1
    (result,), (wanted,) = json.loads(answer.body)["results"], expected
    if len(result["faces"]) != len(wanted["faces"]):
        return False
    return all(
        face["expression"] == other["expression"]
        and all(abs(a - b) < 0.05 for a, b in zip(face["box"], other["box"], strict=True))
        and all(abs(face["probabilities"][name] - p) < 1e-3 for name, p in other["probabilities"].items())
        for face, other in zip(result["faces"], wanted["faces"], strict=True)
    )


@contextmanager
def watched(pids: dict[str, int]) -> Iterator[list[tuple[float, dict[str, float]]]]:
    """Resident memory of the processes in MB, twice a second until the block ends."""
    samples: list[tuple[float, dict[str, float]]] = []
    start, over = time.perf_counter(), threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            samples.append((time.perf_counter() - start, {name: resident(pid) for name, pid in pids.items()}))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def resident(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """Counts and times of those who were answered, refused, and neither."""
    answered = [one for one in outcomes if one.status == 200]
    refused = [one for one in outcomes if one.status in (429, 503)]
    return {
        "answered": {"count": len(answered), "right": sum(one.right for one in answered), **times(answered)},
        "refused": {"count": len(refused), "right": sum(one.right for one in refused), **times(refused)},
        "neither": len(outcomes) - len(answered) - len(refused),
    }


def times(outcomes: list[Outcome]) -> dict[str, float | None]:
    """Median, 99th percentile and maximum of the seconds."""
    if len(outcomes) < 2:
        return {"median_seconds": None, "p99_seconds": None, "max_seconds": None}
    seconds = [one.seconds for one in outcomes]
    return {
        "median_seconds": round(statistics.median(seconds), 4),
        "p99_seconds": round(statistics.quantiles(seconds, n=100)[98], 4),
        "max_seconds": round(max(seconds), 4),
    }


def memory_summary(samples: list[tuple[float, dict[str, float]]]) -> dict[str, Any]:
    """Of each process: the median of the second tenth and of the last, and how much that grew."""
    tenth = max(1, len(samples) // 10)
    result = {}
    for name in samples[0][1]:
        sizes = [sizes[name] for _, sizes in samples]
        early, late = statistics.median(sizes[tenth : 2 * tenth] or sizes), statistics.median(sizes[-tenth:])
        result[name] = {"early": round(early, 1), "late": round(late, 1), "growth": round(late / early - 1, 4)}
    return result


def claims(result: dict[str, Any]) -> dict[str, bool]:
    """What this run shows or does not."""
    answered, refused = result["answered"], result["refused"]
    return {
        "accepted are all answered rightly": answered["count"] == answered["right"] > 0 and result["neither"] == 0,
        "refused say when to come again": refused["count"] == refused["right"] > 0,
        f"refused within {AT_ONCE} s (99 of 100)": (refused["p99_seconds"] or 0) < AT_ONCE,
        f"memory grows by less than {GROWTH:.0%}": all(one["growth"] < GROWTH for one in result["memory_mb"].values()),
        # The worker's number was taken at the start: one that was lost would have no memory any more.
        "the worker was never lost": result["memory_mb"]["worker"]["late"] > 0,
    }


def draw(path: Path, title: str, outcomes: list[Outcome], memory: Any, seconds: float, capacity: float) -> None:
    """Answers and refusals per second, how long they took, and memory, over the run."""
    from matplotlib.figure import Figure

    blue, orange, grey = "#0072b2", "#d55e00", "#6e7781"
    figure = Figure(figsize=(8, 7), layout="constrained", facecolor="white")
    rates, delays, sizes = figure.subplots(3, 1, sharex=True)
    width = max(1.0, seconds / 60)
    bins = [width * i for i in range(int(seconds / width) + 1)]
    groups = (("answered", blue, (200,)), ("refused", orange, (429, 503)))
    for name, colour, statuses in groups:
        some = [one for one in outcomes if one.status in statuses]
        counts = [sum(low <= one.sent < low + width for one in some) / width for low in bins[:-1]]
        rates.step(bins[:-1], counts, where="post", color=colour, label=name)
        delays.plot([one.sent for one in some], [1000 * one.seconds for one in some], ".", ms=2, color=colour)
    rates.axhline(capacity, color=grey, lw=1, ls="--", label="capacity measured before")
    rates.set_ylabel("requests per second")
    rates.set_ylim(0, 1.3 * rates.get_ylim()[1])  # room for the legend
    rates.legend(loc="upper right", fontsize=8, ncols=3, frameon=False)
    delays.set_yscale("log")
    delays.set_ylabel("milliseconds to the answer")
    for name, colour in (("worker", blue), ("service", grey)):
        sizes.plot([at for at, _ in memory], [one[name] for _, one in memory], color=colour, label=name)
    sizes.set_ylim(bottom=0)
    sizes.set_ylabel("resident memory, MB")
    sizes.set_xlabel("seconds, by when the request was sent")
    sizes.legend(loc="center right", fontsize=8, frameon=False)
    for axes in (rates, delays, sizes):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", lw=0.4)
    figure.suptitle(title, fontsize=11)
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png", dpi=110)
    partial.replace(path)


def write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
