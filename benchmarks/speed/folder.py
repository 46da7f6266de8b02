"""A folder of pictures from end to end: faces per second, one stage at a time, one after the other and overlapped.

The pictures are two portraits of packages (matplotlib, scikit-image) pasted side by side at several sizes. In every
round each stage runs alone over all pictures, then the whole path runs one picture after the other (`workers=1`) and
overlapped (the default): the slowest stage alone is the most that any order of work could reach. Then: peak memory of
fresh processes against the length of the list, and time per picture against the faces in it.

    python benchmarks/speed/folder.py

writes folder.json and folder.png beside this file in about three minutes of two quiet cores.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from pictures import photographs
from PIL import Image
from processes import run
from records import HERE, machine, options, ratios, spread, write_record
from subjects import workplace

from apvit.faces.pictures import read_picture
from apvit.recognition import Profile, Recognizer
from apvit.recognition.pipeline import start_workers

SIZES = ((640, 480), (1280, 960), (1920, 1440))
"""Width and height of the folder's pictures, in turn; they hold 1, 2 and 3 faces, in turn."""
CROWDS = (0, 1, 4, 16, 32)
"""Faces per picture of 1280 x 960 pixels."""
ALONE = ("read", "detect", "align", "classify")
SEQUENTIAL, OVERLAPPED = "one after the other", "overlapped"
VARIANTS = ("detect, all cores on a picture", "detect, all cores on all pictures")
"""Other ways to find the faces, for comparison: why the path takes a core per picture."""


def main() -> None:
    parser = options(__doc__, "folder")
    parser.add_argument("--rounds", type=int, default=4, help="of everything that is timed (default: 4)")
    parser.add_argument("--pictures", type=int, default=24, help="in the folder (default: 24)")
    parser.add_argument("--lengths", type=int, nargs="+", default=(50, 200, 800), help="lists whose memory is measured")
    arguments = parser.parse_args()
    made = machine()
    with workplace(arguments.folder) as folder:
        sequential, overlapped = Recognizer(workers=1), Recognizer()
        paths = write_folder(folder / "pictures", arguments.pictures)
        whole = measure_folder(sequential, overlapped, paths, arguments.rounds)
        memory = measure_memory(paths[1], arguments.lengths, overlapped.workers)
        crowds = measure_crowds(sequential, overlapped, folder / "crowds", arguments.rounds)
    record = {
        "what": "the folder's faces per second by stage and path; peak memory by length of the list; ms per picture by "
        "faces in it",
        "weights": "apvit_tiny",
        "detector": "mtcnn",
        "workers": overlapped.workers,
        "rounds": arguments.rounds,
        "folder": whole,
        "memory": memory,
        "crowds": crowds,
        "machine": made,
    }
    write_record(arguments.output, record)
    draw(record, arguments.output.with_suffix(".png"))
    print(table(record))


def paste(size: tuple[int, int], faces: int) -> Image.Image:
    """A grey picture of `size` (width, height) with the portraits in turn, in the largest squares that fit."""
    width, height = size
    columns = max(range(1, faces + 1), key=lambda n: min(width // n, height // ceil(faces / n)), default=1)
    side = min(width // columns, height // ceil(faces / columns)) if faces else 0
    portraits = [Image.fromarray(picture[:512, :512]) for picture in photographs().values()]
    picture = Image.new("RGB", size, (127, 127, 127))
    for number in range(faces):
        portrait = portraits[number % 2].resize((side, side), Image.Resampling.LANCZOS)
        picture.paste(portrait, (number % columns * side, number // columns * side))
    return picture


def write_folder(folder: Path, count: int) -> list[Path]:
    """`count` JPEG files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        size, faces = SIZES[number % len(SIZES)], 1 + number // len(SIZES) % 3
        paths.append(folder / f"{number:03}.jpg")
        paste(size, faces).save(paths[-1], quality=90)
    return paths


@dataclass(frozen=True)
class Alone:
    """Every stage by itself, on what the stage before it left for all pictures."""

    recognizer: Recognizer
    paths: Sequence[Path]

    def calls(self) -> dict[str, Callable[[], object]]:
        """By name, a stage over the whole folder; in the path's own threads where the path has them."""
        one, workers = self.recognizer, self.recognizer.workers
        pool = start_workers(workers)
        pictures = [read_picture(path) for path in self.paths]
        found = [one._detect(picture) for picture in pictures]
        pairs = zip(pictures, found, strict=True)
        crops = [crop for picture, faces in pairs for _, crop in one._frame(picture, faces)[0]]
        size = one.batch_size
        batches = [crops[start : start + size] for start in range(0, len(crops), size)]
        detector = one._detector
        assert detector is not None
        return {
            "read": lambda: list(pool.map(read_picture, self.paths)),
            "detect": lambda: list(pool.map(one._detect, pictures)),
            "align": lambda: list(pool.map(one._frame, pictures, found)),
            "classify": lambda: list(pool.map(one._classify, batches)),
            VARIANTS[0]: lambda: [one._detect(picture) for picture in pictures],
            VARIANTS[1]: lambda: detector.detect(pictures),
        }


def measure_folder(
    sequential: Recognizer, overlapped: Recognizer, paths: Sequence[Path], rounds: int
) -> dict[str, Any]:
    """Faces per second of the folder by stage and path, and the path's own account of where its time went."""
    profile = Profile()
    faces = sum(len(found.faces) for found in overlapped.recognitions(paths))
    calls = {
        **Alone(overlapped, paths).calls(),
        SEQUENTIAL: lambda: list(sequential.many(paths)),
        OVERLAPPED: lambda: list(overlapped.many(paths, profile=profile)),
    }
    taken = take_turns(calls, rounds)
    slowest = max(ALONE, key=lambda name: float(np.median(taken[name])))
    # What the stage could reach alone is its best way, not only the path's.
    bound = [
        min(taken[name][i] for name in (slowest, *(VARIANTS if slowest == "detect" else ()))) for i in range(rounds)
    ]
    return {
        "pictures": len(paths),
        "faces": faces,
        "faces_per_second": {name: spread([faces / one for one in seconds]) for name, seconds in taken.items()},
        "slowest": slowest,
        "reached": ratios(bound, taken[OVERLAPPED]),
        "reached_one_after_the_other": ratios(bound, taken[SEQUENTIAL]),
        "overlap_gains": ratios(taken[SEQUENTIAL], taken[OVERLAPPED]),
        "profile": {"seconds": profile.seconds, "elapsed": profile.elapsed, "reached": profile.reached},
        "table": str(profile),
    }


def take_turns(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call in each round, after one round that is not counted; every other round backwards."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for number in range(rounds + 1):
        for name in order:
            start = time.perf_counter()
            calls[name]()
            if number:
                taken[name].append(time.perf_counter() - start)
        order.reverse()
    return taken


def measure_memory(picture: Path, lengths: Sequence[int], workers: int) -> list[dict[str, Any]]:
    """Peak memory in bytes of fresh processes that recognise the picture so many times."""
    script = str(HERE / "folder_memory_once.py")
    return [
        {"length": length, "bytes": int(run([sys.executable, script, str(picture), str(length), str(workers)]))}
        for length in lengths
    ]


def measure_crowds(sequential: Recognizer, overlapped: Recognizer, folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Milliseconds per picture by faces in it; two pictures of each per worker."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for faces in CROWDS:
        path = folder / f"{faces:02}.jpg"
        paste(SIZES[1], faces).save(path, quality=90)
        paths = [path] * (2 * overlapped.workers)
        counted = len(sequential(path))
        taken = take_turns(
            {
                SEQUENTIAL: lambda paths=paths: list(sequential.many(paths)),
                OVERLAPPED: lambda paths=paths: list(overlapped.many(paths)),
            },
            rounds,
        )
        ms = {name: spread([1000 * one / len(paths) for one in seconds]) for name, seconds in taken.items()}
        rows.append({"faces": faces, "found": counted, "ms_per_picture": ms})
    return rows


def table(record: Mapping[str, Any]) -> str:
    """The record for people."""
    whole = record["folder"]
    lines = [
        f"{whole['pictures']} pictures, {whole['faces']} faces, {record['workers']} workers",
        "",
        "| stage or path | faces/s, median (quartiles) |",
        "| --- | --- |",
    ]
    for name, of in whole["faces_per_second"].items():
        where = f"{name}, alone" if name in ALONE else name
        lines.append(f"| {where} | {of['median']:.1f} ({of['low']:.1f} - {of['high']:.1f}) |")
    lines += [
        "",
        f"Overlapped, {whole['reached']['median']:.2f} of what {whole['slowest']} alone allows are reached, one after "
        f"the other {whole['reached_one_after_the_other']['median']:.2f}; the overlap gains "
        f"{whole['overlap_gains']['median']:.2f} times.",
        "",
        "The path's own account (`--profile`), while its stages share the cores:",
        "",
        "```",
        whole["table"],
        "```",
        "",
        "| pictures in the list | peak memory, MB |",
        "| --- | --- |",
        *(f"| {one['length']} | {one['bytes'] / 1e6:.0f} |" for one in record["memory"]),
        "",
        "| faces in the picture | found | ms/picture, one after the other | overlapped |",
        "| --- | --- | --- | --- |",
    ]
    for row in record["crowds"]:
        ms = row["ms_per_picture"]
        cells = (f"{ms[name]['median']:.1f} ({ms[name]['low']:.1f} - {ms[name]['high']:.1f})" for name in ms)
        lines.append(f"| {row['faces']} | {row['found']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Three panels: throughput by stage and path, memory by length, time by faces."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    bars, memory, crowds = figure.subplots(1, 3, width_ratios=(1.5, 1, 1.2))
    whole = record["folder"]
    names = [*ALONE, SEQUENTIAL, OVERLAPPED]
    # Milliseconds add up where rates do not: the paths' bars compare with the stages'.
    each = 1000 * whole["faces"] / whole["pictures"]
    rates = [whole["faces_per_second"][name] for name in names]
    values = [each / rate["median"] for rate in rates]
    errors = [
        [each / rate["median"] - each / rate["high"] for rate in rates],
        [each / rate["low"] - each / rate["median"] for rate in rates],
    ]
    colours = ["#c3c8d0"] * len(ALONE) + ["#7a8699", "#0072b2"]
    labels = [f"{name}, alone" for name in ALONE] + [SEQUENTIAL, OVERLAPPED]
    bars.barh(labels, values, xerr=errors, color=colours, error_kw={"elinewidth": 1})
    for place, (value, error) in enumerate(zip(values, errors[1], strict=True)):
        where = (value + error, place)
        bars.annotate(f"{value:.1f}", where, (6, 0), textcoords="offset points", va="center", fontsize=9)
    limit = whole["reached"]["median"] * values[-1]
    bars.axvline(limit, color="#d55e00", lw=1, ls=":")
    bars.annotate(
        f"{whole['slowest']} at its best", (limit, -0.5), (-4, 2), textcoords="offset points", ha="right", fontsize=8
    )
    bars.set(xlabel="ms per picture", title="A folder from end to end", xlim=(0, 1.15 * max(values)))
    bars.invert_yaxis()
    memory.plot([one["length"] for one in record["memory"]], [one["bytes"] / 1e6 for one in record["memory"]], "o-")
    memory.set(xlabel="pictures in the list", ylabel="peak memory, MB", title="Memory")
    memory.set_ylim(0, 1.15 * max(one["bytes"] for one in record["memory"]) / 1e6)
    for name, colour in ((SEQUENTIAL, "#7a8699"), (OVERLAPPED, "#0072b2")):
        of = [row["ms_per_picture"][name] for row in record["crowds"]]
        faces = [row["faces"] for row in record["crowds"]]
        crowds.plot(faces, [one["median"] for one in of], "o-", color=colour, label=name)
        crowds.fill_between(faces, [o["low"] for o in of], [o["high"] for o in of], color=colour, alpha=0.2, lw=0)
    crowds.set(xlabel="faces in a picture of 1280 x 960", ylabel="ms per picture", ylim=(0, None), title="Crowds")
    crowds.legend(frameon=False)
    for axes in (bars, memory, crowds):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
