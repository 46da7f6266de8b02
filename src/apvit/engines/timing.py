"""Timing of engines side by side: on the same faces, in turns, so that what else the machine does hits all alike.

Needs no torch unless an engine does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apvit.engines import ENGINES, Engine, EngineError, Keep, create_engine
from apvit.files import unknown
from apvit.weights import Card, find_weights

from .cache import cached_export
from .exported import EXPORTED_ENGINES, SUFFIX, is_installed, open_exported

TURN = 0.05
"""Seconds that a turn lasts at least, in as many calls as that takes."""
SHORT = 0.1
"""Calls shorter than this (seconds) are preceded in every turn by one that is not timed."""
FEWEST_ROUNDS = 5
GEMM_SIDE = 1536
"""The matrices [N, N] of the multiplication that stands for the processor's peak: large enough for it, small enough
for many rounds."""


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
        return cls(median, low, high)


@dataclass(frozen=True)
class Timing:
    """What one contender took for one batch size."""

    name: str
    batch: int
    rounds: int
    milliseconds: Spread
    """Per face."""
    faces_per_second: float
    """Of the median."""
    ratio: Spread
    """The first contender's time divided by this one's, within each round: above 1 is faster than the first."""
    macs_per_second: float | None
    """Executed multiply-accumulates, of the median; None without torch, whose network is counted."""
    gemm_fraction: Spread | None
    """`macs_per_second` as a fraction of what a matrix product reached, within each round; None if not asked for."""


@dataclass(frozen=True)
class Contender:
    """An engine that is ready to run, and where what it runs comes from."""

    engine: str
    keep: Keep | None
    source: str
    runs: Engine
    variant: str = ""
    """How the engine computes, where it is not as by default: "compiled", "bf16"."""

    @property
    def name(self) -> str:
        """The engine, with its variant, and the keep where it is not the card's."""
        engine = f"{self.engine} {self.variant}".rstrip()
        return engine if self.keep is None else f"{engine} keep {self.keep}"

    def to_dict(self) -> dict[str, str | None]:
        """As JSON values."""
        keep = None if self.keep is None else str(self.keep)
        rest = {"keep": keep, "source": self.source, "variant": self.variant}
        return {"name": self.name, "engine": self.engine, **rest}


def open_contenders(
    ref: str | Path,
    folder: Path,
    *,
    engines: Sequence[str] = (),
    keeps: Sequence[Keep] = (),
    device: str = "auto",
    compile: bool = False,
    precision: str = "float32",
) -> tuple[list[Contender], dict[str, str]]:
    """The weights `ref` on each of `engines`, and by name the reasons why others were left out.

    engines: by default every engine that can run `ref` here; a name given must be able to. keeps: other settings of
    the dial, measured beside the card's own. folder: where exports that are not in the cache are made, if
    apvit[export] is installed; it must stay as long as the contenders. device: torch's. compile, precision: measure
    torch so too, beside torch as it is by default.
    Raises EngineError for an unknown engine, one that cannot run `ref`, and where none can; otherwise as
    `create_engine` does.
    """
    for name in engines:
        if name not in ENGINES:
            raise EngineError(unknown("engine", name, ENGINES))
    path = find_weights(ref)
    settings = (None, *keeps)
    if (compile or precision != "float32") and (path.suffix == SUFFIX or (engines and "torch" not in engines)):
        raise EngineError("compile and precision are options of torch, which is not among the engines measured")
    names, left_out = [], {}
    for name in dict.fromkeys(engines or ENGINES):
        reason = _obstacle(name, path, settings)
        if reason is None:
            names.append(name)
        elif engines:
            raise EngineError(f"{name} cannot run {ref}: {reason}")
        else:
            left_out[name] = reason
    if not names:
        raise EngineError(f"no engine here can run {ref}: {'; '.join(f'{n}: {why}' for n, why in left_out.items())}")
    variant = ("compiled " if compile else "") + ("" if precision == "float32" else precision)
    found = []
    for number, keep in enumerate(settings):
        export: tuple[Path, str] | None = None
        for name in names:
            if path.suffix == SUFFIX or name == "torch":
                where = device if name == "torch" else "cpu"
                source = "exported file" if path.suffix == SUFFIX else "weight file"
                found.append(Contender(name, keep, source, create_engine(path, name, where, keep=keep)))
                if name == "torch" and variant:
                    runs = create_engine(path, name, where, keep=keep, compile=compile, precision=precision)
                    found.append(Contender(name, keep, source, runs, variant.strip()))
                continue
            export = export or _export(path, keep, folder / f"{number}{SUFFIX}")
            found.append(Contender(name, keep, export[1], open_exported(export[0], name)))
    return found, left_out


def random_faces(card: Card, count: int) -> NDArray[np.float32]:
    """Network input [count, C, S, S] of random pixels: how much pooling keeps, and so time, is the same."""
    size = card.preprocessing.size
    faces = np.random.default_rng(0).integers(0, 256, (count, size, size), dtype=np.uint8)
    return card.preprocessing.normalise(faces)


def measure(
    contenders: Sequence[Contender],
    batch: int,
    seconds: float,
    *,
    peak: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Timing]:
    """Time the contenders, which share one input, on the same batch of random faces: see `take_turns`.

    peak: a float32 matrix product on the CPU takes turns with them, and executed work is given as a fraction of it too.
    """
    x = random_faces(contenders[0].runs.card, batch)
    calls: dict[str, Callable[[], object]] = {one.name: _call(one.runs, x) for one in contenders}
    if peak:
        calls["gemm"] = _gemm()
    taken = take_turns(calls, seconds, clock=clock)
    counted = find_spec("torch") is not None
    macs = {one.name: executed_macs(one.runs.card) if counted else None for one in contenders}
    return summarise(taken, batch, macs)


def summarise(taken: Mapping[str, Sequence[float]], batch: int, macs: Mapping[str, int | None]) -> list[Timing]:
    """Timings from the seconds per call in every round, in the order given.

    taken: as `take_turns` returns it; one named "gemm" is the matrix product [GEMM_SIDE, GEMM_SIDE] of `measure`.
    macs: what each contender executes for one face.
    """
    gemm = taken.get("gemm")
    names = [name for name in taken if name != "gemm"]
    first = taken[names[0]]
    timings = []
    for name in names:
        own, work = taken[name], macs[name]
        milliseconds = Spread.of([1000 * seconds / batch for seconds in own])
        fraction = None
        if gemm is not None and work is not None:
            scale = batch * work / GEMM_SIDE**3
            fraction = Spread.of([scale * product / seconds for product, seconds in zip(gemm, own, strict=True)])
        rate = 1000 / milliseconds.median
        timings.append(
            Timing(
                name=name,
                batch=batch,
                rounds=len(own),
                milliseconds=milliseconds,
                faces_per_second=rate,
                ratio=Spread.of([a / b for a, b in zip(first, own, strict=True)]),
                macs_per_second=None if work is None else rate * work,
                gemm_fraction=fraction,
            )
        )
    return timings


def take_turns(
    calls: Mapping[str, Callable[[], object]], seconds: float, *, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds that a call of each takes, one figure per round; a round is a turn of each, in an order that alternates.

    After a warm-up, rounds go on for `seconds` (above 0) times the number of calls, and there are at least
    FEWEST_ROUNDS of them however long they take.
    """
    turn = min(TURN, seconds / FEWEST_ROUNDS)
    repeats, settles = {}, {}
    for name, call in calls.items():
        call()
        start = clock()
        call()
        once = clock() - start
        repeats[name] = max(1, math.ceil(turn / max(once, 1e-6)))
        # Threads of the one before spin for some milliseconds after its turn, and its data fill the caches.
        settles[name] = once < SHORT
    taken: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    end = clock() + seconds * len(calls)
    rounds = 0
    while rounds < FEWEST_ROUNDS or clock() < end:
        for name in order:
            call = calls[name]
            if settles[name]:
                call()
            start = clock()
            for _ in range(repeats[name]):
                call()
            taken[name].append((clock() - start) / repeats[name])
        order.reverse()
        rounds += 1
    return taken


def executed_macs(card: Card) -> int:
    """Multiply-accumulates that an engine executes for one face. Needs torch, whose network is counted.

    Engines run the folded network (`apvit.engines.folding`), which executes a little less than the model does.
    """
    from apvit.nn import count_macs, read_config

    config = read_config(card.parameters)
    tokens = 1 + [config.patch_count, *config.token_counts][-2]  # that enter the last block
    # The model's last block makes every token's key and value; folded, it takes one query and one sum per head through
    # those weights, and meets the tokens at full width in every head instead of a head's share.
    saved = 2 * (tokens - 1) * config.dim**2 - 2 * tokens * config.dim * (config.num_heads - 1)
    return count_macs(config, executed=True).total - saved


def _obstacle(engine: str, path: Path, settings: Sequence[Keep | None]) -> str | None:
    """Why `engine` cannot run the weights at `path` with these keeps on this machine, or None where it can."""
    if engine == "torch":
        if path.suffix == SUFFIX:
            return "torch does not run ONNX files"
        return None if find_spec("torch") else "torch is not installed"
    if not is_installed(engine):
        return f"{EXPORTED_ENGINES[engine][0]} is not installed: pip install 'apvit[{engine}]'"
    if path.suffix == SUFFIX or all(map(find_spec, ("torch", "onnx", "onnxscript"))):
        return None
    if all(cached_export(path, keep) for keep in settings):
        return None
    return "there is no cached export, and to make one takes pip install 'apvit[export]'"


def _export(path: Path, keep: Keep | None, target: Path) -> tuple[Path, str]:
    """The cached export, else one made at `target`; and which of them it is."""
    if (cached := cached_export(path, keep)) is not None:
        return cached, "cached export"
    from .export import export_onnx

    export_onnx(path, target, keep=keep)
    return target, "export made for this measurement"


def _call(engine: Engine, x: NDArray[np.float32]) -> Callable[[], object]:
    return lambda: engine.run(x)


def _gemm() -> Callable[[], object]:
    """A float32 matrix product, by torch where it is installed and by numpy where not."""
    left, right = np.random.default_rng(0).normal(size=(2, GEMM_SIDE, GEMM_SIDE)).astype(np.float32)
    if find_spec("torch") is None:
        product = np.empty_like(left)
        return lambda: np.matmul(left, right, out=product)
    import torch

    a, b = torch.from_numpy(left), torch.from_numpy(right)
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)
