"""Search on the compute dial: what pooling should keep, measured as accuracy on real faces and time on this machine.

All settings run the same tensors on the same faces, so that they are compared with the card's own face by face. The
setting is chosen on one half of the faces and its accuracy reported on the other: the best of many measured figures
flatters itself, a figure on faces that had no part in the choice does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apvit.data import Split, SplitMetadata
from apvit.engines import ENGINES, Engine, EngineError, Keep, Runtime, create_engine
from apvit.engines.timing import executed_macs, take_turns
from apvit.files import sha256
from apvit.weights import Card

from .errors import EvaluationError
from .intervals import RESAMPLES, Floats, cluster, percentile_interval, resampled_means
from .metrics import expression_metrics
from .predictions import Predictions, check_framing, decode, predict, scored, weights_labels
from .provenance import describe_measurement

RATES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, None)
"""Patches kept in the search, beside the card's own; None is all."""
TAILS = (0.9, 0.8)
"""Rates of the geometric schedules, which drop tokens in each block of the last half."""
SECONDS = 0.3
"""Time for timing each setting, in turns."""
STEADY = 0.2
"""The middle half of the card's own times spreads at most so far about the median on a machine that is not busy."""

SEARCH = ("goal", "faces", "timed_batch", "seed", "resamples", "engine", "runtime", "machine")
"""What a tuned card repeats of the record."""

Timing = Callable[[Sequence[Engine], npt.NDArray[np.float32]], Floats]
"""Engines and input [B, C, H, W] -> milliseconds per face [rounds, engines]."""


@dataclass(frozen=True)
class Setting:
    """A point of the dial on one network."""

    keep: Keep
    patches: int
    """Patches that enter the first block."""
    tokens: tuple[int, ...]
    """Tokens alive after each block, class token not counted."""
    macs: int
    """Multiply-accumulates executed for one face."""


@dataclass(frozen=True)
class Goal:
    """What to choose: the most accurate setting within `budget_ms`, or the fastest within `accuracy_loss`.

    budget_ms: milliseconds per face. accuracy_loss: fraction of 1 below the accuracy of the card's own setting. Raises
    EvaluationError unless exactly one is given, and for values that cannot be.
    """

    budget_ms: float | None = None
    accuracy_loss: float | None = None

    def __post_init__(self) -> None:
        if (self.budget_ms is None) == (self.accuracy_loss is None):
            raise EvaluationError("give either a budget of time or an accuracy loss, and not both")
        if self.budget_ms is not None and not self.budget_ms > 0:
            raise EvaluationError(f"a budget must be above 0 ms, got {self.budget_ms:g}")
        if self.accuracy_loss is not None and not 0 <= self.accuracy_loss <= 1:
            raise EvaluationError(f"an accuracy loss must be a fraction from 0 to 1, got {self.accuracy_loss:g}")

    def choose(self, ms: npt.ArrayLike, difference: npt.ArrayLike) -> int | None:
        """The number of the setting chosen by milliseconds [S] and accuracy above the card's own [S], or None."""
        ms, difference = np.asarray(ms, np.float64), np.asarray(difference, np.float64)
        if self.budget_ms is not None:
            fits, order = ms <= self.budget_ms, np.lexsort((ms, -difference))
        else:
            # Differences are sums of rounded fractions: half a face's worth of rounding must not exclude a setting.
            fits, order = difference >= -float(self.accuracy_loss or 0) - 1e-9, np.lexsort((-difference, ms))
        return next((int(i) for i in order if fits[i]), None)


def candidate_settings(card: Card) -> list[Setting]:
    """The card's own setting first, then every patch rate with every token schedule, at most 36 that compute otherwise.

    Token schedules: the card's own, none, and those of `TAILS`. Raises EngineError for weights without pooling.
    """
    from apvit.nn import read_config

    depth, own_patches = int(card.parameters["depth"]), card.parameters.get("patch_keep")
    own = card.parameters.get("token_keep")
    own_tokens = None if own is None else tuple(own)
    schedules = [own_tokens, (1,) * depth]
    schedules += [(1,) * (depth - depth // 2) + (rate,) * (depth // 2) for rate in TAILS]
    keeps = [Keep(patches, tokens) for patches in (own_patches, *RATES) for tokens in schedules]
    found: dict[tuple[int, ...], Setting] = {}
    for keep in keeps:
        kept = keep.card(card)
        config = read_config(kept.parameters)
        counts = config.token_counts
        # What the last block drops is never read, so that settings which differ only there compute the same.
        found.setdefault(
            (config.patch_count, *counts[:-1]),
            Setting(keep, config.patch_count, counts, executed_macs(kept)),
        )
    return list(found.values())


def open_settings(
    ref: str, settings: Sequence[Setting], engine: str, folder: Path, device: str = "auto"
) -> list[Engine]:
    """An engine for each setting; those that run exported files get them written into `folder`.

    Raises EngineError for an engine that is unknown or "auto", which might take another one for some settings.
    """
    if engine not in ENGINES:
        raise EngineError(f"a search runs on one engine, not on {engine!r}; known are {', '.join(ENGINES)}")
    if engine == "torch":
        return _open_on_torch(ref, settings, device)
    from apvit.engines.export import export_onnx

    engines = []
    for i, setting in enumerate(settings):
        path = folder / f"{i}.onnx"
        export_onnx(ref, path, keep=setting.keep)
        engines.append(create_engine(path, engine, device))
    return engines


def _open_on_torch(ref: str, settings: Sequence[Setting], device: str) -> list[Engine]:
    """All with the tensors of the first: thirty copies of a large network would not fit into memory."""
    from apvit.engines.torch_engine import TorchEngine

    first = TorchEngine(ref, device=device, keep=settings[0].keep)
    return [first, *(first.with_keep(setting.keep) for setting in settings[1:])]


def time_engines(engines: Sequence[Engine], x: npt.NDArray[np.float32], seconds: float = SECONDS) -> Floats:
    """Milliseconds per face [rounds, engines], of `apvit.engines.timing.take_turns` with `seconds` for each engine."""
    calls = {str(number): partial(engine.run, x) for number, engine in enumerate(engines)}
    taken = take_turns(calls, seconds)
    return np.stack([taken[name] for name in calls], 1) * 1000 / len(x)


def pareto_front(costs: npt.ArrayLike, gains: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """[S] whether no other point costs as little and gains as much, and is better in one of the two."""
    costs, gains = np.asarray(costs, np.float64), np.asarray(gains, np.float64)
    as_good = (costs[:, None] <= costs) & (gains[:, None] >= gains)
    better = (costs[:, None] < costs) | (gains[:, None] > gains)
    return np.asarray(~(as_good & better).any(0))


def halve(groups: Sequence[str], seed: int) -> npt.NDArray[np.bool_]:
    """[N] a random half of the faces as a mask: no group stands in both halves, and both have one at least.

    Raises EvaluationError for fewer than two groups.
    """
    numbers, count = cluster(groups)
    if count < 2:
        raise EvaluationError(
            f"the {len(groups)} faces form {count} group, which cannot be divided into faces to choose on and faces to "
            "report on: give more faces"
        )
    order = np.random.default_rng(seed).permutation(count)
    sums = np.bincount(numbers, minlength=count)[order].cumsum()
    last = int(np.abs(sums[:-1] - len(groups) / 2).argmin())
    return np.isin(numbers, order[: last + 1])


def draw_faces(card: Card, split: Split, faces: int | None, seed: int) -> Split:
    """The labelled faces of `split` that the weights could be right about: `faces` of them drawn by `seed`, or all."""
    check_framing(card, split)
    known = scored(weights_labels(card, split), split)
    if faces is not None and faces < len(known):
        known = np.sort(np.random.default_rng(seed).choice(known, faces, replace=False))
    return split.select(known)


def tune(
    settings: Sequence[Setting],
    engines: Sequence[Engine],
    split: Split,
    goal: Goal,
    *,
    timing: Timing = time_engines,
    timed_batch: int = 1,
    resamples: int = RESAMPLES,
    seed: int = 0,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> tuple[Setting, dict[str, Any]]:
    """Measure every setting on its engine, the first being the card's own, and choose by `goal`.

    split: of `draw_faces`. timed_batch: faces in a timed run. progress: gets the faces run, len(settings) passes.
    Returns the setting and a record of plain JSON values: goal, faces, timed_batch, runtime, seed, resamples;
    `settings`, each with keep, patches, tokens, macs, ms (median), ms_quartiles, what stands under `all`, `choosing`
    and `reporting` faces (faces, accuracy, difference to the card's own and its 95 % interval), and whether it is on
    the front of `all` by_ms and by_macs; `chosen`, its number in `settings`; `figures` of the chosen on the reporting
    faces; `notes`.

    Raises EvaluationError for a budget that nothing meets, before any accuracy is measured, for faces that cannot be
    halved, and what `predict` raises.
    """
    choosing = halve(split.groups, seed)
    card = engines[0].card
    timed = np.arange(timed_batch) % len(split)
    ms = timing(engines, card.preprocessing.normalise(decode(card, split, timed)))
    median = np.median(ms, axis=0)
    if goal.choose(median, np.zeros(len(settings))) is None:
        cheapest = int(median.argmin())
        raise EvaluationError(
            f"no setting recognises a face within {goal.budget_ms:g} ms: the cheapest, keep="
            f"'{settings[cheapest].keep}', takes {median[cheapest]:.3g} ms; give a larger budget or smaller weights"
        )
    predictions = [predict(engine, split, batch_size=batch_size, progress=progress) for engine in engines]
    right = np.stack([p.correct for p in predictions], 1)
    parts = {"all": np.ones(len(split), bool), "choosing": choosing, "reporting": ~choosing}
    accuracy = {
        name: _accuracy(right[part], predictions[0].select(part), resamples, seed) for name, part in parts.items()
    }
    chosen = goal.choose(median, [row["difference"] for row in accuracy["choosing"]])
    assert chosen is not None  # the budget was met above, and the card's own setting loses nothing
    quartiles = np.quantile(ms, (0.25, 0.75), axis=0)
    macs, gains = [s.macs for s in settings], [row["accuracy"] for row in accuracy["all"]]
    fronts = {"by_ms": pareto_front(median, gains), "by_macs": pareto_front(macs, gains)}
    reported = predictions[chosen].select(~choosing)
    figures = expression_metrics(reported.probabilities, reported.labels, reported.space)
    del figures["confusion"]
    return settings[chosen], {
        "goal": {"budget_ms": goal.budget_ms, "accuracy_loss": goal.accuracy_loss},
        "faces": len(split),
        "timed_batch": timed_batch,
        "runtime": asdict(engines[0].runtime),
        "seed": seed,
        "resamples": resamples,
        "settings": [
            {
                "keep": str(setting.keep),
                "patches": setting.patches,
                "tokens": list(setting.tokens),
                "macs": setting.macs,
                "ms": float(median[i]),
                "ms_quartiles": quartiles[:, i].tolist(),
                **{name: rows[i] for name, rows in accuracy.items()},
                **{name: bool(front[i]) for name, front in fronts.items()},
            }
            for i, setting in enumerate(settings)
        ],
        "chosen": chosen,
        "figures": figures,
        "notes": _notes(goal, chosen, accuracy, ms[:, 0]),
    }


def _accuracy(
    right: npt.NDArray[np.bool_], faces: Predictions, resamples: int, seed: int
) -> list[dict[str, int | float | list[float]]]:
    """For each column of right [N, S] its accuracy, and how far it lies above that of the first."""
    difference = right.astype(np.int64) - right[:, :1]
    means = difference.sum(0) / len(right)
    low, high = percentile_interval(resampled_means(difference, faces.groups, resamples=resamples, seed=seed))
    return [
        {
            "faces": len(right),
            "accuracy": float(right[:, i].mean()),
            "difference": float(means[i]),
            "interval": [float(low[i]), float(high[i])],
        }
        for i in range(right.shape[1])
    ]


def _notes(goal: Goal, chosen: int, accuracy: dict[str, list[dict[str, Any]]], own_ms: Floats) -> list[str]:
    on, other = (accuracy[name][chosen] for name in ("choosing", "reporting"))
    notes = [
        f"The setting was chosen on {on['faces']:,} faces; the accuracy reported of it is that on the other "
        f"{other['faces']:,}, which had no part in the choice."
    ]
    if goal.accuracy_loss is not None and other["difference"] < -goal.accuracy_loss - 1e-9:
        notes.append(
            f"On the other faces it loses {-other['difference']:.4f}, more than the {goal.accuracy_loss:g} allowed: "
            "the faces are too few to tell such losses apart, or the choice was lucky."
        )
    low, median, high = np.quantile(own_ms, (0.25, 0.5, 0.75))
    if high - low > STEADY * median:
        notes.append(
            f"The machine is busy: half of the card's own times lie between {low:.3g} and {high:.3g} ms a face, so "
            "that the times, and a choice by them, are unsure; repeat the search when nothing else runs."
        )
    return notes


def write_tuned(ref: str, path: Path, setting: Setting, record: dict[str, Any], metadata: SplitMetadata) -> None:
    """Write the weights `ref` to `path` with `setting` in the card: the same tensors in the same dtypes.

    The card's metrics become those of `record` (of `tune`), measured on the reporting half of the split, and its
    provenance says under `tuned_from` which file this is a copy of, and the search's figures. Raises EvaluationError
    where `path` is the file itself, WeightsError where it cannot be written.
    """
    from safetensors.torch import load_file

    from apvit.weights import find_weights, read_card, save_weights
    from apvit.weights.file import assemble

    source = find_weights(ref)
    if path.exists() and path.samefile(source):
        raise EvaluationError(f"{path} is the weight file itself: name another file for the tuned copy")
    card = read_card(source)
    row, own = record["settings"][record["chosen"]], record["settings"][0]
    figures = {
        **describe_measurement(metadata, Runtime(**record["runtime"])),
        **record["figures"],
        "part": f"the faces that had no part in choosing what is kept, of {record['faces']} searched on",
    }
    search = {
        "weights": ref,
        "sha256": sha256(source),
        "keep": own["keep"],
        "dataset": metadata.dataset,
        "split": metadata.split,
        **{name: record[name] for name in SEARCH},
        "own": {name: own[name] for name in ("macs", "ms", "reporting")},
        "tuned": {name: row[name] for name in ("keep", "macs", "ms", "choosing", "reporting")},
    }
    tuned = replace(setting.keep.card(card), metrics=(figures,), provenance={**card.provenance, "tuned_from": search})
    save_weights(assemble(tuned.parameters, load_file(source)), tuned, path)
