"""`apvit explain`: why the network named the expression it named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from apvit.recognition import Recognizer


def explain(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Pictures, folders, quoted patterns, or - for a list on standard input.",
            show_default=False,
        ),
    ],
    save_dir: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for a figure (PNG) per face, and panel.png.")
    ] = Path("explanations"),
    panel: Annotated[
        bool, typer.Option("--panel", metavar="", help="Also draw all faces into one gallery, by expression.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the maps, one JSON object per face.")
    ] = None,
    detector: Annotated[
        Literal["mtcnn", "yunet", "none"],
        typer.Option(help="Who finds the faces; none: every picture already is one face."),
    ] = "mtcnn",
    weights: Annotated[
        str, typer.Option(metavar="W", help="A bundled name (apvit models), a file, or hf://owner/repo.")
    ] = "apvit_tiny",
) -> None:
    """Show which patches of each face pooling kept, block by block, and which spoke for its expression.

    A picture that cannot be read is reported and passed over; the exit status is then 1.
    """
    import json
    import sys

    from apvit.explain.figure import as_picture, draw_explanation, draw_panel
    from apvit.recognition import Recognizer
    from apvit.recognition.album import Album
    from apvit.recognition.sinks import printable
    from apvit.recognition.sources import expand_sources

    recognizer: Recognizer = Recognizer(weights, detector, engine="torch")
    album = Album(save_dir)
    explained, records, bad = [], [], 0
    for source in expand_sources(inputs, skip=save_dir):
        try:
            found = recognizer.explain(source)
        except (ValueError, OSError) as error:
            print(f"error: {printable(str(error))}", file=sys.stderr)
            bad += 1
            continue
        for number, (face, explanation) in enumerate(found, 1):
            title = f"{Path(source).name}, face {number}: {face.expression} {face.probability:.2f}"
            picture = as_picture(draw_explanation(explanation, printable(title)))
            target = album.save(f"{Path(source).stem}-{number}.png", picture)
            print(f"{printable(source)}  face {number}  {face.expression} {face.probability:.2f}  {target}")
            explained.append(explanation)
            records.append({"source": source, "face": number, **explanation.to_dict()})
        if not found:
            print(f"{printable(source)}  no face")
    if panel and explained:
        order = recognizer.expressions
        explained.sort(key=lambda one: (order.index(one.expression), -one.probabilities[one.expression]))
        print(f"panel  {album.save('panel.png', as_picture(draw_panel(explained)))}")
    if json_file is not None:
        partial = json_file.with_name(json_file.name + ".partial")
        partial.write_text("".join(json.dumps(record) + "\n" for record in records))
        partial.replace(json_file)
    if bad:
        raise typer.Exit(1)
