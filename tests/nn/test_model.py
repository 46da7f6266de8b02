"""APViT as a whole: shapes, trace, initialisation, gradients, independence of the batch, export, refusals."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from apvit.nn import (
    ARCHITECTURES,
    APViT,
    APViTConfig,
    build_model,
    create_model,
    list_architectures,
    read_config,
    resize_positions,
)

SMALL = {
    "image_size": 16,
    "in_channels": 1,
    "num_classes": 3,
    "stem_width": 4,
    "stem_stages": ((6, 1), (8, 2)),
    "dim": 12,
    "depth": 3,
    "num_heads": 2,
    "patch_keep": 12,
    "token_keep": (1, 0.8, 0.5),
}


def small(seed: int = 0, **overrides) -> APViT:
    """A small model with random weights everywhere, the head too."""
    torch.manual_seed(seed)
    model = create_model("apvit_tiny", **{**SMALL, **overrides})
    torch.nn.init.normal_(model.head.weight)
    return model.eval()


@pytest.mark.parametrize("name", list_architectures())
def test_forward_and_every_parameter_has_a_gradient(name):
    model = create_model(name)
    torch.nn.init.normal_(model.head.weight)
    config = model.config
    x = torch.randn(2, config.in_channels, config.image_size, config.image_size)
    logits = model(x)
    assert logits.shape == (2, config.num_classes)
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not without
    assert all(p.grad.isfinite().all() for p in model.parameters())


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_budgets():
    with torch.device("meta"):
        models = {name: create_model(name) for name in list_architectures()}
    base, transfer = models["apvit_base"], models["transfer_base"]
    assert parameters(base) == 65_209_543
    assert parameters(base.stem) == 17_611_968
    assert parameters(base.head) == 5_383
    assert parameters(models["apvit_small"]) <= 12_000_000
    assert parameters(models["apvit_tiny"]) <= 1_500_000
    # Two local CNNs: 256 -> 16 and 16 -> 1 with biases, and two numbers per channel of BatchNorm.
    assert parameters(transfer) == parameters(base) + 2 * (256 * 16 + 16 + 2 * 16 + 16 + 1 + 2)


def test_the_plain_hybrid_is_the_same_network_without_pooling():
    with torch.device("meta"):
        plain = create_model("apvit_base", patch_keep=None, token_keep=None)
        assert parameters(plain) == 65_209_543
    assert plain.config.token_counts == (196,) * 8
    assert all(block.pool is None for block in plain.blocks)


def test_a_fresh_model_answers_zero_and_moves_only_its_head():
    model = create_model("apvit_tiny", **SMALL)
    logits = model(torch.randn(2, 1, 16, 16))
    assert torch.equal(logits, torch.zeros(2, 3))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert moved == {"head.weight", "head.bias"}


def test_trace():
    model = small()
    logits, trace = model(torch.randn(5, 1, 16, 16), return_trace=True)
    assert logits.shape == (5, 3)
    assert trace.patch_scores.shape == (5, 16)
    assert trace.patches.shape == (5, 12)
    assert [tuple(t.shape) for t in trace.tokens] == [(5, 12), (5, 9), (5, 4)]
    assert trace.cls.shape == (5, 12)
    alive = trace.patches
    for tokens in trace.tokens:
        assert (tokens.diff(dim=1) > 0).all()
        for before, after in zip(alive, tokens, strict=True):
            assert set(after.tolist()) <= set(before.tolist())
        alive = tokens
    torch.testing.assert_close(model.head(trace.cls), logits)


def test_poolings_switched_off():
    model = small(patch_keep=None, token_keep=None)
    _, trace = model(torch.randn(2, 1, 16, 16), return_trace=True)
    assert trace.patches.shape == (2, 16)
    assert all(t.shape == (2, 16) for t in trace.tokens)


def test_keeping_everything_equals_no_pooling():
    off = small(patch_keep=None, token_keep=None)
    kept_all = small(patch_keep=16, token_keep=(1, 1.0, 1))
    x = torch.randn(3, 1, 16, 16)
    assert torch.equal(off(x), kept_all(x))


@pytest.mark.parametrize(
    ("patch_keep", "token_keep", "patches", "tokens"),
    [
        (12, (1, 0.8, 0.5), 12, (12, 9, 4)),
        (0.75, (1, 1, 1), 12, (12, 12, 12)),
        (None, None, 16, (16, 16, 16)),
        (1, None, 1, (1, 1, 1)),
        (12, (10, 5, 2), 12, (10, 5, 2)),  # above 1, an int is a count
        (12, (1.0, 0.01, 1), 12, (12, 1, 1)),
    ],
)
def test_keep_counts(patch_keep, token_keep, patches, tokens):
    config = APViTConfig.from_dict({**SMALL, "patch_keep": patch_keep, "token_keep": token_keep})
    assert config.patch_count == patches
    assert config.token_counts == tokens


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"patch_keep": 17}, "1..16 .*17"),
        ({"patch_keep": 0}, "1..16 .*0"),
        ({"patch_keep": 1.2}, "1.2"),
        ({"token_keep": (1, 1)}, "2 entries.*3 blocks"),
        ({"token_keep": (1, 13, 1)}, "1..12 .*13"),
        ({"token_keep": (1, 0.0, 1)}, "0.0"),
        ({"depth": 4}, "3 entries.*4 blocks"),
        ({"dim": 13}, "13 .* 2"),
        ({"image_size": 18}, "18 .* 4"),
        ({"in_channels": 0}, "in_channels.*0"),
        ({"num_classes": 2.5}, "num_classes.*2.5"),
        ({"stem_stages": ()}, "stem_stages"),
        ({"stem_stages": ((8, 0),)}, "stem_stages"),
        ({"mlp_ratio": 0}, "mlp_ratio"),
        ({"patch_score": "best"}, "best.*abs_sum"),
        ({"token_score": "best"}, "best.*sum"),
        ({"colour": "grey"}, "colour"),
        ({"family": "transfer"}, "family must be 'apvit' in APViTConfig, got 'transfer'"),
    ],
)
def test_wrong_arguments(overrides, message):
    with pytest.raises(ValueError, match=message):
        create_model("apvit_tiny", **{**SMALL, **overrides})


def test_unknown_architecture():
    with pytest.raises(ValueError, match="'apvit_huge'; known are apvit_base, apvit_small, apvit_tiny, transfer_base"):
        create_model("apvit_huge")
    with pytest.raises(ValueError, match=r"'apvit_tinny' \(did you mean 'apvit_tiny'\?\); known are"):
        create_model("apvit_tinny")


@pytest.mark.parametrize("config", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_configurations_come_back_from_json(config):
    assert read_config(json.loads(json.dumps(config.to_dict()))) == config
    with torch.device("meta"):
        assert build_model(config).config is config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "unknown family None; known are apvit, transfer"),
        ({"family": "vit"}, "unknown family 'vit'"),
        ({"family": ["apvit"]}, r"unknown family \['apvit'\]"),
        ({"family": "apvit", "map_drop": 0.6}, "unknown hyper-parameters map_drop"),
        ({"family": "transfer", "patch_keep": 160}, "unknown hyper-parameters patch_keep"),
        ({"family": "transfer", "map_drop": "often"}, "malformed hyper-parameters"),
    ],
)
def test_dictionaries_that_are_no_configuration(values, message):
    with pytest.raises(ValueError, match=message):
        read_config(values)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(1, 3, 16, 16), r"\[B, 1, 16, 16\], got \[1, 3, 16, 16\]"),
        (torch.zeros(1, 1, 16, 15), r"got \[1, 1, 16, 15\]"),
        (torch.zeros(1, 16, 16), r"got \[1, 16, 16\]"),
        (torch.zeros(1, 1, 16, 16, dtype=torch.uint8), "torch.uint8"),
    ],
)
def test_wrong_input(x, message):
    with pytest.raises(ValueError, match=message):
        small()(x)


@pytest.mark.parametrize("batch", [1, 116, 117, 129, 130, 144, 145, 160, 161])
def test_the_official_batch_size_bug_is_not_here(batch):
    """The official block compares batch size and token count, and skips pooling where they are equal."""
    torch.manual_seed(0)
    model = create_model(
        "apvit_base", stem_width=4, stem_stages=((4, 1), (4, 1), (6, 1)), dim=16, num_heads=2, mlp_ratio=1.0
    ).eval()
    torch.nn.init.normal_(model.head.weight)
    x = torch.randn(161, 3, 112, 112)
    with torch.inference_mode():
        one, trace_one = model(x[:1], return_trace=True)
        many, trace = model(x[:batch], return_trace=True)
    torch.testing.assert_close(many[:1], one, atol=1e-5, rtol=0)
    assert [t.shape[1] for t in trace.tokens] == [160, 160, 160, 160, 144, 129, 116, 104]
    for a, b in zip(trace.tokens, trace_one.tokens, strict=True):
        assert torch.equal(a[:1], b)


@settings(max_examples=15, deadline=None)
@given(split=st.integers(1, 10), seed=st.integers(0, 1000))
def test_any_split_of_a_batch_gives_the_same(split, seed):
    model = small(seed)
    x = torch.randn(11, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        torch.testing.assert_close(torch.cat((model(x[:split]), model(x[split:]))), model(x), atol=1e-5, rtol=0)


def test_export_with_a_dynamic_batch():
    model = small()
    x = torch.randn(3, 1, 16, 16)
    program = torch.export.export(model, (x,), dynamic_shapes={"x": {0: torch.export.Dim("batch")}})
    for batch in (1, 2, 12, 13):
        y = torch.randn(batch, 1, 16, 16)
        torch.testing.assert_close(program.module()(y), model(y))


@pytest.mark.parametrize("grid", [3, 4, 7])
def test_positions_for_another_grid(grid):
    plane = torch.linspace(0, 1, 4).repeat(4, 1).reshape(1, 16, 1)  # rises from left to right
    resized = resize_positions(plane, grid)
    assert resized.shape == (1, grid * grid, 1)
    rows = resized.reshape(grid, grid)
    torch.testing.assert_close(rows, rows[:1].expand(grid, -1))
    assert (rows[0].diff() > 0).all()


def test_positions_must_be_square():
    with pytest.raises(ValueError, match="12 patches"):
        resize_positions(torch.zeros(1, 12, 4), 3)


@settings(max_examples=20, deadline=None)
@given(
    size=st.sampled_from([8, 12, 16, 20]),
    channels=st.integers(1, 3),
    heads=st.integers(1, 3),
    rate=st.floats(0.05, 1.0),
    batch=st.integers(1, 3),
)
def test_any_shape_runs(size, channels, heads, rate, batch):
    model = small(image_size=size, in_channels=channels, num_heads=heads, dim=heads * 4, patch_keep=rate)
    logits, trace = model(torch.randn(batch, channels, size, size), return_trace=True)
    assert logits.shape == (batch, 3)
    assert trace.patches.shape[1] == max(int((size // 4) ** 2 * rate), 1)


def test_numpys_numbers_count_as_numbers() -> None:
    np = pytest.importorskip("numpy")
    keep = (np.int32(3), np.float64(1), None, 1)
    config = create_model("apvit_tiny", num_classes=np.int64(8), patch_keep=np.float32(0.5), token_keep=keep).config
    assert config == create_model("apvit_tiny", num_classes=8, patch_keep=0.5, token_keep=(3, 1.0, None, 1)).config
    assert json.loads(json.dumps(config.to_dict()))["token_keep"] == [3, 1.0, None, 1]


def test_what_other_libraries_call_it() -> None:
    with pytest.raises(ValueError, match=r"trained ones come from apvit\.load_weights"):
        create_model("apvit_tiny", pretrained=True)
