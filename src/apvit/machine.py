"""What a figure was made on: the machine, its cores and threads, package versions, the commit and the command."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    *("apvit", "torch", "numpy", "opencv-python-headless", "pillow", "pyarrow"),
    *("onnxruntime", "openvino", "lightning", "torchmetrics"),
)
"""Distributions whose version can change a figure."""
INSTRUCTIONS = (
    *("avx2", "fma", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "bf16", "i8mm", "sve", "sve2"),
)
"""The instruction sets that decide the speed of a network, by the names Linux gives them (x86, then Arm)."""


def describe_machine() -> dict[str, Any]:
    """As JSON values: `date` (UTC), `command`, `commit`, `python`, `platform`, `processor`, `cores` (that this process
    may use), `instructions`, `load` (mean of the last minute, None where the system does not tell), `omp_num_threads`
    (the variable as it is set, or None) and `packages` {name: version, or None where it is not installed}.
    """
    processor, flags = _processor()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(map(_without_folders, sys.argv)),
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor,
        "cores": core_count(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "packages": {name: installed_version(name) for name in PACKAGES},
    }


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_count() -> int:
    """Threads that OMP_NUM_THREADS allows, 0 where it says nothing: engines that know no OpenMP obey it too.

    Several processes with all cores' threads each are many times slower than one.
    """
    value = os.environ.get("OMP_NUM_THREADS", "")
    return int(value) if value.isdecimal() else 0


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit of the source tree this package runs from, with "-dirty" where it was changed; None outside one."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
        # Untracked files do not count: data and run folders lie beside the sources.
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "."], cwd=here, check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("-dirty" if changed else "")


def _processor() -> tuple[str, frozenset[str]]:
    """The processor's name, and the flags that Linux gives it (none elsewhere)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = facts.get("model name") or platform.processor() or platform.machine()
    return name, frozenset(facts.get("flags", facts.get("Features", "")).split())


def _without_folders(argument: str) -> str:
    """The name of an absolute path: result files and cards are published, and folders are one machine's own."""
    return Path(argument).name if Path(argument).is_absolute() else argument
