"""Evaluation: figures of a weight file on a prepared split."""

from .evaluate import EvaluationError, evaluate
from .metrics import expression_metrics

__all__ = ["EvaluationError", "evaluate", "expression_metrics"]
