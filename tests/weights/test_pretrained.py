"""Starting weights, on synthetic files of exactly the keys and shapes of IR-50 and timm's legacy vit_small_p16_224."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from apvit.nn import HybridModel, create_model, resize_positions
from apvit.weights import CheckpointError, load_ir50, load_vit_small
from apvit.weights.official import official_name
from apvit.weights.pretrained import ir50_name

StateDict = dict[str, Tensor]
# The paper's numbers of units, blocks, heads and patches, with few channels.
WIDTHS = (4, 4, 6, 8)  # input layer and stages; the first two equal, as in IR-50
DIM = 16
SMALL: dict[str, Any] = {
    "stem_width": WIDTHS[0],
    "stem_stages": ((WIDTHS[1], 3), (WIDTHS[2], 4), (WIDTHS[3], 14)),
    "dim": DIM,
}


def small(name: str = "apvit_base", **overrides: Any) -> HybridModel:
    torch.manual_seed(0)
    return create_model(name, **{**SMALL, **overrides})


def norm(key: str, width: int) -> dict[str, tuple[int, ...]]:
    """BatchNorm's tensors."""
    vectors = {f"{key}.{leaf}": (width,) for leaf in ("weight", "bias", "running_mean", "running_var")}
    return {**vectors, f"{key}.num_batches_tracked": ()}


def ir50_shapes(widths: tuple[int, ...], last: int, embedding: int) -> dict[str, tuple[int, ...]]:
    """face.evoLVe's IR-50, spelled out: units 0-2, 3-6, 7-20, 21-23, and the embedding after them."""
    shapes: dict[str, tuple[int, ...]] = {"input_layer.0.weight": (widths[0], 3, 3, 3)}
    shapes |= {"input_layer.2.weight": (widths[0],)} | norm("input_layer.1", widths[0])
    before = widths[0]
    for unit in range(24):
        width = widths[1] if unit < 3 else widths[2] if unit < 7 else widths[3] if unit < 21 else last
        body = f"body.{unit}"
        shapes |= norm(f"{body}.res_layer.0", before)
        shapes[f"{body}.res_layer.1.weight"] = (width, before, 3, 3)
        shapes[f"{body}.res_layer.2.weight"] = (width,)
        shapes[f"{body}.res_layer.3.weight"] = (width, width, 3, 3)
        shapes |= norm(f"{body}.res_layer.4", width)
        if unit in (3, 7, 21):
            shapes[f"{body}.shortcut_layer.0.weight"] = (width, before, 1, 1)
            shapes |= norm(f"{body}.shortcut_layer.1", width)
        before = width
    shapes |= norm("output_layer.0", last)
    shapes |= {"output_layer.3.weight": (embedding, last * 49), "output_layer.3.bias": (embedding,)}
    return shapes | norm("output_layer.4", embedding)


def vit_shapes(dim: int, depth: int = 8) -> dict[str, tuple[int, ...]]:
    """timm's legacy vit_small_p16_224, spelled out."""
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, dim), "pos_embed": (1, 197, dim)}
    shapes |= {"patch_embed.proj.weight": (dim, 3, 16, 16), "patch_embed.proj.bias": (dim,)}
    for block in range(depth):
        key = f"blocks.{block}"
        for name in ("norm1", "norm2"):
            shapes |= {f"{key}.{name}.weight": (dim,), f"{key}.{name}.bias": (dim,)}
        shapes[f"{key}.attn.qkv.weight"] = (3 * dim, dim)
        shapes |= {f"{key}.attn.proj.weight": (dim, dim), f"{key}.attn.proj.bias": (dim,)}
        shapes |= {f"{key}.mlp.fc1.weight": (3 * dim, dim), f"{key}.mlp.fc1.bias": (3 * dim,)}
        shapes |= {f"{key}.mlp.fc2.weight": (dim, 3 * dim), f"{key}.mlp.fc2.bias": (dim,)}
    shapes |= {"norm.weight": (dim,), "norm.bias": (dim,)}
    return shapes | {"head.weight": (1000, dim), "head.bias": (1000,)}


def draw(shapes: dict[str, tuple[int, ...]]) -> StateDict:
    generator = torch.Generator().manual_seed(1)
    return {
        key: torch.tensor(1234) if key.endswith("tracked") else torch.rand(shape, generator=generator) + 0.5
        for key, shape in shapes.items()
    }


@pytest.fixture
def ir50() -> StateDict:
    return draw(ir50_shapes(WIDTHS, 10, 12))


@pytest.fixture
def vit() -> StateDict:
    return draw(vit_shapes(DIM))


def write(state: Any, path: Path) -> Path:
    torch.save(state, path)
    return path


def test_the_real_shapes_are_apvit_bases() -> None:
    with torch.device("meta"):
        own = create_model("apvit_base").state_dict()
    shapes = ir50_shapes((64, 64, 128, 256), 512, 512)
    assert {ir50_name(name): tuple(t.shape) for name, t in own.items() if name.startswith("stem.")} == {
        key: shape for key, shape in shapes.items() if not re.match(r"output_layer|body\.2[123]\.", key)
    }
    shapes = vit_shapes(768)
    for name, tensor in own.items():
        if name.startswith(("blocks.", "norm.")):
            assert shapes[official_name(name).removeprefix("vit.")] == tuple(tensor.shape)


@pytest.mark.parametrize("architecture", ["apvit_base", "transfer_base"])
def test_ir50_fills_the_stem(tmp_path: Path, ir50: StateDict, architecture: str) -> None:
    model = small(architecture)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = load_ir50(write(ir50, tmp_path / "ir50.pth"), model)
    after = model.state_dict()
    for name, tensor in after.items():
        if name.startswith("stem."):
            assert torch.equal(tensor, ir50[ir50_name(name)]), name
            assert not torch.equal(tensor, before[name]), name
        else:
            assert torch.equal(tensor, before[name]), name
    exported = {ir50_name(name) for name in after if name.startswith("stem.")}
    assert set(report.used) == exported
    assert set(report.unused) == set(ir50) - exported
    assert {".".join(key.split(".")[:2]) for key in report.unused if key.startswith("body")} == {
        f"body.{unit}" for unit in (21, 22, 23)
    }
    assert report.missing == ()
    assert str(report) == (
        f"used keys {len(exported)}, unused keys {len(report.unused)} (body.21.res_layer.0.weight, "
        f"body.21.res_layer.0.bias, body.21.res_layer.0.running_mean, ...), missing keys 0"
    )


def test_ir50_in_order_of_execution(tmp_path: Path, ir50: StateDict) -> None:
    """The stem computes what the file's units 0 to 20 compute one after the other, written out here."""
    model = small().double().eval()
    load_ir50(write(ir50, tmp_path / "ir50.pth"), model)
    w = {key: tensor.double() for key, tensor in ir50.items()}

    def normed(x: Tensor, key: str) -> Tensor:
        stats = [w[f"{key}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")]
        return torch.nn.functional.batch_norm(x, *stats)

    def conv(x: Tensor, key: str, stride: int = 1, padding: int = 1) -> Tensor:
        return torch.nn.functional.conv2d(x, w[f"{key}.weight"] * 0.1, None, stride, padding)

    for name, parameter in model.stem.named_parameters():
        if parameter.ndim == 4:
            parameter.data *= 0.1  # as in conv above: 21 units of positive weights would overflow
            assert "conv" in name
    x = torch.randn(2, 3, 112, 112).double()
    with torch.no_grad():
        y = torch.nn.functional.prelu(normed(conv(x, "input_layer.0"), "input_layer.1"), w["input_layer.2.weight"])
        for unit in range(21):
            body, stride = f"body.{unit}", 2 if unit in (0, 3, 7) else 1
            main = conv(normed(y, f"{body}.res_layer.0"), f"{body}.res_layer.1")
            main = torch.nn.functional.prelu(main, w[f"{body}.res_layer.2.weight"])
            main = normed(conv(main, f"{body}.res_layer.3", stride), f"{body}.res_layer.4")
            if unit in (3, 7):
                short = normed(conv(y, f"{body}.shortcut_layer.0", stride, 0), f"{body}.shortcut_layer.1")
            else:
                short = y[..., ::stride, ::stride]
            y = main + short
        torch.testing.assert_close(model.stem(x), y)


@pytest.mark.parametrize("architecture", ["apvit_base", "transfer_base"])
def test_vit_small_fills_the_transformer(tmp_path: Path, vit: StateDict, architecture: str) -> None:
    model = small(architecture)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = load_vit_small(write(vit, tmp_path / "vit.pth"), model)
    after = model.state_dict()
    kept = [name for name in after if torch.equal(after[name], before[name])]
    assert all(name.startswith(("stem.", "project.", "head.", "local.")) for name in kept)
    exported = {
        official_name(name).removeprefix("vit."): tensor
        for name, tensor in after.items()
        if name.startswith(("blocks.", "norm."))
    }
    exported["cls_token"] = after["class_token"]
    exported["pos_embed"] = torch.cat((after["class_position"], after["patch_position"]), 1)
    assert set(report.used) == set(exported)
    assert all(torch.equal(tensor, vit[key]) for key, tensor in exported.items())
    assert set(report.unused) == {"patch_embed.proj.weight", "patch_embed.proj.bias", "head.weight", "head.bias"}
    assert report.missing == ()
    assert len(exported) + len(report.unused) == len(vit)


def test_vit_small_positions_for_another_grid(tmp_path: Path, vit: StateDict) -> None:
    model = small(image_size=64, patch_keep=None, token_keep=None)
    load_vit_small(write(vit, tmp_path / "vit.pth"), model)
    assert torch.equal(model.class_position, vit["pos_embed"][:, :1])
    assert torch.equal(model.patch_position, resize_positions(vit["pos_embed"][:, 1:], 8))


def test_both_together_leave_projection_and_head(tmp_path: Path, ir50: StateDict, vit: StateDict) -> None:
    model = small()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    load_ir50(write(ir50, tmp_path / "ir50.pth"), model)
    load_vit_small(write(vit, tmp_path / "vit.pth"), model)
    same = {name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])}
    assert same == {"project.weight", "project.bias", "head.weight", "head.bias"}
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s, p: write({"state_dict": s, "epoch": 120}, p),
        lambda s, p: write({f"module.{k}": v for k, v in s.items()}, p),
        lambda s, p: str(write({"state_dict": {f"module.{k}": v for k, v in s.items()}}, p)),
        lambda s, p: write({k: v.half() if v.is_floating_point() else v for k, v in s.items()}, p),
        lambda s, p: write({k: v for k, v in s.items() if not k.endswith("tracked")}, p),
        lambda s, p: save_file(s, p.with_suffix(".safetensors")) or p.with_suffix(".safetensors"),
    ],
    ids=["state_dict", "module", "both", "half", "no counters", "safetensors"],
)
@pytest.mark.parametrize(("load", "kind"), [(load_ir50, "ir50"), (load_vit_small, "vit")])
def test_accepts_every_wrapping(
    tmp_path: Path, load: Callable[..., Any], kind: str, wrap: Any, request: pytest.FixtureRequest
) -> None:
    state: StateDict = request.getfixturevalue(kind)
    model, expected = small(), small()
    load(wrap(state, tmp_path / "given.pth"), model)
    load(write(state, tmp_path / "plain.pth"), expected)
    for name, tensor in model.named_parameters():
        torch.testing.assert_close(tensor, dict(expected.named_parameters())[name], rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("load", "kind", "change", "message"),
    [
        (
            load_ir50,
            "vit",
            lambda s: None,
            "is not a face-recognition IR-50 (input_layer.* and body.0.* to body.23.*, as face.evoLVe stores it): none "
            "of its 96 tensors is called body.0.*",
        ),
        (
            load_vit_small,
            "ir50",
            lambda s: None,
            "is not timm's legacy vit_small_p16_224 (cls_token, pos_embed, blocks.0.* to blocks.7.*, norm.*, no bias "
            "of qkv): none of its",
        ),
        (
            load_ir50,
            "ir50",
            lambda s: s.update({"body.7.res_layer.1.weight": torch.zeros(6, 6, 3, 3)}),
            "does not fit the model: body.7.res_layer.1.weight must be [8, 6, 3, 3], got [6, 6, 3, 3]",
        ),
        (
            load_ir50,
            "ir50",
            lambda s: [s.pop(k) for k in list(s) if k.startswith("body.7.shortcut")],  # an IR-100
            "lacks 5 (body.7.shortcut_layer.0.weight, body.7.shortcut_layer.1.weight",
        ),
        (
            load_ir50,
            "ir50",
            lambda s: s.update({"body.0.res_layer.5.fc1.weight": torch.zeros(1)}),  # squeeze and excitation
            "is of another model: its keys 1 (body.0.res_layer.5.fc1.weight) take part",
        ),
        (load_ir50, "ir50", lambda s: s.pop("input_layer.2.weight"), "lacks 1 (input_layer.2.weight)"),
        (
            load_ir50,
            "ir50",
            lambda s: s["body.20.res_layer.4.bias"].fill_(torch.nan),
            "has values that are NaN or infinite in body.20.res_layer.4.bias",
        ),
        (
            load_vit_small,
            "vit",
            lambda s: s.update({"blocks.0.attn.qkv.bias": torch.zeros(48)}),  # a ViT of later releases
            "is of another model: its keys 1 (blocks.0.attn.qkv.bias) take part",
        ),
        (
            load_vit_small,
            "vit",
            lambda s: s.update({"blocks.8.norm1.bias": torch.zeros(16)}),
            "its keys 1 (blocks.8.norm1.bias) take part",
        ),
        (load_vit_small, "vit", lambda s: s.pop("cls_token"), "lacks 1 (cls_token)"),
        (load_vit_small, "vit", lambda s: s.pop("pos_embed"), "lacks 1 (pos_embed)"),
        (
            load_vit_small,
            "vit",
            lambda s: s.update(pos_embed=torch.zeros(1, 577, 16)),
            "does not fit the model: pos_embed must be [1, 197, 16], got [1, 577, 16]",
        ),
        (
            load_vit_small,
            "vit",
            lambda s: s.update({"blocks.3.mlp.fc1.weight": torch.zeros(64, 16)}),
            "blocks.3.mlp.fc1.weight must be [48, 16], got [64, 16]",
        ),
    ],
)
def test_refuses_and_leaves_the_model(
    tmp_path: Path,
    load: Callable[..., Any],
    kind: str,
    change: Callable[[StateDict], Any],
    message: str,
    request: pytest.FixtureRequest,
) -> None:
    state: StateDict = request.getfixturevalue(kind)
    change(state)
    model = small()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    path = write(state, tmp_path / "given.pth")
    with pytest.raises(CheckpointError, match=re.escape(message)) as error:
        load(path, model)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("load", "kind", "overrides", "message"),
    [
        (
            load_ir50,
            "ir50",
            {"stem_stages": ((4, 3), (6, 4), (8, 6))},
            "the model's stem has stages of 3, 4, 6 units and cannot start from IR-50, whose stages have 3, 4, 14, 3",
        ),
        (load_ir50, "ir50", {"in_channels": 1}, "input_layer.0.weight must be [4, 1, 3, 3], got [4, 3, 3, 3]"),
        (load_vit_small, "vit", {"num_heads": 4}, "the model has 4 heads and cannot start from timm's legacy"),
        (load_vit_small, "vit", {"depth": 6, "token_keep": None}, "its keys 22 (blocks.6.norm1.weight"),
        (load_vit_small, "vit", {"depth": 9, "token_keep": None}, "lacks 11 (blocks.8.norm1.weight"),
        (load_vit_small, "vit", {"dim": 24}, "blocks.0.norm1.weight must be [24], got [16]"),
        (load_vit_small, "vit", {"mlp_ratio": 4.0}, "blocks.0.mlp.fc1.weight must be [64, 16], got [48, 16]"),
    ],
)
def test_models_that_cannot_start_from_them(
    tmp_path: Path,
    load: Callable[..., Any],
    kind: str,
    overrides: dict[str, Any],
    message: str,
    request: pytest.FixtureRequest,
) -> None:
    path = write(request.getfixturevalue(kind), tmp_path / "given.pth")
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load(path, small(**overrides))


def test_fewer_stages_of_ir50(tmp_path: Path, ir50: StateDict) -> None:
    model = small(stem_stages=SMALL["stem_stages"][:2], patch_keep=None, token_keep=None, image_size=56)
    report = load_ir50(write(ir50, tmp_path / "ir50.pth"), model)
    assert torch.equal(model.stem.stages[1][3].conv2.weight, ir50["body.6.res_layer.3.weight"])
    assert any(key.startswith("body.7.") for key in report.unused)


class Payload:
    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('code in a checkpoint ran')",))


@pytest.mark.parametrize("load", [load_ir50, load_vit_small])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "there is no such file"),
        (lambda p: p.write_bytes(b"PK\x03\x04 nonsense"), "is damaged, or holds more than tensors"),
        (lambda p: write({"state_dict": {}, "meta": Payload()}, p), "is not opened because it may run code"),
        (lambda p: write([1, 2], p), "it holds no state dict"),
        (lambda p: write({}, p), "none of its 0 tensors"),
    ],
)
def test_refuses_files(tmp_path: Path, load: Callable[..., Any], make: Any, message: str) -> None:
    make(tmp_path / "given.pth")
    with pytest.raises(CheckpointError, match=message) as error:
        load(tmp_path / "given.pth", small())
    assert str(tmp_path / "given.pth") in str(error.value)
