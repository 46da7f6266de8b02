"""Training: recipes and the Lightning module. Needs the extra `train`."""

try:
    import lightning as _lightning  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("training needs Lightning: pip install 'apvit[train]'") from error

from .folder import TrainingError
from .recipe import Recipe
from .run import train
from .seeds import train_seeds

__all__ = ["Recipe", "TrainingError", "train", "train_seeds"]
