"""A weight file's card as a page for people: what it is, where it comes from, how good, where not to use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .card import Card

FEW_FACES = 100
"""A class measured on fewer faces has a recall that is uncertain by more than 0.1."""
WEAK_RECALL = 0.75
"""Below this recall a class is named among the weak ones."""

HIDDEN_FIELDS = ("data", "output", "resume", "device", "paper_augmentation", "memory_limit")
"""Fields of a recipe that say nothing about the weights."""


def model_page(name: str, card: Card, facts: Mapping[str, str]) -> str:
    """The model card in Markdown, after Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019).

    facts: lines for the table at the top, beside those of the card (size, cost, ...).
    """
    parts = [f"# {name}", card.description, _at_a_glance(card, facts), "## Use", card.intended_use]
    parts += ["## How good it is", *map(_measurement, card.metrics)] if card.metrics else []
    parts += ["## Where it comes from", _provenance(card), "## Licence", card.licence]
    return "\n\n".join(part for part in parts if part) + "\n"


def _at_a_glance(card: Card, facts: Mapping[str, str]) -> str:
    p = card.preprocessing
    framing = "faces are resized" if p.alignment is None else f"faces are warped to the template {p.alignment.name}"
    rows = {
        "architecture": card.architecture,
        **facts,
        "labels, in order": ", ".join(card.labels.expressions),
        "preprocessing": f"{framing}, {p.size} x {p.size} {p.colour}, mean {_short(p.mean)}, deviation {_short(p.std)}",
        "temperature": f"{card.temperature:.4g}" + (" (not calibrated)" if card.temperature == 1 else ""),
    }
    return _table(("", ""), rows.items())


def _measurement(metrics: Mapping[str, Any]) -> str:
    where = " ".join(str(metrics[key]) for key in ("dataset", "split") if key in metrics)
    protocol = f", {metrics['protocol']} labels" if metrics.get("protocol") else ""
    held_out = " These are validation figures: choices were made on these faces." if metrics["split"] == "valid" else ""
    parts = [f"### On {where}{protocol}, {metrics['faces']:,} faces", _figures(metrics) + held_out]
    if per_class := metrics.get("per_class"):
        parts += [_per_class(per_class), _weak(per_class)]
        if confusion := metrics.get("confusion"):
            parts += ["Rows are what the faces are, columns what they are taken for:", _confusion(per_class, confusion)]
    if coverage := metrics.get("coverage"):
        parts += [
            "With a least probability (`--min-probability`) it answers fewer faces, and more of them rightly:",
            _table(
                ("least probability", "answered", "right of those"),
                [(f"{r['min_probability']:.3f}", f"{r['coverage']:.0%}", _accuracy(r)) for r in coverage],
            ),
        ]
    return "\n\n".join(part for part in parts if part)


def _figures(metrics: Mapping[str, Any]) -> str:
    names = {"accuracy": "Accuracy", "mean_class_accuracy": "mean class accuracy", "macro_f1": "macro-F1"}
    found = [f"{words} **{metrics[name]:.4f}**" for name, words in names.items() if name in metrics]
    if fitted := metrics.get("calibration"):
        found.append(
            f"calibration error (ECE, 15 bins) **{fitted['ece_cross_fitted']:.4f}** cross-fitted over "
            f"{fitted['folds']} folds, where perfect calibration would measure {fitted['ece_floor']:.4f}"
        )
    elif "ece" in metrics:
        found.append(f"calibration error (ECE, 15 bins) **{metrics['ece']:.4f}**")
    return ", ".join(found) + "."


def _per_class(per_class: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (name, f"{row['faces']:,}", *(f"{row[figure]:.3f}" for figure in ("recall", "precision", "f1")))
        for name, row in per_class.items()
    ]
    return _table(("expression", "faces", "recall", "precision", "F1"), rows)


def _weak(per_class: Mapping[str, Mapping[str, Any]]) -> str:
    """Which classes it is bad at, with the likely reason."""
    weak = {name: row for name, row in per_class.items() if row["faces"] and row["recall"] < WEAK_RECALL}
    if not weak:
        return ""
    listed = ", ".join(
        f"{name} ({row['recall']:.2f})" for name, row in sorted(weak.items(), key=lambda i: i[1]["recall"])
    )
    few = [name for name, row in weak.items() if row["faces"] < FEW_FACES]
    text = f"It is weak at {listed}, by recall."
    if few:
        text += (
            f" Of {_listed(few)} there are few faces, here and in training, so it seldom dares to name "
            f"{'them' if len(few) > 1 else 'it'}; and a recall over fewer than {FEW_FACES} faces is itself uncertain."
        )
    return text


def _confusion(names: Sequence[str] | Mapping[str, Any], confusion: Sequence[Sequence[int]]) -> str:
    return _table(("", *names), [(name, *map(str, row)) for name, row in zip(names, confusion, strict=True)])


def _provenance(card: Card) -> str:
    p = card.provenance
    recipe = {k: v for k, v in p.get("recipe", {}).items() if k not in HIDDEN_FIELDS and v not in (None, {}, [])}
    rows = {
        "data": " ".join(str(p[key]) for key in ("dataset", "split", "protocol") if key in p),
        "chosen on": p.get("selected_on"),
        "date": p.get("date"),
        "code": p.get("commit"),
        "epoch": p.get("epoch"),
        "seed": p.get("seed"),
    }
    text = _table(("", ""), [(key, str(value)) for key, value in rows.items() if value not in (None, "")])
    if recipe:
        text += "\n\n" + _table(("recipe", ""), [(f"`{key}`", f"`{_short(value)}`") for key, value in recipe.items()])
    return text


def _table(heading: Sequence[str], rows: Any) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _accuracy(row: Mapping[str, Any]) -> str:
    return "–" if row["accuracy"] is None else f"{row['accuracy']:.1%}"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_short, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
