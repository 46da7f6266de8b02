"""int8 against float32 of the bundled weights: validation accuracy, what both keep, file size, time.

The function behind `apvit export apvit_tiny OUT.onnx --int8 --calibrate DATA` writes the int8 file and measures its
accuracy beside float32's, on faces that it was not calibrated on. Then both files take turns in every engine.

    python benchmarks/speed/int8.py                                    # with prepared/ferplus
    python benchmarks/speed/int8.py --data FERPLUS.zip

writes int8.json beside this file in about a minute of two quiet cores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from records import machine, options, ratios, spread, write_record
from result_tables import int8_table
from rich.console import Console
from subjects import identify, workplace

from apvit.cli.export_int8 import calibration_and_measure, write_int8
from apvit.engines import Engine
from apvit.engines.export import export_onnx
from apvit.engines.exported import open_exported
from apvit.engines.timing import random_faces, take_turns
from apvit.weights import find_weights, read_card

WEIGHTS = "apvit_tiny"
BATCHES = (1, 8, 32)


def main() -> None:
    parser = options(__doc__, "int8", 1.0, "seconds for each of float32 and int8, engine and batch")
    parser.add_argument("--data", default="prepared/ferplus", help="FER+ (default: prepared/ferplus)")
    arguments = parser.parse_args()
    made = machine()
    with workplace(arguments.folder) as folder:
        files = {"float32": folder / "float32.onnx", "int8": folder / "int8.onnx"}
        export_onnx(WEIGHTS, files["float32"])
        splits = calibration_and_measure(arguments.data, None)
        cost = write_int8(Console(stderr=True), files["float32"], files["int8"], read_card(WEIGHTS), *splits)
        opened = {name: {kind: open_exported(path, name) for kind, path in files.items()} for name in cost["engines"]}
        rows = [row for batch in BATCHES for row in summarise(time_both(opened, batch, arguments.seconds), batch)]
        sizes = {kind: path.stat().st_size for kind, path in files.items()}
    weights = {"name": WEIGHTS, **identify(find_weights(WEIGHTS))}
    record = {"weights": weights, **without_times(cost), "bytes": sizes, "rows": rows}
    write_record(arguments.output, {**record, "seconds": arguments.seconds, "machine": made})
    print(int8_table(record))


def without_times(cost: Mapping[str, Any]) -> dict[str, Any]:
    """The record of `write_int8` less the speed that it tells its user, which `rows` say better."""
    engines = {name: {k: v for k, v in row.items() if k != "speed_here"} for name, row in cost["engines"].items()}
    return {**cost, "engines": engines}


def time_both(opened: Mapping[str, Mapping[str, Engine]], batch: int, seconds: float) -> dict[str, list[float]]:
    """Seconds per call in every round, under "ENGINE float32" and "ENGINE int8"; all take turns."""
    calls: dict[str, Callable[[], object]] = {}
    for name, both in opened.items():
        for kind, engine in both.items():
            calls[f"{name} {kind}"] = partial(engine.run, random_faces(engine.card, batch))
    return take_turns(calls, seconds)


def summarise(taken: Mapping[str, Sequence[float]], batch: int) -> list[dict[str, Any]]:
    """A row for each engine, as JSON values; times are per face, ratios within rounds."""
    rows = []
    for name in dict.fromkeys(key.split()[0] for key in taken):
        before, after = taken[f"{name} float32"], taken[f"{name} int8"]
        rows.append(
            {
                "engine": name,
                "batch": batch,
                "rounds": len(after),
                "ms_per_face_float32": spread([1000 * seconds / batch for seconds in before]),
                "ms_per_face_int8": spread([1000 * seconds / batch for seconds in after]),
                "times_float32": ratios(before, after),
            }
        )
    return rows


if __name__ == "__main__":
    main()
