"""What memory.py runs in a fresh process, and the peak memory of it, as one JSON line at the end.

python memory_of.py nothing
python memory_of.py torch
python memory_of.py network WEIGHTS official|eager|torch|onnx|openvino BATCH
python memory_of.py apvit ARGUMENT...
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from resident import peak_bytes

CALLS = 5


def main() -> None:
    what, *rest = sys.argv[1:]
    if what == "torch":
        import torch  # noqa: F401
    elif what == "network":
        weights, name, batch = rest
        run_network(weights, name, int(batch))
    elif what == "apvit":
        run_command(rest)
    print(json.dumps({"peak_bytes": peak_bytes()}), flush=True)


def run_network(weights: str, name: str, batch: int) -> None:
    """Some calls on random faces. Each way imports no more than it needs."""
    from apvit.engines.timing import random_faces

    run: Callable[[Any], object]
    if name in ("official", "eager"):
        from official import OfficialFormulation, run_eagerly

        from apvit.weights import load_weights

        model, card = load_weights(weights)
        run = partial(run_eagerly, OfficialFormulation(model) if name == "official" else model.eval())
    else:
        from apvit.engines import create_engine

        engine = create_engine(weights, name, "cpu")
        run, card = engine.run, engine.card
    x = random_faces(card, batch)
    for _ in range(CALLS):
        run(x)


def run_command(arguments: list[str]) -> None:
    """`apvit ARGUMENT...`, whose answers nobody reads here; SystemExit where it fails."""
    from apvit.cli import main as apvit

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        try:
            apvit(arguments)
        except SystemExit as stop:
            if stop.code:
                raise


if __name__ == "__main__":
    main()
