"""The explanation of one face: what pooling kept, block by block, and what spoke for which expression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from apvit.engines import Engine, EngineError
from apvit.engines.torch_engine import TorchEngine
from apvit.runtimes import torch_alone

from .record import ExplanationRecord
from .relevance import class_attention, class_relevance
from .tracing import Corners, face_corners, patch_of_pixels

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
    corners: Corners | None = None
    """[grid + 1, grid + 1, 2] the corners of the patches in the photograph, x and y in pixels from its edges; None
    where it is not known."""
    min_probability: float = 0.0
    """An expression that is less probable is left open."""

    @property
    def likeliest(self) -> str:
        """The most probable expression."""
        return next(iter(self.relevance))

    @property
    def expression(self) -> str | None:
        """The most probable expression, or None where it is less probable than `min_probability`: left open."""
        return self.likeliest if self.probabilities[self.likeliest] >= self.min_probability else None

    def on_face(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A map [grid, grid] as one over the pixels of the aligned face, [S, S]."""
        size = len(self.face)
        return np.asarray(values.ravel()[patch_of_pixels(face_corners(len(self.kept), size), (size, size))])

    def on_photograph(self, values: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """A map [grid, grid] as one over the pixels of the photograph, [H, W] of `shape` [H, W, ...]; 0 off the face.

        Raises ValueError where it is not known how the face lies in the photograph.
        """
        if self.corners is None:
            raise ValueError("this explanation knows no photograph; explain the photograph with Recognizer.explain")
        # The pixels off the face are patch -1, the last.
        return np.asarray(np.append(values.ravel(), values.dtype.type(0))[patch_of_pixels(self.corners, shape)])

    def to_dict(self) -> ExplanationRecord:
        """Everything but the face, as JSON values; maps as lists of rows, corners as rows of [x, y]."""
        return {
            "expression": self.expression,
            "min_probability": self.min_probability,
            "probabilities": {name: round(p, 6) for name, p in self.probabilities.items()},
            "grid": len(self.kept),
            "face_size": len(self.face),
            "corners": None if self.corners is None else self.corners.round(3).tolist(),
            "patch_scores": self.patch_scores.round(5).tolist(),
            "kept": self.kept.astype(int).tolist(),
            "alive": self.alive.astype(int).tolist(),
            "attention": self.attention.round(6).tolist(),
            "relevance": {name: values.round(6).tolist() for name, values in self.relevance.items()},
        }


def explain(
    engine: Engine,
    faces: npt.NDArray[np.uint8],
    *,
    corners: Sequence[Corners] | None = None,
    min_probability: float = 0.0,
    batch_size: int = 16,
) -> Iterator[Explanation]:
    """Explain faces [B, S, S, 3] or [B, S, S] uint8, aligned and sized as the engine's card says, in order.

    corners: where the patches of each face lie in its photograph (see `Explanation.corners`), where that is known
    min_probability: below it the expression of a face is left open

    Gradients are needed, so only the torch engine explains. Raises EngineError for another engine, and CardError for
    faces of another shape.
    """
    if not isinstance(engine, TorchEngine):
        raise EngineError("explanations need gradients, which exported files do not have: use engine 'torch'")
    places: Sequence[Corners | None] = [None] * len(faces) if corners is None else corners
    for start in range(0, len(faces), batch_size):
        part = slice(start, start + batch_size)
        yield from _explain_batch(engine, faces[part], places[part], min_probability)


def _explain_batch(
    engine: TorchEngine, faces: npt.NDArray[np.uint8], corners: Sequence[Corners | None], min_probability: float
) -> Iterator[Explanation]:
    card, model = engine.card, engine.model
    x = card.preprocessing.normalise(faces)
    output = engine.run(x)
    best = np.argsort(-output.probabilities, axis=1, kind="stable")[:, :SHOWN_CLASSES]
    with torch_alone(engine.device, EngineError):
        batch = torch.from_numpy(x).to(engine.device)
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
            corners=corners[i],
            min_probability=min_probability,
        )


def _mask(patches: npt.NDArray[np.int64], grid: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(grid * grid, bool)
    mask[patches] = True
    return mask.reshape(grid, grid)
