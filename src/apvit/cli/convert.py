"""`apvit convert`: an official checkpoint in our one-file format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from apvit.cli.options import check_outputs


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="Official checkpoint: .pth, or .safetensors with official names.")
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="Weight file to write, *.safetensors; replaced where it exists.")
    ],
    half: Annotated[bool, typer.Option("--half", help="Store float16: half the size.")] = False,
    labels: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Label space; by default apvit-official-7 or -8, as there are classes."),
    ] = None,
    heads: Annotated[int, typer.Option(metavar="N", help="Attention heads; a checkpoint does not say them.")] = 8,
    patch_keep: Annotated[
        str,
        typer.Option(metavar="KEEP", help="Patches that APP keeps: a count, a rate below 1, or none for no pooling."),
    ] = "160",
    token_keep: Annotated[
        str,
        typer.Option(
            metavar="A,B,...", help="What ATP keeps in each block, separated by commas: rates or counts; or none."
        ),
    ] = "1,1,1,1,.9,.9,.9,.9",
) -> None:
    """Convert an official APViT checkpoint to a weight file with a card, and say what was used.

    The card states the private label order of such checkpoints, their alignment and normalisation. The checkpoint is
    opened as tensors only, so no code in it runs.
    """
    from apvit.nn import APViTConfig
    from apvit.weights import convert_official

    check_outputs({"OUT": output})
    card, report = convert_official(
        source,
        output,
        half=half,
        labels=labels,
        num_heads=heads,
        patch_keep=_keep(patch_keep, "--patch-keep"),
        token_keep=_schedule(token_keep),
    )
    config = APViTConfig.from_dict(card.parameters)
    stages = ", ".join(f"{units} units of {channels}" for channels, units in config.stem_stages)
    alignment = card.preprocessing.alignment
    lines = {
        "architecture": f"{card.architecture}: stem {config.stem_width}, {stages}; "
        f"{config.depth} blocks of {config.dim}, {config.num_heads} heads, MLP {config.mlp_hidden}",
        "input": f"{config.in_channels} x {config.image_size} x {config.image_size}, {card.preprocessing.colour}, "
        f"aligned as {alignment.name if alignment else 'it is'}",
        "patches": f"{config.patch_count} of {config.num_patches}, then {', '.join(map(str, config.token_counts))}",
        "labels": f"{card.labels.name}: {', '.join(card.labels.expressions)}",
        "keys used": f"{len(report.used)}",
        "keys unused": _listed(report.unused),
        "keys missing": _listed(report.missing),
        "wrote": f"{output}, {output.stat().st_size / 1e6:.1f} MB, {'float16' if half else 'float32'}",
    }
    for name, text in lines.items():
        typer.echo(f"{name:<13} {text}", err=True)


def _keep(text: str, option: str) -> int | float | None:
    """ "160" is a count, ".9" a rate, "none" no pooling."""
    if text.strip().lower() == "none":
        return None
    try:
        return int(text) if text.strip().isdecimal() else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a count, a rate nor none", param_hint=option) from None


def _schedule(text: str) -> tuple[int | float, ...] | None:
    keeps = [_keep(part, "--token-keep") for part in text.split(",")]
    if keeps == [None]:
        return None
    rates = tuple(keep for keep in keeps if keep is not None)
    if len(rates) != len(keeps):
        raise typer.BadParameter(f"{text!r}: write 1 for a block that keeps all", param_hint="--token-keep")
    return rates


def _listed(keys: tuple[str, ...]) -> str:
    return f"{len(keys)}" + (f": {', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''}" if keys else "")
