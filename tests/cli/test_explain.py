"""`apvit explain` on real photographs with a network that classifies at random."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

import apvit
from apvit.cli import main

pytest.importorskip("matplotlib", reason="needs apvit[figures]")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def test_figures_panel_and_json(photographs, weights, tmp_path, capsys):
    folder, maps = tmp_path / "why", tmp_path / "maps.jsonl"
    pictures = [photographs["astronaut"], photographs["cat"], tmp_path / "absent.jpg"]
    command = ("explain", *pictures, "--weights", weights, "--save-dir", folder, "--panel", "--json", maps)
    assert run(*command) == 1  # one picture is not there
    said = capsys.readouterr()
    assert "no face" in said.out
    assert "absent.jpg" in said.err
    assert {path.name for path in folder.iterdir()} == {"astronaut-1.png", "panel.png"}
    assert Image.open(folder / "astronaut-1.png").width > 1000
    (record,) = [json.loads(line) for line in maps.read_text().splitlines()]
    assert record["face"] == 1
    assert record["grid"] == 12
    assert np.array(record["corners"]).shape == (13, 13, 2)
    assert record["box"][0] < np.array(record["corners"])[6, 6, 0] < record["box"][2]
    run(*command)
    assert len(list(folder.iterdir())) == 2  # its own pictures are replaced


def test_a_face_left_open(photographs, weights, tmp_path, capsys):
    folder, maps = tmp_path / "why", tmp_path / "maps.jsonl"
    options = ("--save-dir", folder, "--json", maps, "--panel", "--min-probability", "1", "--keep", "0.5")
    assert run("explain", photographs["astronaut"], "--weights", weights, *options) == 0
    assert "left open: " in capsys.readouterr().out
    record = json.loads(maps.read_text())
    assert record["expression"] is None
    assert record["min_probability"] == 1
    assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert np.array(record["kept"]).sum() == 72
    assert {path.name for path in folder.iterdir()} == {"astronaut-1.png", "panel.png"}


class _Interrupted(io.BytesIO):
    """A standard input that names one picture, and then Ctrl-C is pressed."""

    def __init__(self, name):
        super().__init__(f"{name}\n".encode())
        self.buffer = self

    def read1(self, size=-1):
        if not (data := super().read1(size)):
            raise KeyboardInterrupt
        return data


def test_maps_so_far_stand_beside_those_of_an_earlier_run(photographs, weights, tmp_path, monkeypatch, capsys):
    maps = tmp_path / "maps.jsonl"
    maps.write_text("an earlier run's")
    monkeypatch.setattr("sys.stdin", _Interrupted(photographs["astronaut"]))
    assert run("explain", "-", "--weights", weights, "--save-dir", tmp_path / "why", "--json", maps) == 130
    assert f"maps so far in {maps}.partial" in capsys.readouterr().err
    assert maps.read_text() == "an earlier run's"
    assert json.loads((tmp_path / "maps.jsonl.partial").read_text())["face"] == 1


def test_where_the_maps_cannot_go(photographs, weights, tmp_path, capsys):
    options = ("--weights", weights, "--json", tmp_path / "absent" / "maps.jsonl", "--save-dir", tmp_path / "why")
    assert run("explain", photographs["astronaut"], *options) == 2
    assert "--json" in capsys.readouterr().err
    assert not (tmp_path / "why").exists(), "said before any work"


def test_the_recognizer_explains(photographs, weights):
    recognizer = apvit.Recognizer(weights, engine="torch", device="cpu")
    ((face, explanation),) = recognizer.explain(photographs["astronaut"])
    assert face == recognizer(photographs["astronaut"])[0]
    assert explanation.expression == face.expression
    assert recognizer.explain(photographs["cat"]) == []
    # Its eyes lie, through the corners, where the template has them on the face.
    place = explanation.corners[0, 0] + np.array(recognizer.template.points[0]) @ (
        (explanation.corners[[0, -1], [-1, 0]] - explanation.corners[0, 0]) / 48
    )
    assert np.abs(place - face.landmarks[0]).max() < 8
