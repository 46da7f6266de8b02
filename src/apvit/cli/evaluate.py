"""`apvit evaluate`: the figures of a weight file on a split, one pass, no test-time augmentation."""

from __future__ import annotations

from typing import Annotated

import typer


def evaluate(
    data: Annotated[
        str,
        typer.Option(
            metavar="D", help="Prepared Parquet file or folder, or anything `apvit data prepare` understands."
        ),
    ],
    weights: Annotated[str, typer.Option(metavar="W", help="Bundled name, path, or hf://owner/repo.")] = "apvit_tiny",
    split: Annotated[str | None, typer.Option(help="Split to read; default: the file's own, else valid.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Faces in a batch.")] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Measure weights on a split: a table for people on stderr, one JSON line for programs on stdout."""
    import json

    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from apvit.data import open_split
    from apvit.engines import create_engine
    from apvit.evaluation import evaluate as measure

    console = Console(stderr=True)
    engine, faces = create_engine(weights, device=device), open_split(data, split)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("evaluating", total=int((faces.labels >= 0).sum()))
        figures = measure(engine, faces, batch_size=batch_size, progress=lambda n: progress.advance(task, n))

    meta = faces.metadata
    table = Table(
        title=f"{weights} on {meta.dataset} {meta.split}, {meta.protocol or 'labels'}, {figures['faces']:,} faces"
    )
    for column in ("expression", "faces", "recall", "precision", "F1"):
        table.add_column(column, justify="left" if column == "expression" else "right")
    for name, row in figures["per_class"].items():
        table.add_row(name, f"{row['faces']:,}", *(f"{row[key]:.3f}" for key in ("recall", "precision", "f1")))
    console.print(table)
    console.print(
        f"accuracy {figures['accuracy']:.4f}   mean class accuracy {figures['mean_class_accuracy']:.4f}   "
        f"macro-F1 {figures['macro_f1']:.4f}   ECE {figures['ece']:.4f}",
        highlight=False,
    )
    print(json.dumps({"weights": weights, "data": data, "split": meta.split, "protocol": meta.protocol, **figures}))
