from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data import trees
from typer.testing import CliRunner

from apvit.cli.data import app
from apvit.data import PROTOCOLS, read_split
from apvit.data.datasets import DATASETS, options_of


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def whole(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command as users run it, with the errors that only `apvit.cli.main` turns into one line."""
    script = "from apvit.cli import main; main()"
    command = [sys.executable, "-c", script, "data", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def root(tmp_path) -> Path:
    """FER+ with two training faces and one validation face, equal to the second of them."""
    rows = {
        "FER2013Train": [("fer0000000.png", 0, "9,1,0,0,0,0,0,0,0,0"), ("fer0000001.png", 1, "0,0,5,5,0,0,0,0,0,0")],
        "FER2013Valid": [("fer0028709.png", 1, "0,10,0,0,0,0,0,0,0,0")],
    }
    for folder, faces in rows.items():
        (tmp_path / "root" / folder).mkdir(parents=True)
        lines = [f'{name},"(0, 0, 48, 48)",{votes}\n' for name, _, votes in faces]
        (tmp_path / "root" / folder / "label.csv").write_text("".join(lines))
        for name, seed, _ in faces:
            pixels = np.random.default_rng(seed).integers(0, 256, (48, 48), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "root" / folder / name)
    return tmp_path / "root"


def test_prepare(root, tmp_path):
    result = run("prepare", "ferplus", root, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert len(read_split(tmp_path / "out" / "train.parquet")) == 1
    assert len(read_split(tmp_path / "out" / "valid.parquet")) == 1
    lines = [" ".join(line.split()) for line in result.stdout.replace("│", " ").splitlines()]
    assert "before 2 (1 labelled) 1 (1 labelled)" in lines
    assert "also in valid 1 (0 labelled)" in lines
    assert "after 1 (1 labelled) 1 (1 labelled)" in lines
    assert "neutral 1 0" in lines
    assert f"wrote {tmp_path / 'out' / 'train.parquet'}" in lines
    assert "warning: train differs from the published counts (lines are missing" in result.stderr
    assert "warning: there is no test split here" in result.stderr


def test_options(root, tmp_path):
    (tmp_path / "also.csv").write_text("split,image\nFER2013Train,fer0000000.png\n")
    options = ["--protocol", "argmax8", "--keep-leaks", "--also-in-test", tmp_path / "also.csv"]
    result = run("prepare", "ferplus", root, tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    train = read_split(tmp_path / "out" / "train.parquet")
    assert train.labels.tolist() == [0, 2]
    assert train.metadata.protocol == "argmax8"
    assert train.metadata.leaks["also_in_test"] == {"rows": 1, "labelled": 1}


def test_help_names_every_protocol():
    text = " ".join(run("prepare", "--help").stdout.replace("│", " ").split())
    for protocol in PROTOCOLS:
        assert protocol in text
    assert "--keep-leaks" in text


@pytest.mark.parametrize("command", ["prepare", "verify"])
def test_help_names_every_dataset_and_all_their_options(command):
    text = run(command, "--help").stdout
    for name, dataset in DATASETS.items():
        assert name in text
        for option in options_of(dataset):
            assert f"--{option.replace('_', '-')}" in text


def folder(root: Path, count: int = 30) -> Path:
    for label in ("happy", "sad"):
        (root / label).mkdir(parents=True)
        for i in range(count):
            pixels = np.random.default_rng([i, label == "sad"]).integers(0, 256, (8, 8), np.uint8)
            Image.fromarray(pixels).save(root / label / f"{i}.png")
    return root


def test_a_carved_valid_is_shown(tmp_path):
    result = run("prepare", "folder", folder(tmp_path / "mine"), tmp_path / "out", "--valid-share", 0.2, "--seed", 5)
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.replace("│", " ").splitlines()]
    assert "carved for valid 12 (12 labelled)" in lines
    assert "happiness 24 6" in lines
    assert "valid=0.2 of train, seed=5" in result.stdout


def test_what_is_left_out_is_shown(tmp_path):
    root = folder(tmp_path / "mine", 3)
    table = ["path,label,x1,y1,x2,y2", *(f"happy/{i}.png,happy,1,1,6,6" for i in range(3)), "sad/0.png,sad,20,1,29,6"]
    (root / "labels.csv").write_text("\n".join(table))
    result = run("prepare", "folder", root, tmp_path / "out", "--valid-share", 0)
    assert result.exit_code == 0, result.output
    assert "1 of 4 faces are left out" in result.stderr
    assert f"why faces are left out: {tmp_path / 'out' / 'left_out.csv'}" in result.stdout


def test_options_reach_the_dataset(tmp_path):
    root = trees.expw(tmp_path / "expw")
    options = ["--shares", "0.5,0.25,0.25", "--seed", 2, "--min-confidence", 20]
    result = run("prepare", "expw", root, tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert "seed=2" in read_split(tmp_path / "out" / "valid.parquet").metadata.protocol
    report = json.loads(run("verify", "expw", root, *options, "--format", "json").stdout)
    assert 10 <= report["splits"][1]["faces"] <= 20


def test_labels_and_groups_are_stated_and_shown(tmp_path):
    root = trees.ck(tmp_path / "ck", "{expression}/{subject}x{sequence}x{frame}.png")
    for path in [path for path in root.iterdir() if path.is_dir()]:
        path.rename(root / str("adfhs".index(path.name[0]) + (path.name == "surprise")))
    flags = ["--labels", "0=anger,1=disgust,2=fear,3=happy,4=sad,5=surprise", "--group-pattern", r"^(\d+)x"]
    flags += ["--valid-share", 0.3, "--seed", 1]
    groups = f"folder in {root}: class folders; 12 groups of 72 pictures by the pattern ^(\\d+)x\n"
    for command, out in (("prepare", [tmp_path / "out"]), ("verify", [])):
        result = run(command, "folder", root, *out, *flags)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith(groups)
    metadata = read_split(tmp_path / "out" / "valid.parquet").metadata
    assert metadata.protocol.startswith(r"groups=^(\d+)x labels=0=anger,1=disgust,2=fear,3=happiness,4=sadness,5=surp")
    report = json.loads(run("verify", "folder", root, *flags[:2], "--valid-share", 0.3, "--format", "json").stdout)
    assert [finding["kind"] for finding in report["findings"]] == ["near-duplicates"]


@pytest.mark.parametrize("command", ["prepare", "verify"])
@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (("--protocol", "majority"), 1, "error: folder has no option protocol; its own are table"),
        (("--every", 2), 1, "error: folder has no option every; its own are table"),
        (("--labels", "0"), 1, "error: labels are stated like 0=anger,1=disgust, not '0'"),
        (
            ("--labels", "sad=happyness"),
            1,
            "sad is 'happyness', which is no expression; did you mean happiness?",
        ),
        (("--group-pattern", "(a"), 1, "error: the group pattern (a is no regular expression: missing ), unterminated"),
        (("--group-pattern", "(zebra)"), 1, "error: the group pattern (zebra) fits none of 4 pictures, such as happy/"),
        (("--shares", "a,b"), 2, "--shares is three numbers such as 0.75,0.1,0.15, not 'a,b'"),
    ],
)
def test_flags_that_mean_nothing(tmp_path, command, flags, status, message):
    out = [tmp_path / "out"] if command == "prepare" else []
    result = whole(command, "folder", folder(tmp_path / "mine", 2), *out, *flags)
    assert result.returncode == status
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (("--size", 96), 2, "--size is about alignment: say to which template with --align TEMPLATE"),
        (
            ("--align", "arcface"),
            1,
            "unknown alignment template 'arcface' (did you mean 'arcface-112'?); known are",
        ),
        (("--align", "arcface-112", "--size", 0), 1, "error: size must be at least 1, not 0"),
    ],
)
def test_alignment_that_means_nothing(tmp_path, flags, status, message):
    result = whole("prepare", "folder", folder(tmp_path / "mine", 2), tmp_path / "out", *flags)
    assert result.returncode == status
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_ctrl_c_leaves_nothing(tmp_path):
    root = folder(tmp_path / "mine", 2500)
    command = [sys.executable, "-c", "from apvit.cli import main; main()", "data", "prepare", "folder", root, "out"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/.prepare-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.strip().endswith("interrupted")
    assert "Traceback" not in stderr
    assert stdout == ""
    assert not (tmp_path / "out").exists()


def test_verify(root):
    result = run("verify", "ferplus", root)
    assert result.exit_code == 0, result.output
    assert "warning: 1 group of equal pictures, 2 faces in all" in result.stdout
    assert "FER2013Train/fer0000001.png (no label), FER2013Valid/fer0028709.png (happiness)" in result.stdout
    assert "(published 25,045)" in result.stdout
    assert result.stdout.endswith("passed: 0 errors, 4 warnings\n")
    strict = run("verify", "ferplus", root, "--strict")
    assert strict.exit_code == 1
    assert strict.stdout.endswith("failed: 0 errors, 4 warnings\n")


def test_verify_finds_errors(root):
    (root / "FER2013Train" / "fer0000000.png").write_bytes(b"broken")
    result = run("verify", "ferplus", root)
    assert result.exit_code == 1
    assert "error: missing or unreadable: 1 picture\n" in result.stdout
    assert "failed: 1 error," in result.stdout


def test_verify_as_json(root):
    result = run("verify", "ferplus", root, "--format", "json", "--strict")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["failed"] is True
    assert report["dataset"] == "ferplus"
    assert [counts["faces"] for counts in report["splits"]] == [2, 1]
    assert {finding["kind"] for finding in report["findings"]} == {"counts", "duplicates", "leaks"}


def test_long_findings_are_cut_in_text_and_whole_in_json(root):
    with (root / "FER2013Train" / "label.csv").open("a") as file:
        file.writelines(f"[red]fer{i}.png\n" for i in range(8))
    result = run("verify", "ferplus", root)
    assert "and 3 more (--format json has all)" in result.stdout
    report = json.loads(run("verify", "ferplus", root, "--format", "json").stdout)
    assert len(report["findings"][0]["details"]) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prepare", "ferplus", "{}/gone", "{}/out"), "gone does not exist; expected a folder or zip"),
        (("prepare", "ferplus", "{}", "{}/out", "--protocol", "max"), "unknown vote protocol 'max'; known are"),
        (("prepare", "fer", "{}", "{}/out"), "unknown dataset 'fer'; known are raf-db, ferplus"),
        (("verify", "ferplus", "{}"), "is not FER+; expected"),
    ],
)  # fmt: skip
def test_user_errors_are_one_line(tmp_path, arguments, message):
    result = whole(*(argument.format(tmp_path) for argument in arguments))
    assert result.returncode == 1
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.strip().count("\n") == 0
    assert "Traceback" not in result.stderr


def test_the_sub_command_is_part_of_apvit(root):
    result = whole("verify", "ferplus", root, "--format", "json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["failed"] is False
