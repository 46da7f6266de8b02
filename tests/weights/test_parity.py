"""Parity with the official code: its numbers (../shared/goldens) against ours, weights read by from_official."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file

from apvit.nn import APViT
from apvit.weights import from_official
from apvit.weights.official import official_name


class Case(NamedTuple):
    """One of the goldens' configurations."""

    name: str
    num_heads: int
    patch_keep: int | float
    token_keep: tuple[float, ...]
    parameters: int


CASES = {
    case.name: case
    for case in (
        Case("tiny3", 4, 157, (1, 1, 1, 0.9, 0.8, 0.7), 565_999),
        Case("small", 4, 629, (1, 1, 1, 0.9, 0.8, 0.7), 1_526_055),
        Case("full", 8, 160, (1, 1, 1, 1, 0.9, 0.9, 0.9, 0.9), 65_209_543),
    )
}


def import_official(case: Case, source: Path | dict[str, torch.Tensor]) -> APViT:
    return from_official(source, num_heads=case.num_heads, patch_keep=case.patch_keep, token_keep=case.token_keep)


def redraw(folder: Path, suffix: str = "") -> dict[str, torch.Tensor]:
    """full's weights (or small's, with the suffix "_small"), drawn again by the goldens' own recipe."""
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode  # the folder is read-only
    try:
        spec = importlib.util.spec_from_file_location("redraw", folder / "redraw.py")
        assert spec is not None
        assert spec.loader is not None
        recipe = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(recipe)
    finally:
        sys.dont_write_bytecode = before
    lines = (folder / f"official_state_dict_keys{suffix}.txt").read_text().splitlines()[1:]
    shapes = {key: ast.literal_eval(shape) for key, shape, _ in (line.split("\t") for line in lines)}
    return {key: torch.from_numpy(np.asarray(value)) for key, value in recipe.redraw(shapes, 0).items()}


class Golden(NamedTuple):
    """The official code's numbers, and our model with its weights."""

    case: Case
    numbers: dict[str, NDArray[Any]]
    model: APViT


@pytest.fixture(scope="module", params=list(CASES))
def golden(request: pytest.FixtureRequest, goldens: Path) -> Golden:
    case = CASES[request.param]
    folder = goldens if case.name == "tiny3" else request.getfixturevalue("shared") / "goldens"
    source = redraw(folder) if case.name == "full" else folder / f"golden_{case.name}_weights.safetensors"
    numbers = dict(np.load(folder / f"golden_{case.name}_seed0.npz"))
    return Golden(case, numbers, import_official(case, source))


def test_parameters(golden: Golden) -> None:
    assert sum(p.numel() for p in golden.model.parameters()) == golden.case.parameters
    if golden.case.name == "full":
        parts = {name: sum(p.numel() for p in part.parameters()) for name, part in golden.model.named_children()}
        assert parts["stem"] == 17_611_968
        assert parts["head"] == 5_383
        assert golden.case.parameters - parts["stem"] - parts["head"] == 47_592_192


def test_float32(golden: Golden) -> None:
    """Logits, scores, features, and which patches and tokens are alive after every block."""
    numbers, model = golden.numbers, golden.model.float()
    cls_after_block: list[NDArray[np.float32]] = []
    hooks = [
        block.register_forward_hook(lambda _, __, output: cls_after_block.append(output[0][:, 0].numpy()))
        for block in model.blocks
    ]
    with torch.inference_mode():
        stem = model.stem(torch.from_numpy(numbers["input"]))
        logits, trace = model(torch.from_numpy(numbers["input"]), return_trace=True)
    for hook in hooks:
        hook.remove()
    assert stem.shape == tuple(numbers["stem_shape"])
    # Inside, values reach 10 and roundings add up over 42 convolutions; the exact comparison is float64's.
    np.testing.assert_allclose(stem[:, ::8, ::2, ::2], numbers["stem_sample"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(trace.patch_scores, numbers["app_score"], rtol=1e-5)
    np.testing.assert_array_equal(trace.patches, numbers["app_keep"])
    alive = numbers["app_keep"]
    assert len(trace.tokens) == len(numbers["tokens_after_block"])
    for block, tokens in enumerate(trace.tokens):
        assert tokens.shape[1] + 1 == numbers["tokens_after_block"][block]
        alive = numbers.get(f"survivors_{block}", alive)
        np.testing.assert_array_equal(tokens, alive, err_msg=f"tokens alive after block {block}")
    np.testing.assert_allclose(np.stack(cls_after_block), numbers["cls_after_block"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(trace.cls, numbers["cls_feature"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(logits, numbers["logits"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(logits.softmax(1), numbers["prob"], rtol=0, atol=1e-5)


def test_float64(golden: Golden) -> None:
    """Only this tells a LayerNorm eps of 1e-5 from 1e-6."""
    numbers, model = golden.numbers, golden.model.double()
    with torch.inference_mode():
        logits, trace = model(torch.from_numpy(numbers["input"]).double(), return_trace=True)
    np.testing.assert_allclose(logits, numbers["logits_f64"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(trace.cls, numbers["cls_feature_f64"], rtol=0, atol=1e-9)
    scores = numbers["attn_map_f64"].reshape(len(logits), -1)
    np.testing.assert_allclose(trace.patch_scores, scores, rtol=1e-12)


def test_batch_of_one_is_the_same(golden: Golden) -> None:
    x = torch.from_numpy(golden.numbers["input"])
    model = golden.model.float()
    with torch.inference_mode():
        logits = torch.cat([model(x[:1]), model(x[1:])])
    np.testing.assert_allclose(logits, golden.numbers["logits"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("dtype", "suffix"), [(torch.float32, ""), (torch.float64, "_f64")])
def test_one_training_step(goldens: Path, dtype: torch.dtype, suffix: str) -> None:
    """Loss, every gradient, and BatchNorm's statistics after one step of cross-entropy in training mode."""
    numbers = np.load(goldens / "golden_tiny3_train_seed0.npz")
    model = import_official(CASES["tiny3"], goldens / "golden_tiny3_weights.safetensors").to(dtype).train()
    logits, trace = model(torch.from_numpy(numbers["input"]).to(dtype), return_trace=True)
    loss = F.cross_entropy(logits, torch.from_numpy(numbers["labels"]))
    loss.backward()

    tight = {"rtol": 1e-9, "atol": 1e-9} if suffix else {"rtol": 1e-3, "atol": 1e-5}
    np.testing.assert_array_equal(trace.patches, numbers["app_keep"])
    np.testing.assert_allclose(logits.detach(), numbers[f"logits_train{suffix}"], rtol=0, atol=tight["atol"])
    np.testing.assert_allclose(loss.item(), numbers[f"loss{suffix}"], **tight)

    gradients = {official_name(name): p.grad for name, p in model.named_parameters()}
    assert sorted(gradients) == list(numbers["param_names"])
    for i, name in enumerate(numbers["param_names"]):
        gradient = gradients[name]
        assert gradient is not None, name
        head = F.pad(gradient.flatten()[:8], (0, 8 - min(8, gradient.numel())))
        np.testing.assert_allclose(gradient.norm(), numbers[f"grad_norm{suffix}"][i], err_msg=name, **tight)
        np.testing.assert_allclose(head, numbers[f"grad_head8{suffix}"][i], err_msg=name, **tight)
        # A sum of n numbers cancels: its error grows with their norm, not with itself.
        slack = tight["atol"] + tight["rtol"] * numbers[f"grad_norm{suffix}"][i]
        np.testing.assert_allclose(gradient.sum(), numbers[f"grad_sum{suffix}"][i], rtol=0, atol=slack, err_msg=name)

    buffers = {official_name(name): buffer for name, buffer in model.named_buffers()}
    for i, name in enumerate(numbers["bn_names"]):
        rtol = 1e-9 if suffix else 1e-5
        np.testing.assert_allclose(buffers[name].sum(), numbers[f"bn_after_sum{suffix}"][i], rtol=rtol, atol=rtol)
        np.testing.assert_allclose(buffers[name].norm(), numbers[f"bn_after_norm{suffix}"][i], rtol=rtol)


def test_goldens_are_those_of_shared(goldens: Path, shared: Path) -> None:
    for path in goldens.iterdir():
        if (shared / "goldens" / path.name).exists():
            assert path.read_bytes() == (shared / "goldens" / path.name).read_bytes()


def test_small_weights_are_the_recipes(shared: Path) -> None:
    """The recipe that full relies on gives the stored weights where they are stored."""
    stored = load_file(shared / "goldens" / "golden_small_weights.safetensors")
    drawn = redraw(shared / "goldens", "_small")
    assert set(drawn) == set(stored)
    assert all(torch.equal(drawn[key], stored[key].to(drawn[key].dtype)) for key in drawn)
