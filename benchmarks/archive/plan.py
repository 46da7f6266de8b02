"""The measured part of docs/archives.md: throughput against workers, and a job of 100 million pictures by formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PICTURES = 100_000_000
CORES = (16, 128, 1024)
SHARD_SIZES = (1_000, 10_000)


NOT_YET = "Not measured yet: run `python benchmarks/archive/scaling.py` on a quiet machine."


def measured(scaling: dict[str, Any] | None) -> str:
    """What was measured, as Markdown; `scaling` is what scaling.py wrote, None where it has not run."""
    if scaling is None:
        return NOT_YET
    workers = {int(count): run for count, run in scaling["workers"].items()}
    one, driver = workers[min(workers)], scaling["driver"]
    startup = max(run["startup_seconds"] for run in workers.values())
    return "\n\n".join(
        (
            f"Measured on {scaling['date'][:10]} with `benchmarks/archive/scaling.py` at commit "
            f"`{(scaling['commit'] or 'unknown')[:12]}`: {scaling['processor']}, {scaling['cores']} cores, Ray "
            f"{scaling['ray']}, `{scaling['weights']}`, {scaling['detector']}, {scaling['pictures']} JPEG pictures of "
            f"at most {scaling['longer_side']} pixels ({scaling['bytes_per_picture'] / 1000:.0f} kB, "
            f"{scaling['faces_per_picture']:.1f} faces).",
            table(
                ["workers", "pictures per second", "against one", "per worker", "peak memory of a worker"],
                *(
                    [
                        str(count),
                        f"{run['pictures_per_second']:.1f}",
                        f"× {run['pictures_per_second'] / one['pictures_per_second']:.2f}",
                        f"{run['pictures_per_second'] / count:.1f}",
                        f"{run['peak_memory'] / 1e6:.0f} MB",
                    ]
                    for count, run in sorted(workers.items())
                ),
            ),
            f"A shard costs {scaling['empty_shard']['seconds_per_shard'] * 1000:.0f} ms beside its pictures; from the "
            f"start of the command to the first shard pass {startup:.0f} s. The driver lists and hashes a million "
            f"names of {driver['characters_per_name']:.0f} characters in {driver['seconds_per_million']:.1f} s, "
            f"holds {driver['bytes_held_per_name']:.0f} bytes for each and "
            f"{driver['peak_bytes_per_name']:.0f} while it sorts them.",
        )
    )


def plan(scaling: dict[str, Any] | None) -> str:
    """The same with what a large job takes, for docs/archives.md."""
    if scaling is None:
        return NOT_YET
    workers = {int(count): run for count, run in scaling["workers"].items()}
    most = max(workers)
    # A core of a machine whose cores are all at work, which is how a large job runs.
    rate = workers[most]["pictures_per_second"] / most
    shard, driver = scaling["empty_shard"]["seconds_per_shard"], scaling["driver"]
    memory = max(run["peak_memory"] for run in workers.values())
    startup = max(run["startup_seconds"] for run in workers.values())
    return "\n\n".join(
        (
            measured(scaling),
            f"### {PICTURES // 1_000_000} million pictures",
            f"Reckoned, not measured beyond {most} workers. With N pictures, S pictures per shard, and C cores, each a "
            "worker:",
            "```\n"
            f"seconds = (N / r + N / S × s) / C + start     r = {rate:.1f} pictures per second, s = {shard:.3f} s, "
            f"start = {startup:.0f} s\n"
            f"memory  = C × m                               m = {memory / 1e9:.2f} GB\n"
            f"driver  = N × b                               b = {driver['peak_bytes_per_name']:.0f} bytes\n"
            "lost by a kill, at most: S / r seconds of a core\n"
            "```",
            table(
                ["cores", "shard size", "files", "hours", "core hours", "workers' memory", "lost by a kill"],
                *(
                    [
                        f"{cores:,}",
                        f"{size:,}",
                        f"{-(-PICTURES // size):,}",
                        f"{seconds(rate, shard, startup, size, cores) / 3600:,.1f}",
                        f"{seconds(rate, shard, startup, size, cores) / 3600 * cores:,.0f}",
                        f"{cores * memory / 1e9:,.0f} GB",
                        f"{size / rate:,.0f} s",
                    ]
                    for cores in CORES
                    for size in SHARD_SIZES
                ),
            ),
            f"The driver needs {PICTURES * driver['peak_bytes_per_name'] / 1e9:.0f} GB and "
            f"{PICTURES * driver['seconds_per_million'] / 1e6 / 60:.0f} minutes for a list of {PICTURES // 1_000_000} "
            "million names (almost nothing where the pictures lie in Parquet files), and the network brings "
            f"{PICTURES * scaling['bytes_per_picture'] / 1e12:.1f} TB of pictures, "
            f"{rate * scaling['bytes_per_picture'] / 1e6:.1f} MB per second for each core.",
        )
    )


def seconds(rate: float, shard: float, startup: float, size: int, cores: int) -> float:
    """How long the job takes, by the formula."""
    return (PICTURES / rate + PICTURES / size * shard) / cores + startup


def table(heading: Sequence[str], *rows: Sequence[str]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
