"""What was measured with what: enough to repeat a measurement, and to see where a figure must not be trusted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from heapq import nsmallest
from pathlib import Path
from typing import Any

from apvit.data import Split, SplitMetadata
from apvit.data.folder import NAME as FOLDER
from apvit.engines import Engine, Runtime
from apvit.files import sha256
from apvit.weights import Card
from apvit.weights.sources import find_weights

SAMPLE = 256
"""Hashes in a sample of training faces: 5 kB of a card, and of a set of 3,000 faces about 30 can be looked up in the
sample of 25,000."""


def describe_weights(ref: str, engine: Engine) -> dict[str, Any]:
    """The file's SHA-256, what its card says about input, calibration and training data, and what runs it here."""
    card, made = engine.card, engine.card.provenance
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
        "runtime": asdict(engine.runtime),
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


def describe_measurement(metadata: SplitMetadata, runtime: Runtime) -> dict[str, Any]:
    """How the figures in a card begin: on what they were measured, and what ran the network."""
    return {
        "dataset": metadata.dataset,
        "split": metadata.split,
        "protocol": metadata.protocol,
        "inputs": metadata.inputs,
        "runtime": asdict(runtime),
    }


def training_data(splits: Sequence[Split]) -> dict[str, Any]:
    """What a card says about the faces that its weights were trained on, so that `relate` knows them again."""
    first = splits[0].metadata
    return {
        "dataset": first.dataset,
        "split": "+".join(split.metadata.split for split in splits),
        "inputs": {name: digest for split in splits for name, digest in split.metadata.inputs.items()},
        "face_sample": nsmallest(SAMPLE, {_hash(image) for split in splits for image in split.images}),
    }


@dataclass(frozen=True)
class Relation:
    """Whether the data are those that weights were trained on."""

    same_dataset: bool | None
    """None where it cannot be known."""
    because: str
    """The reason, for people."""
    looked_up: int = 0
    """Faces that would stand in the card's sample of training faces if they had been trained on."""
    trained_on: int = 0
    """Those of them that do stand there."""
    split: str | None = None
    """Split or splits of that dataset that the weights were trained on, such as "train+valid"."""


def relate(card: Card, split: Split) -> Relation:
    """Compare `split` with what the weights were trained on, and with what the weights they started from were.

    A dataset is known by the SHA-256 of its inputs and by its faces: pictures that are divided anew, or a part of them,
    are found by the hashes of faces. A name tells published datasets apart, but `folder` is anybody's data.
    """
    found = [_relate(made, split) for made in (card.provenance, *card.provenance.get("started_from", []))]
    order = (True, None, False)
    return min(found, key=lambda relation: (-relation.trained_on, order.index(relation.same_dataset)))


def _relate(made: Mapping[str, Any], split: Split) -> Relation:
    if made.get("dataset") is None:
        return Relation(None, "the card does not say what the weights were trained on")
    sample = made.get("face_sample", [])
    hashes = {_hash(image) for image in split.images} if sample else set()
    if len(sample) == SAMPLE:  # of more faces: what lies above the largest hash is not in it
        hashes = {hash for hash in hashes if hash <= sample[-1]}
    looked_up, known = len(hashes), len(hashes.intersection(sample))
    same, because = same_dataset(made, describe_data("", split.metadata))
    if known:
        same, because = True, f"{known:,} of {looked_up:,} faces looked up were trained on"
    elif same is None and looked_up:
        same, because = False, f"{because}, and none of {looked_up:,} faces looked up was trained on"
    elif same is None:
        reason = "these are too few for the card's sample" if sample else "the card has no sample of the training faces"
        because = f"{because}, and whether they share faces is not known: {reason}"
    return Relation(same, because, looked_up, known, made.get("split"))


def same_dataset(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[bool | None, str]:
    """Whether two records with `dataset` and `inputs` (of `SplitMetadata`) are of one dataset, and the reason.

    None where only faces could tell: `folder` is anybody's pictures, and others have other inputs once one is added.
    """
    name, other = first.get("dataset"), second.get("dataset")
    digests = first.get("inputs", {}).values()
    if shared := [file for file, digest in second.get("inputs", {}).items() if digest in digests]:
        return True, f"both were made from {shared[0]}"
    if FOLDER in (name, other):
        return None, "they share no input"
    return name == other, f"both are {name}" if name == other else f"{name} and {other} are different datasets"


def _hash(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()[:16]


def cautions(card: Card, split: Split) -> list[str]:
    """Sentences about how these weights and this split are related."""
    metadata, relation, notes = split.metadata, relate(card, split), []
    is_trained_split = metadata.split in str(relation.split).split("+")
    if relation.trained_on:
        share = relation.trained_on / relation.looked_up
        notes.append(
            f"These weights were trained on about {share:.0%} of these faces ({relation.trained_on:,} of "
            f"{relation.looked_up:,} looked up): of them the figures show how well they were learned, not how well the "
            "network recognizes others."
        )
    elif relation.same_dataset and is_trained_split and not relation.looked_up:
        notes.append(
            f"These weights were trained on the {metadata.split} split of {metadata.dataset}: the figures show how "
            "well it was learned, not how well the network recognizes other faces."
        )
    if relation.same_dataset and metadata.split == "valid" and not is_trained_split:
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
