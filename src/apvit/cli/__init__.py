"""The command `apvit`. Each command is one file, and imports the rooms it needs only when it runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from apvit.cli import data
from apvit.cli.benchmark import benchmark
from apvit.cli.calibrate import calibrate
from apvit.cli.convert import convert
from apvit.cli.doctor import doctor
from apvit.cli.evaluate import evaluate
from apvit.cli.explain import explain
from apvit.cli.export import export
from apvit.cli.help import Command, Group
from apvit.cli.interruption import INTERRUPTED
from apvit.cli.models import models
from apvit.cli.recognize import recognize
from apvit.cli.robustness import robustness
from apvit.cli.serve import serve
from apvit.cli.train import TrainCommand, train
from apvit.cli.tune import tune
from apvit.cli.wording import in_options
from apvit.files import sentence
from apvit.runtimes import failure_sentence

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    # Errors are one sentence (see `main`); where a traceback is wanted, Python's own says enough.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
USE, MEASURE, MOVE = "Recognise", "Train and measure", "Other engines and formats, speed"
app.command(cls=Command, rich_help_panel=USE)(recognize)
app.command(cls=Command, rich_help_panel=USE)(explain)
app.command(cls=Command, rich_help_panel=USE)(serve)
app.command(cls=Command, rich_help_panel=USE)(models)
app.command(cls=Command, rich_help_panel=USE)(doctor)
app.add_typer(data.app, rich_help_panel=MEASURE)
app.command(cls=TrainCommand, rich_help_panel=MEASURE)(train)
app.command(cls=Command, rich_help_panel=MEASURE)(evaluate)
app.command(cls=Command, rich_help_panel=MEASURE)(robustness)
app.command(cls=Command, rich_help_panel=MEASURE)(calibrate)
app.command(cls=Command, rich_help_panel=MOVE)(export)
app.command(cls=Command, rich_help_panel=MOVE)(tune)
app.command(cls=Command, rich_help_panel=MOVE)(benchmark)
app.command(cls=Command, rich_help_panel=MOVE)(convert)


def _show_version(wanted: bool) -> None:
    if wanted:
        from apvit import __version__

        typer.echo(f"apvit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the traceback of an error; may stand anywhere on the line."),
    ] = False,
) -> None:
    """Facial expression recognition with attentive pooling (APViT).

    Try: apvit recognize PHOTO.jpg
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (`arguments`, default the process's own); always ends in SystemExit.

    Status 0: done; 1: something went wrong, said in one line on standard error; 2: the command was not understood;
    130: interrupted.
    """
    arguments, debug = _take_debug(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file's name may hold what the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    try:
        typer.main.get_command(app)(args=arguments, prog_name="apvit")
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            print("interrupted", file=sys.stderr)
        if stop.code == 2:
            for name in arguments[: arguments.index("--") if "--" in arguments else None]:
                if name.startswith("-") and os.path.exists(name):
                    print(f"a name that begins with - goes after --: apvit {arguments[0]} -- {name}", file=sys.stderr)
        raise
    except (ValueError, OSError, ImportError, MemoryError, RuntimeError) as error:
        said = failure_sentence(error) if isinstance(error, RuntimeError) else sentence(error)
        if debug or said is None:
            raise
        print(
            f"error: {in_options(said)}{' (--debug shows where)' if isinstance(error, RuntimeError) else ''}",
            file=sys.stderr,
        )
        sys.exit(1)


def _take_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without --debug, wherever it stood before a "--", and whether it did."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    options = [a for a in arguments[:end] if a != "--debug"]
    return [*options, *arguments[end:]], len(options) < end
