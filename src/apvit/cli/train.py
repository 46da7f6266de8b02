"""`apvit train`: every field of the recipe is an option, a YAML file gives their values."""

from __future__ import annotations

import sys

import typer


def train(context: typer.Context) -> None:
    """Train a model by a recipe: a YAML file (--config FILE), any field overridden (--epochs 5 --model.dim 96).

    `apvit train --print_config` shows every field with its value, `apvit train --help` what each means.
    """
    from jsonargparse import ArgumentParser

    from apvit.training import Recipe
    from apvit.training import train as run

    parser = ArgumentParser(prog="apvit train", description="Train a model by a recipe.", exit_on_error=True)
    parser.add_argument("--config", action="config", help="a YAML file with any of the fields below")
    parser.add_class_arguments(Recipe, as_group=False)
    parsed = parser.instantiate_classes(parser.parse_args(context.args))
    fields = {name: value for name, value in vars(parsed).items() if name != "config"}
    folder = run(Recipe(**fields))
    print(f"done: {folder}/best.safetensors, curves.png, summary.json", file=sys.stderr)
