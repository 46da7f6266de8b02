"""Calibrate a weight file: a copy whose card has the fitted temperature and the figures measured with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from apvit.data import Split
from apvit.engines import create_engine
from apvit.files import check_output
from apvit.weights import find_weights, read_card
from apvit.weights.file import replace_card

from .agreement import label_agreement
from .coverage import aurc, coverage_curve
from .errors import EvaluationError
from .evaluate import figures_of
from .intervals import metric_intervals
from .predictions import predict
from .provenance import describe_measurement, same_dataset
from .temperature import calibration_figures

AT_A_TEMPERATURE = ("ece", "aurc", "calibration", "coverage")
"""Figures that another temperature makes untrue; accuracy and all that follows from the first choice stay."""


def calibrate(
    ref: str | Path,
    split: Split,
    output: str | Path,
    *,
    device: str = "auto",
    batch_size: int = 64,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Write `output`, the weight file `ref` with the temperature fitted on `split` and what was measured on it.

    Returns the measurement as it stands in the new card, in place of the old one of the same dataset, split and
    protocol: the figures of `figures_of`, intervals (of `metric_intervals`), agreement (of `label_agreement`, where
    annotators voted), aurc, coverage (of `coverage_curve`) and calibration (of `calibration_figures`). All but the last
    are measured on the written tensors at the new temperature; so is `ece`, on the faces which that was fitted on:
    `ece_cross_fitted` is the one to publish, and `ece` has no interval. From measurements on other data the figures
    that depend on the temperature are left out. The tensors are copied byte by byte.

    Raises EvaluationError and LabelSpaceError where data and weights do not fit (see `predict`), where no temperature
    fits, and for an output that cannot be; WeightsError and CardError for weights that cannot be used.
    """
    output = Path(output)
    if output.suffix != ".safetensors":
        raise EvaluationError(f"the output {output} must be a weight file: name it *.safetensors")
    check_output(output)
    path, meta = find_weights(ref), split.metadata
    card = read_card(path)
    before = predict(create_engine(path, "torch", device), split, batch_size=batch_size, progress=progress)
    calibration = calibration_figures(before, card.temperature, seed=seed)
    card = replace(card, temperature=calibration["temperature"])
    with TemporaryDirectory() as folder:
        trial = Path(folder) / output.name
        replace_card(path, card, trial)
        engine = create_engine(trial, "torch", device)
        after = predict(engine, split, batch_size=batch_size, progress=progress)
    confidence, agreement = after.probabilities.max(1), label_agreement(split)
    intervals = metric_intervals(after, seed=seed)
    figures = {
        **describe_measurement(meta, engine.runtime),
        **figures_of(after),
        "intervals": {name: value for name, value in intervals.items() if name != "ece"},
        **({} if agreement is None else {"agreement": agreement}),
        "aurc": aurc(confidence, after.correct),
        "coverage": coverage_curve(confidence, after.correct),
        "calibration": calibration,
    }
    others = [
        {name: value for name, value in old.items() if name not in AT_A_TEMPERATURE}
        for old in card.metrics
        if any(old.get(name) != figures[name] for name in ("split", "protocol")) or not same_dataset(old, figures)[0]
    ]
    replace_card(path, replace(card, metrics=(figures, *others)), output)
    return figures
