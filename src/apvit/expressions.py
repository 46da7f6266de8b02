"""Expression names, label spaces, and the maps between them.

A label space is an ordered tuple of expression names: the meaning of the numbers 0..K-1 in a dataset's labels or a
model's logits. Every order below is read from the dataset's own files (`docs/explanation/label-orders.md`).
"""

from __future__ import annotations

from dataclasses import dataclass

from apvit.files import did_you_mean, unknown

EXPRESSIONS = (
    "neutral",
    "happiness",
    "sadness",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
    "other",
)
"""The only expression names this package uses, whatever a dataset calls them."""

OPTIONAL_EXPRESSIONS = frozenset({"contempt", "other"})
"""Expressions outside the seven that all datasets share; a map to a smaller space drops them."""


class LabelSpaceError(ValueError):
    """Two label spaces do not fit, or a label space is malformed."""


@dataclass(frozen=True)
class LabelSpace:
    """An ordered set of expressions; the label `i` means `expressions[i]`.

    Raises LabelSpaceError for an unknown or repeated expression name, or fewer than two.
    """

    name: str
    expressions: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "expressions", tuple(self.expressions))
        for expression in self.expressions:
            if expression not in EXPRESSIONS:
                raise LabelSpaceError(f"label space {self.name!r}: {unknown('expression', expression, EXPRESSIONS)}")
        if len(set(self.expressions)) != len(self.expressions):
            raise LabelSpaceError(f"label space {self.name!r} names an expression twice: {self.expressions}")
        if len(self.expressions) < 2:
            raise LabelSpaceError(f"label space {self.name!r} needs at least two expressions")

    def __len__(self) -> int:
        return len(self.expressions)

    def index(self, expression: str) -> int:
        """The label of `expression`; LabelSpaceError if this space lacks it."""
        try:
            return self.expressions.index(expression)
        except ValueError:
            raise LabelSpaceError(
                f"label space {self.name!r} has no {expression!r}{did_you_mean(expression, self.expressions)}; "
                f"it has {', '.join(self.expressions)}"
            ) from None


def _space(name: str, expressions: str) -> LabelSpace:
    return LabelSpace(name, tuple(expressions.split()))


LABEL_SPACES: dict[str, LabelSpace] = {
    space.name: space
    for space in (
        # RAF-DB's files count from 1; this is (file label - 1).
        _space("raf-db", "surprise fear disgust happiness sadness anger neutral"),
        # Column order of fer2013new.csv and label.csv, without unknown and NF.
        _space("ferplus", "neutral happiness surprise sadness anger disgust fear contempt"),
        _space("affectnet-8", "neutral happiness sadness surprise fear disgust anger contempt"),
        _space("affectnet-7", "neutral happiness sadness surprise fear disgust anger"),
        # SFEW has no label file; this is the alphabetical order of its folders.
        _space("sfew", "anger disgust fear happiness neutral sadness surprise"),
        # ExpW shares FER2013's order.
        _space("expw", "anger disgust fear happiness sadness surprise neutral"),
        _space("aff-wild2", "neutral anger disgust fear happiness sadness surprise other"),
        # The private order of the official APViT checkpoints (mmcls/datasets/raf.py, FER_CLASSES).
        _space("apvit-official-7", "anger disgust fear sadness happiness surprise neutral"),
        _space("apvit-official-8", "anger disgust fear sadness happiness surprise neutral contempt"),
    )
}


def get_label_space(name: str) -> LabelSpace:
    """The label space called `name`; LabelSpaceError names the known ones."""
    try:
        return LABEL_SPACES[name]
    except KeyError:
        raise LabelSpaceError(unknown("label space", name, LABEL_SPACES)) from None


def label_map(source: LabelSpace, target: LabelSpace) -> tuple[int | None, ...]:
    """For each label of `source` the label of the same expression in `target`, or None where it is dropped.

    Only contempt and other may be dropped (8 classes -> 7). Any other expression that `target` lacks means that the
    spaces do not fit: LabelSpaceError.

    >>> label_map(LABEL_SPACES["raf-db"], LABEL_SPACES["apvit-official-7"])
    (5, 2, 1, 4, 3, 0, 6)
    """
    missing = [e for e in source.expressions if e not in target.expressions and e not in OPTIONAL_EXPRESSIONS]
    if missing:
        raise LabelSpaceError(
            f"label spaces do not fit: {target.name!r} lacks {', '.join(missing)} of {source.name!r} "
            f"({target.name!r} has {', '.join(target.expressions)})"
        )
    return tuple(target.expressions.index(e) if e in target.expressions else None for e in source.expressions)
