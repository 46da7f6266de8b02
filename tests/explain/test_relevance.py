"""Relevance through token dropping: by hand on small matrices, conservation, and against the model itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import apvit
from apvit.explain.attention import BlockAttention, forward_in_the_open
from apvit.explain.relevance import carry, class_attention, class_relevance, rollout

SMALL = {"stem_width": 8, "stem_stages": ((8, 1), (16, 1)), "image_size": 16, "dim": 32, "depth": 3, "num_heads": 4}


def small_model(seed: int = 0, **changes) -> apvit.APViT:
    torch.manual_seed(seed)
    model = apvit.create_model("apvit_tiny", **(SMALL | {"patch_keep": 12, "token_keep": (1, 0.7, 0.7)} | changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model.eval()


def faces(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("changes", [{}, {"patch_keep": None}, {"token_keep": None}, {"token_score": "max"}])
def test_the_pass_in_the_open_is_the_models(changes):
    model, x = small_model(**changes), faces()
    passed = forward_in_the_open(model, x)
    with torch.inference_mode():
        logits, trace = model(x, return_trace=True)
    torch.testing.assert_close(passed.logits, logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(passed.patches, trace.patches)
    alive = passed.patches
    for block, tokens in zip(passed.blocks, trace.tokens, strict=True):
        alive = alive if block.kept is None else alive.gather(1, block.kept)
        assert torch.equal(alive, tokens)
        torch.testing.assert_close(block.attention.sum(-1), torch.ones(block.attention.shape[:-1]))


def test_transfer_is_explained_too():
    torch.manual_seed(0)
    model = apvit.create_model("transfer_base", **{**SMALL, "in_channels": 1}).eval()
    torch.nn.init.normal_(model.head.weight)
    x = faces()
    torch.testing.assert_close(forward_in_the_open(model, x).logits, model(x), atol=1e-5, rtol=1e-5)
    assert class_relevance(model, x, torch.tensor([[0], [1], [2]])).shape == (3, 1, 16)


def test_a_dropped_token_keeps_what_it_had_given():
    # Three tokens: class, a, b. Block 1: class takes 0.5 from a and 0.25 from b, then a is dropped.
    first = torch.tensor([[[0.0, 0.5, 0.25], [0, 0, 0], [0, 0, 0]]])
    # Block 2: class takes 0.4 from b, b takes 0.1 from class. Only class and b are alive.
    second = torch.tensor([[[0.0, 0.4], [0.1, 0.0]]])
    blocks = [
        BlockAttention(torch.zeros(1, 1, 3, 3), torch.tensor([[1]])),  # keeps b, position 1 of the non-class tokens
        BlockAttention(torch.zeros(1, 1, 2, 2), None),
    ]
    relevance = carry([first, second], blocks)
    # After block 1: class = (1, .5, .25), b = (0, 0, 1). Block 2: class += .4 b; b += .1 class.
    expected = torch.tensor([[[1.0, 0.5, 0.25 + 0.4], [0.1, 0.05, 0.025 + 1.0]]])
    torch.testing.assert_close(relevance, expected)


def test_without_dropping_it_is_the_product_of_matrices():
    matrices = [torch.rand(2, 4, 4) for _ in range(3)]
    blocks = [BlockAttention(m[:, None], None) for m in matrices]
    expected = torch.eye(4).expand(2, -1, -1)
    for matrix in matrices:
        expected = (torch.eye(4) + matrix) @ expected
    torch.testing.assert_close(carry(matrices, blocks), expected)


def test_what_a_dropped_token_gave_travels_on_with_the_others():
    # Block 1: b takes 0.5 from a, then a is dropped. Block 2: class takes 0.4 from b, and so 0.4 * 0.5 of a.
    first = torch.tensor([[[0.0, 0, 0], [0, 0, 0], [0, 0.5, 0]]])
    second = torch.tensor([[[0.0, 0.4], [0, 0]]])
    blocks = [
        BlockAttention(torch.zeros(1, 1, 3, 3), torch.tensor([[1]])),
        BlockAttention(torch.zeros(1, 1, 2, 2), None),
    ]
    torch.testing.assert_close(carry([first, second], blocks)[0, 0], torch.tensor([1.0, 0.2, 0.4]))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), counts=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_dropping_is_attending_to_nothing_from_then_on(seed, counts):
    """Against the formula on all tokens: zero rows and columns for dropped ones, whose rows then stay as they were."""
    random = torch.Generator().manual_seed(seed)
    batch, alive = 2, torch.arange(7).expand(2, -1)  # a class token and six others
    whole = torch.eye(7).expand(batch, -1, -1)
    mixing, blocks, frozen = [], [], []
    for count in sorted(counts, reverse=True):
        matrix = torch.rand(batch, alive.shape[1], alive.shape[1], generator=random)
        kept = torch.rand(batch, alive.shape[1] - 1, generator=random).topk(count).indices.sort().values
        mixing.append(matrix)
        blocks.append(BlockAttention(matrix[:, None], kept))
        padded = torch.zeros(batch, 7, 7)
        for face in range(batch):
            padded[face, alive[face][:, None], alive[face]] = matrix[face]
        whole = whole + padded @ whole
        left = torch.cat((alive[:, :1], alive[:, 1:].gather(1, kept)), dim=1)
        for face in range(batch):
            frozen += [(face, t, whole[face, t]) for t in set(alive[face].tolist()) - set(left[face].tolist())]
        alive = left
    for face in range(batch):
        torch.testing.assert_close(carry(mixing, blocks)[face], whole[face, alive[face]])
    for face, token, row in frozen:
        assert torch.equal(whole[face, token], row)  # the relevance it had when it was dropped


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    patch_keep=st.sampled_from([None, 5, 0.8]),
    token_keep=st.sampled_from([None, (0.5, 1, 0.5), (1, 1, 1)]),
)
def test_rollout_conserves(seed, patch_keep, token_keep):
    """Rows of the rollout stay distributions whatever is dropped, so patches and class token share one whole."""
    model, x = small_model(seed, patch_keep=patch_keep, token_keep=token_keep), faces(2)
    passed = forward_in_the_open(model, x)
    whole = carry([b.attention.mean(1) for b in passed.blocks], passed.blocks, scale=0.5)
    torch.testing.assert_close(whole.sum(-1), torch.ones(whole.shape[:-1]), atol=1e-5, rtol=0)
    patches = rollout(model, x)
    torch.testing.assert_close(patches.sum(1) + whole[:, 0, 0], torch.ones(2), atol=1e-5, rtol=0)
    dropped = torch.ones(2, 16).scatter(1, passed.patches, 0).bool()
    assert (patches[dropped] == 0).all()


def test_class_relevance_by_finite_differences_of_one_head_and_block():
    """With one block and one head the formula is gradient * attention of the class row: check the gradient itself."""
    model = small_model(depth=1, num_heads=1, token_keep=None, patch_keep=None)
    x = faces(1)
    relevance = class_relevance(model, x, torch.tensor([[2]]))[0, 0]
    block, passed = model.blocks[0], forward_in_the_open(model, x)
    attention = passed.blocks[0].attention.detach()

    tokens = model.embed(x)[0].detach()
    value = block.attention.qkv(block.norm1(tokens)).reshape(1, 17, 3, 1, 32)[:, :, 2, 0]

    def logit(row: torch.Tensor) -> torch.Tensor:
        cls = tokens[:, 0] + block.attention.project(row @ value[0])
        cls = cls + block.mlp(block.norm2(cls))
        return model.head(model.norm(cls))[0, 2]

    row = attention[0, 0, :1].double()
    model.double()
    tokens, value = tokens.double(), value.double()
    step = 1e-6
    for patch in (0, 7, 15):
        shifted = torch.zeros_like(row)
        shifted[0, 1 + patch] = step
        slope = (logit(row + shifted) - logit(row - shifted)) / (2 * step)
        assert relevance[patch].item() == pytest.approx(max(0.0, (slope * row[0, 1 + patch]).item()), abs=2e-5)


def test_class_relevance_shape_sign_and_no_gradients_left():
    model, x = small_model(), faces()
    maps = class_relevance(model, x, torch.tensor([[0, 1], [2, 3], [4, 5]]))
    assert maps.shape == (3, 2, 16)
    assert (maps >= 0).all()
    assert maps.isfinite().all()
    assert not maps.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    alone = class_relevance(model, x[1:2], torch.tensor([[2, 3]]))
    torch.testing.assert_close(maps[1:2], alone, atol=1e-5, rtol=1e-4)


def test_class_attention_is_zero_where_no_token_is():
    model, x = small_model(), faces()
    maps = class_attention(model, x)
    with torch.inference_mode():
        _, trace = model(x, return_trace=True)
    alive = [trace.patches, *trace.tokens[:-1]]  # tokens that enter each block
    for block, patches in enumerate(alive):
        gone = torch.ones(3, 16).scatter(1, patches, 0).bool()
        assert (maps[:, block][gone] == 0).all()
        assert (maps[:, block].sum(1) < 1).all()


def test_training_mode_is_refused():
    with pytest.raises(RuntimeError, match="evaluation mode"):
        rollout(small_model().train(), faces())
