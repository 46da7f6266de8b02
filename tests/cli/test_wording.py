"""The library's messages name arguments, the command line's its options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import apvit
from apvit import cli
from apvit.cli.wording import in_options, speak_for

PACKAGE = Path(apvit.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
COMMAND = re.compile(r"`(?:apvit|pip|ray) [^`]*`|pip install [^;,]*")
PART_OF_A_COMMAND = re.compile(r" ?--[a-z-]+( \{\})?")
DOCUMENTS = ("weights/model_card.py",)
"""What these write are documents, which may speak of the command line."""


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every string that is no docstring; what an f-string fills in is {}."""
    bodies = [node.body for node in ast.walk(tree) if isinstance(getattr(node, "body", None), list)]  # type: ignore[attr-defined]
    passed = {id(statement.value) for body in bodies for statement in body if isinstance(statement, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            passed |= {id(value) for value in node.values}
            yield node.lineno, "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed:
            yield node.lineno, node.value


def test_the_library_names_options_only_in_whole_commands() -> None:
    found = [
        f"{file.relative_to(PACKAGE)}:{line}: {text}"
        for file in sorted(PACKAGE.rglob("*.py"))
        if file.relative_to(PACKAGE).parts[0] != "cli" and str(file.relative_to(PACKAGE)) not in DOCUMENTS
        for line, text in texts(ast.parse(file.read_text("utf-8")))
        if OPTION.search(COMMAND.sub("", text)) and not PART_OF_A_COMMAND.fullmatch(text)
    ]
    assert not found, "name the argument (min_face, resume=True): the command line names its option for it"


@pytest.mark.parametrize(
    ("command", "text", "expected"),
    [
        ("recognize", "min_face must be at least 1", "--min-face must be at least 1"),
        ("recognize", "leave out min_face, min_detection", "leave out --min-face, --min-detection"),
        ("recognize", "shrink it (min_face); lower batch_size.", "shrink it (--min-face); lower --batch-size."),
        ("recognize", "try device='cpu'", "try --device cpu"),
        ("recognize", "keep='0.5:1,1' or keep='a b'", "--keep 0.5:1,1 or --keep 'a b'"),
        ("recognize", "its path: detector_model='FILE'", "its path: --detector-model FILE"),
        # What is no option, is part of something else, or is a word.
        ("recognize", "what keep and device mean", "what keep and device mean"),
        ("recognize", "learning_rate=3, no_such=True", "learning_rate=3, no_such=True"),
        ("recognize", "'min_face' and `min_face`", "'min_face' and `min_face`"),
        ("recognize", "a/min_face min_face/b min_face.jpg", "a/min_face min_face/b min_face.jpg"),
        ("recognize", "data/split=1/a.jpg device=1/b.jpg", "data/split=1/a.jpg device=1/b.jpg"),
        ("recognize", "`apvit export W --keep 0.5`", "`apvit export W --keep 0.5`"),
        ("train", "give resume=True to go on", "give --resume to go on"),
        ("train", "batch_size 3 is not a multiple of 2", "--batch-size 3 is not a multiple of 2"),
        ("train", "patch_keep must be positive", "--model.patch-keep must be positive"),
        ("data prepare", "leave out valid_share", "leave out --valid-share"),
        ("models", "a larger valid_share", "a larger valid_share"),
        ("evaluate", "such as split='test'", "such as --split test"),
    ],
)
def test_arguments_become_the_commands_options(command: str, text: str, expected: str) -> None:
    spoken = typer.main.get_command(cli.app)
    for name in command.split():
        spoken = spoken.commands[name]  # type: ignore[attr-defined]
    speak_for(spoken)
    assert in_options(text) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recognize", "a.jpg", "--min-face", "0"], "error: --min-face must be a finite number of at least 1 pixel"),
        (
            ["recognize", "a.jpg", "--detector", "none", "--min-face", "30"],
            "searches for no faces; leave out --min-face",
        ),
        (["recognize", "a.jpg", "--detector", "yunet", "--detector-model", "no"], "its path: --detector-model FILE"),
        (["recognize", "a.mp4", "--every", "0"], "Invalid value for --every"),
        (["train", "--batch-size", "0"], "--batch-size"),
        (["serve", "--batch-pictures", "0"], "--batch-pictures"),
    ],
)
def test_commands_name_their_options(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(arguments)
    assert message in " ".join(capsys.readouterr().err.split())
