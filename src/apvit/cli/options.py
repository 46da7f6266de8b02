"""Options that several commands have, each declared once, and what a command says of those it has no place for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from apvit.files import OutputError, check_output, sentence

FACES, RESULTS, NETWORK = "Which faces", "Results", "Network"
"""Panels of the help."""

Detector = Annotated[
    Literal["mtcnn", "yunet", "none"],
    typer.Option(help="Who finds the faces; none: every picture already is one face.", rich_help_panel=FACES),
]
DetectorModel = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="YuNet's model file; else from the cache or the hub.", rich_help_panel=FACES),
]
Null = Annotated[
    bool,
    typer.Option("--null", "-0", help="The list on standard input is separated by NUL characters (find -print0)."),
]
MaxFaces = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Only the N largest faces of a picture.", rich_help_panel=FACES),
]
MinProbability = Annotated[
    float,
    typer.Option(
        metavar="P",
        min=0,
        max=1,
        help="Leave faces unsure whose top probability is lower; the coverage curve in the weights' card tells how "
        "many these are and how often the rest is right (apvit models --format json).",
        rich_help_panel=RESULTS,
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        metavar="W", help="A bundled name (apvit models), a file, or hf://owner/repo.", rich_help_panel=NETWORK
    ),
]
Keep = Annotated[
    str | None,
    typer.Option(
        metavar="KEEP",
        help="Compute dial: share of patches that pooling keeps (0.8), and if wanted of tokens after each block "
        "(0.8:1,1,.9,.9). Default: what the weights' card says.",
        rich_help_panel=NETWORK,
    ),
]
Engine = Annotated[
    str,
    typer.Option(metavar="NAME", help="What runs the network: auto, torch, onnx or openvino.", rich_help_panel=NETWORK),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.", rich_help_panel=NETWORK)]

Split = Annotated[str | None, typer.Option(metavar="NAME", help="Split to read; default: the file's own, else valid.")]
Resamples = Annotated[int, typer.Option(metavar="N", min=100, help="Bootstrap resamples of the 95 % intervals.")]
FacesAtOnce = Annotated[int, typer.Option(metavar="N", min=1, help="Faces in a batch.")]
EvaluationEngine = Annotated[
    str,
    typer.Option(metavar="NAME", help="What runs the network: torch, or onnx, openvino or auto for exported files."),
]
TorchDevice = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")]


def given(group: object) -> list[str]:
    """Which options of a group were given, as they are written; a field of the group has its option's name."""
    values = vars(group).items()
    return [f"--{name.replace('_', '-')}" for name, value in values if value is not None and value is not False]


def check_outputs(files: Mapping[str, str | Path | None]) -> None:
    """Raises typer.BadParameter, before any work is done, for an option {option: file} whose file cannot be written."""
    for option, file in files.items():
        try:
            if file is not None:
                check_output(file)
        except (OutputError, OSError) as error:
            raise typer.BadParameter(sentence(error), param_hint=option) from None


def refuse(options: Sequence[str], why: str) -> None:
    """Raises typer.BadParameter, with the reason, where there are any such options."""
    if options:
        raise typer.BadParameter(why, param_hint=options[0])
