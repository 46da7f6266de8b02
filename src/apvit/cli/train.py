"""`apvit train`: every field of the recipe is an option, a YAML file gives their values."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cached_property, reduce
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from apvit.cli.help import Command
from apvit.files import nearest

if TYPE_CHECKING:
    from apvit.training import Recipe

PANELS = {
    "data": "Data and results",
    "architecture": "Network",
    "model": "Hyper-parameters other than the architecture's",
    "init": "Network",
    "target": "What a face teaches",
    "augmentation_policy": "Augmentation",
    "augmentation": "Augmentation: modern",
    "paper_augmentation": "Augmentation: the paper's",
    "epochs": "Optimization",
    "seed": "How it runs",
}
"""Panels of the help, each from this field of the recipe on."""
METAVARS = {
    "data": "D",
    "output": "FOLDER",
    "init": "W",
    "stem_weights": "FILE",
    "transformer_weights": "FILE",
    "teachers": "W,W,...",
    "model.patch_keep": "KEEP",
    "model.token_keep": "A,B,...",
    "model.stem_stages": "[C,U],...",
}
"""What the help calls a value, where its type does not tell."""
NONE = ("none", "null")
WIDEST_CHOICES = 20
"""Characters; a longer list of choices is only in the words of the help."""


class TrainCommand(Command):
    """`apvit train`; its options, which need torch to import, are made when they are asked for.

    What the command line says is in the context's `obj`: the recipe and the seeds.
    """

    @cached_property
    def _options(self) -> list[Any]:
        def options() -> None: ...

        common = inspect.signature(_common, eval_str=True).parameters.values()
        signature = inspect.Signature([*common, *_of_the_recipe()])
        options.__signature__ = signature  # type: ignore[attr-defined]
        options.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
        app = typer.Typer(add_completion=False)
        app.command(cls=Command)(options)
        return typer.main.get_command(app).params

    def get_params(self, ctx: Any) -> list[Any]:
        """All options, --help last."""
        return [*self._options, *super().get_params(ctx)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line and its YAML files into `ctx.obj`; ends the command after --print-config."""
        import yaml

        from apvit.training.recipe import make_recipe, merge, plain, read_fields

        rest = super().parse_args(ctx, _modern(args, self.get_params(ctx), ctx))
        given = {
            name: value for name, value in ctx.params.items() if ctx.get_parameter_source(name).name == "COMMANDLINE"
        }
        ctx.params = {}  # `train` takes the recipe instead
        seeds, show = given.pop("seeds", None), given.pop("print_config", False)
        ctx.obj = (
            make_recipe(merge(reduce(merge, map(read_fields, given.pop("config", [])), {}), _nested(given))),
            seeds,
        )
        if show:
            print(yaml.safe_dump(plain(ctx.obj[0]), sort_keys=False), end="")
            ctx.exit()
        return rest


def train(context: typer.Context) -> None:
    """Train a model by a recipe: a YAML file (--config FILE), any field of which an option overrides.

    Try: apvit train --config configs/ferplus/modern.yaml --epochs 5 --model.patch-keep 100

    On several GPUs: torchrun --nproc-per-node 4 --no-python apvit train --config configs/affectnet/paper.yaml
    """
    from apvit.training import train as run
    from apvit.training import train_seeds

    recipe, seeds = context.obj
    if seeds is None:
        folder = run(recipe)
        print(f"done: {folder}/best.safetensors, curves.png, summary.json", file=sys.stderr)
    else:
        folder = train_seeds(recipe, seeds)
        print(f"done: {folder}/seeds.json", file=sys.stderr)


def read_recipe(arguments: Sequence[str]) -> tuple[Recipe, list[int] | None]:
    """The recipe of a command line of `apvit train`, its YAML files included, and the seeds asked for.

    Ends in SystemExit for --help, and for unknown options and values; ValueError for what a YAML file or a `Recipe` may
    not hold.
    """
    read: list[tuple[Recipe, list[int] | None]] = []

    def keep(context: typer.Context) -> None:
        read.append(context.obj)

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(cls=TrainCommand, help=train.__doc__, context_settings={"help_option_names": ["-h", "--help"]})(keep)
    try:
        typer.main.get_command(app)(args=list(arguments), prog_name="apvit train")
    except SystemExit:
        if not read:
            raise
    return read[0]


def _common(
    config: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="YAML file with any of the fields below, their names with underscores; may be repeated: the last one "
            "that gives a field decides.",
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            parser=lambda text: _seeds(text),
            help="Train once with each of these seeds, into sub-folders of the output; mean and spread go to "
            "seeds.json.",
        ),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Show every field with its value, as YAML, and exit.")
    ] = False,
) -> None:
    """The options that are no fields; only the signature is read."""


def _of_the_recipe() -> Iterator[inspect.Parameter]:
    """Each field as a parameter of a function for typer: `model__patch_keep` is --model.patch-keep."""
    from apvit.nn import APViTConfig, TransFERConfig
    from apvit.training import Recipe

    panel = ""
    for field, kind, text in _described(Recipe):
        panel = PANELS.get(field.name, panel)
        if field.name == "model":
            fields_of_all = {
                each.name: (inner, words)
                for family in (APViTConfig, TransFERConfig)
                for each, inner, words in _described(family)
            }
            for name, (inner, words) in fields_of_all.items():
                if name not in ("family", "num_classes"):
                    yield _option(f"model.{name}", inner, None, words, panel)
        elif isinstance(kind, type) and is_dataclass(kind):
            for each, inner, words in _described(kind):
                yield _option(f"{field.name}.{each.name}", inner, each.default, words, panel)
        else:
            yield _option(field.name, kind, None if field.default is MISSING else field.default, text, panel)


def _option(name: str, kind: Any, default: Any, text: str, panel: str) -> inspect.Parameter:
    """One option; what is none of typer's types is read by a function of ours, and checked with the recipe."""
    flag, metavar, parser = f"--{_hyphens(name)}", METAVARS.get(name), None
    if kind is bool:
        flag += f"/--no-{_hyphens(name)}"
    elif get_origin(kind) is Literal:
        metavar = metavar or ("NAME" if len("|".join(get_args(kind))) > WIDEST_CHOICES else None)
    elif kind in (int, float, str):
        metavar = metavar or {int: "N", float: "X", str: "NAME"}[kind]
    else:
        entries = len(get_args(kind)) if get_origin(kind) in (list, tuple) else 0
        parser = _text if kind == (str | None) else _list if entries else _value
        kind, metavar = str, metavar or ",".join("ABCD"[:entries])
        default = ",".join(map(str, default)) if isinstance(default, tuple) else default
    option = typer.Option(
        flag, metavar=metavar, parser=parser, help=text, rich_help_panel=panel, show_default=kind is not bool
    )
    return inspect.Parameter(
        name.replace(".", "__"), inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _hyphens(name: str) -> str:
    return name.replace("_", "-")


def _described(kind: type[Any]) -> Iterator[tuple[Field[Any], Any, str]]:
    """The fields of a dataclass, their types, and what the docstring below each says."""
    texts, types = {}, get_type_hints(kind)
    for base in reversed(kind.__mro__[:-1]):
        [tree] = ast.parse(inspect.getsource(base)).body
        for statement, below in pairwise(tree.body if isinstance(tree, ast.ClassDef) else []):
            match statement, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    texts[name] = " ".join(text.split())
    for field in fields(kind):
        yield field, types[field.name], texts.get(field.name, "")


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not whole numbers with commas between them, such as 0,1,2") from None


def _text(text: str) -> str | None:
    return None if text.lower() in NONE else text


def _list(text: str) -> list[Any]:
    """Values with commas between them; brackets around them are allowed."""
    value = _value(text if text.lstrip().startswith("[") else f"[{text}]")
    return value if isinstance(value, list) else [text]


def _value(text: str) -> Any:
    """A value of YAML, or several with commas between them; none: no value."""
    import yaml

    if text.lower() in NONE:
        return None
    try:
        value = yaml.safe_load(text)
        return yaml.safe_load(f"[{text}]") if isinstance(value, str) and "," in text else value
    except yaml.YAMLError:
        return text


def _modern(arguments: Sequence[str], parameters: Sequence[Any], context: Any) -> list[str]:
    """The arguments in today's spelling, with one warning for the older one: --batch_size, --resume true, gpu.

    Refuses unknown options with the nearest known one; typer knows no abbreviations such as --lr.
    """
    known = {name: each for each in parameters for name in (*each.opts, *each.secondary_opts)}
    modern: list[str] = []
    old: dict[str, str] = {}
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        written, equals, value = word.partition("=")
        name = _hyphens(written)
        if name not in known:
            if word.startswith("--") and (meant := nearest(name, known)):
                context.fail(f"No such option: {written} (Possible options: {meant})")
            modern.append(word)
            continue
        is_flag = known[name].is_flag
        if not equals and waiting and (not is_flag or waiting[0].lower() in ("true", "false")):
            equals, value = " ", waiting.pop(0)
        if written != name:
            old[written] = name
        if is_flag and value.lower() in ("true", "false"):
            name = name if value.lower() == "true" else f"--no-{name.removeprefix('--')}"
            old[f"{written}{equals}{value}"] = name
            equals = ""
        if name == "--device" and value == "gpu":
            value = "cuda"
            old[f"{written}{equals}gpu"] = "--device cuda"
        modern.extend([name, value] if equals == " " else [f"{name}{equals}{value}" if equals else name])
    if old:
        changes = ", ".join(f"{before} is now {now}" for before, now in old.items())
        print(f"warning: an older spelling: {changes}", file=sys.stderr)
    return modern


def _nested(given: Mapping[str, Any]) -> dict[str, Any]:
    """{"model__dim": 96} as {"model": {"dim": 96}}."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        group, _, field = name.rpartition("__")
        (values.setdefault(group, {}) if group else values)[field] = value
    return values
