"""The parts of charts as inline SVG: axes, marks with a name, and the frame that says in words what is shown.

Values in, markup out. Colours are classes, which the style of the page gives (light or dark). Text is escaped here,
for templates take charts as they are. x grows to the right and y downwards, in pixels of the viewBox.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from medseg.pages.numbers import number

__all__ = ["Axis", "Chart", "box", "circle", "cross", "dots", "line", "path", "picture", "polyline", "scale", "text"]

MOST_MARKS = 6
"""Numbers along an axis."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its words.

    Attributes:
        title: What is shown, with its unit.
        summary: What it says, in words.
        svg: The chart; empty where the summary says it all.
    """

    title: str
    summary: str
    svg: str


@dataclass(frozen=True, slots=True)
class Axis:
    """Values → pixels.

    Attributes:
        low: The value at `start`.
        high: The value at `end`; above `low`.
        start: A pixel.
        end: A pixel; before `start` on an axis that goes up.
        is_log: Whether equal ratios are equally long; `low` is then above 0.
        is_counted: Whether only whole numbers are marked.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False
    is_counted: bool = False

    def share(self, value: float) -> float:
        """How far along the axis a value lies: 0 at its start, 1 at its end."""
        low, high, place = (self._to(each) for each in (self.low, self.high, value))
        return (place - low) / (high - low)

    def at(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + self.share(value) * (self.end - self.start)

    def _to(self, value: float) -> float:
        return log10(value) if self.is_log else value

    def marks(self) -> list[float]:
        """Round values along the axis."""
        low, high = self._to(self.low), self._to(self.high)
        if self.is_log:
            decades = [10.0**e for e in range(ceil(low - 1e-9), floor(high + 1e-9) + 1)]
            return decades if len(decades) > 1 else [self.low, self.high]
        step = 10.0 ** floor(log10((high - low) / 4))
        step = max(1.0, step) if self.is_counted else step
        step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= MOST_MARKS)
        return [n * step for n in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]

    @staticmethod
    def around(values: Iterable[float], start: float, end: float) -> "Axis":
        """A linear axis that holds all of some finite values and ends at round ones."""
        held = list(values)
        low, high = min(held), max(held)
        if high - low <= 1e-9 * max(abs(low), abs(high)):
            reach = abs(low) / 10 or 1.0
            low, high = low - reach, high + reach
        step = 10.0 ** floor(log10(high - low)) / 5
        return Axis(floor(low / step + 1e-9) * step, ceil(high / step - 1e-9) * step, start, end)


def picture(width: int, height: int, title: str, summary: str, parts: Sequence[str], *, told: bool = False) -> str:
    """A chart; `told` if its marks are to be named one by one by the arrow keys."""
    words = f"<title>{escape(title)}</title><desc>{escape(summary)}</desc>"
    kind = "chart told-by-keys" if told else "chart"
    return f'<svg class="{kind}" role="img" viewBox="0 0 {width} {height}">{words}{"".join(parts)}</svg>'


def line(kind: str, x1: float, y1: float, x2: float, y2: float, name: str = "") -> str:
    """A line of a class; with a name where the pointer rests on it."""
    place = f'x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"'
    return f'<line class="{kind}" {place}>{_name(name)}</line>' if name else f'<line class="{kind}" {place}/>'


def box(kind: str, x1: float, y1: float, x2: float, y2: float, name: str = "") -> str:
    """A rectangle between two corners, in any order."""
    place = f'x="{min(x1, x2):.1f}" y="{min(y1, y2):.1f}" width="{abs(x2 - x1):.1f}" height="{abs(y2 - y1):.1f}"'
    return f'<rect class="{kind}" {place}>{_name(name)}</rect>' if name else f'<rect class="{kind}" {place}/>'


def circle(kind: str, x: float, y: float, radius: float, name: str = "") -> str:
    """A dot; one with a name is a mark that can be told."""
    place = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"'
    return (
        f'<circle class="mark {kind}" {place}>{_name(name)}</circle>' if name else f'<circle class="{kind}" {place}/>'
    )


def cross(kind: str, x: float, y: float, radius: float, name: str) -> str:
    """A mark of two strokes: something that is not there."""
    side = 2 * radius
    d = f"M{x - radius:.1f} {y - radius:.1f}l{side:g} {side:g}m0 {-side:g}l{-side:g} {side:g}"
    return f'<path class="mark {kind}" d="{d}">{_name(name)}</path>'


def dots(kind: str, places: Iterable[tuple[float, float]]) -> str:
    """Many dots without names, in a tenth of the bytes: strokes of no length with round ends."""
    return f'<path class="{kind}" d="{"".join(f"M{x:.1f} {y:.1f}h0" for x, y in places)}"/>'


def path(kind: str, places: Iterable[tuple[float, float]]) -> str:
    """A closed area."""
    return f'<path class="{kind}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in places)}Z"/>'


def polyline(kind: str, places: Iterable[tuple[float, float]]) -> str:
    return f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    look = f' class="{kind}"' if kind else ""
    return f'<text{look} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def scale(axis: Axis, across: float, length: float) -> list[str]:
    """The numbers of an axis with fine lines: a horizontal one at y = `across`, `length` pixels up from there.

    A vertical axis (one whose pixels fall as values rise) stands at x = `across`, its lines run to the right.
    """
    if axis.end < axis.start:
        return [
            part
            for value in axis.marks()
            for part in (
                line("axis", across, axis.at(value), across + length, axis.at(value)),
                text(across - 6, axis.at(value) + 4, number(value), "end"),
            )
        ]
    return [
        part
        for value in axis.marks()
        for part in (
            line("axis", axis.at(value), across, axis.at(value), across - length),
            text(axis.at(value), across + 16, number(value), "middle"),
        )
    ]


def _name(name: str) -> str:
    return f"<title>{escape(name)}</title>"
