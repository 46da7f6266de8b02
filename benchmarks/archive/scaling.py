"""Pictures per second of `apvit recognize --ray local` against workers, and what a plan for a large job needs.

Measured for each number of workers, twice in turn: pictures per second of the photographs in scikit-image and
matplotlib, shrunk to at most 512 pixels and saved as JPEG; the peak memory of a worker; seconds to the first shard.
Then the seconds of a shard that has nothing to recognise (each holds one file that is no picture), and the memory and
time that the driver takes for a list of a million names. About three minutes.

    python benchmarks/archive/scaling.py

writes scaling.json beside this file; benchmarks/figures.py puts it into docs/archives.md. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import skimage.data
from matplotlib.cbook import get_sample_data
from PIL import Image

from apvit.machine import describe_machine
from apvit.recognition.archive import Archive

SIDE = 512
FROM_SKIMAGE = ("astronaut", "camera", "cat", "coffee", "rocket")
NAMES = 1_000_000

LIST_ONCE = """
import json, sys, time
import pyarrow.parquet
from apvit.recognition.archive.inputs import gather_inputs
from apvit.recognition.archive.worker import peak_memory
before, start = peak_memory(), time.perf_counter()
inputs = gather_inputs([sys.argv[1]])
inputs.digest()
seconds = time.perf_counter() - start
print(json.dumps({"held": inputs.pictures.nbytes, "peak": peak_memory() - before, "seconds": seconds}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument(
        "--shard-size", type=int, default=10, help="small, so that the end, with idle workers, is short"
    )
    parser.add_argument("--empty-shards", type=int, default=100)
    parser.add_argument("--weights", default="apvit_tiny")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("scaling.json"))
    arguments = parser.parse_args()

    runs: dict[int, list[dict[str, float]]] = {workers: [] for workers in arguments.workers}
    with TemporaryDirectory() as folder:
        work = Path(folder)
        sizes = make_pictures(work / "pictures", arguments.pictures)
        for turn in range(2):
            for workers in arguments.workers:
                output = work / f"out-{workers}-{turn}"
                run = measure([work / "pictures"], output, arguments.shard_size, workers, arguments.weights)
                runs[workers].append(run)
                print(f"{workers} workers: {run['pictures_per_second']:.1f} pictures per second", flush=True)
        result = {
            "what": "apvit recognize --ray local: pictures per second from the first shard's start to the last's end; "
            "memory is a worker's peak; startup is from the call to the start of the first shard",
            "weights": arguments.weights,
            "detector": "mtcnn",
            "pictures": arguments.pictures,
            "longer_side": SIDE,
            "bytes_per_picture": mean(sizes),
            "faces_per_picture": runs[arguments.workers[0]][0]["faces"] / arguments.pictures,
            "shard_size": arguments.shard_size,
            "workers": {str(workers): summary(of) for workers, of in runs.items()},
            "empty_shard": empty_shards(work, arguments.empty_shards, arguments.weights),
            "driver": driver(work),
            "ray": version("ray"),
            **describe_machine(),
        }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")


def make_pictures(folder: Path, count: int) -> list[int]:
    """`count` JPEG files, the same few photographs over and over; their sizes in bytes."""
    folder.mkdir()
    pictures = [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in FROM_SKIMAGE]
    with get_sample_data("grace_hopper.jpg") as file:
        pictures.append(Image.open(file).convert("RGB"))
    for picture in pictures:
        picture.thumbnail((SIDE, SIDE))
    paths = [folder / f"{i:05d}.jpg" for i in range(count)]
    for i, path in enumerate(paths):
        pictures[i % len(pictures)].save(path, quality=90)
    return [path.stat().st_size for path in paths]


def measure(names: list[Path], output: Path, shard_size: int, workers: int, weights: str) -> dict[str, float]:
    """One job from nothing to the last shard."""
    archive = Archive([str(name) for name in names], str(output), shard_size=shard_size, weights=weights)
    called = time.perf_counter()
    started = ended = 0.0
    pictures = faces = shards = 0
    memory = 0
    for report in archive.run("local", workers=workers):
        ended = time.perf_counter()
        started = started or ended - report.seconds
        pictures, faces, shards = pictures + report.pictures, faces + report.faces, shards + 1
        memory = max(memory, report.peak_memory)
    return {
        "pictures_per_second": pictures / (ended - started),
        "seconds_per_shard": (ended - started) / shards,
        "startup_seconds": started - called,
        "peak_memory": float(memory),
        "faces": float(faces),
    }


def summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    """The mean of the runs, with each one's speed; the highest memory."""
    return {
        "pictures_per_second": mean(run["pictures_per_second"] for run in runs),
        "pictures_per_second_of_each_run": [run["pictures_per_second"] for run in runs],
        "startup_seconds": mean(run["startup_seconds"] for run in runs),
        "peak_memory": max(run["peak_memory"] for run in runs),
    }


def empty_shards(work: Path, count: int, weights: str) -> dict[str, float]:
    """What a shard costs beside its pictures: the call, the file, its new name."""
    folder = work / "empty"
    folder.mkdir()
    for i in range(count):
        (folder / f"{i:05d}.jpg").write_bytes(b"x")
    run = measure([folder], work / "out-empty", 1, 1, weights)
    return {"shards": count, "seconds_per_shard": run["seconds_per_shard"]}


def driver(work: Path) -> dict[str, float]:
    """Memory and time of listing and hashing a million names, in a process of its own."""
    names = work / "names.txt"
    names.write_text("".join(f"s3://archive/pictures/{i // 1000:06d}/{i:012d}.jpg\n" for i in range(NAMES)))
    command = [sys.executable, "-c", LIST_ONCE, str(names)]
    once = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return {
        "names": NAMES,
        "characters_per_name": names.stat().st_size / NAMES - 1,
        "bytes_held_per_name": once["held"] / NAMES,
        "peak_bytes_per_name": once["peak"] / NAMES,
        "seconds_per_million": once["seconds"] * 1e6 / NAMES,
    }


if __name__ == "__main__":
    main()
