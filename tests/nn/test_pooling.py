"""APP and ATP as functions: what they choose, in which order, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from apvit.nn import (
    AttentivePatchPooling,
    AttentiveTokenPooling,
    attentive_patch_pooling,
    attentive_token_pooling,
    keep_count,
)
from apvit.nn.pooling import PATCH_SCORES, class_logits
from apvit.nn.transformer import PoolingBlock


@pytest.mark.parametrize(
    ("total", "keep", "expected"),
    [
        (196, 160, 160),
        (196, None, 196),
        (160, 0.9, 144),
        (144, 0.9, 129),
        (129, 0.9, 116),
        (116, 0.9, 104),
        (90, 0.7, 62),  # binary floating point: 90 * 0.7 is 62.99...
        (3, 0.1, 1),  # never none
        (784, 0.8034, 629),
        (10, 1.0, 10),
        (10, 10, 10),
    ],
)
def test_keep_count(total, keep, expected):
    assert keep_count(total, keep) == expected


@pytest.mark.parametrize("keep", [0, -1, 197, 0.0, -0.5, 1.5, float("nan")])
def test_keep_count_refuses(keep):
    with pytest.raises(ValueError, match=r"196|rate") as error:
        keep_count(196, keep)
    assert str(keep) in str(error.value)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ("abs_sum", [6, 3, 4]),
        ("sum", [0, 3, -4]),
        ("square_sum", [18, 5, 16]),
        ("max", [3, 2, 0]),
        ("abs_max", [3, 2, 4]),
    ],
)
def test_patch_scores_by_hand(score, expected):
    x = torch.tensor([[[3.0, -3.0], [1.0, 2.0], [0.0, -4.0]]])
    assert PATCH_SCORES[score](x).tolist() == [expected]


def test_patch_pooling_keeps_the_strongest_in_order():
    x = torch.tensor([[[1.0], [-9.0], [3.0], [-4.0]], [[8.0], [7.0], [6.0], [5.0]]])
    scores, kept = attentive_patch_pooling(x, 2)
    assert scores.tolist() == [[1, 9, 3, 4], [8, 7, 6, 5]]
    assert kept.tolist() == [[1, 3], [0, 1]]


def test_patch_pooling_that_keeps_all_is_the_identity():
    _, kept = attentive_patch_pooling(torch.randn(2, 5, 3), 5)
    assert kept.tolist() == [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize(("score", "expected"), [("sum", [1, 3]), ("max", [0, 1]), ("abs_sum", [0, 2])])
def test_token_pooling_by_hand(score, expected):
    logits = torch.tensor([[[6.0, 4.0, -9.0, 3.0], [-5.0, 1.0, 1.0, 2.5]]])  # [1, 2 heads, 4 tokens]
    assert attentive_token_pooling(logits, 2, score).tolist() == [expected]


def test_class_logits_leave_the_class_token_out():
    query, key = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)
    expected = torch.einsum("bhd,bhtd->bht", query[:, :, 0], key)[:, :, 1:] * 0.5
    torch.testing.assert_close(class_logits(query, key, 0.5), expected)


def test_scores_are_float32_in_half_precision():
    scores, _ = attentive_patch_pooling(torch.randn(1, 9, 8, dtype=torch.bfloat16), 4)
    assert scores.dtype == torch.float32
    half = torch.randn(1, 2, 5, 4, dtype=torch.bfloat16)
    assert class_logits(half, half, 1.0).dtype == torch.float32


@pytest.mark.parametrize("module", [AttentivePatchPooling, AttentiveTokenPooling])
def test_modules_refuse_unknown_scores(module):
    with pytest.raises(ValueError, match=r"unknown .* score 'best'; known are"):
        module(3, "best")


@settings(max_examples=50, deadline=None)
@given(batch=st.integers(1, 4), patches=st.integers(1, 60), dim=st.integers(1, 8), data=st.data())
def test_patch_pooling_properties(batch, patches, dim, data):
    count = data.draw(st.integers(1, patches))
    x = torch.randn(batch, patches, dim, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 2**31))))
    scores, kept = attentive_patch_pooling(x, count)
    assert kept.shape == (batch, count)
    assert (kept.diff(dim=1) > 0).all()  # ascending, so also distinct
    for row_scores, row in zip(scores, kept, strict=True):
        dropped = torch.ones(patches, dtype=torch.bool)
        dropped[row] = False
        if dropped.any():
            assert row_scores[row].min() >= row_scores[dropped].max()


@pytest.mark.parametrize("keep", [None, 5])
def test_a_class_only_block_is_the_whole_blocks_class_token(keep):
    torch.manual_seed(0)
    block = PoolingBlock(32, 4, 64, keep, "sum").double().eval()
    x = torch.randn(3, 10, 32, dtype=torch.float64)
    whole, kept = block(x)
    alone, selected = block(x, class_only=True)
    assert alone.shape == (3, 1, 32)
    torch.testing.assert_close(alone, whole[:, :1])
    assert kept is None if keep is None else torch.equal(kept, selected)
    assert block(x, class_only=True, select=False)[1] is None
