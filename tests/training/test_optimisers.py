"""What decays, which optimiser, the learning rate over a run, the moving average."""

from __future__ import annotations

import pytest
import torch

from apvit.nn import create_model
from apvit.training import Recipe
from apvit.training.averaging import average_decay, update_average
from apvit.training.muon import Muon, orthogonalise
from apvit.training.optimisers import decay_groups, make_optimiser
from apvit.training.schedule import rate_factor, warmup_cosine

TOKENS = {"class_token", "class_position", "patch_position"}


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (60, 0.5), (110, 0.0), (500, 0.0)]
)
def test_warmup_cosine(step, expected):
    assert warmup_cosine(step, total=110, warmup=10) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("per", "step", "expected"),
    [
        ("epoch", 0, 1.0),
        ("epoch", 24, 1.0),
        ("epoch", 25, 0.8535534),
        ("epoch", 74, 0.5),
        ("step", 50, 0.5),
        ("step", 25, 0.8535534),
    ],
)
def test_rate_over_a_run_of_four_epochs(per, step, expected):
    assert rate_factor(step, 25, 4, 0.0, per) == pytest.approx(expected)


def names_that_decay(architecture: str, decay: str) -> tuple[set[str], set[str]]:
    model = create_model(architecture, **({"depth": 1} if architecture == "transfer_base" else {}))
    names = {id(p): n for n, p in model.named_parameters()}
    groups = decay_groups(model, 0.05, decay)
    assert sum(len(g["params"]) for g in groups) == len(names)
    on = {names[id(p)] for g in groups if g["weight_decay"] == 0.05 for p in g["params"]}
    return on, set(names.values()) - on


@pytest.mark.parametrize("architecture", ["apvit_tiny", "transfer_base"])
def test_what_decays(architecture):
    on, off = names_that_decay(architecture, "matrices")
    assert {name.rsplit(".", 1)[-1] for name in on} == {"weight"}
    assert off >= TOKENS
    assert "norm.weight" in off
    assert names_that_decay(architecture, "intended")[1] == TOKENS
    assert names_that_decay(architecture, "all")[1] == set()


def test_the_papers_optimiser_by_hand():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(model.weight)
    optimiser = make_optimiser(model, Recipe(optimizer="sgd", learning_rate=0.1, weight_decay=0.5, decay="all"))
    expected, velocity = 1.0, 0.0
    for _ in range(3):
        model.weight.grad = torch.tensor([[2.0]])
        optimiser.step()
        velocity = 0.9 * velocity + 2 + 0.5 * expected
        expected -= 0.1 * velocity
        assert model.weight.item() == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(8, 3), (5, 5), (4, 30)])
def test_orthogonalise(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalise(matrix)
    singular = torch.linalg.svdvals(found)
    assert singular.min() > 0.6
    assert singular.max() < 1.3
    assert torch.nn.functional.cosine_similarity(found.flatten(), (u @ vh).flatten(), dim=0) > 0.95


@pytest.mark.parametrize(("precision", "off"), [(torch.float32, 1e-7), (torch.bfloat16, 4e-3)])
def test_muons_step_by_hand(precision, off):
    weight = torch.nn.Parameter(torch.zeros(2, 3, 1, 2))
    optimiser = Muon([{"params": [weight], "orthogonal": True, "weight_decay": 0.0}], lr=0.1, precision=precision)
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    optimiser.step()  # the first momentum is a part of the gradient: the direction is the gradient's
    expected = -0.1 * 0.2 * 6**0.5 * orthogonalise(weight.grad.reshape(2, 6))
    torch.testing.assert_close(weight.detach().reshape(2, 6), expected, atol=off, rtol=1e-5)


def test_muon_leaves_vectors_and_both_ends_to_adamw():
    model = create_model("apvit_tiny")
    names = {id(p): n for n, p in model.named_parameters()}
    optimiser = make_optimiser(model, Recipe(optimizer="muon", precision="bf16-mixed"))
    assert optimiser.precision == torch.bfloat16
    orthogonal = {names[id(p)] for g in optimiser.param_groups if g["orthogonal"] for p in g["params"]}
    assert sum(len(g["params"]) for g in optimiser.param_groups) == len(names)
    assert "blocks.0.attention.qkv.weight" in orthogonal
    assert "stem.stages.0.0.conv1.weight" in orthogonal
    assert not orthogonal & {"stem.input.conv.weight", "head.weight", "patch_position", "norm.weight"}

    pair = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    muon = Muon([{"params": [pair[0]], "orthogonal": False, "weight_decay": 0.1}], lr=0.1)
    adamw = torch.optim.AdamW([pair[1]], lr=0.1, weight_decay=0.1)
    for step in range(4):
        for parameter, optimiser in zip(pair, (muon, adamw), strict=True):
            parameter.grad = torch.tensor([1.0, -2.0, 0.5]) * (step + 1)
            optimiser.step()
    torch.testing.assert_close(*pair)


def test_moving_average_by_hand():
    average, model = torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.running_mean.fill_(10.0)
        model.num_batches_tracked.fill_(7)
    update_average(average, model, 0.75)
    assert average.weight.item() == pytest.approx(0.75 * 1 + 0.25 * 3)
    assert average.running_mean.item() == pytest.approx(2.5)
    assert average.num_batches_tracked.item() == 7
    assert [average_decay(s, 0.9) for s in (0, 8, 1000)] == pytest.approx([0.1, 0.5, 0.9])
    assert average_decay(5, 0.0) == 0  # no average: the weights themselves


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 0}, "epochs.*0"),
        ({"accumulate": 0}, "accumulate.*0"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"average_decay": 1.0}, "average_decay.*1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing"),
        ({"clip_norm": -1}, "clip_norm"),
        ({"target": "multi-target", "label_smoothing": 0.1}, "multi-target.*0.1"),
        ({"init": "apvit_tiny", "stem_weights": "ir50.pth"}, "init fills the whole body"),
    ],
)
def test_wrong_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**fields)
