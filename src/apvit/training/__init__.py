"""Training: recipes and the Lightning module. Needs the extra `train`."""

try:
    import lightning as _lightning  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("training needs Lightning: pip install 'apvit[train]'") from error

from .recipe import Recipe
from .run import TrainingError, train

__all__ = ["Recipe", "TrainingError", "train"]
