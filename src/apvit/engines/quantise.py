"""int8 from an exported float32 file: static quantisation, calibrated on real faces, with the scorers left in float.

Convolutions and linear layers get int8 weights, one scale per output channel, and uint8 activations, one scale per
tensor, from the smallest and largest values that calibration faces make. In float32 stay what pooling selects by,
since noise there moves the selection: the projection whose channels APP sums, every product of two activations
(attention's, and the class token's logits that ATP sums), the sums and top-k themselves. So do the last block and the
head, which see one token and cost nothing, and norms, activations and the softmax; and the first convolution, of one
grey channel, which gains nothing and which OpenVINO 2026.4 computes wrongly in int8 (FER+ accuracy fell from 0.85 to
0.77 by it alone). Weights have 7 bits, because processors without VNNI add pairs of 8-bit products in 16 bits and
overflow.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apvit.weights import Card

from .engine import EngineError
from .exported import CARD_KEY, INPUT

QUANTISED = ("Conv", "Gemm", "MatMul")
"""ONNX operators that become int8, where one factor is a weight."""
PROJECTION = "model.project.weight"
"""The weight of the projection, whose output APP scores."""


@dataclass(frozen=True)
class Quantised:
    """How many convolutions and linear layers became int8, and why the others did not."""

    int8: int
    float32: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"int8_layers": self.int8, "float32_layers": self.float32}


def quantise_onnx(source: Path, target: Path, batches: Iterable[NDArray[np.float32]], depth: int) -> Quantised:
    """Write the int8 form of the exported file `source` to `target`, calibrated on `batches` [B, C, S, S] of faces.

    depth: blocks of the network. The card is copied as it is; `write_card` changes it. Raises EngineError where the
    packages are missing, or the file is none that this release exported.
    """
    try:
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise EngineError("int8 needs onnx and onnxruntime: pip install 'apvit[export]'") from None

    chosen, result = divide(onnx.load(source).graph, depth)
    with _quiet():
        quantize_static(
            source,
            target,
            _Reader(batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_quantize=chosen,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return result


def divide(graph: Any, depth: int) -> tuple[list[str], Quantised]:
    """Names of the nodes of an ONNX graph of `depth` blocks that become int8, and the count of both kinds."""
    weights = {tensor.name for tensor in graph.initializer}
    chosen, kept = [], dict[str, int]()
    for node in graph.node:
        if node.op_type not in QUANTISED:
            continue
        reason = _reason(node, weights, depth)
        if reason is None:
            chosen.append(node.name)
        else:
            kept[reason] = kept.get(reason, 0) + 1
    if "projection that APP scores" not in kept:
        raise EngineError("the exported file has no layer model.project: export it with this release of apvit")
    return chosen, Quantised(len(chosen), kept)


def _reason(node: Any, weights: set[str], depth: int) -> str | None:
    """Why a node stays in float, or None where it becomes int8."""
    if not weights & set(node.input):
        return "products of activations"
    if INPUT in node.input:
        return "first convolution"
    if PROJECTION in node.input:
        return "projection that APP scores"
    scopes = " ".join(entry.value for entry in node.metadata_props if entry.key == "pkg.torch.onnx.name_scopes")
    if f"blocks.{depth - 1}" in scopes:
        return "last block, of one token"
    if "head" in scopes:
        return "head"
    return None


def write_card(path: Path, card: Card, *, provenance: dict[str, Any], metrics: dict[str, Any]) -> None:
    """Put into the int8 file at `path` the card of its weights, with how it was made and its own figures."""
    import onnx

    model = onnx.load(path)
    changed = replace(card, provenance={**card.provenance, "int8": provenance}, metrics=(metrics,))
    for entry in model.metadata_props:
        if entry.key == CARD_KEY:
            entry.value = changed.to_json()
    onnx.save(model, path)


class _Reader:
    """Batches as onnxruntime's calibration takes them: one at a time, then None."""

    def __init__(self, batches: Iterable[NDArray[np.float32]]):
        self._batches = iter(batches)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        x = next(self._batches, None)
        return None if x is None else {INPUT: x}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's advice to fold and simplify first, given to the root logger: the export has done it."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
