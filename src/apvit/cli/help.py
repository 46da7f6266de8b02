"""How help looks: typer's panels, in lines as wide as the terminal and without the names of Python's types."""

from __future__ import annotations

import inspect
from typing import Any

import typer


def tidy(command: Any, names: list[str]) -> None:
    """Change the help of a command of typer's (`typer.main.get_command`) and of all commands in it.

    Paragraphs become a line each, for the terminal to wrap; typer would keep the line ends that they have in the code.
    Switches and arguments say nothing of their type. names: of the help option
    """
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    names = command.context_settings.get("help_option_names", names)
    shown = command.get_help_option(typer.Context(command, help_option_names=names))  # which the command keeps
    for parameter in [*command.params, *([] if shown is None else [shown])]:
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: None
        elif parameter.is_flag and parameter.metavar is None:
            parameter.metavar = ""
    for inner in getattr(command, "commands", {}).values():
        tidy(inner, names)
