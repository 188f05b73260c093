"""Charts as SVG text: no script, no colours of their own but the page's, so they print and follow dark and light.

The page gives the classes `mark`, `other`, `grid`, `zone` and `series-0` to `series-7` their colours.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from canicor.bundle import Metric
from canicor.vhs import HEART_SIZES
from training.evaluation import BINS, bins_of

SERIES = 8
"""Colours that lines can be told apart by."""

_WIDTH, _SIDE = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 14, 46
_ROW = 26
_LABEL = 190


@dataclass(frozen=True)
class Dot:
    """One line of `intervals`.

    Attributes:
        label: What was measured.
        metric: With its interval.
        other: A figure to see beside it, such as a paper's; None without one.
    """

    label: str
    metric: Metric
    other: float | None = None


def intervals(dots: Sequence[Dot], unit: str, *, at: float | None = None) -> Markup:
    """A point and its interval for each, one below the other.

    Args:
        dots: What to show; one at least.
        unit: Says what the axis counts.
        at: Where a line is drawn down, such as chance or no difference.
    """
    ends = [end for one in dots for end in (one.metric.lower, one.metric.upper, one.metric.value)]
    ends += [one.other for one in dots if one.other is not None] + ([] if at is None else [at])
    height = _TOP + _ROW * len(dots) + _BOTTOM
    frame = _Frame(_span(ends), (0.0, 1.0), _WIDTH, height, left=_LABEL)
    parts = [frame.across(unit)]
    if at is not None:
        parts.append(_line(frame.x(at), _TOP, frame.x(at), height - _BOTTOM, "threshold"))
    for number, one in enumerate(dots):
        y, metric = _TOP + _ROW * (number + 0.5), one.metric
        parts.append(_text(_LABEL - 12, y + 4, one.label, "end"))
        parts.append(_line(frame.x(metric.lower), y, frame.x(metric.upper), y, "mark"))
        if one.other is not None:
            x = frame.x(one.other)
            parts.append(f'<path class="other" d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z"/>')
        parts.append(f'<circle class="mark" cx="{frame.x(metric.value):.1f}" cy="{y:.1f}" r="4.5"/>')
    return _svg(_WIDTH, height, parts, f"{unit} with 95 % intervals")


def curves(series: Mapping[str, Sequence[float]], down: str, across: str) -> Markup:
    """A line for each series, its points at 1, 2, and so on; at most `SERIES` of them."""
    drawn = {name: values for name, values in series.items() if values}
    longest = max(len(values) for values in drawn.values())
    height = _SIDE - 60
    every = [value for values in drawn.values() for value in values]
    frame = _Frame((1.0, max(2.0, longest)), _span([0.0, *every]), _WIDTH - 190, height)
    parts = [frame.across(across), frame.down(down)]
    for number, (name, values) in enumerate(drawn.items()):
        points = " ".join(f"{frame.x(step):.1f},{frame.y(one):.1f}" for step, one in enumerate(values, start=1))
        parts.append(f'<polyline class="series-{number % SERIES}" points="{points}"/>')
        if len(values) == 1:
            x, y = frame.x(1), frame.y(values[0])
            parts.append(f'<circle class="series-{number % SERIES}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
        y = _TOP + 10 + 20 * number
        parts.append(_line(_WIDTH - 180, y, _WIDTH - 158, y, f"series-{number % SERIES}"))
        parts.append(_text(_WIDTH - 150, y + 4, name, "start"))
    return _svg(_WIDTH, height, parts, f"{down} by {across}")


def reliability(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> Markup:
    """How often answers [N] were right, by the probability [N] stated: on the diagonal where it is true."""
    frame = _Frame((0.0, 1.0), (0.0, 1.0), _SIDE, _SIDE)
    parts = [frame.across("probability stated"), frame.down("share right")]
    parts.append(_line(frame.x(0), frame.y(0), frame.x(1), frame.y(1), "threshold"))
    where = bins_of(confidence)
    for number in range(BINS):
        members = where == number
        if not members.any():
            continue
        share, width = float(right[members].mean()), frame.x(1 / BINS) - frame.x(0)
        top = frame.y(share)
        parts.append(
            f'<rect class="bar" x="{frame.x(number / BINS) + 1:.1f}" y="{top:.1f}" width="{width - 2:.1f}" '
            f'height="{max(frame.y(0) - top, 1.5):.1f}"/>'
        )
        parts.append(_text(frame.x((number + 0.5) / BINS), top - 4, str(int(members.sum())), "middle", "small"))
    return _svg(_SIDE, _SIDE, parts, "Reliability: share right by the probability stated")


def confusion(labelled: NDArray[np.int64], said: NDArray[np.int64]) -> Markup:
    """How many images labelled so [N] were said to be what [N]."""
    counts = np.zeros((len(HEART_SIZES),) * 2, dtype=int)
    np.add.at(counts, (labelled, said), 1)
    cell, left, top = 84, 84, 48
    parts = [_text(left + 1.5 * cell, 16, "said", "middle")]
    for row, name in enumerate(HEART_SIZES):
        parts.append(_text(left - 10, top + (row + 0.5) * cell + 4, name, "end"))
        parts.append(_text(left + (row + 0.5) * cell, top - 10, name, "middle"))
        total = max(int(counts[row].sum()), 1)
        for column in range(len(HEART_SIZES)):
            share, count = counts[row, column] / total, int(counts[row, column])
            x, y = left + column * cell, top + row * cell
            kind = "right" if row == column else "wrong"
            parts.append(
                f'<rect class="{kind}" fill-opacity="{0.06 + 0.6 * share:.2f}" x="{x + 1}" y="{y + 1}" '
                f'width="{cell - 2}" height="{cell - 2}" rx="4"/>'
            )
            parts.append(_text(x + cell / 2, y + cell / 2, str(count), "middle", "large"))
            parts.append(_text(x + cell / 2, y + cell / 2 + 18, f"{share:.0%}", "middle", "cell small"))
    return _svg(left + 3 * cell + 8, top + 3 * cell + 8, parts, "Confusion: labels down, answers across")


def bland_altman(stated: NDArray[np.float64], found: NDArray[np.float64]) -> Markup:
    """Differences of two VHS [N] over their means, with bias and limits of agreement (Bland & Altman 1986)."""
    difference, mean = found - stated, (found + stated) / 2
    bias, spread = float(difference.mean()), 1.96 * float(difference.std())
    edge = 1.15 * max(abs(bias) + spread, float(np.abs(difference).max()), 0.1)
    frame = _Frame(_span(mean.tolist()), (-edge, edge), _WIDTH, _SIDE)
    parts = [frame.across("mean of label and model, vertebrae"), frame.down("model - label, vertebrae")]
    top, bottom = frame.y(bias + spread), frame.y(bias - spread)
    parts.append(
        f'<rect class="zone" x="{_LEFT}" y="{top:.1f}" width="{_WIDTH - _LEFT - _RIGHT}" '
        f'height="{bottom - top:.1f}"/>'
    )
    parts.append(_line(_LEFT, frame.y(bias), _WIDTH - _RIGHT, frame.y(bias), "threshold"))
    parts += [
        f'<circle class="faint" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3"/>'
        for x, y in zip(mean.tolist(), difference.tolist(), strict=True)
    ]
    parts.append(_text(_WIDTH - _RIGHT - 6, frame.y(bias) - 5, f"bias {bias:+.2f}", "end", "small"))
    parts.append(_text(_WIDTH - _RIGHT - 6, top - 5, f"{bias + spread:+.2f}", "end", "small"))
    parts.append(_text(_WIDTH - _RIGHT - 6, bottom + 13, f"{bias - spread:+.2f}", "end", "small"))
    return _svg(_WIDTH, _SIDE, parts, "Bland-Altman plot of VHS")


@dataclass(frozen=True)
class _Frame:
    """Where numbers lie on a chart."""

    horizontal: tuple[float, float]
    vertical: tuple[float, float]
    width: float
    height: float
    left: float = _LEFT

    def x(self, value: float) -> float:
        low, high = self.horizontal
        return self.left + (value - low) / (high - low) * (self.width - self.left - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.vertical
        return self.height - _BOTTOM - (value - low) / (high - low) * (self.height - _TOP - _BOTTOM)

    def across(self, title: str) -> str:
        parts, foot = [], self.height - _BOTTOM
        for tick in _ticks(*self.horizontal):
            parts.append(_line(self.x(tick), _TOP, self.x(tick), foot, "grid"))
            parts.append(_text(self.x(tick), foot + 17, f"{tick:g}", "middle", "small"))
        middle = (self.left + self.width - _RIGHT) / 2
        return "".join([*parts, _text(middle, self.height - 8, title, "middle")])

    def down(self, title: str) -> str:
        parts = []
        for tick in _ticks(*self.vertical):
            parts.append(_line(self.left, self.y(tick), self.width - _RIGHT, self.y(tick), "grid"))
            parts.append(_text(self.left - 6, self.y(tick) + 4, f"{tick:g}", "end", "small"))
        middle = (_TOP + self.height - _BOTTOM) / 2
        turned = f'<g transform="translate(13 {middle:.1f}) rotate(-90)">{_text(0, 0, title, "middle")}</g>'
        return "".join([*parts, turned])


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    spare = 0.05 * (high - low) or 0.5
    return low - spare, high + spare


def _ticks(low: float, high: float) -> list[float]:
    """Returns some five round numbers between."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(one * power for one in (1, 2, 5, 10) if one * power >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    shown = f' class="{kind}"' if kind else ""
    return f'<text{shown} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str], says: str) -> Markup:
    inside = "".join(parts)
    # All that came from outside was escaped by `_text`.
    return Markup(  # noqa: S704
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" style="width:{width:g}px" role="img" '
        f'aria-label="{escape(says)}">{inside}</svg>'
    )
