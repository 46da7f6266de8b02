"""MkDocs hook: pages that are made from elsewhere in the repository.

benchmarks/*/README.md with their pictures become pages, so that what a script wrote is what the site shows; a link in
them to a file that is no page of the site becomes plain text. The command line's reference is typer's own help.
"""

from __future__ import annotations

import html
import re
from functools import partial
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the benchmarks' pages and pictures, and the command line's reference."""
    pages = sorted((ROOT / "benchmarks").glob("*/README.md"))
    shown = {path.relative_to(ROOT).as_posix() for path in pages}
    for page in pages:
        where = page.relative_to(ROOT)
        text = LINK.sub(partial(_link, page=where, shown=shown), page.read_text()).replace("../../docs/", "../../")
        files.append(File.generated(config, where.as_posix(), content=text))
        for picture in sorted(page.parent.rglob("*.png")):
            files.append(File.generated(config, picture.relative_to(ROOT).as_posix(), abs_src_path=str(picture)))
    files.append(File.generated(config, "reference/command-line.md", content=_command_line()))
    return files


def _link(link: re.Match[str], page: Path, shown: set[str]) -> str:
    text, target = link.groups()
    aim = (ROOT / page.parent / target.partition("#")[0]).resolve()
    known = aim.is_relative_to(ROOT) and aim.relative_to(ROOT).as_posix() in shown
    return link.group() if known else text


def _command_line() -> str:
    """Every command with its options, from the same words as `--help`."""
    import click
    import typer

    from apvit.cli import app

    command = typer.main.get_command(app)
    context = click.Context(command, info_name="apvit")
    say = "What `apvit COMMAND --help` says. The options of `train` are the fields of the [recipe](python.md#training)."
    parts = ["# Command line", say]
    for path, found, inner in _commands(command, context):
        parts += [f"## `{' '.join(path)}`", found.help or "", *_options(found, inner)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _commands(command: Any, context: Any, path: tuple[str, ...] = ("apvit",)) -> Any:
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            yield from _commands(found, type(context)(found, info_name=name, parent=context), (*path, name))
    else:
        yield path, command, context


def _options(command: Any, context: Any) -> list[str]:
    rows = []
    for parameter in command.params:
        record = parameter.get_help_record(context) if parameter.param_type_name == "option" else None
        names = record[0] if record else f"{parameter.metavar or parameter.name}"
        text = record[1] if record else (getattr(parameter, "help", "") or "")
        if not getattr(parameter, "hidden", False) and parameter.name != "help":
            rows.append(f"| <code>{_cell(names)}</code> | {_cell(text)} |")
    return ["| | |\n| --- | --- |\n" + "\n".join(rows)] if rows else []


def _cell(text: str) -> str:
    return html.escape(" ".join(text.split())).replace("|", "&#124;")
