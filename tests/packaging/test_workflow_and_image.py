"""The GitHub workflow and the Dockerfile, which cannot be run here: what they name exists, and is what they say."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from pathlib import Path

import typer
import yaml
from packaging.specifiers import SpecifierSet

from apvit.cli import app

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
DOCKERFILE = ROOT / "Dockerfile"
MAKE = re.compile(r"^\s*(?:run: )?make (\S+)", re.MULTILINE)


def instructions() -> list[tuple[str, str]]:
    """(instruction, what follows) of the Dockerfile, with continued lines joined and comments left out."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def test_both_say_that_they_were_not_run_here() -> None:
    assert "Not run where this was written" in WORKFLOW.read_text().partition("name:")[0]
    assert "Not built where this was written" in DOCKERFILE.read_text().partition("\nFROM")[0]


def test_workflow_does_what_ci_run_does() -> None:
    job = yaml.safe_load(WORKFLOW.read_text())["jobs"]["check"]
    steps = [step["run"].split() for step in job["steps"] if "run" in step]
    assert [command for command, _ in steps] == ["make"] * len(steps)
    assert [target for _, target in steps] == MAKE.findall((ROOT / ".ci" / "run").read_text())


def test_its_targets_stand_in_the_makefile() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(MAKE.findall(WORKFLOW.read_text())) <= set(targets)


def test_workflow_tries_the_pythons_that_are_promised() -> None:
    pythons = yaml.safe_load(WORKFLOW.read_text())["jobs"]["check"]["strategy"]["matrix"]["python"]
    assert pythons == ["3.11", "3.12", "3.13"]
    assert all(python in SpecifierSet(PROJECT["requires-python"]) for python in pythons)


def test_workflow_has_no_rights_that_it_does_not_need() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets." not in WORKFLOW.read_text()


def test_image_runs_the_service_without_rights() -> None:
    last = dict(instructions())
    user = last["USER"]
    assert user.isdigit()
    assert int(user) > 0
    assert last["ENTRYPOINT"].startswith('["apvit", "serve", "--host", "0.0.0.0"')
    assert [name for name, _ in instructions()].index("USER") > [name for name, _ in instructions()].index("RUN")
    assert "/healthz" in last["HEALTHCHECK"]
    port = re.search(r'"--port", "(\d+)"', last["ENTRYPOINT"])
    assert port
    assert port[1] == last["EXPOSE"]
    assert f":{port[1]}/healthz" in last["HEALTHCHECK"]


def test_image_names_options_and_extras_that_exist() -> None:
    serve = typer.main.get_command(app).commands["serve"]
    options = {name for parameter in serve.params for name in parameter.opts}
    entry = dict(instructions())["ENTRYPOINT"]
    assert set(re.findall(r"--[a-z-]+", entry)) <= options
    (named,) = re.findall(r"'\.\[([^]]+)]'", " ".join(value for _, value in instructions()))
    extras = named.split(",")
    assert extras == ["serve"]
    assert set(extras) <= set(PROJECT["optional-dependencies"])


def test_image_is_made_from_files_that_reach_it() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = set()
    for name, value in instructions():
        if name == "COPY" and not value.startswith("--from"):
            copied |= set(value.split()[:-1])
    assert copied == sent
    assert all((ROOT / name).exists() for name in copied)
    assert not any(fnmatch.fnmatch(secret, name) for secret in (".git", "runs", "prepared", ".venv") for name in copied)
    read = {PROJECT["readme"], *PROJECT["license-files"], "pyproject.toml", "src"}  # what the build needs
    assert read <= copied
