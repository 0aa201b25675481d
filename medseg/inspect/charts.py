"""Distributions as inline SVG: bars of counts with a tick below them for every case.

Charts take the colours of the page (light or dark), say in words what they show, and name a case where the pointer
rests on its tick. Values and names in, markup out; the template escapes nothing of it, so names are escaped here.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10

import numpy as np

from medseg.data.dataset import listed
from medseg.inspect.words import number

__all__ = ["Chart", "chart_of"]

WIDTH, HEIGHT = 640, 132
_LEFT, _RIGHT, _TOP, _BASE = 40, 12, 8, 84
"""The frame of the bars in pixels: margins, and where their foot is."""

MOST_BARS = 40
MOST_TICKS = 600
"""Cases whose ticks are drawn; of more only those that stand out, or the page would weigh megabytes."""

WIDE = 50.0
"""If the largest value is so many times the smallest, the axis is logarithmic."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A distribution over cases.

    Attributes:
        title: What is measured, with its unit.
        summary: Smallest, median and largest in words, and who stands out.
        svg: The chart; empty where all values are equal and the summary says it all.
    """

    title: str
    summary: str
    svg: str


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
    axis = _Axis([value for value, _ in pairs])
    words = f"<title>{escape(title)}</title><desc>{escape(summary)}</desc>"
    parts = [*_bars(axis, pairs), *_ticks(axis, pairs, marked), *_scale(axis)]
    return f'<svg class="chart" role="img" viewBox="0 0 {WIDTH} {HEIGHT}">{words}{"".join(parts)}</svg>'


class _Axis:
    """Values → pixels, linear or logarithmic."""

    def __init__(self, values: Sequence[float]) -> None:
        low, high = min(values), max(values)
        self.is_log = low > 0 and high >= WIDE * low
        self.is_counted = not self.is_log and high - low < MOST_BARS and all(value.is_integer() for value in values)
        margin = 0.5 if self.is_counted else 0.0
        self.low, self.high = self._to(low - margin), self._to(high + margin)

    def _to(self, value: float) -> float:
        return log10(value) if self.is_log else value

    def x(self, value: float) -> float:
        """The pixel of a value."""
        share = (self._to(value) - self.low) / (self.high - self.low)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def bins(self, values: Sequence[float], n: int) -> list[int]:
        """How many values lie in each of `n` equal stretches of the axis."""
        shares = [(self._to(value) - self.low) / (self.high - self.low) for value in values]
        counts: list[int] = np.bincount([min(n - 1, int(share * n)) for share in shares], minlength=n).tolist()
        return counts

    def marks(self) -> list[float]:
        """Round values along the axis."""
        if self.is_log:
            decades = [10.0**e for e in range(ceil(self.low), floor(self.high) + 1)]
            return decades if len(decades) > 1 else [10**self.low, 10**self.high]
        step = 10.0 ** floor(log10((self.high - self.low) / 4))
        step = max(1.0, step) if self.is_counted else step
        step *= next(factor for factor in (1, 2, 5, 10) if (self.high - self.low) / (step * factor) <= 6)
        return [n * step for n in range(ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9) + 1)]


def _bars(axis: _Axis, pairs: Sequence[tuple[float, str]]) -> list[str]:
    n = min(MOST_BARS, max(6, round(2 * len(pairs) ** 0.5)))
    n = round(axis.high - axis.low) if axis.is_counted else n
    counts = axis.bins([value for value, _ in pairs], n)
    width = (WIDTH - _LEFT - _RIGHT) / n
    tall = (_BASE - _TOP) / max(counts)
    parts = [
        f'<rect class="bar" x="{_LEFT + i * width + 0.5:.1f}" y="{_BASE - count * tall:.1f}" '
        f'width="{width - 1:.1f}" height="{count * tall:.1f}"/>'
        for i, count in enumerate(counts)
        if count
    ]
    top = f'<text x="{_LEFT - 6}" y="{_TOP + 8}" text-anchor="end">{max(counts)}</text>'
    return [*parts, top, f'<text x="{_LEFT - 6}" y="{_BASE}" text-anchor="end">0</text>']


def _ticks(axis: _Axis, pairs: Sequence[tuple[float, str]], marked: set[str]) -> list[str]:
    shown = pairs if len(pairs) <= MOST_TICKS else [pair for pair in pairs if pair[1] in marked]
    parts = []
    for value, case in sorted(shown, key=lambda pair: pair[1] in marked):
        x, look = axis.x(value), "out" if case in marked else "tick"
        words = f"<title>{escape(case)}: {number(value)}</title>"
        parts.append(
            f'<line class="{look}" x1="{x:.1f}" x2="{x:.1f}" y1="{_BASE + 3}" y2="{_BASE + 15}">{words}</line>'
        )
    return parts


def _scale(axis: _Axis) -> list[str]:
    parts = [f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{_BASE}" y2="{_BASE}"/>']
    for value in axis.marks():
        x = axis.x(value)
        anchor = "start" if x < _LEFT + 20 else "end" if x > WIDTH - _RIGHT - 20 else "middle"
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{_BASE}" y2="{_BASE + 18}"/>')
        parts.append(f'<text x="{x:.1f}" y="{_BASE + 32}" text-anchor="{anchor}">{number(value)}</text>')
    return parts
