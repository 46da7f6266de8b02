"""The card: everything needed to use a weight file, as JSON in its metadata. Needs no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from apvit.expressions import LABEL_SPACES, LabelSpace
from apvit.faces.alignment import TEMPLATES, AlignmentTemplate

FORMAT = 2
"""The card version that this release writes."""


def _name_family(values: dict[str, Any]) -> dict[str, Any]:
    """1 -> 2: `parameters` says its family, so that there can be others; all cards of version 1 were APViT's."""
    parameters = values.get("parameters")
    if not isinstance(parameters, dict):
        return values  # refused where its fields are read
    return {**values, "parameters": {**parameters, "family": "apvit"}}


UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _name_family}
"""For each older card version, the function that turns its JSON object into that of the next version."""

CHANNELS = {"grey": 1, "rgb": 3}
INTERPOLATIONS = ("antialiased-bilinear",)
FRACTIONS = ("accuracy", "mean_class_accuracy", "macro_f1", "ece")


class CardError(ValueError):
    """A card is malformed, contradicts itself, or was written by a newer release."""


@dataclass(frozen=True)
class Preprocessing:
    """How a photograph becomes the network's input.

    A face is warped to `alignment`, scaled to `size` x `size` pixels (None: the pictures already are faces and are only
    resized), turned into `colour` ("grey" or "rgb"), divided by 255, then (x - mean) / std, one entry per channel.
    Raises CardError for values that cannot be, and for a known template name with other points than that template's.
    """

    alignment: AlignmentTemplate | None
    size: int
    colour: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "antialiased-bilinear"

    def __post_init__(self) -> None:
        if self.alignment is not None and not isinstance(self.alignment, AlignmentTemplate):
            raise CardError(f"preprocessing.alignment must be an AlignmentTemplate or None, got {self.alignment!r}")
        known = TEMPLATES.get(self.alignment.name) if self.alignment is not None else None
        if known is not None and known != self.alignment:
            raise CardError(
                f"preprocessing.alignment is called {known.name!r} but its points or size are not that template's; "
                f"give another template another name"
            )
        _count(self.size, "preprocessing.size")
        if not isinstance(self.colour, str) or self.colour not in CHANNELS:
            raise CardError(f"preprocessing.colour must be one of {', '.join(CHANNELS)}, got {self.colour!r}")
        if self.interpolation not in INTERPOLATIONS:
            raise CardError(
                f"preprocessing.interpolation must be one of {', '.join(INTERPOLATIONS)}, got {self.interpolation!r}"
            )
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not isinstance(values, (tuple, list)) or len(values) != self.channels:
                raise CardError(
                    f"preprocessing.{name} must have {self.channels} numbers for colour {self.colour!r}, got {values!r}"
                )
            numbers = tuple(_number(v, f"preprocessing.{name}") for v in values)
            object.__setattr__(self, name, numbers)
        if any(v <= 0 for v in self.std):
            raise CardError(f"preprocessing.std must be above 0, got {self.std}")

    @property
    def channels(self) -> int:
        """Channels of the network's input: 1 for grey, 3 for rgb."""
        return CHANNELS[self.colour]

    def normalise(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Faces [B, S, S, 3] (RGB) or [B, S, S] (grey), uint8 -> network input [B, C, S, S] float32.

        Grey is ITU-R 601 luma in the integer arithmetic of PIL's `convert("L")`, which leaves what is grey as it is; an
        rgb network gets a grey picture three times. Raises CardError for another shape or dtype.
        """
        size = self.size
        if faces.dtype != np.uint8 or faces.shape[1:] not in ((size, size), (size, size, 3)):
            raise CardError(
                f"expected uint8 faces [B, {size}, {size}] or [B, {size}, {size}, 3], "
                f"got {faces.dtype} {list(faces.shape)}"
            )
        if self.colour == "grey":
            if faces.ndim == 4:
                luma = faces.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)
                faces = ((luma + 0x8000) >> 16).astype(np.uint8)
            planes = faces[:, None]
        else:
            planes = faces.transpose(0, 3, 1, 2) if faces.ndim == 4 else faces[:, None].repeat(3, axis=1)
        mean = np.array(self.mean, np.float32)[:, None, None]
        std = np.array(self.std, np.float32)[:, None, None]
        return np.ascontiguousarray((planes.astype(np.float32) / np.float32(255) - mean) / std)


@dataclass(frozen=True)
class Card:
    """What a weight file is, how to feed it, what its outputs mean, and how good it was where.

    architecture: a name for people; `parameters` is what is built: the `family` ("apvit" or "transfer") and every other
    field of its `APViTConfig` or `TransFERConfig`.
    temperature: logits are divided by it before the softmax.
    provenance: where the weights come from (dataset, protocol, split, seed, recipe, code commit, ...).
    metrics: one dict per measurement, with at least "split" and "faces" (how many); accuracies are fractions of 1.
    Raises CardError, with the field's name, for a missing, malformed or contradicting value. `parameters`, `provenance`
    and `metrics` are stored as plain JSON values (tuples become lists).
    """

    architecture: str
    parameters: dict[str, Any]
    labels: LabelSpace
    preprocessing: Preprocessing
    provenance: dict[str, Any]
    metrics: tuple[dict[str, Any], ...]
    licence: str
    intended_use: str
    temperature: float = 1.0
    description: str = ""

    def __post_init__(self) -> None:
        for name in ("architecture", "licence", "intended_use", "description"):
            value = getattr(self, name)
            if not isinstance(value, str) or not (value or name == "description"):
                raise CardError(f"{name} must be a text, got {value!r}")
        if not isinstance(self.labels, LabelSpace):
            raise CardError(f"labels must be a LabelSpace, got {self.labels!r}")
        known = LABEL_SPACES.get(self.labels.name)
        if known is not None and known != self.labels:
            raise CardError(
                f"labels are called {known.name!r} but are ({', '.join(self.labels.expressions)}) instead of "
                f"({', '.join(known.expressions)}); give another label space another name"
            )
        if not isinstance(self.preprocessing, Preprocessing):
            raise CardError(f"preprocessing must be a Preprocessing, got {self.preprocessing!r}")
        object.__setattr__(self, "temperature", _number(self.temperature, "temperature"))
        if self.temperature <= 0:
            raise CardError(f"temperature must be above 0, got {self.temperature}")
        for name in ("parameters", "provenance"):
            object.__setattr__(self, name, _object(getattr(self, name), name))
        if not isinstance(self.metrics, (tuple, list)):
            raise CardError(f"metrics must be a list of measurements, got {self.metrics!r}")
        object.__setattr__(self, "metrics", tuple(_metrics(m, f"metrics[{i}]") for i, m in enumerate(self.metrics)))
        expected = {
            "num_classes": (len(self.labels), "the number of labels"),
            "image_size": (self.preprocessing.size, "preprocessing.size"),
            "in_channels": (self.preprocessing.channels, f"the channels of colour {self.preprocessing.colour!r}"),
        }
        for name, (number, meaning) in expected.items():
            value = _count(self.parameters.get(name), f"parameters.{name}")
            if value != number:
                raise CardError(f"parameters.{name} is {value}, but {meaning} is {number}")

    def to_json(self) -> str:
        """The card as JSON text, version `FORMAT`."""
        alignment = self.preprocessing.alignment
        values = {
            "format": FORMAT,
            **{f.name: getattr(self, f.name) for f in fields(self)},
            "labels": {"name": self.labels.name, "expressions": self.labels.expressions},
            "preprocessing": {
                **{f.name: getattr(self.preprocessing, f.name) for f in fields(self.preprocessing)},
                "alignment": None if alignment is None else alignment.to_dict(),
            },
        }
        return json.dumps(values, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Card:
        """The inverse of `to_json`; also reads older versions.

        Raises CardError for text that is no JSON object, a newer version, missing or unknown keys, and bad values.
        """
        try:
            values = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
        except RecursionError:
            raise CardError("the card is nested too deeply") from None
        except ValueError as error:
            raise CardError(f"the card is not valid JSON: {error}") from None
        values = _upgrade(_object(values, "the card"))
        _keys(values, "the card", [f.name for f in fields(cls)])
        labels = _object(values["labels"], "labels")
        _keys(labels, "labels", ["name", "expressions"])
        if not isinstance(labels["name"], str) or not _is_texts(labels["expressions"]):
            raise CardError(f"labels must have a name and a list of expressions, got {labels}")
        preprocessing = _object(values["preprocessing"], "preprocessing")
        _keys(preprocessing, "preprocessing", [f.name for f in fields(Preprocessing)])
        if (alignment := preprocessing["alignment"]) is not None:
            try:
                preprocessing["alignment"] = AlignmentTemplate.from_dict(_object(alignment, "preprocessing.alignment"))
            except CardError:
                raise
            except (ValueError, TypeError, OverflowError) as error:
                raise CardError(f"preprocessing.alignment is malformed: {error}") from None
        try:
            values["labels"] = LabelSpace(labels["name"], tuple(labels["expressions"]))
        except ValueError as error:  # LabelSpaceError, which is not the caller's mistake here but the card's
            raise CardError(str(error)) from None
        values["preprocessing"] = Preprocessing(**preprocessing)
        return cls(**values)


def _upgrade(values: dict[str, Any]) -> dict[str, Any]:
    version = _count(values.pop("format", None), "format")
    if version > FORMAT:
        raise CardError(f"the card has format {version}, but this release reads up to {FORMAT}; update apvit")
    for step in range(version, FORMAT):
        values = UPGRADES[step](values)
    return values


def _keys(values: dict[str, Any], what: str, wanted: list[str]) -> None:
    if unknown := sorted(set(values) - set(wanted)):
        raise CardError(f"{what} has unknown keys: {', '.join(unknown)}")
    if missing := [name for name in wanted if name not in values]:
        raise CardError(f"{what} lacks {', '.join(missing)}")


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _count(value: Any, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CardError(f"{what} must be a positive integer, got {value!r}")
    return value


def _number(value: Any, what: str) -> float:
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:  # an integer beyond the range of floats
        pass
    raise CardError(f"{what} must be a finite number, got {value!r}")


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CardError(f"{what} must be a JSON object, got {value!r}")
    try:
        plain: dict[str, Any] = _plain(value, what)
    except RecursionError:
        raise CardError(f"{what} is nested too deeply") from None
    return plain


def _plain(value: Any, what: str) -> Any:
    """`value` as json.loads would give it, so that a card equals what is read back."""
    if isinstance(value, dict):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise CardError(f"{what} has keys that are not texts: {odd}")
        return {key: _plain(item, f"{what}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, what) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise CardError(f"{what} must be finite, got {value}")
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise CardError(f"{what} must be made of JSON values, got {type(value).__name__}")


def _metrics(value: Any, what: str) -> dict[str, Any]:
    metrics = _object(value, what)
    if not isinstance(metrics.get("split"), str) or not metrics["split"]:
        raise CardError(f"{what} must name the split it was measured on, got {metrics.get('split')!r}")
    _count(metrics.get("faces"), f"{what}.faces")
    for name in FRACTIONS:
        if name in metrics and not 0 <= _number(metrics[name], f"{what}.{name}") <= 1:
            raise CardError(f"{what}.{name} must be a fraction of 1, got {metrics[name]}")
    return metrics


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key stands twice")
    return values
