"""Multiply-accumulates in the paper's formulation, against the goldens' counts."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from apvit.nn import ARCHITECTURES, APViTConfig, count_macs

PAPER = APViTConfig()
OFF = {"patch_keep": None, "token_keep": None}
CONFIGS = {
    "full": {},
    "small": {"stem_stages": ((64, 3), (128, 4)), "dim": 48, "num_heads": 4, "depth": 6},
    "tiny3": {"stem_stages": ((64, 2), (48, 2), (56, 3)), "dim": 48, "num_heads": 4, "depth": 6},
}
KEEPS = {
    "full": (160, PAPER.token_keep),
    "small": (629, (1, 1, 1, 0.9, 0.8, 0.7)),
    "tiny3": (157, (1, 1, 1, 0.9, 0.8, 0.7)),
}


@pytest.mark.parametrize(
    ("pooling", "stem_and_projection", "linear", "attention", "total"),
    [
        ("none", 5.507, 9.296, 0.477, 15.279),
        ("app", 5.507, 7.597, 0.319, 13.422),
        ("atp", 5.507, 8.391, 0.416, 14.314),
        ("both", 5.507, 6.862, 0.278, 12.647),
    ],
)
def test_the_papers_table(pooling, stem_and_projection, linear, attention, total):
    cost = count_macs(
        APViTConfig(
            patch_keep=160 if pooling in ("app", "both") else None,
            token_keep=PAPER.token_keep if pooling in ("atp", "both") else None,
        )
    )
    giga = [round(n / 1e9, 3) for n in (cost.stem + cost.projection, cost.linear, cost.attention, cost.total)]
    assert giga == [stem_and_projection, linear, attention, total]


@pytest.mark.parametrize("name", CONFIGS)
def test_equal_to_the_goldens(shared, name):
    counted = json.loads((shared / "goldens" / "flops.json").read_text())[name]
    patch_keep, token_keep = KEEPS[name]
    for key, keeps in {
        "no_pooling": OFF,
        "APP_only": {"patch_keep": patch_keep, "token_keep": None},
        "ATP_only": {"patch_keep": None, "token_keep": token_keep},
        "APP+ATP": {"patch_keep": patch_keep, "token_keep": token_keep},
    }.items():
        macs, cost = counted[key]["macs"], count_macs(APViTConfig(**{**CONFIGS[name], **keeps}))
        assert cost.stem == macs["conv_stem"]
        assert cost.projection == macs["conv_proj"]
        assert cost.linear == macs["linear"]
        assert cost.attention == macs["attn_qk"] + macs["attn_av"]
        assert cost.head == macs["linear_head"]
        assert cost.total == macs["total_macs"]


@pytest.mark.parametrize(("name", "budget"), [("apvit_tiny", 0.25e9), ("apvit_small", 2.5e9)])
def test_within_the_budget(name, budget):
    assert count_macs(ARCHITECTURES[name]).total <= budget


def test_transfer_is_the_plain_hybrid_and_its_local_cnns():
    cost, plain = count_macs(ARCHITECTURES["transfer_base"]), count_macs(APViTConfig(**OFF))
    assert cost.local == 2 * 196 * (256 * 16 + 16)
    assert replace(cost, local=0) == plain
    assert round(cost.total / 1e9, 1) == 15.3


def test_what_is_executed():
    """The last block's saving: all its work but keys and values is done for the class token alone."""
    config = ARCHITECTURES["apvit_base"]
    paper, real = count_macs(config), count_macs(config, executed=True)
    tokens, dim, hidden = 117, 768, 2304  # 1 + 116 tokens enter the eighth block, 105 go through its MLP
    assert paper.linear - real.linear == (tokens - 1) * 2 * dim**2 + (105 - 1) * 2 * dim * hidden
    assert paper.attention - real.attention == 2 * (tokens**2 - tokens) * dim
    assert (paper.stem, paper.projection, paper.head) == (real.stem, real.projection, real.head)
