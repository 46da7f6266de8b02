"""`apvit convert` from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from apvit.cli import main
from apvit.weights import load_weights, read_card

SOURCE = Path(__file__).resolve().parents[1] / "goldens" / "golden_tiny3_weights.safetensors"
TINY3 = ["--heads", "4", "--patch-keep", "157", "--token-keep", "1,1,1,.9,.8,.7"]


def run(*arguments: str | Path) -> int:
    """The command's exit status."""
    with pytest.raises(SystemExit) as status:
        main(["convert", *map(str, arguments)])
    return int(status.value.code or 0)


def test_converts_and_says_what_it_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "official.pth"
    torch.save({"state_dict": {**load_file(SOURCE), "extractor.output_layer.3.weight": torch.zeros(2)}}, source)
    output = tmp_path / "out.safetensors"
    assert run(source, output, *TINY3, "--half") == 0
    model, card = load_weights(output)
    assert model.config.token_keep == (1, 1, 1, 0.9, 0.8, 0.7)
    assert card.labels.name == "apvit-official-7"
    captured = capsys.readouterr()
    assert captured.out == ""
    for text in (
        "custom: stem 64, 2 units of 64, 2 units of 48, 3 units of 56; 6 blocks of 48, 4 heads, MLP 144",
        "157 of 196, then 157, 157, 157, 141, 112, 78",
        "apvit-official-7: anger, disgust, fear, sadness, happiness, surprise, neutral",
        "aligned as arcface-112",
        "keys used     185",
        "keys unused   1: extractor.output_layer.3.weight",
        "keys missing  0",
        "1.2 MB, float16",
    ):
        assert text in captured.err


@pytest.mark.parametrize(
    ("options", "patch_keep", "token_keep"),
    [
        (["--patch-keep", "none", "--token-keep", "none"], None, None),
        (["--patch-keep", ".5", "--token-keep", "1,1,1,1,1,20"], 0.5, [1, 1, 1, 1, 1, 20]),
        (["--patch-keep", "1.0", "--token-keep", "1.0,1,1,1,1,1"], 1.0, [1.0, 1, 1, 1, 1, 1]),
    ],
)
def test_keeps(tmp_path: Path, options: list[str], patch_keep: float | None, token_keep: list[float] | None) -> None:
    assert run(SOURCE, tmp_path / "out.safetensors", "--heads", "4", *options) == 0
    parameters = read_card(tmp_path / "out.safetensors").parameters
    assert parameters["patch_keep"] == patch_keep
    assert type(parameters["patch_keep"]) is type(patch_keep)
    assert parameters["token_keep"] == token_keep


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.pth", "out.safetensors"], "no checkpoint 'nowhere.pth': there is no such file"),
        ([SOURCE, "out.safetensors"], "--token-keep has 8 entries, but the model has 6 blocks"),
        ([SOURCE, "out.safetensors", *TINY3, "--heads", "5"], "dim 48 is not a multiple of num_heads 5"),
        ([SOURCE, "out.safetensors", *TINY3, "--labels", "emotions"], "unknown label space 'emotions'"),
        ([SOURCE, "out.safetensors", *TINY3, "--patch-keep", "most"], "'most' is neither a count, a rate nor none"),
        ([SOURCE, "out.safetensors", *TINY3, "--token-keep", "1,none"], "write 1 for a block that keeps all"),
        ([SOURCE, "no/out.safetensors", *TINY3], "the output does not exist; make it first"),
        ([__file__, "out.safetensors"], "is damaged, or holds more than tensors"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str | Path],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) != 0
    error = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert message in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []
