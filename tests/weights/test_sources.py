"""Bundled names, local paths, and the hub without a network."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import apvit.weights.sources as sources
from apvit.nn import APViT
from apvit.weights import Card, WeightsError, find_weights, list_weights, load_weights, read_card, save_weights
from apvit.weights.sources import HubReference, parse_hub_reference


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "assets"
    folder.mkdir()
    for name in ("apvit_tiny.ferplus", "apvit_tiny.other"):
        (folder / f"{name}.safetensors").write_bytes(b"x")
    monkeypatch.setattr(sources, "ASSETS", folder)
    return folder


def test_bundled_names(assets: Path) -> None:
    assert list_weights() == ["apvit_tiny.ferplus", "apvit_tiny.other"]
    assert find_weights("apvit_tiny.other") == assets / "apvit_tiny.other.safetensors"
    assert find_weights("apvit_tiny") == assets / "apvit_tiny.ferplus.safetensors"


def test_local_paths(assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "apvit_tiny").write_bytes(b"mine")
    assert find_weights("apvit_tiny").parent == assets
    assert find_weights("./apvit_tiny").read_bytes() == b"mine"
    assert find_weights(Path("apvit_tiny")).read_bytes() == b"mine"


@pytest.mark.parametrize("ref", ["apvit_huge", "", "no/such.safetensors", Path("nowhere")])
def test_unknown(assets: Path, ref: str | Path) -> None:
    with pytest.raises(WeightsError) as error:
        find_weights(ref)
    assert "apvit_tiny.ferplus, apvit_tiny.other" in str(error.value)
    assert "hf://owner/repo" in str(error.value)


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("hf://a/b", HubReference("a/b")),
        ("hf://a/b/c.safetensors", HubReference("a/b", "c.safetensors")),
        ("hf://a/b/c/d.safetensors@v1", HubReference("a/b", "c/d.safetensors", "v1")),
        ("hf://a/b@refs/pr/1", HubReference("a/b", "model.safetensors", "refs/pr/1")),
        ("hf://a-b/c.d@0123abc", HubReference("a-b/c.d", "model.safetensors", "0123abc")),
        ("hf://", None),
        ("hf://a", None),
        ("hf:///b", None),
        ("hf://a/", None),
        ("hf://a/b@", None),
        ("hf://a/b/", None),
        ("hf://a/b/@v", None),
    ],
)
def test_hub_references(ref: str, expected: HubReference | None) -> None:
    if expected is not None:
        assert parse_hub_reference(ref) == expected
        return
    with pytest.raises(WeightsError, match=re.escape(f"{ref!r} is not of the form hf://owner/repo")):
        parse_hub_reference(ref)


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("hf://nobody/nothing", "model.safetensors of hf://nobody/nothing is not in the local cache"),
        ("hf://nobody/nothing@v9", "at revision v9 is not in the local cache"),
        ("hf://nobody--else/x", "cannot get model.safetensors of hf://nobody--else/x from the hub"),
        ("hf://nobody/nothing/../up", "cannot get ../up"),
    ],
)
def test_hub_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ref: str, message: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError) as error:
        find_weights(ref)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_hub_cache_is_read_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: APViT, make_card: Callable[..., Card]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    commit = "a" * 40
    repository = tmp_path / "models--someone--faces"
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    save_weights(model, make_card(), repository / "snapshots" / commit / "model.safetensors")
    assert read_card("hf://someone/faces") == make_card()
    assert read_card(f"hf://someone/faces@{commit}") == make_card()
    assert load_weights("hf://someone/faces")[1] == make_card()


@pytest.mark.parametrize("name", list_weights())
def test_what_is_bundled_loads(name: str) -> None:
    model, card = load_weights(name)
    assert name.split(".")[0] == card.architecture
    assert card.metrics
    assert not model.training
