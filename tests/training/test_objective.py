"""Losses by hand."""

from __future__ import annotations

import math

import pytest
import torch

from apvit.training.objective import loss, multi_target_loss, sharpen, smooth, soft_cross_entropy


def test_soft_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    target = torch.tensor([[0.5, 0.5], [0.25, 0.75]])
    expected = (math.log(2) + 0.25 * math.log(4 / 3) + 0.75 * math.log(4)) / 2
    assert soft_cross_entropy(logits, target).item() == pytest.approx(expected)


def test_smooth():
    assert smooth(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), 0.2).tolist() == [pytest.approx([0.85, 0.05, 0.05, 0.05])]


def test_sharpen():
    votes = torch.tensor([[0.6, 0.3, 0.1, 0.0]])
    assert sharpen(votes, 2.0).tolist() == [pytest.approx([36 / 46, 9 / 46, 1 / 46, 0])]
    torch.testing.assert_close(sharpen(votes, 1.0), votes)


def test_multi_target_by_hand():
    # Probabilities 1/8, 1/8, 6/8. Right are the first two: max(1/8, 1/8, 0.001 * 6/8) = 1/8.
    logits = torch.tensor([[0.0, 0.0, math.log(6)]])
    assert multi_target_loss(logits, torch.tensor([[0.5, 0.5, 0.0]])).item() == pytest.approx(math.log(8))
    # So sure of a wrong label that 0.001 times it is the most: -log(0.001 * p).
    sure = torch.tensor([[0.0, 20.0]])
    expected = -math.log(0.001) - math.log(1 / (1 + math.exp(-20)))
    assert multi_target_loss(sure, torch.tensor([[1.0, 0.0]])).item() == pytest.approx(expected)


def test_the_recipes_loss():
    logits, target = torch.randn(4, 3), torch.eye(3)[[0, 1, 2, 0]]
    assert loss(logits, target, "multi-target", 0.0) == multi_target_loss(logits, target)
    assert loss(logits, target, "votes", 0.0) == soft_cross_entropy(logits, target)
    votes = torch.tensor([[0.6, 0.4, 0.0]]).expand(4, 3)
    assert loss(logits, votes, "votes", 0.1, 2.0) == soft_cross_entropy(logits, smooth(sharpen(votes, 2.0), 0.1))
    assert loss(logits, target, "label", 0.1) == soft_cross_entropy(logits, smooth(target, 0.1))
