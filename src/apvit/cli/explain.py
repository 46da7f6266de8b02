"""`apvit explain`: why the network named the expression it named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from apvit.cli.messages import Messages
from apvit.cli.options import (
    RESULTS,
    Detector,
    DetectorModel,
    Device,
    Keep,
    MaxFaces,
    MinProbability,
    Null,
    Weights,
    check_outputs,
)


def explain(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Pictures, folders, quoted patterns, or - for a list on standard input.",
            show_default=False,
        ),
    ],
    null: Null = False,
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
            help="Also draw a gallery: the clearest faces of each expression.",
            rich_help_panel=RESULTS,
        ),
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="FILE",
            help="Also write all maps, one JSON object per face; its corners put them back into the photograph. Until "
            "all is done it is called FILE.partial.",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    min_probability: MinProbability = 0.0,
    detector: Detector = "mtcnn",
    max_faces: MaxFaces = None,
    detector_model: DetectorModel = None,
    weights: Weights = "apvit_tiny",
    keep: Keep = None,
    device: Device = "auto",
) -> None:
    """Show which patches of each face pooling kept, block by block, and which spoke for its expression.

    A picture that cannot be read is reported and passed over; the exit status is then 1.
    """
    import json

    from apvit.explain.drawing import as_picture
    from apvit.explain.figure import OPEN, Gallery, draw_explanation
    from apvit.files import OutputFile, extended, partial_name, reason, sentence
    from apvit.recognition import Recognizer
    from apvit.recognition.album import Album
    from apvit.recognition.sinks import printable
    from apvit.recognition.sources import expand_sources

    check_outputs({"--json": json_file})
    recognizer = Recognizer(
        weights,
        detector,
        "torch",
        device,
        max_faces=max_faces,
        min_probability=min_probability,
        detector_model=detector_model,
        keep=keep,
    )
    messages = Messages()
    album, gallery = Album(save_dir), Gallery(recognizer.expressions)
    maps = None if json_file is None else OutputFile(json_file)
    whole, bad = False, 0
    try:
        for source in expand_sources(inputs, videos=False, skip=save_dir, null=null, warn=messages.warn):
            try:
                found, explanations = recognizer.explained(source)
            except (ValueError, OSError) as error:
                messages.error(sentence(error))
                bad += 1
                continue
            if found.warning is not None:
                messages.warn(f"{source}: {found.warning}")
            for number, (face, explanation) in enumerate(zip(found.faces, explanations, strict=True), 1):
                said = f"{explanation.likeliest} {face.probability:.2f}"
                if face.expression is None:
                    said = f"{OPEN}: {said} is below {min_probability:.2f}"
                title = printable(f"{Path(source).name}, face {number}: {said}")
                # Where the picture already is the face, it would only be shown twice.
                photograph = None if detector == "none" else found.picture
                figure = draw_explanation(explanation, title, photograph=photograph)
                name = extended(Path(source).stem, f"-{number}.png", of=Path(source).name)
                try:
                    target = str(album.save(name, as_picture(figure)))
                except OSError as error:
                    messages.error(f"the explanation of {source}, face {number}, cannot be written: {reason(error)}")
                    bad, target = bad + 1, "not written"
                print(f"{printable(source)}  face {number}  {said}  {target}")
                if panel:
                    gallery.add(explanation)
                if maps is not None:
                    record = {"source": source, "face": number, "box": face.to_dict()["box"], **explanation.to_dict()}
                    maps.write(json.dumps(record).encode() + b"\n")
            if not found.faces:
                print(f"{printable(source)}  no face")
        whole = True
    finally:
        if maps is not None and json_file is not None:
            maps.close(whole=whole)
            if not whole:
                messages.say(f"maps so far in {partial_name(json_file)}")
    if len(gallery):
        print(f"panel  {album.save('panel.png', as_picture(gallery.draw()))}")
    if bad:
        raise typer.Exit(1)
