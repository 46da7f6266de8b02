"""The timeline: one picture that shows who showed which expression when."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from apvit.files import completing, counted
from apvit.recognition.album import MARK
from apvit.recognition.labels import COLOURS
from apvit.recognition.video.errors import VideoError
from apvit.recognition.video.results import VideoFrame
from apvit.recognition.video.summary import UNSURE, Summary, TrackSummary, spans

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LANES = 12
"""Tracks shown at most: those that were seen longest."""

COLUMNS = 1500
"""Steps of time in the picture: a video's length changes neither its size nor the memory that it takes."""

LEAST = 0.02
"""Expressions whose probability is nowhere larger are left out of the legend."""

_WIDTH, _LEFT, _RIGHT = 12.0, 1.75, 0.3  # inches
_TOP, _STRIP, _AREA, _GAP, _BOTTOM = 0.58, 0.24, 0.72, 0.24, 0.78
_INK, _FAINT, _EMPTY = "#222226", "#6b6b73", "#f3f3f5"
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)

_SLIVER = 1e-6  # of a step of time: rounding, not a frame

Shares = npt.NDArray[np.float64]


def write_timeline(
    path: str | Path, frames: Callable[[], Iterable[VideoFrame]], summary: Summary, *, whole: bool = True
) -> None:
    """Write the timeline of a table (`frames()` reads it anew) and its `summary` to `path`, as PNG.

    Each of the longest tracks has a lane: above, its expression; below, the smoothed probabilities stacked to 1; empty
    where it was not seen. `whole`: see `completing`. Raises VideoError without matplotlib.
    """
    check_timeline()
    shown = sorted(summary.tracks, key=lambda track: -track.seconds)[:LANES]
    shown.sort(key=lambda track: track.track)
    figure = _draw(shown, tracks_over_time(frames(), shown, summary), summary)
    with completing(path, whole=whole) as partial:
        figure.savefig(partial, dpi=150, format="png", metadata={"Comment": MARK.decode()})


def check_timeline() -> None:
    """Raises VideoError without matplotlib."""
    if find_spec("matplotlib") is None:
        raise VideoError("a timeline needs matplotlib: pip install 'apvit[figures]'")


def tracks_over_time(
    frames: Iterable[VideoFrame], tracks: list[TrackSummary], summary: Summary
) -> dict[int, tuple[Shares, list[str | None]]]:
    """For each track its mean smoothed probabilities [COLUMNS, expressions], NaN where it was not seen, and the
    expression of each step of time (None where it was not seen)."""
    total = max(summary.end - summary.start, 1e-3)
    sums = {track.track: np.zeros((COLUMNS, len(summary.expressions))) for track in tracks}
    names: dict[int, list[str | None]] = {track.track: [None] * COLUMNS for track in tracks}
    weights = {track.track: np.zeros(COLUMNS) for track in tracks}
    for frame, until in spans(frames):
        first = (frame.time - summary.start) / total * COLUMNS
        last = min((until - summary.start) / total * COLUMNS, COLUMNS)
        steps = np.arange(min(int(first), COLUMNS - 1), int(np.ceil(last)))
        share = np.minimum(steps + 1, last) - np.maximum(steps, first)
        steps, share = steps[share > _SLIVER], share[share > _SLIVER]
        for face in frame.tracks:
            if face.track in sums:
                sums[face.track][steps] += share[:, None] * np.array([face.smoothed[n] for n in summary.expressions])
                weights[face.track][steps] += share
                for step in steps.tolist():
                    names[face.track][step] = face.expression or UNSURE
    over_time = {}
    for number, values in sums.items():
        weight = weights[number][:, None]
        over_time[number] = (np.where(weight > 0, values / np.maximum(weight, 1e-12), np.nan), names[number])
    return over_time


def _draw(
    tracks: list[TrackSummary], over_time: dict[int, tuple[Shares, list[str | None]]], summary: Summary
) -> Figure:
    from matplotlib.figure import Figure

    lanes = max(len(tracks), 1)
    height = _TOP + lanes * (_STRIP + _AREA) + (lanes - 1) * _GAP + _BOTTOM
    figure = Figure(figsize=(_WIDTH, height), facecolor="white")
    where = {"x": _LEFT / _WIDTH, "w": (_WIDTH - _LEFT - _RIGHT) / _WIDTH}
    edges = np.linspace(summary.start, max(summary.end, summary.start + 1e-3), COLUMNS + 1)
    name = Path(summary.source or "").name or "video"
    figure.text(where["x"], 1 - 0.24 / height, _printable(name), fontsize=13, weight="bold", color=_INK, va="center")
    beside: dict[str, Any] = {"fontsize": 9.5, "color": _FAINT, "va": "center", "ha": "right"}
    figure.text(1 - _RIGHT / _WIDTH, 1 - 0.24 / height, _subtitle(summary, len(tracks)), **beside)
    top = height - _TOP
    for lane in range(lanes):
        strip = figure.add_axes((where["x"], (top - _STRIP) / height, where["w"], _STRIP / height))
        area = figure.add_axes((where["x"], (top - _STRIP - _AREA) / height, where["w"], _AREA / height))
        for axes in (strip, area):
            axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1), yticks=[], facecolor=_EMPTY)
            axes.spines[:].set_visible(False)
            axes.tick_params(axis="x", length=0, labelbottom=False)
        if lane < len(tracks):
            track = tracks[lane]
            shares, names = over_time[track.track]
            _draw_strip(strip, edges, names)
            _draw_area(area, edges, shares, summary.expressions)
            _draw_name(figure, track, (top - (_STRIP + _AREA) / 2) / height)
        else:
            nobody = f"no face was seen for {summary.min_track:g} s" if summary.short else "no face was found"
            area.text(0.5, 0.5, nobody, transform=area.transAxes, ha="center", va="center", color=_FAINT)
        _draw_clock(area, edges, labels=lane == lanes - 1)
        top -= _STRIP + _AREA + _GAP
    _draw_legend(figure, tracks, over_time, summary, height)
    return figure


def _draw_strip(axes: Axes, edges: Any, names: list[str | None]) -> None:
    """The expression in blocks, each with its name where the block is long enough for it."""
    axes.axhline(0, color="white", linewidth=2.5, zorder=3)
    for first, last in _runs(names):
        name = names[first]
        if name is None:
            continue
        colour = _colour(name)
        width = edges[last] - edges[first]
        axes.axvspan(edges[first], edges[last], facecolor=colour, edgecolor="white", linewidth=0.8)
        inches = (last - first) / COLUMNS * (_WIDTH - _LEFT - _RIGHT)
        if inches > 0.085 * len(name) + 0.12:
            dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 0.5
            middle = edges[first] + width / 2
            style: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": 9}
            axes.text(middle, 0.54, name, color="white" if dark else _INK, **style)


def _draw_area(axes: Axes, edges: Any, shares: Shares, expressions: tuple[str, ...]) -> None:
    """The probabilities stacked, interrupted where the track was not seen."""
    seen: list[bool] = np.isfinite(shares[:, 0]).tolist()
    for first, last in _runs(seen):
        if not seen[first]:
            continue
        x = np.repeat(edges[first : last + 1], 2)[1:-1]
        tops = np.repeat(np.cumsum(shares[first:last], axis=1), 2, axis=0)
        tops /= tops[:, -1:]
        floor = np.zeros(len(x))
        for index, name in enumerate(expressions):
            axes.fill_between(x, floor, tops[:, index], facecolor=_colour(name), linewidth=0, rasterized=True)
            axes.plot(x, tops[:, index], color="white", linewidth=0.5, alpha=0.7)
            floor = tops[:, index]


def _draw_name(figure: Figure, track: TrackSummary, middle: float) -> None:
    style: dict[str, Any] = {"ha": "right", "va": "center"}
    right = (_LEFT - 0.16) / _WIDTH
    step = 0.17 / figure.get_figheight()
    figure.text(right, middle + step, f"face {track.track}", fontsize=11, weight="bold", color=_INK, **style)
    share = track.share[track.main]
    figure.text(right, middle, f"{track.main} {share:.0%}", fontsize=9, color=_INK, **style)
    text = f"{track.seconds:.1f} s, {counted(track.changes, 'change')}"
    figure.text(right, middle - step, text, fontsize=9, color=_FAINT, **style)


def _draw_clock(axes: Axes, edges: Any, *, labels: bool) -> None:
    total = edges[-1] - edges[0]
    step = next((s for s in _STEPS if total / s <= 12), _STEPS[-1])
    ticks = np.arange(np.ceil(edges[0] / step - 1e-6), edges[-1] / step + 1e-6) * step + 0.0  # which makes -0.0 a 0.0
    axes.set_xticks(ticks)
    axes.grid(axis="x", color="white", linewidth=0.9, alpha=0.55)
    if labels:
        axes.set_xticklabels([_clock(tick, step) for tick in ticks])
        axes.tick_params(axis="x", labelbottom=True, length=3, color=_FAINT, labelcolor=_INK, labelsize=9)


def _clock(seconds: float, step: float) -> str:
    if step < 1:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _draw_legend(
    figure: Figure,
    tracks: list[TrackSummary],
    over_time: dict[int, tuple[Shares, list[str | None]]],
    summary: Summary,
    height: float,
) -> None:
    from matplotlib.patches import Patch

    peaks = [np.nanmax(shares, axis=0) for shares, _ in over_time.values()]
    peak = np.max(peaks, axis=0) if peaks else np.zeros(0)
    names = [name for name, most in zip(summary.expressions, peak, strict=False) if most >= LEAST]
    names += [UNSURE] if any(UNSURE in track.share for track in tracks) else []
    patches = [Patch(facecolor=_colour(name), edgecolor="#9a9aa2", linewidth=0.6, label=name) for name in names]
    if patches:
        figure.legend(
            handles=patches,
            loc="lower center",
            bbox_to_anchor=((_LEFT + (_WIDTH - _LEFT - _RIGHT) / 2) / _WIDTH, 0.1 / height),
            ncols=len(patches),
            frameon=False,
            fontsize=9.5,
            handlelength=1.1,
            handleheight=1.1,
            columnspacing=1.6,
        )


def _subtitle(summary: Summary, shown: int) -> str:
    count = len(summary.tracks)
    faces = counted(count, "face")
    if shown < count:
        faces = f"the {shown} longest of {count} faces"
    if summary.short:
        faces += f" ({summary.short} seen for less than {summary.min_track:g} s not shown)"
    return f"{faces}, {counted(summary.frames, 'frame')} looked at in {summary.end - summary.start:,.1f} s"


def _runs(values: list[Any]) -> list[tuple[int, int]]:
    """(first, last + 1) of each stretch of equal values."""
    starts = [0, *(i for i in range(1, len(values)) if values[i] != values[i - 1]), len(values)]
    return list(pairwise(starts))


def _colour(name: str) -> tuple[float, float, float]:
    red, green, blue = COLOURS[None if name == UNSURE else name]
    return (red / 255, green / 255, blue / 255)


def _printable(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    # matplotlib takes what stands between two dollars for a formula
    return "".join(c for c in text if c.isprintable()).replace("$", r"\$")
