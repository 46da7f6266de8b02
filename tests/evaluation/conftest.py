"""Synthetic splits and predictions to evaluate: pixels are noise, so that only what the tests say is known of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apvit.data import FaceRow, Split, SplitMetadata
from apvit.evaluation.predictions import Predictions
from apvit.expressions import LabelSpace, get_label_space
from apvit.faces.alignment import TEMPLATES
from apvit.weights import Preprocessing

THREE = LabelSpace("three", ("neutral", "happiness", "anger"))


@pytest.fixture
def make_predictions() -> Callable[..., Predictions]:
    """Predictions of the given classes, all with one confidence or each with its own."""

    def make(
        labels: Sequence[int],
        predicted: Sequence[int],
        *,
        confidence: float | Sequence[float] = 0.8,
        space: LabelSpace = THREE,
        data_space: LabelSpace | None = None,
        groups: Sequence[str] | None = None,
        attributes: Sequence[tuple[str, ...]] | None = None,
        attribute_names: tuple[str, ...] | None = None,
    ) -> Predictions:
        sure = np.broadcast_to(np.asarray(confidence, np.float32), len(labels))[:, None]
        chosen = np.eye(len(space))[list(predicted)] > 0
        probabilities = np.where(chosen, sure, (1 - sure) / (len(space) - 1)).astype(np.float32)
        names = [f"face{i}.png" for i in range(len(labels))]
        return Predictions(
            space=space,
            data_space=data_space or space,
            probabilities=probabilities,
            labels=np.array(labels, np.int64),
            sources=names,
            groups=names if groups is None else list(groups),
            attributes=None if attributes is None else list(attributes),
            attribute_names=attribute_names,
            dropped={},
        )

    return make


def rows(labels: Sequence[int | None], *, seed: int = 0, size: int = 48, **columns: Sequence[Any]) -> list[FaceRow]:
    """Noise with the given labels; `columns` (source, group, attributes) override the defaults, one value a face."""
    random = np.random.default_rng(seed)
    made = []
    for i, label in enumerate(labels):
        buffer = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (size, size), np.uint8)).save(buffer, "PNG")
        own = {name: values[i] for name, values in columns.items()}
        defaults = {"source": f"{seed}-{i}.png", "group": f"{seed}-{i}"}
        made.append(FaceRow(image=buffer.getvalue(), label=label, **(defaults | own)))
    return made


@pytest.fixture
def make_rows() -> Callable[..., list[FaceRow]]:
    return rows


@pytest.fixture
def make_split() -> Callable[..., Split]:
    """A split of noise in a label space of this package."""

    def make(
        labels: Sequence[int | None],
        *,
        space: str = "ferplus",
        dataset: str = "ferplus",
        split: str = "valid",
        alignment: str | None = "ferplus-48-v1",
        attribute_names: tuple[str, ...] | None = None,
        **options: Any,
    ) -> Split:
        metadata = SplitMetadata(
            dataset, split, get_label_space(space), alignment=alignment, attribute_names=attribute_names
        )
        return Split.from_rows(rows(labels, **options), metadata)

    return make


@pytest.fixture(scope="session")
def weights_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A small random network with a card of one's own: name, expressions, preprocessing, provenance, seed, ..."""
    import torch

    import apvit

    folder = tmp_path_factory.mktemp("networks")

    def make(
        name: str,
        expressions: tuple[str, ...] = get_label_space("ferplus").expressions,
        *,
        space: str | None = None,
        template: str | None = "ferplus-48-v1",
        seed: int = 1,
        provenance: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Path:
        torch.manual_seed(seed)
        network = {"stem_width": 8, "stem_stages": ((16, 1), (16, 1)), "dim": 32, "depth": 2, "num_heads": 2}
        network |= {"token_keep": (1, 0.9), "num_classes": len(expressions)}
        model = apvit.create_model("apvit_tiny", **(network | fields)).eval()
        torch.nn.init.normal_(model.head.weight)
        card = apvit.Card(
            architecture="random",
            parameters=asdict(model.config),
            labels=LabelSpace(space or name, expressions),
            preprocessing=Preprocessing(None if template is None else TEMPLATES[template], 48, "grey", (0.5,), (0.25,)),
            provenance=provenance or {},
            metrics=(),
            licence="none",
            intended_use="tests of mechanics; it recognises nothing",
        )
        path = folder / f"{name}.safetensors"
        apvit.save_weights(model, card, path)
        return path

    return make
