"""Distributions as inline SVG: bars of counts with a tick below them for every case.

Charts take the colours of the page (light or dark), say in words what they show, and name a case where the pointer
rests on its tick. Values and names in, markup out.
"""

from collections.abc import Collection, Sequence
from math import isfinite

import numpy as np

from medseg.data.dataset import listed
from medseg.pages import charts, number
from medseg.pages.charts import Axis, Chart

__all__ = ["chart_of"]

WIDTH, HEIGHT = 640, 132
_LEFT, _RIGHT, _TOP, _BASE = 40, 12, 8, 84
"""The frame of the bars in pixels: margins, and where their foot is."""

MOST_BARS = 40
MOST_TICKS = 600
"""Cases whose ticks are drawn; of more only those that stand out, or the page would weigh megabytes."""

WIDE = 50.0
"""If the largest value is so many times the smallest, the axis is logarithmic."""


def chart_of(title: str, values: Sequence[float], cases: Sequence[str], standing_out: Collection[str] = ()) -> Chart:
    """The distribution of one value a case.

    Args:
        title: What is measured, with its unit.
        values: One a case.
        cases: Their ids.
        standing_out: Ids to mark.
    """
    pairs = [(float(value), case) for value, case in zip(values, cases, strict=True) if isfinite(value)]
    numbers = np.array([value for value, _ in pairs])
    if not pairs:
        return Chart(title, "No value.", "")
    low, middle, high = float(numbers.min()), float(np.median(numbers)), float(numbers.max())
    if number(low) == number(high):  # for people; headers round in the seventh digit
        return Chart(title, f"{number(low)} in {'all ' if len(pairs) > 1 else ''}{_cases(len(pairs))}.", "")
    smallest, largest = (next(case for value, case in pairs if value == end) for end in (low, high))
    summary = f"From {number(low)} ({smallest}) to {number(high)} ({largest}), median {number(middle)}."
    marked = [case for _, case in pairs if case in standing_out]
    if marked:
        summary += f" Standing out: {listed(marked)}."
    return Chart(title, summary, _svg(title, summary, pairs, set(marked)))


def _cases(n: int) -> str:
    return f"{n} case{'s' if n != 1 else ''}"


def _svg(title: str, summary: str, pairs: Sequence[tuple[float, str]], marked: set[str]) -> str:
    axis = _axis([value for value, _ in pairs])
    parts = [*_bars(axis, pairs), *_ticks(axis, pairs, marked), *_scale(axis)]
    return charts.picture(WIDTH, HEIGHT, title, summary, parts)


def _axis(values: Sequence[float]) -> Axis:
    low, high = min(values), max(values)
    is_log = low > 0 and high >= WIDE * low
    is_counted = not is_log and high - low < MOST_BARS and all(value.is_integer() for value in values)
    margin = 0.5 if is_counted else 0.0
    return Axis(low - margin, high + margin, _LEFT, WIDTH - _RIGHT, is_log, is_counted)


def _bars(axis: Axis, pairs: Sequence[tuple[float, str]]) -> list[str]:
    n = min(MOST_BARS, max(6, round(2 * len(pairs) ** 0.5)))
    n = round(axis.high - axis.low) if axis.is_counted else n
    counts = np.bincount([min(n - 1, int(axis.share(value) * n)) for value, _ in pairs], minlength=n).tolist()
    width = (axis.end - axis.start) / n
    tall = (_BASE - _TOP) / max(counts)
    parts = [
        charts.box("bar", _LEFT + i * width + 0.5, _BASE - count * tall, _LEFT + (i + 1) * width - 0.5, _BASE)
        for i, count in enumerate(counts)
        if count
    ]
    top = charts.text(_LEFT - 6, _TOP + 8, str(max(counts)), "end")
    return [*parts, top, charts.text(_LEFT - 6, _BASE, "0", "end")]


def _ticks(axis: Axis, pairs: Sequence[tuple[float, str]], marked: set[str]) -> list[str]:
    shown = pairs if len(pairs) <= MOST_TICKS else [pair for pair in pairs if pair[1] in marked]
    parts = []
    for value, case in sorted(shown, key=lambda pair: pair[1] in marked):
        x, look = axis.at(value), "out" if case in marked else "tick"
        parts.append(charts.line(look, x, _BASE + 3, x, _BASE + 15, f"{case}: {number(value)}"))
    return parts


def _scale(axis: Axis) -> list[str]:
    parts = [charts.line("axis", axis.start, _BASE, axis.end, _BASE)]
    for value in axis.marks():
        x = axis.at(value)
        anchor = "start" if x < axis.start + 20 else "end" if x > axis.end - 20 else "middle"
        parts += [charts.line("axis", x, _BASE, x, _BASE + 18), charts.text(x, _BASE + 32, number(value), anchor)]
    return parts
