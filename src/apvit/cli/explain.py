"""`apvit explain`: why the network named the expression it named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from apvit.recognition import Recognizer

RESULTS, FACES, NETWORK = "Results", "Which faces", "Network"


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
        Path,
        typer.Option(
            metavar="FOLDER", help="Folder for a figure (PNG) per face, and panel.png.", rich_help_panel=RESULTS
        ),
    ] = Path("explanations"),
    panel: Annotated[
        bool,
        typer.Option(
            "--panel",
            metavar="",
            help="Also draw a gallery: the clearest faces of each expression.",
            rich_help_panel=RESULTS,
        ),
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="FILE",
            help="Also write all maps, one JSON object per face; its corners put them back into the photograph.",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    min_probability: Annotated[
        float,
        typer.Option(
            metavar="P",
            min=0,
            max=1,
            help="Leave faces open whose top probability is lower; their figures say so.",
            rich_help_panel=RESULTS,
        ),
    ] = 0.0,
    detector: Annotated[
        Literal["mtcnn", "yunet", "none"],
        typer.Option(help="Who finds the faces; none: every picture already is one face.", rich_help_panel=FACES),
    ] = "mtcnn",
    detector_model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YuNet's model file; else from the cache or the hub.", rich_help_panel=FACES),
    ] = None,
    max_faces: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Only the N largest faces of a picture.", rich_help_panel=FACES),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            metavar="W", help="A bundled name (apvit models), a file, or hf://owner/repo.", rich_help_panel=NETWORK
        ),
    ] = "apvit_tiny",
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="KEEP", help="Compute dial, as of apvit recognize: 0.6, or 0.6:1,1,.9,.9.", rich_help_panel=NETWORK
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1 ...", rich_help_panel=NETWORK)
    ] = "auto",
) -> None:
    """Show which patches of each face pooling kept, block by block, and which spoke for its expression.

    A picture that cannot be read is reported and passed over; the exit status is then 1.
    """
    import json
    import sys
    import warnings

    from apvit.explain.drawing import as_picture
    from apvit.explain.figure import OPEN, Gallery, draw_explanation
    from apvit.faces.pictures import read_picture
    from apvit.recognition import Recognizer
    from apvit.recognition.album import Album
    from apvit.recognition.recognizer import FaceWarning
    from apvit.recognition.sinks import printable
    from apvit.recognition.sources import expand_sources

    def report(kind: str, message: str) -> None:
        print(f"{kind}: {printable(message)}", file=sys.stderr)

    if json_file is not None and not json_file.resolve().parent.is_dir():
        raise typer.BadParameter(f"the folder {json_file.resolve().parent} does not exist", param_hint="--json")
    recognizer: Recognizer = Recognizer(
        weights,
        detector,
        "torch",
        device,
        max_faces=max_faces,
        min_probability=min_probability,
        detector_model=detector_model,
        keep=keep,
    )
    album, gallery, bad = Album(save_dir), Gallery(recognizer.expressions), 0
    partial = None if json_file is None else json_file.with_name(json_file.name + ".partial")
    records = None if partial is None else partial.open("w")
    whole, explained = False, 0
    try:
        for source in expand_sources(inputs, skip=save_dir, warn=lambda message: report("warning", message)):
            try:
                picture = read_picture(source)
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always", FaceWarning)
                    found = recognizer.explain(picture)
            except (ValueError, OSError) as error:
                report("error", str(error))
                bad += 1
                continue
            for one in told:
                report("warning", f"{source}: {one.message}")
            for number, (face, explanation) in enumerate(found, 1):
                said = f"{explanation.likeliest} {face.probability:.2f}"
                if face.expression is None:
                    said = f"{OPEN}: {said} is below {min_probability:.2f}"
                title = printable(f"{Path(source).name}, face {number}: {said}")
                # Where the picture already is the face, it would only be shown twice.
                photograph = None if detector == "none" else picture
                figure = draw_explanation(explanation, title, photograph=photograph)
                target = album.save(f"{Path(source).stem}-{number}.png", as_picture(figure))
                print(f"{printable(source)}  face {number}  {said}  {target}")
                if panel:
                    gallery.add(explanation)
                if records is not None:
                    record = {"source": source, "face": number, "box": face.to_dict()["box"], **explanation.to_dict()}
                    records.write(json.dumps(record) + "\n")
                explained += 1
            if not found:
                print(f"{printable(source)}  no face")
        whole = True
    finally:
        if records is not None and partial is not None and json_file is not None:
            records.close()
            if whole or explained:  # what was explained before Ctrl-C stays; before the first face an older file does
                partial.replace(json_file)
            else:
                partial.unlink()
    if len(gallery):
        print(f"panel  {album.save('panel.png', as_picture(gallery.draw()))}")
    if bad:
        raise typer.Exit(1)
