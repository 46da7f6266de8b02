"""`apvit explain` on real photographs with a network that classifies at random."""

from __future__ import annotations

import json

import pytest
from PIL import Image

import apvit
from apvit.cli import main

pytest.importorskip("matplotlib", reason="needs matplotlib (apvit[demo])")


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
    run(*command)
    assert len(list(folder.iterdir())) == 2  # its own pictures are replaced


def test_the_recognizer_explains(photographs, weights):
    recognizer = apvit.Recognizer(weights, engine="torch", device="cpu")
    ((face, explanation),) = recognizer.explain(photographs["astronaut"])
    assert face == recognizer(photographs["astronaut"])[0]
    assert explanation.expression == face.expression
    assert recognizer.explain(photographs["cat"]) == []
