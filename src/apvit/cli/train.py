"""`apvit train`: every field of the recipe is an option, a YAML file gives their values."""

from __future__ import annotations

import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from apvit.training import Recipe

DESCRIPTION = """\
Train a model by a recipe: a YAML file, any field of which can be overridden.

  apvit train --config configs/ferplus/modern.yaml --epochs 5 --model.dim 96
  apvit train --config configs/raf-db/paper.yaml --seeds 0,1,2
  torchrun --nproc-per-node 4 --no-python apvit train --config configs/affectnet/paper.yaml
"""


def train(context: typer.Context) -> None:
    """Train a model by a recipe: a YAML file (--config FILE), any field overridden (--epochs 5 --model.dim 96).

    `apvit train --print_config` shows every field with its value, `apvit train --help` what each means.
    """
    from apvit.training import train as run
    from apvit.training import train_seeds

    recipe, seeds = read_recipe(context.args)
    if seeds is None:
        folder = run(recipe)
        print(f"done: {folder}/best.safetensors, curves.png, summary.json", file=sys.stderr)
    else:
        folder = train_seeds(recipe, seeds)
        print(f"done: {folder}/seeds.json", file=sys.stderr)


def read_recipe(arguments: Sequence[str]) -> tuple[Recipe, list[int] | None]:
    """The recipe of a command line, its YAML files included, and the seeds asked for.

    Ends in SystemExit for --help, and for unknown fields and values; ValueError for what a Recipe refuses.
    """
    from jsonargparse import ArgumentParser, DefaultHelpFormatter, set_parsing_settings

    from apvit.training import Recipe

    class Formatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):
        """Leaves the lines of the description as they are."""

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog="apvit train",
        usage="apvit train [--config FILE] [--FIELD VALUE ...] [--seeds 0,1,2]",
        description=DESCRIPTION,
        formatter_class=Formatter,
    )
    parser.add_argument("--config", metavar="FILE", action="config", help="YAML file with any of the fields below.")
    parser.add_argument(
        "--seeds",
        type=str,
        metavar="0,1,2",
        help="Train once with each seed, into sub-folders of the output; mean and spread go to seeds.json.",
    )
    parser.add_class_arguments(Recipe, as_group=False)
    values = vars(parser.instantiate(parser.parse_args(list(arguments))))
    recipe = Recipe(**{name: value for name, value in values.items() if name not in ("config", "seeds")})
    return recipe, None if values["seeds"] is None else _numbers(values["seeds"])


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--seeds takes whole numbers with commas between them, such as 0,1,2, got {text!r}") from None
