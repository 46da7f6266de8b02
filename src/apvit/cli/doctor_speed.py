"""The measurement of `apvit doctor`: every engine there is on the bundled weights, and the advice that follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from apvit.cli.doctor import Finding

if TYPE_CHECKING:
    from apvit.engines.timing import Timing

WEIGHTS = "apvit_tiny"
"""What the measurement runs."""
BATCHES = (1, 32)
GAIN = 1.05
"""Engines closer together than this are called equally fast."""


def check_speed(seconds: float, timings: list[Timing]) -> Iterator[Finding]:
    """Every engine there is on WEIGHTS, one face at a time and in batches, and what would be faster.

    seconds: for all together. timings: what was measured is added to it.
    """
    import tempfile

    from apvit.engines.cache import cached_export
    from apvit.engines.timing import measure, open_contenders
    from apvit.weights import find_weights

    with tempfile.TemporaryDirectory(prefix="apvit-doctor-") as folder:
        contenders, left_out = open_contenders(WEIGHTS, Path(folder))
        share = seconds / len(BATCHES) / len(contenders)
        for batch in BATCHES:
            timings += measure(contenders, batch, share)
    first = contenders[0].name
    for one in contenders:
        mine = [timing for timing in timings if timing.name == one.name]
        single, many = (f"{timing.faces_per_second:,.0f}" for timing in mine)
        rates = f"{single} faces/s one by one, {many} in batches of {BATCHES[1]}"
        ratios = "" if one.name == first else f": {mine[0].ratio.median:.2f} and {mine[1].ratio.median:.2f} x {first}"
        yield Finding(f"{WEIGHTS} on {one.name}", "ok", f"{rates}{ratios} ({one.source})")
    for name, reason in left_out.items():
        yield Finding(f"{WEIGHTS} on {name}", "note", f"not measured: {reason}")
    yield advise(timings, cached=cached_export(find_weights(WEIGHTS)) is not None)


def advise(timings: Sequence[Timing], *, cached: bool) -> Finding:
    """The sentence on what would be faster than what `--engine auto` takes, by figures of one weight file.

    cached: whether it has a cached export. Engines within GAIN of each other, or whose quartiles overlap, are equal.
    """
    from apvit.engines.exported import EXPORTED_ENGINES

    measured = list(dict.fromkeys(timing.name for timing in timings))
    if len(measured) < 2:
        return Finding(
            "faster",
            "note",
            f"there was nothing to compare {measured[0]} with: pip install 'apvit[export,openvino]', then run "
            "`apvit doctor` again",
        )
    exported = [name for name in EXPORTED_ENGINES if name in measured]
    auto = exported[0] if exported and (cached or "torch" not in measured) else measured[0]
    gains = {name: _gains(timings, name, auto) for name in measured if name != auto}
    better = {name: gain for name, gain in gains.items() if all(gain) and max(gain) > GAIN}
    if not better:
        return Finding("faster", "ok", f"nothing: {auto}, which is used by default, was as fast as any engine here")
    best = max(better, key=lambda name: min(better[name]) * max(better[name]))
    steps = []
    if best != "torch" and not cached:
        steps.append(f"run `apvit export {WEIGHTS}` once")
    if best == "torch" or best != exported[0]:
        steps.append(f"give `apvit recognize` the option `--engine {best}`")
    figures = " and ".join(
        f"{gain:.1f} x ({'one by one' if batch == 1 else f'in batches of {batch}'})"
        for batch, gain in zip(dict.fromkeys(timing.batch for timing in timings), better[best], strict=True)
    )
    return Finding("faster", "note", f"{' and '.join(steps)}: {best} had {figures} the speed of {auto} here")


def _gains(timings: Sequence[Timing], name: str, other: str) -> list[float]:
    """For each batch size how many times as fast `name` was as `other`; 1 where they are equal, 0 where slower."""
    gains = []
    for batch in dict.fromkeys(timing.batch for timing in timings):
        a, b = (next(t.ratio for t in timings if (t.name, t.batch) == (one, batch)) for one in (name, other))
        gain = a.median / b.median
        sure = a.low > b.high if gain > 1 else a.high < b.low
        gains.append((gain if gain > 1 else 0.0) if sure and max(gain, 1 / gain) > GAIN else 1.0)
    return gains
