"""The explanation of one face: what pooling kept, block by block, and what spoke for which expression."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from apvit.engines import Engine, EngineError
from apvit.engines.torch_engine import TorchEngine

from .relevance import class_attention, class_relevance

SHOWN_CLASSES = 2
"""Relevance is computed for so many of the most probable expressions."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why the network said what it said about one aligned face. Maps are [grid, grid], row by row over the face."""

    face: npt.NDArray[np.uint8]
    """[S, S, 3] or [S, S], as the network got it before normalisation."""
    probabilities: dict[str, float]
    patch_scores: npt.NDArray[np.float32]
    """[grid, grid] APP's score of every patch."""
    kept: npt.NDArray[np.bool_]
    """[grid, grid] patches that APP kept."""
    alive: npt.NDArray[np.bool_]
    """[depth, grid, grid] patches whose tokens are alive after each block."""
    attention: npt.NDArray[np.float32]
    """[depth, grid, grid] the class token's attention in each block, mean over heads; 0 where no token is."""
    relevance: dict[str, npt.NDArray[np.float32]]
    """{expression: [grid, grid]}, >= 0, the most probable expressions first."""

    @property
    def expression(self) -> str:
        """The most probable expression."""
        return next(iter(self.relevance))

    def to_dict(self) -> dict[str, Any]:
        """Everything but the face, as JSON values; maps as lists of rows."""
        return {
            "expression": self.expression,
            "probabilities": {name: round(p, 6) for name, p in self.probabilities.items()},
            "grid": len(self.kept),
            "patch_scores": self.patch_scores.round(5).tolist(),
            "kept": self.kept.astype(int).tolist(),
            "alive": self.alive.astype(int).tolist(),
            "attention": self.attention.round(6).tolist(),
            "relevance": {name: values.round(6).tolist() for name, values in self.relevance.items()},
        }


def explain(engine: Engine, faces: npt.NDArray[np.uint8], batch_size: int = 16) -> Iterator[Explanation]:
    """Explain faces [B, S, S, 3] or [B, S, S] uint8, aligned and sized as the engine's card says, in order.

    Gradients are needed, so only the torch engine explains. Raises EngineError for another engine, and CardError for
    faces of another shape.
    """
    if not isinstance(engine, TorchEngine):
        raise EngineError("explanations need gradients, which exported files do not have: use engine 'torch'")
    for start in range(0, len(faces), batch_size):
        yield from _explain_batch(engine, faces[start : start + batch_size])


def _explain_batch(engine: TorchEngine, faces: npt.NDArray[np.uint8]) -> Iterator[Explanation]:
    card, model = engine.card, engine.model
    x = card.preprocessing.normalise(faces)
    output = engine.run(x)
    batch = torch.from_numpy(x).to(engine.device)
    best = np.argsort(-output.probabilities, axis=1, kind="stable")[:, :SHOWN_CLASSES]
    relevance = class_relevance(model, batch, torch.from_numpy(best.copy()).to(engine.device)).cpu().numpy()
    attention = class_attention(model, batch).cpu().numpy()
    grid = model.config.grid
    names = card.labels.expressions
    for i, face in enumerate(faces):
        yield Explanation(
            face=face,
            probabilities={name: float(p) for name, p in zip(names, output.probabilities[i], strict=True)},
            patch_scores=output.patch_scores[i].reshape(grid, grid),
            kept=_mask(output.patches[i], grid),
            alive=np.stack([_mask(tokens[i], grid) for tokens in output.tokens]),
            attention=attention[i].reshape(-1, grid, grid),
            relevance={names[c]: relevance[i, m].reshape(grid, grid) for m, c in enumerate(best[i])},
        )


def _mask(patches: npt.NDArray[np.int64], grid: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(grid * grid, bool)
    mask[patches] = True
    return mask.reshape(grid, grid)
