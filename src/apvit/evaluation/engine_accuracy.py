"""What a cheaper arithmetic costs: the same faces on two engines, one in float32, in accuracy and in what is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from apvit.data import Split
from apvit.engines import Engine, Output, Runtime
from apvit.weights import Card

from .evaluate import figures_of
from .intervals import RESAMPLES, percentile_interval, resampled_means
from .predictions import Predictions, predict


@dataclass
class _Recorder:
    """An engine that remembers what pooling kept of the faces it ran."""

    engine: Engine
    outputs: list[Output] = field(default_factory=list)

    @property
    def card(self) -> Card:
        return self.engine.card

    @property
    def runtime(self) -> Runtime:
        return self.engine.runtime

    def run(self, x: npt.NDArray[np.float32]) -> Output:
        self.outputs.append(self.engine.run(x))
        return self.outputs[-1]

    def kept(self, read: Callable[[Output], npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
        """[N, kept] of all faces run."""
        return np.concatenate([read(output) for output in self.outputs])


def overlap(kept: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """[N] share of the ids in each row of `kept` [N, K] that stand in the same row of `other` [N, K] too.

    >>> overlap(np.array([[0, 1, 2, 3]]), np.array([[0, 2, 3, 9]])).tolist()
    [0.75]
    """
    return np.asarray((kept[:, :, None] == other[:, None, :]).any(2).mean(1))


def compare_engines(
    truth: Engine,
    other: Engine,
    split: Split,
    *,
    batch_size: int = 64,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run both on the labelled faces of `split`: the figures of `other`, and how it compares with `truth`.

    The figures are those of `figures_of` without the confusion matrix. The comparison: faces; accuracy_float32,
    accuracy, difference (other - truth) with its 95 % interval of paired resamples; same_expression, the share of faces
    with the same most probable expression; patches_kept and tokens_kept, the mean share of what one keeps (of the
    patches, and of the tokens after the last block) that the other keeps too. Raises what `predict` raises.
    """
    runs = _Recorder(truth), _Recorder(other)
    first, second = (predict(run, split, batch_size=batch_size, progress=progress) for run in runs)
    patches, tokens = (
        overlap(*(run.kept(read) for run in runs)) for read in (lambda out: out.patches, lambda out: out.tokens[-1])
    )
    figures = figures_of(second)
    del figures["confusion"]
    return figures, {
        "faces": len(second),
        "accuracy_float32": float(first.correct.mean()),
        "accuracy": float(second.correct.mean()),
        **_difference(first, second, resamples, seed),
        "same_expression": float((first.predicted == second.predicted).mean()),
        "patches_kept": float(patches.mean()),
        "tokens_kept": float(tokens.mean()),
    }


def _difference(first: Predictions, second: Predictions, resamples: int, seed: int) -> dict[str, Any]:
    gained = second.correct.astype(np.int64) - first.correct
    samples = resampled_means(gained[:, None], first.groups, resamples=resamples, seed=seed)[:, 0]
    return {"difference": float(gained.mean()), "interval": [float(end) for end in percentile_interval(samples)]}
