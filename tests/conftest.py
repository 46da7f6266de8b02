"""Shared fixtures: where the project's proofs lie, random weights, package photographs; tests stay offline."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from PIL import Image

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "2")

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def no_cached_exports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Exports in the user's cache would decide which engine the tests run on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APVIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder ../shared with goldens, photographs and data; skips where it is absent."""
    folder = PROJECT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs ../shared (goldens, photographs, data), which only the project's own machines have")
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of apvit_tiny's shape outside (48 px grey, 12 x 12 patches), random inside."""
    import torch

    import apvit
    from apvit.expressions import get_label_space
    from apvit.faces.alignment import TEMPLATES
    from apvit.weights import Preprocessing

    torch.manual_seed(0)
    model = apvit.create_model(
        "apvit_tiny", stem_width=8, stem_stages=((16, 1), (16, 1)), dim=32, depth=2, num_heads=2, token_keep=(1, 0.9)
    ).eval()
    torch.nn.init.normal_(model.head.weight)  # a new model's head is zero: all faces would look alike
    card = apvit.Card(
        architecture="random",
        parameters=asdict(model.config),
        labels=get_label_space("ferplus"),
        preprocessing=Preprocessing(TEMPLATES["ferplus-48-v1"], 48, "grey", (0.5,), (0.25,)),
        provenance={},
        metrics=(),
        licence="none",
        intended_use="tests of mechanics; it recognises nothing",
    )
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    apvit.save_weights(model, card, path)
    return path


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """astronaut and grace_hopper (one face each), cat (none)."""
    data = pytest.importorskip("skimage.data", reason="needs scikit-image's photographs (apvit[demo])")
    samples = pytest.importorskip("matplotlib.cbook", reason="needs matplotlib's photograph (apvit[demo])")
    folder = tmp_path_factory.mktemp("photographs")
    paths = {name: folder / f"{name}.png" for name in ("astronaut", "cat")}
    Image.fromarray(data.astronaut()).save(paths["astronaut"])
    Image.fromarray(data.cat()).save(paths["cat"])
    paths["grace_hopper"] = folder / "grace_hopper.jpg"
    with samples.get_sample_data("grace_hopper.jpg") as file, paths["grace_hopper"].open("wb") as copy:
        shutil.copyfileobj(file, copy)
    return paths
