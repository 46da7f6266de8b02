"""Import of official checkpoints: what is inferred, what is warned about, what is refused."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from apvit.expressions import LABEL_SPACES
from apvit.faces.alignment import TEMPLATES
from apvit.nn import ARCHITECTURES, APViT, APViTConfig
from apvit.weights import CardError, CheckpointError, convert_official, from_official, load_weights
from apvit.weights.official import _infer, official_name, read_official

StateDict = dict[str, Tensor]
TINY3: dict[str, Any] = {"num_heads": 4, "patch_keep": 157, "token_keep": (1, 1, 1, 0.9, 0.8, 0.7)}
TINY3_CONFIG = APViTConfig(stem_stages=((64, 2), (48, 2), (56, 3)), dim=48, depth=6, **TINY3)


@pytest.fixture
def official(goldens: Path) -> StateDict:
    """tiny3's random weights under the official names, float16."""
    return load_file(goldens / "golden_tiny3_weights.safetensors")


def official_state_dict(config: APViTConfig) -> StateDict:
    return {official_name(name): tensor for name, tensor in APViT(config).state_dict().items()}


def same(model: APViT, other: APViT) -> bool:
    mine, theirs = model.state_dict(), other.state_dict()
    return model.config == other.config and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_names_are_the_official_ones(goldens: Path, official: StateDict) -> None:
    lines = (goldens / "official_state_dict_keys_tiny3.txt").read_text().splitlines()[1:]
    expected = {key: shape for key, shape, _ in (line.split("\t") for line in lines)}
    ours = {official_name(name): str(tuple(t.shape)) for name, t in APViT(TINY3_CONFIG).state_dict().items()}
    assert ours == expected == {key: str(tuple(t.shape)) for key, t in official.items()}


def test_infers_and_converts_to_float32(official: StateDict) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = from_official(official, **TINY3)
    assert model.config == TINY3_CONFIG
    assert not model.training
    assert model.head.weight.dtype == torch.float32
    assert torch.equal(model.head.weight, official["head.fc.weight"].float())


def test_keeps_no_hold_on_the_state_dict(official: StateDict) -> None:
    official = {key: tensor.float() for key, tensor in official.items()}
    model = from_official(official, **TINY3)
    official["head.fc.bias"].fill_(7)
    assert not bool((model.head.bias == 7).any())


@pytest.mark.parametrize(
    "config",
    [
        *(config for config in ARCHITECTURES.values() if isinstance(config, APViTConfig)),
        APViTConfig(
            image_size=24, in_channels=2, num_classes=3, stem_width=5, stem_stages=((6, 1), (6, 2)), dim=46, depth=1,
            num_heads=2, mlp_ratio=29 / 46, patch_keep=None, token_keep=None,
        ),
    ],
    ids=["apvit_base", "apvit_small", "apvit_tiny", "odd"],
)  # fmt: skip
def test_infers_any_configuration(config: APViTConfig) -> None:
    with torch.device("meta"):
        inferred = _infer(official_state_dict(config))
    told = {"num_heads": config.num_heads, "patch_keep": config.patch_keep, "token_keep": config.token_keep}
    inferred = replace(inferred, **told)
    assert inferred.mlp_hidden == config.mlp_hidden
    assert replace(inferred, mlp_ratio=config.mlp_ratio) == config


@pytest.mark.parametrize("hidden", [1, 29, 47, 144, 145, 2303])
@pytest.mark.parametrize("dim", [46, 48, 49, 768])
def test_mlp_width_survives_the_ratio(official: StateDict, dim: int, hidden: int) -> None:
    official["vit.patch_pos_embed"] = torch.zeros(1, 196, dim)
    official["vit.blocks.0.mlp.fc1.weight"] = torch.zeros(hidden, dim)
    assert _infer(official).mlp_hidden == hidden


def _pth(state: Any, path: Path) -> Path:
    torch.save(state, path)
    return path


def _safetensors(state: StateDict, path: Path) -> Path:
    path = path.with_suffix(".safetensors")
    save_file(state, path)
    return path


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s, p: {"state_dict": s, "meta": {"epoch": 40}},
        lambda s, p: {f"module.{k}": v for k, v in s.items()},
        lambda s, p: {"state_dict": {f"module.{k}": v for k, v in s.items()}},
        lambda s, p: _pth(s, p),
        lambda s, p: str(_pth({"state_dict": s, "meta": {"epoch": 40, "CLASSES": ("a", "b")}, "optimizer": {}}, p)),
        lambda s, p: _safetensors(s, p),
    ],
    ids=["state_dict", "module", "both", "path", "mmcv", "safetensors"],
)
def test_accepts_every_wrapping(official: StateDict, tmp_path: Path, wrap: Any) -> None:
    assert same(from_official(wrap(official, tmp_path / "official.pth"), **TINY3), from_official(official, **TINY3))


def test_unused_and_missing_keys_are_one_warning(official: StateDict) -> None:
    expected = from_official(official, **TINY3)
    for key in ("extractor.output_layer.0.weight", "extractor.body.21.res_layer.0.weight", "extractor.body.23.x"):
        official[key] = torch.zeros(3)
    counters = [key for key in official if key.endswith("num_batches_tracked")]
    for key in [*counters, "head.fc.bias"]:
        del official[key]
    with pytest.warns(UserWarning, match="official checkpoint: ") as caught:
        model = from_official(official, **TINY3)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    text = str(caught[0].message)
    assert f"used keys {len(official) - 3}, " in text
    assert "unused keys 3 (extractor.output_layer.0.weight, extractor.body.21.res_layer.0.weight" in text
    assert f"missing keys {len(counters) + 1} (" in text
    assert "the head starts from zero" in text
    assert torch.equal(model.head.weight, expected.head.weight)
    assert not model.head.bias.any()


def test_missing_head_is_seven_classes_from_zero(official: StateDict) -> None:
    del official["head.fc.weight"], official["head.fc.bias"]
    with pytest.warns(UserWarning, match="the head starts from zero"):
        model = from_official(official, **TINY3)
    assert model.config.num_classes == 7
    assert not model.head.weight.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.clear(), "none of its 0 tensors is called vit.blocks.*"),
        (
            lambda s: [s.pop(k) for k in list(s)] and s.update({"body.0.res_layer.0.weight": torch.zeros(1)}),
            "(it looks like a face-recognition backbone alone)",
        ),
        (lambda s: s.pop("vit.norm.bias"), "lacks 1 (vit.norm.bias), without which the model computes noise"),
        (lambda s: s.pop("extractor.input_layer.0.weight"), "lacks extractor.input_layer.0.weight"),
        (lambda s: s.pop("vit.patch_pos_embed"), "lacks vit.patch_pos_embed"),
        (
            lambda s: [s.pop(k) for k in list(s) if k.startswith("vit.blocks.2.")],
            "vit.blocks.* must be numbered 0, 1, 2, ..., got [0, 1, 3, 4, 5]",
        ),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("extractor.body.1.")], "must be numbered"),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("extractor.body.2.1.")], "must be numbered"),
        (
            lambda s: [s.pop(k) for k in list(s) if k.startswith("extractor.body.2.")],
            "does not fit the model: vit.projs.0.weight must be [48, 48, 1, 1], got [48, 56, 1, 1]",
        ),
        (
            lambda s: s.update({"vit.patch_pos_embed": torch.zeros(1, 197, 48)}),
            "vit.patch_pos_embed has 197 patches, not a square grid",
        ),
        (lambda s: s.update({"vit.patch_pos_embed": torch.zeros(196, 48)}), "must have 3 dimensions"),
        (lambda s: s.update({"vit.patch_pos_embed": torch.zeros(1, 0, 48)}), "must have 3 dimensions, none zero"),
        (
            lambda s: s.update({"vit.cls_token": torch.zeros(1, 1, 47)}),
            "does not fit the model: vit.cls_token must be [1, 1, 48], got [1, 1, 47]",
        ),
        (
            lambda s: s.update({"vit.norm.bias": torch.full((48,), torch.nan)}),
            "the checkpoint has values that are NaN or infinite in vit.norm.bias",
        ),
        (
            lambda s: s.update({"vit.blocks.0.attn.qkv.bias": torch.zeros(144)}),
            "is of another model: its keys 1 (vit.blocks.0.attn.qkv.bias) take part",
        ),
        (
            lambda s: s.update({"extractor.body.0.0.res_layer.5.fc1.weight": torch.zeros(1)}),
            "is of another model: its keys 1 (extractor.body.0.0.res_layer.5.fc1.weight) take part",
        ),
        (lambda s: s.update({"vit.projs.1.weight": torch.zeros(1)}), "is of another model"),
        (lambda s: s.update({"neck.0.weight": torch.zeros(1)}), "is of another model"),
    ],
)
def test_refuses(official: StateDict, change: Callable[[StateDict], Any], message: str) -> None:
    change(official)
    with pytest.raises(CheckpointError, match=re.escape(message)):
        from_official(official, **TINY3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 5}, "dim 48 is not a multiple of num_heads 5"),
        ({"patch_keep": 197}, "a keep count must lie in 1..196 (the number there is), got 197"),
        ({"token_keep": (1, 0.9)}, "token_keep has 2 entries, but the model has 6 blocks"),
    ],
)
def test_what_the_caller_says_must_fit(official: StateDict, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        from_official(official, **{**TINY3, **changes})


class Payload:
    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('code in a checkpoint ran')",))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: None, "there is no such file"),
        (lambda p: p.mkdir(), "there is no such file"),
        (lambda p: p.write_bytes(b""), "is damaged, or holds more than tensors"),
        (lambda p: p.write_bytes(b"\x80\x04 nonsense"), "is damaged, or holds more than tensors"),
        (lambda p: _pth({"state_dict": {}, "meta": Payload()}, p), "is not opened because it may run code"),
        (lambda p: _pth([1, 2], p), "it holds no state dict"),
    ],
)
def test_refuses_files(tmp_path: Path, write: Any, message: str) -> None:
    path = tmp_path / "official.pth"
    write(path)
    with pytest.raises(CheckpointError, match=message) as error:
        from_official(path)
    assert "\n" not in str(error.value)


def test_refuses_a_truncated_file(tmp_path: Path, official: StateDict) -> None:
    path = _pth(official, tmp_path / "official.pth")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="is damaged"):
        from_official(path)


@pytest.mark.parametrize("half", [False, True])
def test_convert(tmp_path: Path, official: StateDict, half: bool) -> None:
    source = _pth({"state_dict": {**official, "extractor.output_layer.0.weight": torch.zeros(3)}}, tmp_path / "o.pth")
    card, report = convert_official(source, tmp_path / "out.safetensors", half=half, **TINY3)
    model, read = load_weights(tmp_path / "out.safetensors")
    assert read == card
    assert same(model, from_official(official, **TINY3))  # tiny3's weights are float16 anyway
    assert len(report.used) == len(official)
    assert report.unused == ("extractor.output_layer.0.weight",)
    assert report.missing == ()
    assert card.architecture == "custom"
    assert card.labels == LABEL_SPACES["apvit-official-7"]
    assert card.preprocessing.alignment == TEMPLATES["arcface-112"]
    assert (card.preprocessing.colour, card.preprocessing.size) == ("rgb", 112)
    assert card.provenance["converted_from"] == "o.pth"
    assert card.provenance["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert card.metrics == ()
    assert "non-commercial" in card.licence
    stored = load_file(tmp_path / "out.safetensors")["head.weight"].dtype
    assert stored == (torch.float16 if half else torch.float32)


@pytest.mark.parametrize(
    ("classes", "labels", "expected"),
    [
        (8, None, "apvit-official-8"),
        (7, "raf-db", "raf-db"),
        (8, "aff-wild2", "aff-wild2"),
    ],
)
def test_convert_labels(tmp_path: Path, official: StateDict, classes: int, labels: str | None, expected: str) -> None:
    official["head.fc.weight"], official["head.fc.bias"] = torch.zeros(classes, 48), torch.zeros(classes)
    source = _pth(official, tmp_path / "o.pth")
    card, _ = convert_official(source, tmp_path / "out.safetensors", labels=labels, **TINY3)
    assert card.labels == LABEL_SPACES[expected]


@pytest.mark.parametrize(
    ("change", "labels", "error", "message"),
    [
        (lambda s: s.pop("head.fc.bias"), None, CheckpointError, "has no head.fc.bias, so it cannot tell"),
        (
            lambda s: s.update({"head.fc.weight": torch.zeros(6, 48), "head.fc.bias": torch.zeros(6)}),
            None,
            CheckpointError,
            "has 6 classes instead of 7 or 8; name their order (labels='...')",
        ),
        (lambda s: None, "affectnet-8", CardError, "num_classes is 7, but the number of labels is 8"),
        (lambda s: None, "emotions", ValueError, "unknown label space 'emotions'"),
        (
            lambda s: s.update({"extractor.input_layer.0.weight": torch.zeros(64, 1, 3, 3)}),
            None,
            CardError,
            "in_channels is 1, but the channels of colour 'rgb' is 3",
        ),
    ],
)
def test_convert_refuses(
    tmp_path: Path, official: StateDict, change: Any, labels: str | None, error: type[Exception], message: str
) -> None:
    change(official)
    source = _pth(official, tmp_path / "o.pth")
    with pytest.raises(error, match=re.escape(message)):
        convert_official(source, tmp_path / "out.safetensors", labels=labels, **TINY3)
    assert list(tmp_path.iterdir()) == [source]


def test_convert_does_not_overwrite_its_source(tmp_path: Path, official: StateDict) -> None:
    source = _safetensors(official, tmp_path / "o.pth")
    before = source.read_bytes()
    with pytest.raises(CheckpointError, match="is the checkpoint itself"):
        convert_official(source, source, **TINY3)
    assert source.read_bytes() == before


def test_the_papers_model_is_recognised(tmp_path: Path) -> None:
    source = _pth(official_state_dict(ARCHITECTURES["apvit_base"]), tmp_path / "o.pth")
    card, _ = convert_official(source, tmp_path / "out.safetensors", half=True)
    assert card.architecture == "apvit_base"
    assert APViTConfig.from_dict(card.parameters) == ARCHITECTURES["apvit_base"]


def test_report_lists_everything_used(official: StateDict) -> None:
    _, report = read_official(official, **TINY3)
    assert report.used == tuple(official)
