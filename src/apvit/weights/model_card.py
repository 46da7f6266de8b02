"""A weight file's card as a page for people: what it is, where it comes from, how good, where not to use it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from .card import Card

FEW_FACES = 100
"""A class measured on fewer faces has a recall that is uncertain by more than 0.1."""
WEAK_RECALL = 0.75
"""Below this recall a class is named among the weak ones."""
ANSWERED, RIGHT = 0.8, 0.95
"""The share of faces answered, and the share right of those, whose thresholds are spelt out above the whole curve."""

HIDDEN_FIELDS = ("data", "output", "resume", "device", "paper_augmentation", "memory_limit")
"""Fields of a recipe that say nothing about the weights."""


def model_page(name: str, card: Card, facts: Mapping[str, str], weights: str) -> str:
    """The model card in Markdown, after Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019).

    facts: lines for the table at the top, beside those of the card (size, cost, ...).
    weights: what a command is given to use these weights, such as a bundled name or a path.
    """
    parts = [f"# {name}", card.description, _at_a_glance(card, facts)]
    parts += ["## Intended and forbidden use", card.intended_use]
    if card.metrics:
        seen = card.provenance.get("faces", {})
        parts += ["## How good it is", *(_measurement(metrics, weights, seen) for metrics in card.metrics)]
    parts += ["## Limits", _limits(card)]
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


def _measurement(metrics: Mapping[str, Any], weights: str, seen: Mapping[str, int]) -> str:
    """seen: training faces in whose targets (votes, and what teachers say) each expression leads, where known."""
    where = " ".join(str(metrics[key]) for key in ("dataset", "split") if key in metrics)
    protocol = f", {metrics['protocol']} labels" if metrics.get("protocol") else ""
    parts = [f"### On {where}{protocol}, {metrics['faces']:,} faces", _figures(metrics), _again(metrics, weights)]
    if "per_class" in metrics:
        parts += ["#### Each expression", _per_class(metrics), _weak(metrics, seen)]
        if confusion := metrics.get("confusion"):
            parts += ["Rows are what the faces are, columns what they are taken for:"]
            parts += [_confusion(list(metrics["per_class"]), confusion)]
    parts += [_calibration(metrics), _coverage(metrics)]
    return "\n\n".join(part for part in parts if part)


def _figures(metrics: Mapping[str, Any]) -> str:
    names = {"accuracy": "Accuracy", "mean_class_accuracy": "mean class accuracy", "macro_f1": "macro-F1"}
    intervals = metrics.get("intervals", {})
    found = [
        f"{words} **{metrics[name]:.4f}**{_spread(intervals.get(name))}"
        for name, words in names.items()
        if name in metrics
    ]
    if fitted := metrics.get("calibration"):
        found.append(f"calibration error (ECE) **{fitted['ece_cross_fitted']:.4f}**")
    elif "ece" in metrics:
        found.append(f"calibration error (ECE, 15 bins) **{metrics['ece']:.4f}**")
    text = ", ".join(found) + "."
    if intervals:
        text += " In brackets are 95 % intervals over faces; another training run would move the figures, too."
    if metrics["split"] == "valid":
        text += " These are validation figures: choices were made on these faces."
    return text


def _again(metrics: Mapping[str, Any], weights: str) -> str:
    """How to measure it again."""
    if "dataset" not in metrics:
        return ""
    dataset, protocol = metrics["dataset"], metrics.get("protocol")
    prepare = f"apvit data prepare {dataset} SOURCE prepared/{dataset}"
    if protocol:
        prepare += f" --protocol {protocol}"
    return (
        f"To measure it again, after `{prepare}`:\n\n```sh\n"
        f"apvit evaluate --weights {shlex.quote(weights)} --data prepared/{dataset} --split {metrics['split']}\n```"
    )


def _per_class(metrics: Mapping[str, Any]) -> str:
    intervals = metrics.get("intervals", {}).get("per_class", {})
    rows = []
    for name, row in metrics["per_class"].items():
        recall = f"{row['recall']:.3f}{_spread(intervals.get(name, {}).get('recall'))}" if row["faces"] else "–"
        rows.append((name, f"{row['faces']:,}", recall, f"{row['precision']:.3f}", f"{row['f1']:.3f}"))
    return _table(("expression", "faces", "recall", "precision", "F1"), rows)


def _weak(metrics: Mapping[str, Any], seen: Mapping[str, int]) -> str:
    """Which classes it is bad at, with what it takes them for and the likely reasons."""
    per_class, agreement = metrics["per_class"], metrics.get("agreement", {})
    weak = [name for name, row in per_class.items() if row["faces"] and row["recall"] < WEAK_RECALL]
    if not weak:
        return ""
    lines = ["It is weak at:", ""]
    for name in sorted(weak, key=lambda name: per_class[name]["recall"]):
        parts = [f"recall {per_class[name]['recall']:.2f}", *_mistakes(name, metrics)]
        if name in seen:
            parts.append(f"it leads the targets of {seen[name]:,} of {sum(seen.values()):,} training faces")
        if name in agreement:
            parts.append(f"annotators gave it {agreement[name] * 100:.0f} % of their votes")
        lines.append(f"- **{name}**: {'; '.join(parts)}.")
    few = [name for name in weak if per_class[name]["faces"] < FEW_FACES]
    if few:
        lines += [
            "",
            f"Of {_listed(few)} there are few faces, here and in training data drawn alike: what a network seldom sees "
            f"it seldom dares to name, and a recall over fewer than {FEW_FACES} faces is itself uncertain.",
        ]
    if best := [name for name in agreement if name not in weak]:
        surest = max(best, key=lambda name: agreement[name])
        lines += [
            "",
            f"Annotators agree most on {surest}, which they gave {agreement[surest] * 100:.0f} % of their votes; where "
            "they disagree, no network can be right about every face.",
        ]
    return "\n".join(lines)


def _mistakes(name: str, metrics: Mapping[str, Any]) -> list[str]:
    """What faces of this class are mostly taken for, where the confusion matrix is known."""
    if "confusion" not in metrics:
        return []
    names = list(metrics["per_class"])
    row = dict(zip(names, metrics["confusion"][names.index(name)], strict=True))
    taken = sorted((count, other) for other, count in row.items() if other != name and count)[-2:][::-1]
    return [f"of {sum(row.values())} faces {_listed([f'{count} are taken for {other}' for count, other in taken])}"]


def _confusion(names: Sequence[str], confusion: Sequence[Sequence[int]]) -> str:
    return _table(("", *names), [(name, *map(str, row)) for name, row in zip(names, confusion, strict=True)])


def _calibration(metrics: Mapping[str, Any]) -> str:
    if (fitted := metrics.get("calibration")) is None:
        return ""
    folds = fitted["fold_temperatures"]
    rows = [
        ("temperature, fitted on all faces", f"{fitted['temperature']:.4f}"),
        ("temperatures, each fitted on all folds but one", f"{min(folds):.4f} to {max(folds):.4f}"),
        ("ECE before", f"{fitted['ece_before']:.4f}"),
        (f"**ECE, cross-fitted over {fitted['folds']} folds**", f"**{fitted['ece_cross_fitted']:.4f}**"),
        ("ECE that perfect calibration would measure on so many faces (the floor)", f"{fitted['ece_floor']:.4f}"),
        ("ECE on the faces that the temperature was fitted on, as `apvit evaluate` says", f"{metrics['ece']:.4f}"),
    ]
    return (
        "#### Calibration\n\n"
        "Every engine divides the logits by the temperature before the softmax. The expected calibration error (ECE "
        "of the top probability, over 15 equal bins) is cross-fitted: each fold's is measured at the temperature of "
        f"the others. At the floor it cannot be told from perfect calibration.\n\n{_table(('calibration', ''), rows)}"
    )


def _coverage(metrics: Mapping[str, Any]) -> str:
    if not (curve := metrics.get("coverage")):
        return ""
    enough = [row for row in curve if row["coverage"] >= ANSWERED]
    right = [row for row in curve if row["accuracy"] is not None and row["accuracy"] >= RIGHT]
    lines = dict.fromkeys(f"- {_threshold(row)}" for row in (*enough[-1:], *right[:1]))  # the two may be one
    return "\n".join(
        (
            "#### Leaving faces open",
            "",
            "With a least probability it leaves unsure faces open, and is right more often about the others:",
            "",
            *lines,
            "",
            _table(
                ("`--min-probability`", "answered", "right of those"),
                [
                    (f"{row['min_probability']:g}", _percent(row["coverage"]), _percent(row["accuracy"]))
                    for row in curve
                ],
            ),
        )
    )


def _threshold(row: Mapping[str, Any]) -> str:
    answered, right = _percent(row["coverage"]), _percent(row["accuracy"])
    return f"answers {answered} of faces, {right} right: `--min-probability {row['min_probability']:g}`"


def _limits(card: Card) -> str:
    """What follows from the card, for every weight file."""
    alignment, measured_on = card.preprocessing.alignment, {metrics["split"] for metrics in card.metrics}
    lines = [
        f"It answers with one of {len(card.labels)} expressions whatever it is shown, also where a face shows none of "
        "them and where there is no face. What is left open is up to `--min-probability`.",
    ]
    if alignment is not None:
        lines.append(f"It expects faces warped to {alignment.name}; on crops framed otherwise it is less accurate.")
    if dataset := card.provenance.get("dataset"):
        lines.append(
            f"It was trained on {dataset}, and expects people, cameras and judgements like those in it. Whether it is "
            "as good for people of every age, sex and skin colour is not on this card."
        )
    lines.append(
        "Its probabilities are not calibrated: they say which face is surer, not how often it is right."
        if card.temperature == 1
        else "Its probabilities were calibrated on one set of faces. On faces of another kind they say which face is "
        "surer, not how often it is right."
    )
    if measured_on == {"valid"}:
        lines.append("No figure on test faces is given: those above are of faces that choices were made on.")
    return "\n".join(f"- {line}" for line in lines)


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


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share * 100:.1f} %"


def _spread(interval: Sequence[float] | None) -> str:
    """ " (0.843 to 0.867)", and nothing where there is no interval."""
    return "" if interval is None else f" ({interval[0]:.3f} to {interval[1]:.3f})"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_short, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
