"""What is measured: weight files, and every way to run one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from official import OfficialFormulation, run_eagerly

import apvit
from apvit.engines import Keep, create_engine
from apvit.engines.cache import cached_export, export_path
from apvit.engines.dial import load_with_keep
from apvit.engines.export import export_onnx
from apvit.engines.exported import EXPORTED_ENGINES, is_installed
from apvit.engines.timing import executed_macs, random_faces
from apvit.expressions import get_label_space
from apvit.faces.alignment import TEMPLATES
from apvit.nn import count_macs, read_config
from apvit.weights import Preprocessing

OFFICIAL = "official, eager"
PLAIN = "ours, eager"
COMPILED = "torch, compiled"
ENGINES = ("torch", *EXPORTED_ENGINES)


@dataclass(frozen=True)
class Subject:
    """A weight file of an architecture; random weights say what it costs, and nothing else."""

    name: str
    weights: Path
    random: bool

    @property
    def label(self) -> str:
        """The name for people."""
        return f"{self.name} (random weights, time only)" if self.random else self.name


@dataclass(frozen=True)
class Runner:
    """One way to run a weight file: faces [B, C, S, S] float32 in, whatever out."""

    name: str
    run: Callable[[NDArray[np.float32]], object]
    macs: int
    """Multiply-accumulates that it executes for one face."""


@contextmanager
def workplace(folder: Path | None) -> Iterator[Path]:
    """A folder for weight files and exports, thrown away unless given; exports are cached there alone meanwhile.

    A user's own cached exports may be of an older release.
    """
    before = os.environ.get("APVIT_CACHE")
    with TemporaryDirectory(prefix="apvit-speed-") as temporary:
        chosen = Path(temporary) if folder is None else folder
        chosen.mkdir(parents=True, exist_ok=True)
        os.environ["APVIT_CACHE"] = str(chosen / "cache")
        try:
            yield chosen
        finally:
            if before is None:
                del os.environ["APVIT_CACHE"]
            else:
                os.environ["APVIT_CACHE"] = before


def find_subject(name: str, folder: Path) -> Subject:
    """The bundled weights of the architecture `name`, or where there are none random ones, written into `folder`."""
    if any(bundled.partition(".")[0] == name for bundled in apvit.list_weights()):
        return Subject(name, apvit.weights.find_weights(name), random=False)
    path = folder / f"{name}.safetensors"
    if not path.exists():
        random_weights(path, name)
    return Subject(name, path, random=True)


def identify(weights: Path) -> dict[str, str]:
    """Which file this is, as JSON values, so that figures of other weights are noticed."""
    return {"file": weights.name, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}


def random_weights(path: Path, name: str, **overrides: Any) -> Path:
    """Write a random network of the architecture `name`, with these hyper-parameters changed, to `path`."""
    torch.manual_seed(0)
    model = apvit.create_model(name, **overrides).eval()
    torch.nn.init.normal_(model.head.weight)  # a new model's head is zero: all faces would look alike
    config = model.config
    grey = config.in_channels == 1
    card = apvit.Card(
        architecture=name,
        parameters=config.to_dict(),
        labels=get_label_space("ferplus" if config.num_classes == 8 else "raf-db"),
        preprocessing=Preprocessing(
            TEMPLATES["ferplus-48-v1"] if config.image_size == 48 else None,
            config.image_size,
            "grey" if grey else "rgb",
            (0.5,) if grey else (0.5, 0.5, 0.5),
            (0.25,) if grey else (0.25, 0.25, 0.25),
        ),
        provenance={},
        metrics=(),
        licence="none",
        intended_use="measuring time; it recognises nothing",
    )
    apvit.save_weights(model, card, path)
    return path


def no_pooling(weights: Path) -> Keep:
    """The setting of the dial that keeps everything."""
    return Keep(None, (1,) * apvit.weights.read_card(weights).parameters["depth"])


def open_eager(weights: Path, keep: Keep | None = None) -> list[Runner]:
    """The official formulation, and our module called as anyone would call it: same weights, plain eager torch."""
    model, card = load_with_keep(weights, keep)
    model.eval()
    config = read_config(card.parameters)
    return [
        Runner(OFFICIAL, partial(run_eagerly, OfficialFormulation(model)), count_macs(config).total),
        Runner(PLAIN, partial(run_eagerly, model), count_macs(config, executed=True).total),
    ]


def open_engine(weights: Path, engine: str, keep: Keep | None = None) -> Runner:
    """The weights on an engine, exported first where that is needed."""
    if engine in EXPORTED_ENGINES and cached_export(weights, keep) is None:
        export_onnx(weights, export_path(weights, keep), keep=keep)
    opened = create_engine(weights, engine, "cpu", keep=keep)
    return Runner(engine, opened.run, executed_macs(opened.card))


def open_compiled(weights: Path) -> Runner:
    """The weights on torch's engine with torch.compile; RuntimeError where it cannot compile, as without g++."""
    opened = create_engine(weights, "torch", "cpu", compile=True)
    opened.run(random_faces(opened.card, 1))
    return Runner(COMPILED, opened.run, executed_macs(opened.card))


def installed_engines() -> tuple[list[str], dict[str, str]]:
    """The engines that can run here, and by name why others cannot."""
    missing = {
        name: f"{EXPORTED_ENGINES[name][0]} is not installed" for name in EXPORTED_ENGINES if not is_installed(name)
    }
    return [name for name in ENGINES if name not in missing], missing
