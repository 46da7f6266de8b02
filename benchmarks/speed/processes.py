"""Programs in processes of their own, which say in their last line what they measured."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

PATIENCE = 1800
"""Seconds after which an installation or a process is given up."""


class NotRunningError(ValueError):
    """A program cannot be installed or run here."""


def run(command: Sequence[str]) -> str:
    """The last line of what a command prints; NotRunningError with the last line of its complaints where it fails."""
    # Otherwise TensorFlow reports on its instruction sets, and looks for GPUs that nobody compares.
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, **quiet})
    except OSError as error:
        raise NotRunningError(f"{command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise NotRunningError(f"not done after {PATIENCE} seconds") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise NotRunningError(lines[-1][:300])
    return (done.stdout.strip().splitlines() or [""])[-1]
