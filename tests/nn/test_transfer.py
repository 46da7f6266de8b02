"""TransFER: against a small computation of its own, and its two droppings by hand, by statistics and under compile."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from apvit.nn import TransFER, TransFERConfig, create_model
from apvit.nn.dropping import drop_one
from apvit.nn.transformer import Attention, PoolingBlock

SMALL = {
    "image_size": 16,
    "in_channels": 1,
    "num_classes": 3,
    "stem_width": 4,
    "stem_stages": ((6, 1), (8, 2)),
    "dim": 12,
    "depth": 3,
    "num_heads": 3,
    "local_width": 5,
}


def small(seed: int = 0, **overrides) -> TransFER:
    """A small model with random weights and statistics everywhere."""
    torch.manual_seed(seed)
    model = create_model("transfer_base", **{**SMALL, **overrides})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        for name, buffer in model.named_buffers():
            if name.endswith(("mean", "var")):
                buffer.copy_(torch.rand_like(buffer) + 0.5)
    return model.eval()


def faces(batch: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, 1, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_every_parameter_moves_in_training():
    model = small().train()
    F.cross_entropy(model(faces(64)), torch.arange(64) % 3).backward()
    unmoved = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # BatchNorm takes away what a bias before it adds: that gradient is rounding, or zero.
    assert not [name for name in unmoved if not (name.startswith("local.") and "conv" in name and "bias" in name)]


def test_a_fresh_model_answers_zero():
    assert torch.equal(create_model("transfer_base", **SMALL)(faces(2)), torch.zeros(2, 3))


def recompute(model: TransFER, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and attention map in plain arithmetic on the state dict, after the stem; evaluation mode."""
    w = model.state_dict()
    heads, dim = model.config.num_heads, model.config.dim

    def normed(y: torch.Tensor, name: str) -> torch.Tensor:  # BatchNorm over the last dimension
        scale = w[f"{name}.weight"] / (w[f"{name}.running_var"] + 1e-5).sqrt()
        return (y - w[f"{name}.running_mean"]) * scale + w[f"{name}.bias"]

    def layer_norm(y: torch.Tensor, name: str) -> torch.Tensor:
        y = y - y.mean(-1, keepdim=True)
        return y / (y.square().mean(-1, keepdim=True) + 1e-6).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(y: torch.Tensor, name: str) -> torch.Tensor:
        return y @ w[f"{name}.weight"].flatten(1).T + w.get(f"{name}.bias", 0)

    features = model.stem(x).flatten(2).transpose(1, 2)  # [B, N, F]
    maps = []
    for branch in ("local.0", "local.1"):
        hidden = normed(linear(features, f"{branch}.conv1"), f"{branch}.norm1").clamp(min=0)
        maps.append(1 / (1 + torch.exp(-normed(linear(hidden, f"{branch}.conv2"), f"{branch}.norm2"))))
    attention = torch.maximum(*maps)  # [B, N, 1]
    y = linear(features * attention, "project")
    token = w["class_token"].expand(len(y), -1, -1)
    y = torch.cat((token, y), 1) + torch.cat((w["class_position"], w["patch_position"]), 1)
    for i in range(model.config.depth):
        q, k, v = linear(layer_norm(y, f"blocks.{i}.norm1"), f"blocks.{i}.attention.qkv").split(dim, -1)
        outputs = []
        for h in range(heads):
            part = slice(h * dim // heads, (h + 1) * dim // heads)
            logits = q[..., part] @ k[..., part].transpose(1, 2) / (dim / heads) ** 0.5
            outputs.append(logits.softmax(-1) @ v[..., part])
        y = y + linear(torch.cat(outputs, -1), f"blocks.{i}.attention.project")
        hidden = linear(layer_norm(y, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.expand")
        hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        y = y + linear(hidden, f"blocks.{i}.mlp.contract")
    return linear(layer_norm(y[:, 0], "norm"), "head"), attention[..., 0]


def test_evaluation_is_the_papers_function():
    model, x = small().double(), faces(5).double()
    with torch.no_grad():
        logits, trace = model(x, return_trace=True)
        expected, attention = recompute(model, x)
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(trace.patch_scores, attention, rtol=1e-9, atol=1e-9)


def test_trace_keeps_every_patch():
    model = small()
    logits, trace = model(faces(4), return_trace=True)
    every = torch.arange(16).expand(4, -1)
    assert torch.equal(trace.patches, every)
    assert len(trace.tokens) == 3
    assert all(torch.equal(tokens, every) for tokens in trace.tokens)
    assert trace.patch_scores.shape == (4, 16)
    assert trace.patch_scores.dtype == torch.float32
    assert not trace.patch_scores.requires_grad
    assert 0 < trace.patch_scores.min() < trace.patch_scores.max() < 1
    torch.testing.assert_close(model.head(trace.cls), logits)


def test_evaluation_draws_nothing_and_does_not_depend_on_the_batch():
    model, x = small(), faces(11)
    state = torch.get_rng_state()
    with torch.inference_mode():
        logits = model(x)
        torch.testing.assert_close(torch.cat([model(x[:1]), model(x[1:4]), model(x[4:])]), logits, atol=1e-6, rtol=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_export_with_a_dynamic_batch():
    model = small()
    program = torch.export.export(model, (faces(3),), dynamic_shapes={"x": {0: torch.export.Dim("batch")}})
    for batch in (1, 2, 16, 17):
        torch.testing.assert_close(program.module()(faces(batch)), model(faces(batch)))


@pytest.mark.parametrize(("count", "probability"), [(2, 0.6), (8, 0.3), (3, 1.0), (5, 0.0)])
def test_drop_one_statistics(count, probability):
    torch.manual_seed(0)
    dropped = drop_one(40_000, count, probability, torch.device("cpu"))
    assert dropped.shape == (40_000, count)
    assert dropped.dtype == torch.bool
    assert dropped.sum(1).max() <= 1
    expected = torch.full((count,), probability / count)
    torch.testing.assert_close(dropped.float().mean(0), expected, atol=0.01, rtol=0)  # four standard errors and more


def test_map_dropping_by_hand():
    """Where one branch is dropped, the other's map is what is left; elsewhere the larger of both, unscaled."""
    model, x = small(head_drop=0.0), faces(4000)
    with torch.no_grad():
        features = model.stem(x)
        maps = torch.cat([cnn(features) for cnn in model.local], 1).flatten(2)  # [B, 2, 16]
        torch.manual_seed(7)
        model.training = True  # the model alone: its BatchNorms keep their statistics
        _, scores, _ = model._tokens(features)
    without = {
        "first": (scores == maps[:, 1]).all(1),
        "second": (scores == maps[:, 0]).all(1),
        "none": (scores == maps.amax(1)).all(1),
    }
    larger = [(maps[:, i] >= maps[:, 1 - i]).all(1) for i in (0, 1)]  # where dropping the smaller map changes nothing
    telling = ~(larger[0] | larger[1])
    assert telling.sum() > 1000
    assert (sum(mask.int() for mask in without.values())[telling] == 1).all()
    shares = [without[name][telling].float().mean().item() for name in ("first", "second", "none")]
    assert shares == pytest.approx([0.3, 0.3, 0.4], abs=0.06)


def test_only_what_is_left_learns():
    """The first map is made the largest everywhere, so that the second learns exactly where the first is dropped."""
    model = small(map_drop=1.0, head_drop=0.0).train()
    model.local[0].norm2.bias.data += 50
    seen = set()
    for seed in range(8):
        torch.manual_seed(seed)
        first_dropped = bool(drop_one(1, 2, 1.0, torch.device("cpu"))[0, 0])
        seen.add(first_dropped)
        model.zero_grad()
        torch.manual_seed(seed)
        model._tokens(torch.randn(1, 8, 4, 4, generator=torch.Generator()))[0].square().sum().backward()
        assert bool(model.local[1].norm2.bias.grad.any()) is first_dropped
    assert seen == {True, False}


def test_head_dropping_by_hand():
    """Dropping head h of a sample equals query, key and value weights that are zero for that head."""
    torch.manual_seed(0)
    attention = Attention(12, 3).double()
    x = torch.randn(4, 5, 12).double()
    dropped = torch.tensor([[False, False, False], [True, False, False], [False, True, False], [False, False, True]])
    y, query, key = attention(x, dropped)
    for sample, head in enumerate((None, 0, 1, 2)):
        silenced = copy.deepcopy(attention)
        if head is not None:
            silenced.qkv.weight.data.view(3, 3, 4, 12)[:, head] = 0
        expected, expected_query, expected_key = silenced(x[sample : sample + 1])
        torch.testing.assert_close(y[sample], expected[0])
        torch.testing.assert_close(query[sample], expected_query[0])
        torch.testing.assert_close(key[sample], expected_key[0])
        # [H, T, d]: one head is zero for every token, and no token is zero in the others.
        zero = (query[sample] == 0).all(-1)
        assert zero.all(1).tolist() == dropped[sample].tolist()
        assert zero.any(1).tolist() == dropped[sample].tolist()


@pytest.mark.parametrize("training", [True, False])
def test_blocks_drop_heads_in_training_only(training):
    torch.manual_seed(0)
    block = PoolingBlock(8, 4, 16, None, "sum", head_drop=0.3).train(training)
    seen = []
    block.attention.register_forward_hook(lambda _, __, output: seen.append(output[1]))  # query [B, H, T, d]
    with torch.no_grad():
        block(torch.randn(5000, 3, 8))
    silent = (seen[0] == 0).all(-1).all(-1).float()  # [B, H]
    expected = torch.full((4,), 0.3 / 4 if training else 0.0)
    assert silent.sum(1).max() == (1 if training else 0)
    torch.testing.assert_close(silent.mean(0), expected, atol=0.02, rtol=0)


def test_blocks_draw_independently():
    """Each block has its own draw: with one for all, a sample would lose the same head everywhere."""
    model = small(map_drop=0.0).train()
    silent = []
    for block in model.blocks:
        block.attention.register_forward_hook(lambda _, __, output: silent.append((output[1] == 0).all(-1).all(-1)))
    with torch.no_grad():
        model(faces(400))
    a, b = silent[0].any(1).float(), silent[1].any(1).float()
    assert (a * b).mean().item() == pytest.approx(0.3 * 0.3, abs=0.06)


def test_training_is_a_function_of_torchs_seed():
    model, x = small().train(), faces(32)

    def step(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return model(x).detach()

    assert torch.equal(step(3), step(3))
    assert not torch.equal(step(3), step(4))


def test_switched_off_nothing_is_drawn():
    model = small(map_drop=0.0, head_drop=0.0).train()
    state = torch.get_rng_state()
    model(faces(4))
    assert torch.equal(torch.get_rng_state(), state)


def test_compiles_without_a_break():
    model, x = small(depth=1).train(), faces(8)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.manual_seed(5)
    expected = model(x)
    torch.manual_seed(5)
    torch.testing.assert_close(compiled(x), expected)


def test_autocast():
    model = small().train()
    with torch.autocast("cpu", torch.bfloat16):
        logits, trace = model(faces(16), return_trace=True)
    assert trace.patch_scores.dtype == torch.float32
    F.cross_entropy(logits.float(), torch.arange(16) % 3).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"map_drop": 1.5}, r"map_drop is a probability in \[0, 1\], got 1.5"),
        ({"head_drop": -0.1}, r"head_drop is a probability in \[0, 1\], got -0.1"),
        ({"head_drop": float("nan")}, "head_drop is a probability"),
        ({"local_branches": 0}, "local_branches must be a positive integer, got 0"),
        ({"local_width": 2.5}, "local_width must be a positive integer, got 2.5"),
        ({"local_branches": 1}, "map_drop 0.6 would zero the only attention map.*got 1"),
        ({"dim": 13}, "13 .* 3"),
        ({"image_size": 18}, "18 .* 4"),
        ({"patch_keep": 9}, "cannot make transfer_base: .*patch_keep"),
        ({"family": "apvit"}, "family must be 'transfer' in TransFERConfig, got 'apvit'"),
    ],
)
def test_wrong_arguments(overrides, message):
    with pytest.raises(ValueError, match=message):
        create_model("transfer_base", **{**SMALL, **overrides})


def test_one_branch_without_map_dropping():
    model = small(local_branches=1, map_drop=0.0)
    assert model(faces(2)).shape == (2, 3)


def test_the_papers_numbers_are_the_defaults():
    config = TransFERConfig()
    assert (config.local_branches, config.local_width, config.map_drop, config.head_drop) == (2, 16, 0.6, 0.3)
    assert (config.num_patches, config.patch_count, config.token_counts) == (196, 196, (196,) * 8)
