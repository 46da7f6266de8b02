"""Faces of a split that also stand in another split of the same prepared folder, and the figures without them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apvit.data import SPLITS

from .evaluate import figures_of
from .intervals import RESAMPLES, metric_intervals
from .predictions import Predictions


@dataclass(frozen=True)
class Neighbours:
    """The groups of the other prepared splits in a folder."""

    groups: dict[str, frozenset[str]]
    """{split: groups}; empty where there are no other splits."""

    @classmethod
    def of(cls, data: str | Path, split: str) -> Neighbours:
        """The other splits beside the prepared `split` of `data`, a Parquet file or a folder of them.

        Only their column `group` is read. Data in its owner's layout has no prepared neighbours.
        """
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        path = Path(data)
        folder = path.parent if path.suffix == ".parquet" else path
        if not (folder / f"{split}.parquet").is_file():
            return cls({})
        others = {name: folder / f"{name}.parquet" for name in SPLITS if name != split}
        return cls(
            {
                name: frozenset(pq.read_table(file, columns=["group"])["group"].to_pylist())
                for name, file in others.items()
                if file.is_file()
            }
        )

    def shared(self, groups: list[str]) -> dict[str, npt.NDArray[np.bool_]]:
        """{split: [N] whether each face's group also stands there}."""
        return {name: np.array([group in theirs for group in groups], bool) for name, theirs in self.groups.items()}


def overlap_figures(
    predictions: Predictions, neighbours: Neighbours, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any] | None:
    """`shared` {split: faces}, `faces` in any of them, and the figures `without` those; None without neighbours.

    `without` is None where no face is shared (nothing would change) or all are (nothing would be left).
    """
    if not neighbours.groups:
        return None
    masks = neighbours.shared(predictions.groups)
    anywhere = np.logical_or.reduce(list(masks.values()))
    without = None
    if anywhere.any() and not anywhere.all():
        alone = predictions.select(~anywhere)
        figures = figures_of(alone)
        intervals = metric_intervals(alone, resamples=resamples, seed=seed)
        without = {name: figures[name] for name in ("faces", "accuracy", "mean_class_accuracy", "macro_f1", "ece")}
        without["intervals"] = {name: intervals[name] for name in without if name != "faces"}
    return {
        "shared": {name: int(mask.sum()) for name, mask in masks.items()},
        "faces": int(anywhere.sum()),
        "without": without,
    }
