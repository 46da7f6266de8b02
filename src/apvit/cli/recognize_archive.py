"""`apvit recognize --ray`: the expressions in an archive of pictures and videos, by workers on one machine or many."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from apvit.cli.interruption import INTERRUPTED
from apvit.cli.messages import Messages
from apvit.files import counted

_COUNTS = ("pictures", "videos", "frames", "faces", "errors")


def recognize_archive(
    inputs: Sequence[str],
    address: str,
    *,
    form: str,
    output: str | None,
    weights: str,
    workers: int | None,
    shard_size: int,
    every: str,
    smooth: float,
    recognizer_options: Mapping[str, Any],
) -> None:
    """Do what is left of the job; exits with 1 where an input of this run could not be used, 130 after Ctrl-C."""
    folder = _check(inputs, output, form)
    from apvit.recognition.archive import Archive
    from apvit.recognition.archive.pool import check_address

    start = time.monotonic()
    with Messages(bar=sys.stderr.isatty()) as messages:
        check_address(address)  # before millions of inputs are listed
        archive = Archive(
            inputs,
            folder,
            shard_size=shard_size,
            weights=weights,
            options=recognizer_options,
            every=every,
            smooth=smooth,
            warn=messages.warn,
        )
        job, finished = archive.job, len(archive.finished)
        shards = -(-job.inputs // shard_size)
        parts = [
            f"{counted(job.inputs, 'picture')} in {counted(shards, 'shard')} of {shard_size:,}" if job.inputs else "",
            counted(job.tars, "tar file") if job.tars else "",
            counted(job.videos, "video") if job.videos else "",
        ]
        messages.say(
            ", ".join(filter(None, parts))
            + (f", of which {finished:,} {'is' if finished == 1 else 'are'} finished" if finished else "")
        )
        if not job.tars and not job.videos:  # nobody knows what is in them
            messages.expect(sum(job.size(number) for number in range(job.shards) if number not in archive.finished))
        done: Counter[str] = Counter()
        try:
            for report in archive.run(address, workers=workers):
                done.update(
                    {name: getattr(report, name) for name in ("pictures", "videos", "frames", "faces", "errors")}
                )
                messages.advance(report.pictures + report.videos)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        finally:
            left = job.shards - len(archive.finished)
            messages.say(
                counted(done["pictures"], "picture")
                + (f", {counted(done['videos'], 'video')} of {counted(done['frames'], 'frame')}" * bool(done["videos"]))
                + f", {counted(done['faces'], 'face')}"
                + (f", {done['errors']:,} could not be used" if done["errors"] else "")
                + f" in {time.monotonic() - start:.1f} s; results in {archive.folder.name}"
                + (f"; {left:,} of {counted(job.shards, 'shard')} left: start again to go on" if left else "")
            )
    if done["errors"]:
        raise typer.Exit(1)


def _check(inputs: Sequence[str], output: str | None, form: str) -> str:
    """The folder of results. Raises typer.BadParameter for what does not go together with --ray."""
    if output is None:
        raise typer.BadParameter(
            "an archive's results are a folder of Parquet files: add --output FOLDER", param_hint="--ray"
        )
    if form not in ("table", "parquet"):
        raise typer.BadParameter(f"an archive's results are Parquet files, not {form}", param_hint="--format")
    if "-" in inputs:
        raise typer.BadParameter(
            "a list on standard input is gone when the job starts again; save it as a .txt file", param_hint="INPUT"
        )
    return output
