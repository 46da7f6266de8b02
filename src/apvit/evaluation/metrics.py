"""Figures of a classifier, through torchmetrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from apvit.expressions import LabelSpace
from apvit.runtimes import torch_alone

from .errors import EvaluationError

CALIBRATION_BINS = 15


@torch_alone("cpu", EvaluationError)
def expression_metrics(
    probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], space: LabelSpace
) -> dict[str, Any]:
    """Figures as fractions of 1 for probabilities [N, K] and labels [N] in `space`.

    accuracy; mean_class_accuracy (mean recall over the classes that occur); macro_f1 (over the classes that occur);
    ece (top-label expected calibration error, 15 equal bins); per_class {expression: {faces, recall, precision, f1}};
    confusion (rows true, columns predicted, counts). Raises ValueError for no faces, or shapes that do not match.
    """
    import torch

    try:
        import torchmetrics  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("evaluation needs torchmetrics: pip install 'apvit[train]'") from error
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_calibration_error,
        multiclass_confusion_matrix,
        multiclass_f1_score,
        multiclass_precision,
        multiclass_recall,
    )

    if probabilities.ndim != 2 or probabilities.shape != (len(labels), len(space)):
        raise ValueError(f"expected probabilities [{len(labels)}, {len(space)}], got {list(probabilities.shape)}")
    if len(labels) == 0:
        raise ValueError("there is no labelled face to evaluate")
    p, y, classes = torch.from_numpy(probabilities), torch.from_numpy(labels), len(space)
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)  # in which torchmetrics divides its counts
    try:
        each = {
            "recall": multiclass_recall(p, y, classes, average="none"),
            "precision": multiclass_precision(p, y, classes, average="none"),
            "f1": multiclass_f1_score(p, y, classes, average="none"),
        }
    finally:
        torch.set_default_dtype(dtype)
    present = torch.bincount(y, minlength=classes)
    occurs = present > 0
    return {
        "faces": len(labels),
        "accuracy": float(multiclass_accuracy(p, y, classes, average="micro")),
        "mean_class_accuracy": float(each["recall"][occurs].mean()),
        "macro_f1": float(each["f1"][occurs].mean()),
        "ece": float(multiclass_calibration_error(p, y, classes, n_bins=CALIBRATION_BINS, norm="l1")),
        "per_class": {
            name: {"faces": int(present[i]), **{key: float(values[i]) for key, values in each.items()}}
            for i, name in enumerate(space.expressions)
        },
        "confusion": multiclass_confusion_matrix(p, y, classes).tolist(),
    }
