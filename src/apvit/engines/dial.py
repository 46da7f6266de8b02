"""The compute dial: how many patches and tokens are kept, chosen when the network is used instead of when trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apvit.weights import Card

from .engine import EngineError

if TYPE_CHECKING:
    import torch

    from apvit.nn import HybridConfig, HybridModel


@dataclass(frozen=True)
class Keep:
    """What pooling keeps instead of what the card says.

    patches: APP's count (int) or rate (float), None to keep all. tokens: ATP's schedule, one entry per block (1 keeps
    all), or None to leave the card's.
    """

    patches: int | float | None
    tokens: tuple[int | float, ...] | None = None

    @classmethod
    def parse(cls, text: str) -> Keep:
        """ "0.8" is patches only, "0.8:1,1,.9,.9" patches and tokens; a whole number above 1 is a count, "1" keeps all.

        Raises EngineError for anything else.
        """
        patches, colon, tokens = text.partition(":")
        try:
            kept = _number(patches)
            schedule = tuple(_number(entry) for entry in tokens.split(",")) if colon else None
        except ValueError:
            raise EngineError(
                f"{text!r} is no keep setting; write a rate or count for patches, and if wanted a schedule for the "
                "tokens of each block, such as 0.8 or 0.8:1,1,.9,.9"
            ) from None
        return cls(None if kept == 1 else kept, schedule)

    def __str__(self) -> str:
        patches = "1" if self.patches is None else repr(self.patches)
        return patches if self.tokens is None else f"{patches}:{','.join(repr(entry) for entry in self.tokens)}"

    def card(self, card: Card) -> Card:
        """The card with this setting, and without its figures, which were measured with another.

        Raises EngineError for weights without pooling.
        """
        if "patch_keep" not in card.parameters:
            raise EngineError(f"{card.architecture} has no attentive pooling, so there is nothing to keep or drop")
        changed: dict[str, Any] = {"patch_keep": self.patches}
        if self.tokens is not None:
            changed["token_keep"] = list(self.tokens)
        return replace(card, parameters={**card.parameters, **changed}, metrics=())

    def config(self, card: Card, ref: str | Path) -> HybridConfig:
        """The hyper-parameters of the weights `ref` with this setting; EngineError where it does not fit them."""
        from apvit.nn import read_config

        try:
            return read_config(self.card(card).parameters)
        except EngineError:
            raise
        except ValueError as error:
            raise EngineError(f"keep {self} does not fit {ref}: {error}") from None


def load_with_keep(ref: str | Path, keep: Keep | None, device: torch.device | str = "cpu") -> tuple[HybridModel, Card]:
    """`load_weights`, with what pooling keeps changed: the same tensors in a model of the changed card.

    Raises EngineError for a setting that does not fit the model, and what `load_weights` raises.
    """
    from apvit.weights import load_weights
    from apvit.weights.file import assemble

    model, card = load_weights(ref, device=device)
    if keep is None:
        return model, card
    keep.config(card, ref)
    card = keep.card(card)
    return assemble(card.parameters, model.state_dict()).to(device), card


def _number(text: str) -> int | float:
    value = float(text)
    if value == 1:
        return 1
    if value > 1:
        if not value.is_integer():
            raise ValueError(text)
        return int(value)
    if not value > 0:
        raise ValueError(text)
    return value
