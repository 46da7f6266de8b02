"""Runs every benchmark of this folder, one after the other, with random weights and exports made once for all.

    python benchmarks/speed/all.py                      # all, half an hour; the machine must have nothing else to do
    python benchmarks/speed/all.py engines pooling      # these
    python benchmarks/figures.py                        # afterwards: the results into the pages

One that fails does not stop the others; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from apvit.machine import core_count

HERE = Path(__file__).parent
NAMES = ("engines", "pooling", "growth", "peers", "memory", "cold_start", "folder", "video", "int8")
"""The scripts in the order they run. All take --folder, so that random weights and exports are made once."""
BUSY = 0.5
"""Load average above which the figures would be somebody else's too."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)} (default: all there are)")
    names = parser.parse_args().names
    if unknown := [name for name in names if not (HERE / f"{name}.py").exists() or name not in NAMES]:
        parser.error(f"there is no benchmark {', '.join(unknown)}; known are {', '.join(NAMES)}")
    if os.getloadavg()[0] > BUSY:
        print(f"warning: load {os.getloadavg()[0]:.1f}: other work on this machine spoils the figures", file=sys.stderr)
    failed = []
    with TemporaryDirectory(prefix="apvit-speed-") as folder:
        for name in names or [name for name in NAMES if (HERE / f"{name}.py").exists()]:
            print(f"\n== {name} ==\n", flush=True)
            start = time.monotonic()
            if subprocess.run(command(name, folder), env=environment(), check=False).returncode:
                failed.append(name)
            print(f"\n({time.monotonic() - start:.0f} s)", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def command(name: str, folder: str) -> list[str]:
    return [sys.executable, str(HERE / f"{name}.py"), "--folder", folder]


def environment() -> dict[str, str]:
    """All engines with as many threads as there are cores, also where a core runs two of them; nothing from a hub."""
    return {"OMP_NUM_THREADS": str(core_count()), "HF_HUB_OFFLINE": "1", **os.environ}


if __name__ == "__main__":
    sys.exit(main())
