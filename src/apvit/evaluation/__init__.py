"""Evaluation: figures of a weight file on a prepared split."""

from .errors import EvaluationError
from .evaluate import evaluate
from .metrics import expression_metrics

__all__ = ["EvaluationError", "evaluate", "expression_metrics"]
