"""What was measured with what: enough to repeat a measurement, and to see where a figure must not be trusted."""

from __future__ import annotations

import datetime
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from apvit.data import SplitMetadata
from apvit.files import sha256
from apvit.weights import Card
from apvit.weights.sources import find_weights


def describe_weights(ref: str, card: Card) -> dict[str, Any]:
    """The file's SHA-256, what its card says about input and calibration, and what it was trained on."""
    made = card.provenance
    alignment = card.preprocessing.alignment
    return {
        "weights": ref,
        "sha256": sha256(find_weights(ref)),
        "architecture": card.architecture,
        "labels": card.labels.name,
        "alignment": None if alignment is None else alignment.name,
        "size": card.preprocessing.size,
        "colour": card.preprocessing.colour,
        "temperature": card.temperature,
        "trained_on": {name: made.get(name) for name in ("dataset", "protocol", "split", "seed", "commit")},
    }


def describe_data(data: str, metadata: SplitMetadata) -> dict[str, Any]:
    """Which split this is, by which rule it is labelled, its counts, and the SHA-256 of what it was made from."""
    return {
        "data": data,
        "dataset": metadata.dataset,
        "split": metadata.split,
        "protocol": metadata.protocol,
        "labels": metadata.labels.name,
        "alignment": metadata.alignment,
        "counts": metadata.counts,
        "inputs": metadata.inputs,
        "leaks": metadata.leaks,
    }


def describe_machine() -> dict[str, str]:
    """Date and versions."""
    import torch

    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "apvit": version("apvit"),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def cautions(card: Card, metadata: SplitMetadata) -> list[str]:
    """Sentences about how these weights and this split are related."""
    made, notes = card.provenance, []
    same = made.get("dataset") == metadata.dataset
    if same and metadata.split in str(made.get("split")).split("+"):
        notes.append(
            f"These weights were trained on the {metadata.split} split of {metadata.dataset}: the figures show how "
            "well it was learnt, not how well the network recognises."
        )
    elif same and metadata.split == "valid":
        notes.append("Validation is what training choices are made on: these figures are not test figures.")
    if metadata.alignment is None and card.preprocessing.alignment is not None:
        notes.append(
            f"The data do not say how their faces are framed; the weights expect {card.preprocessing.alignment.name}."
        )
    return notes


def short_names(refs: list[str]) -> list[str]:
    """A name for each weight file or data folder, as short as tells them apart: file stems, else with their folders.

    >>> short_names(["runs/a/best.safetensors", "runs/b/best.safetensors", "apvit_tiny"])
    ['a/best', 'b/best', 'apvit_tiny']
    """
    plain = [ref.removesuffix(".safetensors").removesuffix(".parquet").rstrip("/") for ref in refs]
    parts = [Path(ref).parts or (ref,) for ref in plain]
    names = []
    for i, own in enumerate(parts):
        for length in range(1, len(own) + 1):
            if all(own[-length:] != other[-length:] for j, other in enumerate(parts) if j != i):
                break
        names.append("/".join(own[-length:]))
    return names
