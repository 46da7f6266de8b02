"""The measured part of docs/service.md and README.md here: what the service did at a multiple of its capacity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]

TIMES = ("median_seconds", "p99_seconds", "max_seconds")


def sentences(load: Record | None) -> str:
    """Markdown for docs/service.md; `load` is what load.py wrote, None where it has not run."""
    if load is None:
        return "It has not been run on a quiet machine yet, so there is no published figure."
    sent = load["answered"]["count"] + load["refused"]["count"] + load["neither"]
    size = " by ".join(map(str, load["photograph"]["size"]))
    failed = [claim for claim, holds in load["claims"].items() if not holds]
    held = f"All that was claimed held: {'; '.join(load['claims'])}."
    requests = table(
        ("requests", "how many", "as they should be", "median", "99 of 100 within", "longest"),
        *(_requests(kind, load[kind]) for kind in ("answered", "refused")),
        ("neither", f"{load['neither']:,}", "", "", "", ""),
    )
    memory = table(
        ("resident memory", "early in the run", "at its end", "growth"),
        *(_memory(process, of) for process, of in load["memory_mb"].items()),
    )
    return "\n\n".join(
        (
            f"On {load['date'][:10]}, {load['cores']} cores of an {load['processor']} that service and sender share, "
            f"commit {(load['commit'] or 'unknown')[:10]}: {load['capacity_per_second']:.1f} photographs a second, of "
            f"{size} pixels and one face, are answered to clients that wait for their answers. Then "
            f"{load['sent_per_second']:.1f} a second were sent for {load['seconds']:.0f} s, whatever became of them; "
            f"of these {sent:,} requests {load['answered']['count'] / load['seconds']:.1f} a second were answered:",
            requests,
            memory,
            f"**Did not hold: {'; '.join(failed)}.**" if failed else held,
        )
    )


def with_picture(load: Record | None) -> str:
    """The same with the run as a picture, for README.md here."""
    if load is None:
        return sentences(None)
    picture = "![Over the run: answers and refusals a second, how long they took, resident memory](load.png)"
    return f"{sentences(load)}\n\n{picture}"


def _requests(kind: str, of: Record) -> tuple[str, ...]:
    return (kind, f"{of['count']:,}", f"{of['right']:,}", *(_seconds(of[name]) for name in TIMES))


def _memory(process: str, of: Record) -> tuple[str, ...]:
    growth = f"{100 * of['growth']:+.1f} %".replace("-", "−")
    return process, f"{of['early']:.0f} MB", f"{of['late']:.0f} MB", growth


def _seconds(value: float | None) -> str:
    """Milliseconds below a second; nothing where there were too few requests."""
    if value is None:
        return ""
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.0f} ms"


def table(heading: Sequence[str], *rows: Sequence[str]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
