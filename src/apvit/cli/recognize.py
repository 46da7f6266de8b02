"""`apvit recognize`: its options, and which of the runs they go to: over pictures, over a video, over an archive."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from apvit.cli.options import (
    FACES,
    RESULTS,
    Detector,
    DetectorModel,
    Device,
    Engine,
    Keep,
    MaxFaces,
    MinProbability,
    Null,
    Weights,
    check_outputs,
    given,
    refuse,
)
from apvit.cli.recognize_archive import recognize_archive
from apvit.cli.recognize_pictures import PictureOptions, recognize_pictures
from apvit.cli.recognize_video import VideoOptions, recognize_video
from apvit.cli.wording import in_options
from apvit.files import names_folder

SPEED, VIDEOS, ARCHIVES = "Speed", "Videos", "Archives"


def recognize(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help='Pictures and videos, folders (with their subfolders), quoted patterns ("study/**/*.mp4"), URLs, '
            "or - for a list on standard input, one per line. Also webcam:0, or the URL of a stream.",
            show_default=False,
        ),
    ],
    null: Null = False,
    form: Annotated[
        Literal["table", "jsonl", "csv", "parquet"],
        typer.Option(
            "--format",
            metavar="FORM",
            help="table (to read), jsonl (one object per picture or frame), csv or parquet (one row per face).",
            rich_help_panel=RESULTS,
        ),
    ] = "table",
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|FOLDER/",
            help="File for the results, instead of the terminal. It gets its name when all is done; what a run that "
            "ends early has done is in FILE.partial. With FOLDER/ (an existing folder, or a slash at the end), a file "
            "for each video, and one for the pictures.",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    save_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for annotated copies of pictures and videos, and a timeline of each video.",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    show_pooling: Annotated[
        bool,
        typer.Option(
            "--show-pooling",
            help="In annotated pictures, shade the patches that the network dropped.",
            rich_help_panel=RESULTS,
        ),
    ] = False,
    min_probability: MinProbability = 0.0,
    embeddings: Annotated[
        bool,
        typer.Option("--embeddings", help="Add each face's embedding (jsonl, parquet).", rich_help_panel=RESULTS),
    ] = False,
    detector: Detector = "mtcnn",
    min_face: Annotated[
        float | None,
        typer.Option(
            metavar="PX",
            help="Smallest face to look for, in pixels (else 24); larger is faster.",
            rich_help_panel=FACES,
        ),
    ] = None,
    min_detection: Annotated[
        float | None,
        typer.Option(
            metavar="SCORE",
            min=0,
            max=1,
            help="Lowest detection score that counts as a face; else the detector's own.",
            rich_help_panel=FACES,
        ),
    ] = None,
    max_faces: MaxFaces = None,
    detector_model: DetectorModel = None,
    weights: Weights = "apvit_tiny",
    keep: Keep = None,
    engine: Engine = "auto",
    device: Device = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Pictures worked on at a time; else one per core, up to 8. With --ray: processes of one core each; "
            "else as many as the cluster has cores.",
            rich_help_panel=SPEED,
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(metavar="N", min=1, help="Most faces per pass through the network.", rich_help_panel=SPEED)
    ] = 16,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="At the end, a table of where the time went.", rich_help_panel=SPEED),
    ] = False,
    every: Annotated[
        str | None,
        typer.Option(
            metavar="N|Ts", help="Look at every Nth frame (5), or at one per T seconds (0.2s).", rich_help_panel=VIDEOS
        ),
    ] = None,
    save_video: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Annotated copy of one video, with its sound (.mp4, .mov, .mkv).",
            rich_help_panel=VIDEOS,
        ),
    ] = None,
    timeline: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Picture of all expressions over time in one video (.png).", rich_help_panel=VIDEOS
        ),
    ] = None,
    subtitles: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|FOLDER/",
            help="Expressions as subtitles (.srt); FOLDER/: those of each video.",
            rich_help_panel=VIDEOS,
        ),
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Share of time per expression and changes of each face in each video, as .json or .csv.",
            rich_help_panel=VIDEOS,
        ),
    ] = None,
    intervals: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|FOLDER/",
            help="From when to when each face shows the same expression: a table (.csv, .tsv), or for "
            "Praat and ELAN a .TextGrid; FOLDER/: a .TextGrid for each video.",
            rich_help_panel=VIDEOS,
        ),
    ] = None,
    min_track: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Leave faces that are seen for less out of summary, timeline, subtitles and intervals (else 0.5); "
            "the table keeps them.",
            rich_help_panel=VIDEOS,
        ),
    ] = None,
    smooth: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Window of the smoothed probabilities; 0: none. The raw ones are kept too. Default: 0.5.",
            rich_help_panel=VIDEOS,
        ),
    ] = None,
    from_table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Recognise nothing: render from this --output of an earlier run.",
            rich_help_panel=VIDEOS,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Work as a job of many pictures and videos, in a pool of workers on this machine (local) or on a Ray "
            "cluster (auto, or its address). INPUTs are folders, Parquet and tar files, .txt lists of paths or URIs, "
            "local or s3://; --output is a folder of Parquet files. Start again to go on.",
            rich_help_panel=ARCHIVES,
        ),
    ] = None,
    shard_size: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="With --ray: pictures per file of results.", rich_help_panel=ARCHIVES),
    ] = 1000,
) -> None:
    """Name the expression of every face in pictures and videos.

    An input that cannot be read is reported and passed over; the exit status is then 1. What a file is, its content
    tells. The same command goes on with the video and the frame at which it was stopped.
    """
    from apvit.recognition.sources import is_pattern, kind_of
    from apvit.recognition.video.smoothing import DEFAULT_WINDOW

    options: dict[str, Any] = {
        "detector": detector,
        "engine": engine,
        "device": device,
        "min_face": min_face,
        "min_detection": min_detection,
        "max_faces": max_faces,
        "min_probability": min_probability,
        "batch_size": batch_size,
        "embeddings": embeddings,
        "detector_model": None if detector_model is None else str(detector_model.absolute()),
        "keep": keep,
    }
    for_pictures = PictureOptions(null, save_dir, show_pooling, profile)
    for_video = VideoOptions(every, smooth, min_track, summary, intervals, subtitles, timeline, save_video, from_table)
    if ray is not None:
        alone = replace(for_video, every=None, smooth=None)
        refuse([*given(for_pictures), *given(alone)], "this does not go together with --ray")
        recognize_archive(
            inputs,
            ray,
            form=form,
            output=output,
            weights=weights,
            workers=workers,
            shard_size=shard_size,
            every=every or "1",
            smooth=DEFAULT_WINDOW if smooth is None else smooth,
            recognizer_options=options,
        )
        return
    kinds = [kind_of(name) for name in inputs]
    folders = [name for name in (output, subtitles, intervals) if name is not None and names_folder(name)]
    if output is not None and output in folders:
        Path(output).mkdir(parents=True, exist_ok=True)
        _check_format(form, str(Path(output, "pictures")), embeddings=embeddings)
    else:
        check_outputs({"--output": output})
        _check_format(form, output, embeddings=embeddings)
    if kinds == ["video"] and save_dir is None and not folders:
        refuse(given(for_pictures), "this is for pictures, not for a video")
        refuse([] if workers is None else ["--workers"], "this is for pictures, not for a video")
        recognize_video(inputs[0], for_video, form=form, output=output, weights=weights, recognizer_options=options)
        return
    if all(
        kind == "picture" and name != "-" and not is_pattern(name) for name, kind in zip(inputs, kinds, strict=True)
    ):
        refuse(given(for_video), f"this is for videos, and {inputs[0]} is a picture")
    recognize_pictures(
        inputs,
        for_pictures,
        for_video,
        form=form,
        output=output,
        weights=weights,
        workers=workers,
        recognizer_options=options,
    )


def _check_format(form: str, output: str | None, *, embeddings: bool) -> None:
    """Raises typer.BadParameter for a format that does not go together with where the results go."""
    from apvit.recognition.sinks import SinkError, check_format

    try:
        check_format(form, output, embeddings=embeddings)
    except SinkError as error:
        raise typer.BadParameter(in_options(str(error)), param_hint="--format") from None
