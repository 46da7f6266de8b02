"""Griffe extension: a docstring's lines `name: what it is`, as this code writes them, become a list on the page."""

from __future__ import annotations

import re
from typing import Any

import griffe

NAMED = re.compile(r"^(?:\w+(?:, \w+)*): ")


class NamedLines(griffe.Extension):
    """Turns each run of named lines in a docstring into a Markdown list."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Rewrite the docstring before it is rendered."""
        if obj.docstring:
            obj.docstring.value = as_lists(obj.docstring.value)


def as_lists(text: str) -> str:
    """`a: first` and `b: second` under each other, with what is indented below them, as two items of a list."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if NAMED.match(line) and (inside or not lines or not lines[-1]):
            if not inside and lines and lines[-1]:
                lines.append("")
            name, _, rest = line.partition(": ")
            line, inside = f"- **{name}**: {rest}", True
        elif inside and line and not line.startswith(" "):
            inside = False
            lines.append("")
        elif not line:
            inside = False
        lines.append(line)
    return "\n".join(lines)
