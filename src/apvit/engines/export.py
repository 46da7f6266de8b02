"""Export of a weight file to ONNX, with the proof that the exported file computes the same."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from apvit.files import completing, reason
from apvit.nn import HybridModel
from apvit.runtimes import torch_alone
from apvit.weights import Card, Preprocessing

from .dial import Keep, load_with_keep
from .engine import Engine, EngineError, Output
from .exported import CARD_KEY, EXPORTED_ENGINES, INPUT, SUFFIX, is_installed, open_exported, output_names
from .folding import fold
from .torch_engine import as_output

PIXELS = "pixels"
"""The input of a graph with the preprocessing inside: uint8 [B, S, S, 3], RGB, aligned and sized as the card says."""

TOLERANCE = 1e-4
"""Largest difference of a probability between the exported file and torch, both in float32."""


@dataclass(frozen=True)
class Parity:
    """How an exported file's answers differ from those of the weight file on torch, for the same faces."""

    engine: str
    faces: int
    largest_difference: float
    """Of any probability of any face."""
    patches_agreement: float
    """Share of the faces of which both keep exactly the same patches."""
    tokens_agreement: float
    """Share of the faces of which exactly the same tokens are alive after the last block."""


@torch_alone("cpu", EngineError)
def export_onnx(ref: str | Path, path: str | Path, *, pixels: bool = False, keep: Keep | None = None) -> None:
    """Write the weights `ref` as an ONNX file at `path` (.onnx), with the card inside and a dynamic batch.

    The graph takes `faces` [B, C, S, S] float32, normalised; with `pixels` it holds the preprocessing too and takes
    `pixels` uint8 [B, S, S, 3], RGB. keep: what pooling keeps instead of what the card says. The network is folded as
    in `TorchEngine`, so that every engine has the same savings.
    Outputs are those of `Output` in its order, the tokens as tokens_0, tokens_1, ... The file appears complete or not
    at all. Raises EngineError where the extra is not installed, the name does not end in .onnx, or the file cannot be
    written; WeightsError and CardError for weights that cannot be used.
    """
    try:
        import onnxscript as _onnxscript  # noqa: F401
    except ModuleNotFoundError:
        raise EngineError("exporting needs onnx and onnxscript: pip install 'apvit[export]'") from None
    path = Path(path)
    if path.suffix != SUFFIX:
        raise EngineError(f"an exported file's name ends in {SUFFIX}, not as {path.name!r} does")
    model, card = load_with_keep(ref, keep)
    graph = _Graph(fold(model), card, pixels=pixels).eval()
    size = card.preprocessing.size
    shape = (2, size, size, 3) if pixels else (2, card.preprocessing.channels, size, size)
    example = torch.zeros(shape, dtype=torch.uint8 if pixels else torch.float32)
    name = PIXELS if pixels else INPUT
    with _quiet():
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            input_names=[name],
            output_names=output_names(model.config.depth),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    if program is None:  # only with dynamo=False
        raise EngineError("torch.onnx.export returned nothing")
    program.model.metadata_props[CARD_KEY] = card.to_json()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with completing(path) as temporary:
            program.save(temporary)
    except OSError as error:
        raise EngineError(f"cannot write {path}: {reason(error)}") from error


@torch_alone("cpu", EngineError)
def prove(ref: str | Path, path: str | Path, faces: NDArray[np.uint8], *, keep: Keep | None = None) -> list[Parity]:
    """Compare the exported file at `path` with the weights `ref` on torch, on every engine that is installed.

    torch runs the network as it was trained, not as engines fold it, so that folding is proved too.
    faces: uint8 [N, S, S, 3] or [N, S, S], aligned as the card says; real ones, since what pooling keeps of noise says
    nothing. Raises EngineError where no engine is installed.
    """
    model, card = load_with_keep(ref, keep)
    truth = []
    for x in batches(card, faces):
        with torch.inference_mode():
            logits, trace = model(torch.from_numpy(x), return_trace=True)
        truth.append(as_output(logits, trace, card.temperature))
    return [_compare(truth, open_exported(path, name), name, faces) for name in installed_engines()]


def installed_engines() -> list[str]:
    """The engines of exported files that are installed; EngineError where there is none."""
    names = [name for name in EXPORTED_ENGINES if is_installed(name)]
    if not names:
        raise EngineError("there is no engine to run the exported file: pip install 'apvit[onnx]'")
    return names


def batches(card: Card, faces: NDArray[np.uint8], size: int = 32) -> Iterator[NDArray[np.float32]]:
    """Aligned faces [N, S, S, 3] or [N, S, S] as network input, `size` at a time."""
    for start in range(0, len(faces), size):
        yield card.preprocessing.normalise(faces[start : start + size])


def _compare(truth: Sequence[Output], other: Engine, name: str, faces: NDArray[np.uint8]) -> Parity:
    differences, patches, tokens = [], [], []
    for a, x in zip(truth, batches(other.card, faces), strict=True):
        b = other.run(x)
        differences.append(np.abs(a.probabilities - b.probabilities).max(1))
        patches.append((a.patches == b.patches).all(1))
        tokens.append((a.tokens[-1] == b.tokens[-1]).all(1))
    return Parity(
        engine=name,
        faces=len(faces),
        largest_difference=float(np.concatenate(differences).max()),
        patches_agreement=float(np.concatenate(patches).mean()),
        tokens_agreement=float(np.concatenate(tokens).mean()),
    )


class _Graph(nn.Module):
    """What is exported: the network with the temperature, and where asked for the preprocessing."""

    def __init__(self, model: HybridModel, card: Card, *, pixels: bool):
        super().__init__()
        self.model = model
        self.temperature = card.temperature
        self.normalise = _Normalise(card.preprocessing) if pixels else nn.Identity()

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:
        logits, trace = self.model(self.normalise(faces), return_trace=True)
        return (logits / self.temperature).softmax(1), trace.patch_scores, trace.patches, *trace.tokens, trace.cls


class _Normalise(nn.Module):
    """`Preprocessing.normalise` for RGB faces as a graph: pixels [B, S, S, 3] uint8 -> [B, C, S, S] float32."""

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessing: Preprocessing):
        super().__init__()
        self.grey = preprocessing.colour == "grey"
        self.register_buffer("mean", torch.tensor(preprocessing.mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(preprocessing.std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        planes = pixels.permute(0, 3, 1, 2)
        if self.grey:  # ITU-R 601 luma in PIL's integer arithmetic; the sums stay below 2^24
            red, green, blue = planes.int().unbind(1)
            luma = (19595 * red + 38470 * green + 7471 * blue + 0x8000) // 65536
            planes = luma.unsqueeze(1)
        return (planes.float() / 255 - self.mean) / self.std


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that nobody needs here."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
