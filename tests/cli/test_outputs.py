"""Every option that names a file: links and pipes stay what they are, and get all of it."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from threading import Thread

import pytest
from PIL import Image
from tests.recognition.clips import scene, write_clip

import apvit
from apvit.cli import main

PICTURE = "recognize a.png --format {form} --output {file}"
CLIP = "recognize clip.mp4 --every 2 {option} {file}"
COMMANDS = [
    (PICTURE.replace("{form}", "jsonl"), "o.jsonl", b'{"source": "a.png"'),
    (PICTURE.replace("{form}", "csv"), "o.csv", b"source,face,"),
    (PICTURE.replace("{form}", "parquet"), "o.parquet", b"PAR1"),
    ("recognize clip.mp4 --every 2 --format csv --output {file}", "o.csv", b"source,frame,"),
    ("recognize clip.mp4 --every 2 --format parquet --output {file}", "o.parquet", b"PAR1"),
    (CLIP.replace("{option}", "--summary"), "o.json", b"{"),
    (CLIP.replace("{option}", "--subtitles"), "o.srt", b"1\n00:00:00"),
    (CLIP.replace("{option}", "--timeline"), "o.png", b"\x89PNG"),
    (CLIP.replace("{option}", "--save-video"), "o.mkv", b"\x1aE\xdf\xa3"),
    ("explain a.png --save-dir maps --json {file}", "o.jsonl", b'{"source": "a.png"'),
    ("export good.safetensors {file}", "o.onnx", b"\x08"),
    ("benchmark good.safetensors --engine torch --batch 1 --seconds 0.01 --json {file}", "o.json", b"{"),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, photographs: dict[str, Path], weights: Path) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    face = Image.open(photographs["astronaut"]).convert("RGB").crop((150, 0, 300, 200)).resize((96, 128))
    face.save(folder / "a.png")
    write_clip(folder / "clip.mp4", list(scene(face, [(60, 120)] * 6)))
    (folder / "good.safetensors").symlink_to(weights)
    return folder


@pytest.mark.parametrize("kind", ["link", "pipe"])
@pytest.mark.parametrize(("command", "name", "start"), COMMANDS, ids=[f"{c.split()[0]} {n}" for c, n, _ in COMMANDS])
def test_what_is_no_regular_file_stays(
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    name: str,
    start: bytes,
    kind: str,
) -> None:
    for file in inputs.iterdir():
        (tmp_path / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    output, read = Path(name), []
    if kind == "link":
        Path("real").mkdir()
        Path("real", name).write_bytes(b"old")
        output.symlink_to(Path("real", name))
    else:
        os.mkfifo(output)
        reader = Thread(target=lambda: read.append(output.read_bytes()), daemon=True)
        reader.start()
    arguments = command.format(file=name).split()
    if arguments[0] not in ("export", "benchmark"):
        arguments += ["--weights", "good.safetensors", "--device", "cpu"]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert not stop.value.code, capsys.readouterr().err
    if kind == "link":
        assert output.is_symlink()
        assert Path("real", name).read_bytes().startswith(start)
        assert os.listdir("real") == [name]
    else:
        reader.join(10)
        assert stat.S_ISFIFO(output.lstat().st_mode)
        assert read[0].startswith(start)
    assert not list(Path(".").glob("*.partial")) + list(Path(".").glob(".apvit-*"))


ALLOWED = {
    "files.py",  # the one writer
    "data/preparing.py",  # whole splits, together, from one folder into another
    "recognition/video/journal.py",  # the journal becomes the table
}


def test_one_writer() -> None:
    """Nothing else renames a file over another, or makes a name for a temporary one."""
    package = Path(apvit.__file__).parent
    own = re.compile(r"os\.replace\(|os\.rename\(|\.rename\(|\.tmp\"|file_digest\(")
    found = {path.relative_to(package).as_posix() for path in package.rglob("*.py") if own.search(path.read_text())}
    assert found <= ALLOWED
