"""`apvit models`: the weights and architectures that are there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from apvit.files import counted

if TYPE_CHECKING:
    from apvit.nn import HybridConfig


def models(
    weights: Annotated[
        str | None,
        typer.Argument(
            metavar="W",
            help="Weights to print the model card of, as Markdown: a bundled name, a file, or hf://owner/repo.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[Literal["table", "json"], typer.Option(help="A table for people, JSON for programs.")] = "table",
) -> None:
    """List the bundled weights with their measured figures, and the architectures; or print one model card."""
    if weights is not None:
        typer.echo(_page(weights), nl=False)
        return
    bundled, architectures = _weights(), _architectures()
    if format == "json":
        typer.echo(json.dumps({"weights": bundled, "architectures": architectures}, indent=1))
        return
    from rich.console import Console

    console = Console()
    if bundled:
        console.print(_weights_table(bundled))
    else:
        console.print("No weights are bundled.")
    console.print(_architectures_table(architectures))


def _page(ref: str) -> str:
    """The model card of a weight file, with what of it is not in its card."""
    from apvit.nn import count_macs, read_config
    from apvit.weights import find_weights, list_weights, read_card
    from apvit.weights.model_card import model_page

    path, card = find_weights(ref), read_card(ref)
    config = read_config(card.parameters)
    cost = count_macs(config)
    facts = {
        "size": f"{_size(config)['parameters']:,} parameters, {path.stat().st_size / 1e6:.1f} MB",
        "cost": f"{cost.total / 1e9:.3f} G multiply-accumulates a face (the paper's count), "
        f"{100 * cost.stem / cost.total:.0f} % of them in the stem",
    }
    name = path.name.removesuffix(".safetensors")
    if bundled := name in list_weights() and path == find_weights(name):
        # benchmarks/accuracy/robustness.py writes that page beside this one in docs/models.
        facts["robustness"] = f"[on covered, blurred, noisy, dark and turned faces]({name}.robustness.md)"
    return model_page(name, card, facts, name if bundled else ref)


def _weights() -> list[dict[str, Any]]:
    from apvit.nn import read_config
    from apvit.weights import find_weights, list_weights, read_card

    rows = []
    for name in list_weights():
        card = read_card(name)
        alignment = card.preprocessing.alignment
        rows.append(
            {
                "name": name,
                "architecture": card.architecture,
                "labels": list(card.labels.expressions),
                "metrics": list(card.metrics),
                **_size(read_config(card.parameters)),
                "bytes": find_weights(name).stat().st_size,
                "alignment": None if alignment is None else alignment.name,
                "licence": card.licence,
            }
        )
    return rows


def _architectures() -> list[dict[str, Any]]:
    from apvit.nn import ARCHITECTURES

    return [{"name": name, **_size(config)} for name, config in ARCHITECTURES.items()]


def _size(config: HybridConfig) -> dict[str, Any]:
    import torch

    from apvit.nn import build_model, count_macs

    with torch.device("meta"):
        parameters = sum(p.numel() for p in build_model(config).parameters())
    return {
        "input": [config.in_channels, config.image_size, config.image_size],
        "parameters": parameters,
        "multiply_accumulates": count_macs(config).total,
    }


def _weights_table(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(title="Bundled weights")
    table.add_column("weights", no_wrap=True)  # to be copied whole from a narrow terminal
    for heading in ("measured", "labels", "M params", "GMAC", "MB"):
        table.add_column(heading)
    for row in rows:
        measured = "\n".join(map(_measured, row["metrics"])) or "not measured"
        labels = f"{len(row['labels'])}: {', '.join(row['labels'])}"
        table.add_row(row["name"], measured, labels, *_cost(row), f"{row['bytes'] / 1e6:.1f}")
    return table


def _architectures_table(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table("architecture", "input", "M params", "GMAC", title="Architectures")
    for row in rows:
        table.add_row(row["name"], " x ".join(map(str, row["input"])), *_cost(row))
    return table


def _cost(row: dict[str, Any]) -> tuple[str, str]:
    return f"{row['parameters'] / 1e6:.2f}", f"{row['multiply_accumulates'] / 1e9:.3f}"


def _measured(metrics: dict[str, Any]) -> str:
    """ "0.846 valid (3,191 faces)"; a measurement without an accuracy names its split alone."""
    accuracy = f"{metrics['accuracy']:.3f} " if "accuracy" in metrics else ""
    return f"{accuracy}{metrics['split']} ({counted(metrics['faces'], 'face')})"
