"""How help looks: typer's panels, in lines as wide as the terminal and without the names of Python's types."""

from __future__ import annotations

import inspect
from typing import Any

from typer import BadParameter
from typer.core import TyperArgument, TyperCommand, TyperGroup

from apvit.cli.wording import speak_for


class _Tidy:
    """For a command of typer's: paragraphs of help are lines for the terminal to wrap, and switches name no type."""

    def __init__(self, *, help: str | None = None, params: list[Any] | None = None, **rest: Any) -> None:
        paragraphs = inspect.cleandoc(help or "").split("\n\n")
        super().__init__(  # type: ignore[call-arg]
            help="\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs),
            params=[tidy(parameter) for parameter in params or []],
            **rest,
        )

    def get_help_option(self, ctx: Any) -> Any:
        """The help option of the command, tidy too."""
        option = super().get_help_option(ctx)  # type: ignore[misc]
        return None if option is None else tidy(option)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments as typer parses them."""
        try:
            parsed: list[str] = super().parse_args(ctx, list(args))  # type: ignore[misc]
        except BadParameter as error:
            error.message = error.message.replace("Value error, ", "")  # which pydantic puts before every reason
            raise
        return parsed


class Command(_Tidy, TyperCommand):
    """A command whose help is tidy, and whose messages name its options."""

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        """The context to run in; from here on, what is said is said of this command."""
        speak_for(self)
        return super().make_context(*arguments, **extra)


class Group(_Tidy, TyperGroup):
    """A group of commands whose help is tidy."""


class _Argument(TyperArgument):
    """An argument of a command, without its type in the help."""

    def __init__(self, argument: TyperArgument) -> None:
        vars(self).update(vars(argument))

    def display_type_rich(self, ctx: Any) -> None:
        """Nothing."""


def tidy(parameter: Any) -> Any:
    """An option or argument of typer's as the help shows it."""
    if isinstance(parameter, TyperArgument):
        return _Argument(parameter)
    if parameter.is_flag and parameter.metavar is None:
        parameter.metavar = ""
    return parameter
