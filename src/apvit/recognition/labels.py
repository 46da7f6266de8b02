"""The label of one face in an annotated picture: expression, probability, bars for the other expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from apvit.recognition.placement import Box
from apvit.recognition.results import Face

Colour = tuple[int, int, int]

COLOURS: dict[str | None, Colour] = {
    "neutral": (187, 187, 187),
    "happiness": (230, 159, 0),
    "sadness": (0, 114, 178),
    "surprise": (86, 180, 233),
    "fear": (204, 121, 167),
    "disgust": (0, 158, 115),
    "anger": (213, 94, 0),
    "contempt": (240, 228, 66),
    "other": (255, 255, 255),
    None: (255, 255, 255),
}
"""Okabe and Ito's colours, which colour-blind people tell apart; None is a face whose expression is left open."""

GROUND: Colour = (22, 22, 26)
SHOWN_FROM, FEWEST_BARS = 0.005, 3
"""Bars of less than this, which would read 0.00, are left out, but not the first three."""
FINE = 3
"""Drawn so much larger, then averaged: ImageDraw does not smooth the edges of shapes itself."""

_WHITE = (255, 255, 255, 255)
_FAINT = (208, 208, 214, 255)
_TRACK = (70, 70, 77, 255)

# All lengths below are multiples of the text size.
_PAD = 0.45
_STRIPE = 0.28
_TITLE = 1.35
_ROW = 1.02
_SMALL = 0.8
_BAR = 3.4


@dataclass(frozen=True)
class Label:
    """Text and bars of one face. `text` is the size of the title in pixels; bars are (expression, probability)."""

    colour: Colour
    title: str
    probability: float
    bars: tuple[tuple[str, float], ...]
    note: str | None
    text: float

    @classmethod
    def of(cls, face: Face, number: int | None, text: float, note: str | None = None) -> Label:
        """The full label of a face, with its number in the picture where there are several."""
        name = face.expression or "unsure"
        # An open face has no winner, so all its probabilities are bars.
        rest = [(n, p) for n, p in face.probabilities.items() if n != face.expression]
        rest.sort(key=lambda item: -item[1])
        rest = [item for place, item in enumerate(rest) if place < FEWEST_BARS or item[1] >= SHOWN_FROM]
        return cls(
            COLOURS[face.expression],
            name if number is None else f"{number}  {name}",
            face.probability,
            tuple(rest),
            note,
            text,
        )

    def shortened(self, bars: int) -> Label:
        """The same with only the first `bars` bars; with none, also without the note."""
        return replace(self, bars=self.bars[:bars], note=self.note if bars else None)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in pixels of the picture."""
        t = self.text
        rows = len(self.bars) + (self.note is not None)
        height = _TITLE + (rows * _ROW + _PAD * 0.8 if rows else 0)
        widths = [_width(f"{self.title}   {self.probability:.2f}", t)]
        if self.bars:
            widths.append(self._name_width + t * (_BAR + 0.8) + _width("0.00", t * _SMALL))
        if self.note:
            widths.append(_width(self.note, t * _SMALL))
        return (max(widths) + t * (_STRIPE + 2 * _PAD), t * height)

    @property
    def _name_width(self) -> float:
        return max(_width(name, self.text * _SMALL) for name, _ in self.bars)

    def draw(self, canvas: Image.Image, place: Box) -> None:
        """Paint onto `canvas` (RGB) at `place`."""
        width, height = round(place[2] - place[0]), round(place[3] - place[1])
        panel = Image.new("RGBA", (width * FINE, height * FINE))
        draw = ImageDraw.Draw(panel)
        t = self.text * FINE
        right = panel.width - t * _PAD
        left = t * (_STRIPE + _PAD)
        draw.rounded_rectangle((0, 0, panel.width - 1, panel.height - 1), t * 0.3, (*GROUND, 232))
        draw.rounded_rectangle(
            (0, 0, t * 0.6, panel.height - 1), t * 0.3, (*self.colour, 255), corners=(True, False, False, True)
        )
        draw.rectangle((t * _STRIPE, 0, t * 0.6 + 1, panel.height - 1), (*GROUND, 232))
        middle = t * _TITLE / 2
        draw.text((left, middle), self.title, _WHITE, _font(t), anchor="lm")
        draw.text((right, middle), f"{self.probability:.2f}", _WHITE, _font(t), anchor="rm")
        y = t * (_TITLE + _ROW / 2)
        for name, probability in self.bars:
            self._draw_bar(draw, (left, right), y, name, probability)
            y += t * _ROW
        if self.note:
            draw.text((left, y), self.note, _FAINT, _font(t * _SMALL), anchor="lm")
        panel = panel.reduce(FINE)
        canvas.paste(panel, (round(place[0]), round(place[1])), panel)

    def _draw_bar(
        self, draw: ImageDraw.ImageDraw, span: tuple[float, float], y: float, name: str, probability: float
    ) -> None:
        t = self.text * FINE
        left, right = span
        font = _font(t * _SMALL)
        draw.text((left, y), name, _FAINT, font, anchor="lm")
        draw.text((right, y), f"{probability:.2f}", _FAINT, font, anchor="rm")
        start = left + self._name_width * FINE + t * 0.4
        end = right - _width("0.00", t * _SMALL) - t * 0.4
        draw.rounded_rectangle((start, y - t * 0.17, end, y + t * 0.17), t * 0.17, _TRACK)
        length = (end - start) * probability
        if length >= t * 0.1:
            box = (start, y - t * 0.17, start + max(length, t * 0.34), y + t * 0.17)
            draw.rounded_rectangle(box, t * 0.17, (*COLOURS[name], 255))


def same_size(labels: Sequence[Label]) -> tuple[float, float]:
    """Width and height that hold each of the labels: one size for all looks calmer and is simpler to place."""
    sizes = [label.size for label in labels]
    return (max(w for w, _ in sizes), max(h for _, h in sizes))


@cache
def _font(size: float) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)  # type: ignore[return-value]  # a size asks for the scalable font


def _width(text: str, size: float) -> float:
    return _font(size).getlength(text)
