"""Every python and sh block of README.md and docs/ is run, page by page, or says in its first line why not."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from tests.docs.blocks import PAGES, ROOT, RUN, RUNNABLE, SHOWN, Block
from tests.docs.home import copy_home, make_home

from apvit.cli import app

COMMAND = re.compile(r"(?:apvit|pip|python|make|import|from|curl|docker) ")


@pytest.mark.parametrize("page", PAGES)
def test_every_block_has_a_known_language(page: str) -> None:
    for block in PAGES[page]:
        assert block.language in (*RUN, *SHOWN), f"{block}: mark it python or sh, or as one of {SHOWN}"
        if block.language in SHOWN:
            assert not any(COMMAND.match(line) for line in block.text.splitlines()), f"{block}: mark it python or sh"


def test_a_reason_stands_where_a_reader_sees_it() -> None:
    for block in RUNNABLE:
        later = block.text.partition("\n")[2]
        assert "not run by the tests" not in later, f"{block}: the reason must be the whole first line"
        assert block.reason is not None or "not run" not in block.text.partition("\n")[0], f"{block}: give the reason"


@pytest.mark.parametrize("block", RUNNABLE, ids=str)
def test_block_is_valid(block: Block) -> None:
    if block.language == "python":
        compile(block.text, str(block), "exec")
    else:
        subprocess.run(["bash", "-n", "-c", block.text], check=True)


@pytest.mark.parametrize("block", [block for block in RUNNABLE if block.language == "sh"], ids=str)
def test_commands_and_options_exist(block: Block) -> None:
    """Those of blocks that are not run too: an option that was renamed is found here."""
    for words in apvit_commands(block.text):
        found = typer.main.get_command(app)
        while hasattr(found, "commands") and words:
            assert words[0] in found.commands, f"{block}: there is no command {words[0]!r}"
            found, words = found.commands[words[0]], words[1:]
        if found.name != "train":
            known = {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)}
            unknown = {word.partition("=")[0] for word in words if word.startswith("--")} - known - {"--help"}
            assert not unknown, f"{block}: apvit {found.name} has no {unknown}"


def test_recipes_of_train_commands_are_accepted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    from apvit.cli.train import read_recipe

    monkeypatch.chdir(ROOT)
    commands = [words for block in RUNNABLE if block.language == "sh" for words in apvit_commands(block.text)]
    trainings = [words[1:] for words in commands if words[0] == "train"]
    assert trainings
    for arguments in trainings:
        if "--print-config" in arguments:
            with pytest.raises(SystemExit) as stop:
                read_recipe(arguments)
            assert not stop.value.code
        else:
            read_recipe(arguments)
    assert "older spelling" not in capsys.readouterr().err


def apvit_commands(text: str) -> list[list[str]]:
    """The arguments of each call of apvit in a block.

    >>> apvit_commands("find . | apvit recognize - --keep 0.5  # fewer")
    [['recognize', '-', '--keep', '0.5']]
    """
    commands = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split, lexer.commenters = True, "#"
        words = list(lexer)
        starts = [i for i, word in enumerate(words) if word == "apvit"]
        for start in starts:
            rest = words[start + 1 :]
            end = next((i for i, word in enumerate(rest) if set(word) <= set("|&;<>")), len(rest))
            if rest[:end]:
                commands.append(rest[:end])
    return commands


@pytest.fixture(scope="session")
def template(photographs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home that pages get copies of; prepared/ferplus is made in it once."""
    from apvit.data import prepare

    root = make_home(tmp_path_factory.mktemp("home"), photographs)
    prepare("ferplus", root / "FERPLUS", root / "prepared" / "ferplus")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page, blocks in PAGES.items() if any(b in RUNNABLE for b in blocks)])
def test_blocks_run(page: str, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = copy_home(template, tmp_path / "home")
    monkeypatch.chdir(home)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PIP_DRY_RUN", "1")  # whatever a block says, nothing is installed here
    namespace: dict[str, object] = {}
    for block in PAGES[page]:
        if block.language not in RUN or block.reason is not None:
            continue
        if block.language == "python":
            exec(compile(block.text, str(block), "exec"), namespace)
        else:
            done = subprocess.run(
                ["bash", "-eo", "pipefail", "-c", block.text], cwd=home, capture_output=True, text=True, timeout=300
            )
            assert done.returncode == 0, f"{block} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr}"


@pytest.mark.slow
def test_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert not [line for line in built.stderr.splitlines() if line.startswith("WARNING")]
    assert (tmp_path / "site" / "index.html").is_file()
