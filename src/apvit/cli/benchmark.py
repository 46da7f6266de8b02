"""`apvit benchmark`: how fast each engine runs given weights on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apvit.cli.options import check_outputs
from apvit.files import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from apvit.engines.timing import Timing


def benchmark(
    weights: Annotated[
        str, typer.Argument(metavar="W", help="Bundled name, weight file, hf://owner/repo, or exported .onnx file.")
    ] = "apvit_tiny",
    engine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What runs the network: torch, onnx or openvino; may be repeated.",
            show_default="all that can run W here",
        ),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, metavar="N", help="Faces in a batch; may be repeated.", show_default="1, 8 and 32"),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEEP", help="Measure this setting of the dial too, such as 0.8 or 0.8:1,1,.9,.9; may be repeated."
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.01, max=600, metavar="S", help="Time for each engine, keep and batch.")
    ] = 2.0,
    device: Annotated[
        str,
        typer.Option(metavar="NAME", help="Where torch runs: auto, cpu, cuda, cuda:1 or mps; the others use the CPU."),
    ] = "auto",
    compile: Annotated[
        bool, typer.Option("--compile", help="Measure torch compiled too; compiling takes minutes.")
    ] = False,
    precision: Annotated[
        str, typer.Option(metavar="P", help="Measure torch in this precision too: bf16, which is for GPUs.")
    ] = "float32",
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Also write all figures, and what they were made with."),
    ] = None,
) -> None:
    """Time the engines on this machine: the network alone, on the same faces, in turns.

    The table has the median and quartiles of all rounds. Ratios are taken within rounds, so that a busy machine spoils
    them less; "of peak" is executed arithmetic as a share of what a large float32 matrix product reaches at that time.
    Where there is no cached export (`apvit export W`), one is made for the measurement and thrown away.
    """
    import json
    import tempfile
    from dataclasses import asdict

    from rich.console import Console

    from apvit.engines import Keep
    from apvit.engines.timing import measure, open_contenders
    from apvit.files import sha256, write_whole
    from apvit.machine import describe_machine
    from apvit.weights import find_weights

    check_outputs({"--json": json_file})
    keeps = list(dict.fromkeys(map(Keep.parse, keep or [])))
    messages = Console(stderr=True, highlight=False, markup=False)
    machine = describe_machine()  # before the measurement, which is load itself
    timings: list[Timing] = []
    with tempfile.TemporaryDirectory(prefix="apvit-benchmark-") as folder:
        with messages.status("opening, and exporting where nothing is cached ..."):
            contenders, left_out = open_contenders(
                weights,
                Path(folder),
                engines=engine or (),
                keeps=keeps,
                device=device,
                compile=compile,
                precision=precision,
            )
        for name, reason in left_out.items():
            messages.print(f"left out: {name} ({reason})")
        on_cpu = all(one.runs.runtime.device == "cpu" for one in contenders)
        for size in dict.fromkeys(batch or (1, 8, 32)):
            with messages.status(f"batch {size}: {len(contenders)} take turns ..."):
                # The peak is the CPU's, which says nothing about a GPU.
                timings += measure(contenders, size, seconds, peak=on_cpu)
    rows = [
        {**one.to_dict(), "device": one.runs.runtime.device, "runtime": asdict(one.runs.runtime)} for one in contenders
    ]
    if json_file is not None:
        record = {
            "weights": weights,
            "sha256": sha256(find_weights(weights)),
            "contenders": rows,
            "left_out": left_out,
            "seconds": seconds,
            "machine": machine,
            "timings": [asdict(timing) for timing in timings],
        }
        write_whole(json_file, json.dumps(record, indent=1) + "\n")
    console = Console(highlight=False, markup=False)
    console.print(_table(weights, rows, timings))
    for line in _notes(rows, machine):
        console.print(line)


def _table(weights: str, contenders: Sequence[dict[str, Any]], timings: Sequence[Timing]) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    first = timings[0].name
    keeps = any(one["keep"] for one in contenders)
    peak = any(timing.gemm_fraction for timing in timings)
    table = Table(title=escape(weights), box=box.SIMPLE_HEAD, title_justify="left", collapse_padding=True)
    table.add_column("batch", justify="right", no_wrap=True)
    table.add_column("engine", no_wrap=True)
    if keeps:
        table.add_column("keep", overflow="fold")
    for heading in ("ms/face", "quartiles", "faces/s", f"x {first}", *(["of peak"] if peak else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    by_name = {one["name"]: one for one in contenders}
    before = None
    for timing in timings:
        if before not in (None, timing.batch):
            table.add_section()
        one, time, ratio = by_name[timing.name], timing.milliseconds, timing.ratio
        table.add_row(
            "" if timing.batch == before else str(timing.batch),
            f"{one['engine']} {one['variant']}".rstrip(),
            *([one["keep"] or "card's"] if keeps else []),
            _digits(time.median),
            f"{_digits(time.low)} to {_digits(time.high)}",
            f"{timing.faces_per_second:,.0f}" if timing.faces_per_second >= 10 else f"{timing.faces_per_second:.2g}",
            "1" if timing.name == first else f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
            *([f"{timing.gemm_fraction.median:.0%}" if timing.gemm_fraction else ""] if peak else []),
        )
        before = timing.batch
    return table


def _digits(milliseconds: float) -> str:
    return f"{milliseconds:.2f}" if milliseconds < 10 else f"{milliseconds:.1f}"


def _notes(contenders: Sequence[dict[str, Any]], machine: dict[str, Any]) -> list[str]:
    """What was run, on what."""
    from apvit.cli.doctor import busy, threads

    runs = dict.fromkeys(
        f"{one['engine']}{'' if one['device'] == 'cpu' else ' on ' + one['device']}: {one['source']}"
        for one in contenders
    )
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    lines = [
        "; ".join(runs),
        f"{machine['processor']}, {counted(machine['cores'], 'core')}, {threads(machine)}; {machine['date']}",
        f"{versions}; Python {machine['python']}",
    ]
    return [*lines, busy(machine)] if busy(machine) else lines
