"""Accuracy on damaged faces and on the literature's hard faces, for several weight files side by side.

All weight files see the same faces with the same damage, so that they are compared face by face: the interval of a
difference is that of the mean of (second right - first right), which is far narrower than two intervals apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from apvit.data import Split
from apvit.engines import Engine
from apvit.files import unknown

from .corruptions import CORRUPTIONS, Corruption, corrupt
from .errors import EvaluationError
from .intervals import RESAMPLES, Floats, percentile_interval, resampled_means
from .lists import FaceList, list_accuracy, match_list
from .predictions import check_framing, decode, scored, weights_labels

SEVERITIES = 6
"""Clean and five."""
SHOWN = 10
"""Names of missing or disputed faces that a record holds at most."""

Right = npt.NDArray[np.bool_]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Bench:
    """Weight files and the faces that all of them can be right about."""

    engines: dict[str, Engine]
    """By the names that tables and pictures use; the first is the reference of differences."""
    split: Split
    labels: npt.NDArray[np.int64]
    """[W, n] of the faces at `faces`, each in its weights' space."""
    faces: npt.NDArray[np.intp]
    """[n] indices in the split."""
    batch_size: int = 64

    @classmethod
    def of(cls, engines: dict[str, Engine], split: Split, *, batch_size: int = 64) -> Bench:
        """Faces that some weights have no class for are left out for all. Raises what `predict` raises."""
        labels = []
        for engine in engines.values():
            check_framing(engine.card, split)
            labels.append(weights_labels(engine.card, split))
        together = np.stack(labels)
        faces = scored(together.min(0), split)
        return cls(engines, split, together[:, faces], faces, batch_size)

    def sample(self, count: int, seed: int) -> npt.NDArray[np.intp]:
        """Ascending positions in `faces` of `count` of them, drawn by `seed`; all where there are no more."""
        if count >= len(self.faces):
            return np.arange(len(self.faces))
        return np.sort(np.random.default_rng(seed).choice(len(self.faces), count, replace=False))

    def right(
        self, positions: npt.NDArray[np.intp], steps: Sequence[tuple[Corruption | None, int]], seed: int, done: Progress
    ) -> Right:
        """[W, len(steps), n] whether each weight file recognises each face at `positions` after each step.

        A step is a corruption and its severity, or None for the face as it is. `done` gets the number of passes of
        faces through networks as they happen.
        """
        right = np.zeros((len(self.engines), len(steps), len(positions)), bool)
        for start in range(0, len(positions), self.batch_size):
            window = slice(start, start + self.batch_size)
            batch = positions[window]
            sources = [self.split.sources[i] for i in self.faces[batch]]
            for alike in self._alike():
                card = self.engines[alike[0]].card
                clean = decode(card, self.split, self.faces[batch])
                template = card.preprocessing.alignment
                for k, (corruption, severity) in enumerate(steps):
                    faces = clean
                    if corruption is not None:
                        damaged = (
                            corrupt(face, corruption, severity, seed=seed, source=source, template=template)
                            for face, source in zip(clean, sources, strict=True)
                        )
                        faces = np.stack(list(damaged))
                    for name in alike:
                        w, engine = list(self.engines).index(name), self.engines[name]
                        said = engine.run(engine.card.preprocessing.normalise(faces)).probabilities.argmax(1)
                        right[w, k, window] = said == self.labels[w, batch]
                        done(len(batch))
        return right

    def groups(self, positions: npt.NDArray[np.intp]) -> list[str]:
        """The groups of the faces at `positions`."""
        return [self.split.groups[i] for i in self.faces[positions]]

    def _alike(self) -> list[list[str]]:
        """Names of weights that read the same pixels, so that these are decoded and damaged once."""
        kinds: dict[Any, list[str]] = {}
        for name, engine in self.engines.items():
            given = engine.card.preprocessing
            kinds.setdefault((given.alignment, given.size, given.colour), []).append(name)
        return list(kinds.values())


def choose_corruptions(names: Sequence[str], engines: dict[str, Engine]) -> tuple[list[Corruption], dict[str, str]]:
    """The corruptions called `names` (all for none), and {name: why} of those that these weights cannot undergo.

    Raises EvaluationError for an unknown name, and for one that was asked for and cannot be.
    """
    for name in names:
        if name not in CORRUPTIONS:
            raise EvaluationError(unknown("corruption", name, CORRUPTIONS))
    without = [name for name, engine in engines.items() if engine.card.preprocessing.alignment is None]
    reason = f"the card of {without[0]} has no alignment template to say where they are" if without else ""
    skipped = {name: reason for name, c in CORRUPTIONS.items() if without and c.needs_landmarks}
    if refused := [name for name in names if name in skipped]:
        raise EvaluationError(f"{refused[0]} cannot be measured: {reason}")
    return [c for name, c in CORRUPTIONS.items() if name not in skipped and (not names or name in names)], skipped


def measure_curves(
    bench: Bench,
    corruptions: Sequence[Corruption],
    *,
    faces: int,
    seed: int = 0,
    resamples: int = RESAMPLES,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Accuracy over severity, on at most `faces` faces, as plain JSON values.

    faces; commonest, the share of these that has their commonest label, which is what naming it always would get
    right; corruptions, each with name, title, unit, levels (0 and five) and `results`, one for each weight file:
    name, accuracy, low, high (at clean and five severities), `damaged` (mean accuracy over the five severities) and
    `drop` (clean - damaged), each with an interval, and `difference` to the first weights (None for these), with
    the same entries; `overall`, the same `damaged` and `drop` averaged over the corruptions. A negative difference
    of drops means that damage costs these weights less than the first.
    """
    positions = bench.sample(faces, seed)
    steps: list[tuple[Corruption | None, int]] = [(None, 0)]
    steps += [(corruption, severity) for corruption in corruptions for severity in range(1, SEVERITIES)]
    right = bench.right(positions, steps, seed, progress)
    weights, kinds = len(bench.engines), len(corruptions)
    # Each corruption's curve starts from the one clean pass: [W, C, 6, n].
    clean = np.broadcast_to(right[:, :1, None], (weights, 1, kinds, len(positions))).transpose(0, 2, 1, 3)
    curves = np.concatenate([clean, right[:, 1:].reshape(weights, kinds, SEVERITIES - 1, -1)], axis=2)
    flat = curves.reshape(-1, len(positions)).T
    samples = resampled_means(flat, bench.groups(positions), resamples=resamples, seed=seed)
    samples = samples.reshape(resamples, weights, kinds, SEVERITIES)
    means = curves.mean(-1)
    names = list(bench.engines)
    return {
        "faces": len(positions),
        "commonest": float(np.bincount(bench.labels[0, positions]).max() / len(positions)),
        "corruptions": [
            {
                "name": corruption.name,
                "title": corruption.title,
                "unit": corruption.unit,
                "levels": [0, *corruption.levels],
                "results": [
                    {
                        "name": name,
                        **_curve(means[w, c], samples[:, w, c]),
                        "difference": _curve(means[w, c] - means[0, c], samples[:, w, c] - samples[:, 0, c])
                        if w
                        else None,
                    }
                    for w, name in enumerate(names)
                ],
            }
            for c, corruption in enumerate(corruptions)
        ],
        "overall": [
            {
                "name": name,
                **_summary(means[w].mean(0), samples[:, w].mean(1)),
                "difference": _summary((means[w] - means[0]).mean(0), (samples[:, w] - samples[:, 0]).mean(1))
                if w
                else None,
            }
            for w, name in enumerate(names)
        ],
    }


def measure_lists(
    bench: Bench,
    lists: Sequence[FaceList],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    progress: Progress = lambda _: None,
) -> list[dict[str, Any]]:
    """For each list, how it was found in the split, and each weight file's accuracy on it and on the `rest`.

    Lines whose face the split does not label are not scored. Repeated lines count as often as they stand.
    """
    matches = [match_list(faces, bench.split) for faces in lists]
    everything = np.arange(len(bench.faces))
    right = bench.right(everything, [(None, 0)], seed, progress)[:, 0]
    place = {int(index): position for position, index in enumerate(bench.faces)}
    records = []
    for faces, match in zip(lists, matches, strict=True):
        rows = np.array([place[int(i)] for i in match.faces if int(i) in place], np.intp)
        if not len(rows):
            raise EvaluationError(f"no face of {faces.path} has a label that the weights could be right about")
        rest = np.setdiff1d(everything, rows)
        samples = resampled_means(right[:, rows].T, bench.groups(rows), resamples=resamples, seed=seed)
        results = []
        for w, name in enumerate(bench.engines):
            by_face = {int(index): bool(right[w, position]) for index, position in place.items()}
            gap = right[w, rows].mean() - right[0, rows].mean()
            results.append(
                {
                    "name": name,
                    **list_accuracy(match, by_face),
                    "interval": percentile_interval(samples[:, w]).tolist(),
                    "rest": {"faces": len(rest), "accuracy": float(right[w, rest].mean()) if len(rest) else None},
                    "difference": {
                        "accuracy": float(gap),
                        "interval": percentile_interval(samples[:, w] - samples[:, 0]).tolist(),
                    }
                    if w
                    else None,
                }
            )
        records.append(
            {
                "file": str(faces.path),
                "labels": faces.labels.name,
                "lines": len(faces.faces),
                "repeated": faces.repeated,
                "found": len(match.faces),
                "missing": len(match.missing),
                "missing_names": match.missing[:SHOWN],
                "unlabelled": match.unlabelled,
                "scored": len(rows),
                "disagreements": len(match.disagreements),
                "disagreements_named": match.disagreements[:SHOWN],
                "warnings": list(faces.warnings),
                "results": results,
            }
        )
    return records


def _curve(accuracy: Floats, samples: Floats) -> dict[str, Any]:
    low, high = percentile_interval(samples)
    return {"accuracy": accuracy.tolist(), "low": low.tolist(), "high": high.tolist(), **_summary(accuracy, samples)}


def _summary(accuracy: Floats, samples: Floats) -> dict[str, Any]:
    """Means over the five severities of `accuracy` [6], with intervals from `samples` [B, 6]."""
    damaged, damaged_samples = accuracy[1:].mean(), samples[:, 1:].mean(1)
    return {
        "damaged": float(damaged),
        "damaged_interval": percentile_interval(damaged_samples).tolist(),
        "drop": float(accuracy[0] - damaged),
        "drop_interval": percentile_interval(samples[:, 0] - damaged_samples).tolist(),
    }
