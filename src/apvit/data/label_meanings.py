"""What the labels in a dataset's files mean: as its owner published it, or as the user states.

The same number means another expression in every dataset, and copies of a dataset are often numbered anew. Labels read
in the wrong order cause no error later, only wrong figures. So where the numbers or the counts speak for another order
than the published one, the user has to state the order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from apvit.data.errors import DataError
from apvit.expressions import EXPRESSIONS, LABEL_SPACES, LabelSpace
from apvit.files import nearest

SYNONYMS = {
    **{name: name for name in EXPRESSIONS},
    "happy": "happiness",
    "joy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "disgusted": "disgust",
    "angry": "anger",
    "contemptuous": "contempt",
}
"""What people call the expressions, in lower case, and the expression it means."""

_ORDERS = {
    "alphabetical order": tuple(sorted(EXPRESSIONS)),
    **{
        title: LABEL_SPACES[name].expressions
        for name, title in {
            "raf-db": "RAF-DB's order",
            "expw": "FER2013's order",
            "ferplus": "FER+'s order",
            "affectnet-8": "AffectNet's order",
            "aff-wild2": "Aff-Wild2's order",
            "apvit-official-8": "the order of the official APViT code",
        }.items()
    },
}
_FITS = 0.1
"""Largest distance, as `_distance` has it, of counts that fit an order."""
_ENOUGH = 100
"""Of fewer faces the counts say nothing: of drawn subsets, one in a hundred and more seems to have another order."""
_EXACT = 1e-9
_CLEAR = 0.05
"""Two orders whose distances differ by less than this are not told apart."""


def hint(word: str) -> str:
    """What an unknown word may have meant, and the words that are known."""
    meant = nearest(word, SYNONYMS)
    return f"{'' if meant is None else f'did you mean {meant}? '}known are {', '.join(SYNONYMS)}"


def ask_for(words: Iterable[str]) -> str:
    """What to do about numbers, or names, of which nobody said what they mean: the end of a sentence."""
    every = ",".join(f"{word}=EXPRESSION" for word in words)
    return f"a number means something else in every dataset: state it: `apvit data prepare --labels {every}`"


def parse_labels(text: str) -> dict[str, str]:
    """{number or name in the data: expression} of a text such as "0=anger,1=disgust"; DataError for any other."""
    meanings: dict[str, str] = {}
    for entry in text.split(","):
        word, equals, expression = (part.strip() for part in entry.partition("="))
        if not (word and equals and expression):
            raise DataError(f"labels are stated like 0=anger,1=disgust, not {entry.strip()!r}")
        if meanings.setdefault(word, expression) != expression:
            raise DataError(f"labels say that {word} is {meanings[word]} and {expression}: state one of them")
    return meanings


def written_labels(meanings: Mapping[Any, str]) -> str:
    """The text that `parse_labels` reads."""
    return ",".join(f"{number}={name}" for number, name in meanings.items())


def _stating(meanings: Mapping[Any, str]) -> str:
    return f"`apvit data prepare --labels {written_labels(meanings)}`"


def stated_protocol(meanings: Mapping[Any, str]) -> str:
    """What to add to a protocol: " labels=0=anger,1=disgust", or nothing where nothing is stated."""
    return f" labels={written_labels(meanings)}" if meanings else ""


def stated_meanings(labels: Mapping[Any, str] | None, space: LabelSpace | None = None) -> dict[str, str]:
    """{number or name in the data, in lower case: expression}; empty where nothing is stated.

    Raises DataError for an expression that is unknown or outside `space`, and for two numbers with one meaning, which
    are a mistake in writing; two names may have one.
    """
    meanings: dict[str, str] = {}
    for key, name in (labels or {}).items():
        word, expression = str(key).strip().lower(), SYNONYMS.get(str(name).strip().lower())
        if expression is None:
            raise DataError(f"labels say that {key} is {name!r}, which is no expression; {hint(str(name))}")
        if space is not None and expression not in space.expressions:
            raise DataError(
                f"labels say that {key} is {expression}, which {space.name} does not have; it has "
                f"{', '.join(space.expressions)}"
            )
        if word.isdecimal() and (twice := [w for w, e in meanings.items() if e == expression and w.isdecimal()]):
            raise DataError(f"labels say that {twice[0]} and {word} are both {expression}")
        meanings[word] = expression
    return meanings


class _Fit(NamedTuple):
    """How well the counts fit an order."""

    distance: float
    title: str
    meanings: dict[int, str]


class Numbering:
    """Which number in a dataset's files means which expression.

    It counts what it reads, so that `check` can tell whether the numbers are the published ones.
    """

    def __init__(
        self,
        dataset: str,
        space: LabelSpace,
        labels: Mapping[Any, str] | None,
        *,
        first: int = 0,
        without_expression: Collection[int] = (),
    ):
        """first: the published number of the first expression of `space`. labels: what the user states instead.

        without_expression: published numbers of faces that have no expression. Raises DataError for `labels` that
        make no sense.
        """
        self._dataset, self._space, self._first = dataset, space, first
        self._without = frozenset(without_expression)
        stated = stated_meanings(labels, space)
        if words := [word for word in stated if not word.isdecimal()]:
            raise DataError(f"the labels of {dataset} are numbers, not {words[0]!r}")
        self.stated = bool(stated)
        self._meanings = {int(word): name for word, name in stated.items()} or _numbered(space.expressions, first)
        self._found: Counter[int] = Counter()

    def read(self, number: int) -> str | None:
        """The expression that `number` means; None where it means none."""
        self._found[number] += 1
        return self._meanings.get(number)

    @property
    def expected(self) -> str:
        """Which numbers are known, as the end of a sentence."""
        numbers = sorted(self._meanings)
        if self.stated:
            return f"the stated labels are {', '.join(map(str, numbers))}"
        return f"those of {self._dataset} are {numbers[0]} to {numbers[-1]}"

    @property
    def protocol(self) -> str:
        """What to add to a protocol."""
        return stated_protocol(self._meanings) if self.stated else ""

    def check(self, where: Path, published: Mapping[str, int] | None = None) -> None:
        """Raise DataError where the numbers found are not the published ones, or their counts fit another order.

        published: faces of each expression in the splits that were read, as far as known. Nothing is wrong where the
        user stated what the numbers mean.
        """
        if self.stated or not self._found:
            return
        numbers, known = set(self._found), set(self._meanings)
        other = 1 - self._first  # data counts from 0 or from 1
        shifted = not numbers <= known and numbers <= set(range(other, other + len(known)))
        counts = {name: count for name, count in (published or {}).items() if name in self._space.expressions}
        enough = self._found.total() >= _ENOUGH
        fits = self._fits(counts, (other,) if shifted else (0, 1)) if counts and enough else []
        if shifted:
            self._refuse_numbers(where, other, fits)
        elif fits:
            self._refuse_counts(where, counts, fits[0])

    def _refuse_numbers(self, where: Path, base: int, fits: list[_Fit]) -> None:
        numbers, last = sorted(self._found), self._first + len(self._space) - 1
        sentence = (
            f"the labels of {self._dataset} in {where} are {numbers[0]} to {numbers[-1]}, the published ones are "
            f"{self._first} to {last}, so what they mean is not known: "
        )
        likely = [
            _Fit(0.0, title, _numbered(order, base))
            for title, order in (
                ("the published order", self._space.expressions),
                ("alphabetical order", sorted(self._space.expressions)),
            )
        ]
        if fits and fits[0].distance < _FITS:
            likely = [fit for fit in fits if fit.distance < fits[0].distance + _CLEAR and fits[0].distance > _EXACT]
            likely = likely or fits[:1]
        if len(likely) == 1:
            raise DataError(f"{sentence}the counts fit {likely[0].title} best, so run {_stating(likely[0].meanings)}")
        choices = " or ".join(f"{_stating(fit.meanings)} if they are in {fit.title}" for fit in likely)
        raise DataError(f"{sentence}run {choices}")

    def _refuse_counts(self, where: Path, published: Mapping[str, int], best: _Fit) -> None:
        own = self._distance(published, self._meanings)
        margin = _CLEAR if best.distance > _EXACT else _EXACT
        if own is None or best.distance > _FITS or own <= 2 * best.distance + margin:
            return
        odd = max(self._meanings, key=lambda number: abs(self._found[number] - published[self._meanings[number]]))
        name = self._meanings[odd]
        raise DataError(
            f"the counts of {self._dataset} in {where} do not fit the published numbering ({self._found[odd]:,} faces "
            f"have the label {odd}, published are {published[name]:,} of {name}) but fit {best.title}: run "
            f"{_stating(best.meanings)}, or if they are the published ones after all, {_stating(self._meanings)}"
        )

    def _fits(self, published: Mapping[str, int], bases: Collection[int]) -> list[_Fit]:
        """The orders other than the published numbering, best first."""
        expressions = set(self._space.expressions)
        orders = {self._space.expressions: "the published order"}
        for title, whole in _ORDERS.items():
            order = tuple(name for name in whole if name in expressions)
            if set(order) == expressions:
                orders.setdefault(order, title)
        fits = [
            _Fit(distance, f"{title} counted from {base}", meanings)
            for order, title in orders.items()
            for base in bases
            if (meanings := _numbered(order, base)) != self._meanings
            and (distance := self._distance(published, meanings)) is not None
        ]
        fits.sort(key=lambda fit: fit.distance)
        numbers = sorted(self._found.keys() - self._without, key=lambda number: -self._found[number])
        by_count = sorted(published, key=lambda name: -published[name])
        ranked = dict(sorted(zip(numbers, by_count, strict=False)))
        closest = self._distance(published, ranked)
        # By rank the counts always fit best; an order that people use is likelier where it fits nearly as well.
        if closest is not None and ranked != self._meanings and (not fits or closest < fits[0].distance - _CLEAR / 2):
            fits.insert(0, _Fit(closest, "another order (by the rank of the counts, so check it)", ranked))
        return fits

    def _distance(self, published: Mapping[str, int], meanings: Mapping[int, str]) -> float | None:
        """Share of the faces, 0 to 1, that would need another label for the classes to have the published shares.

        None where `meanings` leaves a number unexplained.
        """
        if not self._found.keys() - self._without <= meanings.keys():
            return None
        faces = sum(self._found[number] for number in meanings)
        if not faces:
            return None
        total = sum(published.values())
        shares = {name: self._found[number] / faces for number, name in meanings.items()}
        return sum(abs(shares.get(name, 0.0) - count / total) for name, count in published.items()) / 2


def _numbered(order: Iterable[str], first: int) -> dict[int, str]:
    return dict(enumerate(order, first))
