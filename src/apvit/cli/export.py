"""`apvit export`: a weight file as ONNX, with the proof that it computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apvit.cli.options import check_outputs
from apvit.files import counted

if TYPE_CHECKING:
    from rich.console import Console

    from apvit.engines.export import Parity


def export(
    weights: Annotated[
        str, typer.Argument(metavar="W", help="A bundled name (apvit models), a file, or hf://owner/repo.")
    ],
    out: Annotated[
        Path | None,
        typer.Argument(
            metavar="OUT.onnx",
            help="File to write; without it the export goes to the cache, where `apvit recognize` finds it.",
            show_default=False,
        ),
    ] = None,
    pixels: Annotated[
        bool,
        typer.Option(
            "--pixels",
            help="Put the preprocessing inside: uint8 RGB faces in, probabilities out, for other programs.",
        ),
    ] = False,
    keep: Annotated[
        str | None,
        typer.Option(metavar="KEEP", help="What pooling keeps, as in `apvit recognize --keep`; fixed in the file."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="D",
            help="Faces for the proof, and for the accuracy of --int8: a prepared Parquet file or folder; else package "
            "photographs, and the split valid of --calibrate.",
        ),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="int8 convolutions and linear layers; what pooling selects by stays float32."),
    ] = False,
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="D", help="With --int8: prepared dataset whose training faces set the ranges of activations."
        ),
    ] = None,
) -> None:
    """Write weights as ONNX for ONNX Runtime, OpenVINO and others, and prove at once that the answers are the same.

    The batch is dynamic, the card is inside. Prints the largest difference of a probability and how often the same
    patches and tokens are kept, against torch on real faces; beyond 1e-4 it fails and writes nothing.

    With --int8 the proven file is then quantised. Its accuracy beside float32's, how much both keep of the same, and
    its speed here are printed; accuracy and agreement go into its card. Look at them before use: for apvit_tiny, on a
    two-core server with VNNI, it was 1.5 to 1.8 times as fast, other weights and processors were not measured.
    """
    import json
    import shutil
    import tempfile

    from rich.console import Console

    from apvit.cli.export_int8 import calibration_and_measure, write_int8
    from apvit.engines import Keep
    from apvit.engines.cache import export_path
    from apvit.engines.export import export_onnx, prove
    from apvit.engines.real_faces import dataset_faces, package_faces
    from apvit.files import completing, sha256
    from apvit.weights import find_weights, read_card

    if pixels and out is None:
        raise typer.BadParameter("the cache is for apvit's own engines; name a file", param_hint="--pixels")
    if int8 != (calibrate is not None):
        raise typer.BadParameter("--int8 and --calibrate D belong together", param_hint="--int8")
    if int8 and (pixels or out is None):
        raise typer.BadParameter("int8 goes to a file that you name, without --pixels", param_hint="--int8")
    kept = None if keep is None else Keep.parse(keep)
    console = Console(stderr=True, highlight=False)
    path = export_path(find_weights(weights), kept) if out is None else out
    if path.suffix != ".onnx":
        raise typer.BadParameter(f"{path.name} must end in .onnx", param_hint="OUT.onnx")
    check_outputs({"OUT.onnx": out})
    card = read_card(weights)
    splits = None if calibrate is None else calibration_and_measure(calibrate, data)
    source = calibrate if data is None else data
    faces = package_faces(card) if source is None else dataset_faces(source, card)
    path.parent.mkdir(parents=True, exist_ok=True)  # of the cache
    with completing(path) as finished, tempfile.TemporaryDirectory(prefix="apvit-export-") as folder:
        unproven = Path(folder) / "unproven.onnx"
        with console.status("exporting ..."):
            export_onnx(weights, unproven, keep=kept)
        with console.status("comparing ..."):
            proofs = prove(weights, unproven, faces, keep=kept)
        _show(console, proofs)
        if pixels:  # the same graph behind the preprocessing, which tests compare with ours
            export_onnx(weights, unproven, pixels=True, keep=kept)
        quantised = None
        if splits is not None:
            proven, unproven = unproven, Path(folder) / "int8.onnx"
            quantised = write_int8(console, proven, unproven, card if kept is None else kept.card(card), *splits)
        shutil.move(unproven, finished)
    console.print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
    digest = sha256(find_weights(weights))
    record = {"weights": weights, "sha256": digest, "file": str(path), "proof": [vars(proof) for proof in proofs]}
    print(json.dumps(record if quantised is None else {**record, "int8": quantised}))


def _show(console: Console, proofs: list[Parity]) -> None:
    """Print the proofs; EngineError where one fails."""
    from apvit.engines import EngineError
    from apvit.engines.export import TOLERANCE

    for proof in proofs:
        console.print(
            f"{proof.engine}: {counted(proof.faces, 'real face')}, largest difference of a probability "
            f"{proof.largest_difference:.1e}; same patches kept in {proof.patches_agreement:.1%}, "
            f"same tokens in {proof.tokens_agreement:.1%} of faces"
        )
    worst = max(proof.largest_difference for proof in proofs)
    if not worst <= TOLERANCE:
        raise EngineError(
            f"the export differs from torch by {worst:.1e}, more than {TOLERANCE:.0e}; nothing was written"
        )
