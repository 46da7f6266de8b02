"""Pieces of Markdown that the reports share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from apvit.files import counted

PASS = (
    "One pass over the faces, no test-time augmentation; preprocessing, label order and temperature from the weights' "
    "card. Means over classes take the classes that occur."
)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """A table whose first `left` columns are left-aligned and the others right-aligned."""
    rule = [":--" if i < left else "--:" for i in range(len(header))]
    lines = [header, rule, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def spread(interval: Sequence[float] | None, digits: int = 3) -> str:
    """An interval such as [0.812, 0.838], or a dash."""
    return "–" if interval is None else f"[{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def signed(interval: Sequence[float], digits: int = 3) -> str:
    """An interval of a difference such as [-0.012, +0.003]."""
    return f"[{interval[0]:+.{digits}f}, {interval[1]:+.{digits}f}]"


def bootstrap(record: dict[str, Any]) -> str:
    """What the intervals are, from `resamples` and `seed`."""
    return (
        f"Intervals are 95 % percentile bootstrap intervals over faces ({record['resamples']:,} resamples, seed "
        f"{record['seed']}), faces of one group drawn together; they do not hold what another training run would "
        "change, and one without width means that the resamples agree, not that the figure is certain."
    )


def weights_line(name: str, described: dict[str, Any]) -> str:
    """A list item with what `describe_weights` says; older result files do not say what ran the network."""
    trained = ", ".join(f"{key} {value}" for key, value in described["trained_on"].items() if value is not None)
    run = f"; run on {runtime_words(described['runtime'])}" if "runtime" in described else ""
    return (
        f"- weights {name}: `{described['weights']}`, SHA-256 {described['sha256']}, {described['architecture']}, "
        f"{described['size']} px {described['colour']}, alignment {described['alignment']}, labels "
        f"{described['labels']}, temperature {described['temperature']:.4g}, trained on: "
        f"{trained or 'the card does not say'}{run}\n"
    )


def runtime_words(runtime: dict[str, Any]) -> str:
    """What ran the network, of `Runtime`: "torch 2.13.0, cpu, 2 threads, float32"."""
    threads = runtime["threads"]
    count = "threads as it chooses" if threads is None else counted(threads, "thread")
    return f"{runtime['engine']} {runtime['version']}, {runtime['device']}, {count}, {runtime['precision']}"


def data_line(name: str, described: dict[str, Any]) -> str:
    """A list item with what `describe_data` says, and one below it for each input."""
    inputs = "".join(f"  - made from `{file}`, SHA-256 {digest}\n" for file, digest in described["inputs"].items())
    return (
        f"- data {name}: `{described['data']}`, {described['dataset']} {described['split']}, protocol "
        f"{described['protocol']}, labels {described['labels']}, alignment {described['alignment']}\n{inputs}"
    )


def machine_line(described: dict[str, Any]) -> str:
    """A list item with what `describe_machine` says; older result files have two versions and no processor."""
    versions = described.get("packages") or {name: described[name] for name in ("apvit", "torch")}
    words = [described["date"], *(f"{name} {version}" for name, version in versions.items() if version)]
    words += [f"Python {described['python']}", described["platform"]]
    if "processor" in described:
        words += [
            described["processor"],
            counted(described["cores"], "core"),
            f"commit {described['commit'] or 'not known'}",
        ]
    return f"- {', '.join(words)}\n"
