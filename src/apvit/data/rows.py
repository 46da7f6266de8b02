"""What a prepared dataset consists of before it is written: faces, and what their split is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from apvit.data.errors import DataError
from apvit.expressions import LabelSpace

FORMAT = 1

SPLITS = ("train", "valid", "test")
"""The splits of a prepared dataset, those that exist."""

Progress = Callable[[int, int], None]
"""Called with the number of faces done and their total."""


@dataclass(frozen=True)
class SplitMetadata:
    """What a prepared split is: everything needed to interpret its columns and to repeat its making."""

    dataset: str
    """Name that `apvit data prepare` knows it by, such as `ferplus`."""
    split: str
    """`train`, `valid` or `test`."""
    labels: LabelSpace
    """Meaning of the column `label`."""
    protocol: str | None = None
    """The rule that turned annotations into labels, where the dataset has several."""
    vote_source: str | None = None
    """The file whose votes these are."""
    vote_names: tuple[str, ...] | None = None
    """Meaning of the columns of `votes`; the label space's expressions come first, in its order."""
    alignment: str | None = None
    """Alignment template whose framing the faces have."""
    counts: dict[str, Any] = field(default_factory=dict)
    """`rows`, `labelled`, `unlabelled`, and `per_class` {expression: labelled rows}; where they were, `carved` faces
    {"rows", "labelled"} that left this split for valid, and faces `left_out`, a number, because no picture of them
    could be cut."""
    inputs: dict[str, str] = field(default_factory=dict)
    """SHA-256 of what was read, by name."""
    leaks: dict[str, Any] = field(default_factory=dict)
    """Faces of this split that stand in others too, as the source has them, and what dropping them left: `before`,
    `after` and `also_in_<split>` are {"rows", "labelled"}; `dropped` is a number of rows."""
    attribute_names: tuple[str, ...] | None = None
    """Meaning of the values of `attributes`, such as ("gender", "race", "age")."""
    alignment_template: dict[str, Any] | None = None
    """The template called `alignment`, where it was given by its points: `AlignmentTemplate.to_dict`."""

    def to_json(self) -> str:
        """This as one JSON object with the key `format`."""
        return json.dumps(
            {
                "format": FORMAT,
                "dataset": self.dataset,
                "split": self.split,
                "labels": {"name": self.labels.name, "expressions": list(self.labels.expressions)},
                "protocol": self.protocol,
                "vote_source": self.vote_source,
                "vote_names": None if self.vote_names is None else list(self.vote_names),
                "alignment": self.alignment,
                "counts": self.counts,
                "inputs": self.inputs,
                "leaks": self.leaks,
                "attribute_names": None if self.attribute_names is None else list(self.attribute_names),
                "alignment_template": self.alignment_template,
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> SplitMetadata:
        """The inverse of `to_json`; DataError for a newer format or missing keys."""
        try:
            value = json.loads(text)
            version = value["format"]
            if not isinstance(version, int) or version > FORMAT:
                raise DataError(
                    f"the prepared split has format {version}, this apvit reads up to {FORMAT}: update apvit"
                )
            _check_kinds(value)
            names = value["vote_names"]
            # Older files lack the keys that are got rather than taken.
            attributes = value.get("attribute_names")
            return cls(
                dataset=value["dataset"],
                split=value["split"],
                labels=LabelSpace(value["labels"]["name"], tuple(value["labels"]["expressions"])),
                protocol=value["protocol"],
                vote_source=value["vote_source"],
                vote_names=None if names is None else tuple(names),
                alignment=value["alignment"],
                counts=value["counts"],
                inputs=value["inputs"],
                leaks=value["leaks"],
                attribute_names=None if attributes is None else tuple(attributes),
                alignment_template=value.get("alignment_template"),
            )
        except DataError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise DataError(f"the split's metadata is damaged ({error!r}): prepare the dataset again") from error


_KINDS: dict[str, type] = {"dataset": str, "split": str, "counts": dict, "inputs": dict, "leaks": dict}
_OPTIONAL_KINDS: dict[str, type] = {
    **dict.fromkeys(("protocol", "vote_source", "alignment"), str),
    **dict.fromkeys(("vote_names", "attribute_names"), list),
    "alignment_template": dict,
}


def _check_kinds(value: dict[str, Any]) -> None:
    """Raise TypeError where the metadata's JSON object lacks a value, or has one of another kind.

    Whoever uses the metadata relies on it, and would otherwise stumble far from the file that is wrong.
    """
    kinds = [(name, value.get(name), kind) for name, kind in (_KINDS | _OPTIONAL_KINDS).items()]
    kinds.append(("name of labels", value["labels"]["name"], str))
    for name in ("vote_names", "attribute_names"):
        kinds += [(f"entry of {name}", entry, str) for entry in value.get(name) or ()]
    for name, found, kind in kinds:
        if not isinstance(found, kind) and not (found is None and name in _OPTIONAL_KINDS):
            raise TypeError(f"{name} is {found!r:.50} instead of a {kind.__name__}")


@dataclass(frozen=True)
class FaceRow:
    """One face of a split."""

    image: bytes
    """Encoded picture, as the dataset ships it or lossless."""
    source: str
    """Name of the picture inside the dataset."""
    label: int | None
    """Index in the label space; None where unknown."""
    group: str
    """Faces that must not straddle splits share it: a subject, a video, or the picture itself."""
    votes: tuple[int, ...] | None = None
    """Annotators' votes, one count per vote name."""
    landmarks: tuple[float, ...] | None = None
    """x, y of the five landmarks in pixels of the picture: 10 numbers."""
    attributes: tuple[str, ...] | None = None
    """One value per attribute name of the split, empty where unknown."""
    framing: str | None = None
    """How the picture was cut: "as shipped", "cropped to the given box", or how its alignment chose the face."""
