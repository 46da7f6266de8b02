"""The library's messages name arguments as Python writes them; the command line names its options instead."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

import typer

_ARGUMENT = re.compile(
    r"""(?<![\w/.'"`=-])([a-z]\w*)(?:=('[^']*'|"[^"]*"|True|False|None|[\d.]*\d))?(?![\w/'"`=-]|\.\w)"""
)
"""`name` or `name=value`, standing alone: no part of a path, of a quotation or of a longer word."""

_command: Any = None


def speak_for(command: Any) -> None:
    """From now on, messages are those of this command."""
    global _command
    _command = command


def in_options(text: str) -> str:
    """`text` with the arguments it names as the running command's options.

    min_face becomes --min-face, detector='none' --detector none, resume=True --resume. A word alone ("keep") stays,
    and so does what is no option of the command.
    """
    options = _options()

    def option(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name not in options or (value is None and "_" not in name):
            return match[0]
        if value in (None, "True"):
            return options[name]
        return f"{options[name]} {shlex.quote(value.strip(chr(39) + chr(34)))}"

    return _ARGUMENT.sub(option, text)


def _options() -> Mapping[str, str]:
    """{argument: option} of the running command; a field's own name stands for it (patch_keep: --model.patch-keep)."""
    try:
        parameters = [] if _command is None else _command.get_params(typer.Context(_command))
    except ImportError:  # those of `train` need packages, of which the message may say that they are missing
        return {}
    named = {one.name: max(one.opts, key=len) for one in parameters if one.param_type_name == "option"}
    return {name.rpartition("__")[2]: option for name, option in named.items()} | named
