"""Where and from what a run was made: versions, machine, commit."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("apvit", "torch", "lightning", "torchmetrics", "numpy", "pyarrow")


def commit() -> str | None:
    """The commit of the source tree this package runs from, with "-dirty" where it was changed; None outside one."""
    here = Path(__file__).parents[1]  # the whole package, not only this room
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
        # Untracked files do not count: data and run folders lie beside the sources.
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "."], cwd=here, check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("-dirty" if changed else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _without_folders(argument: str) -> str:
    """The name of an absolute path: result files and cards are published, and folders are one machine's own."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def environment() -> dict[str, Any]:
    """Date, command, commit, machine and package versions, as JSON values."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(map(_without_folders, sys.argv)),
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "packages": versions,
    }
