"""Slices with the outlines of their labels: what a reader looks at first.

Outlines are in the colours that labels have in all of medseg's pictures. A picture comes with its words: alternative
text and a legend.
"""

from collections.abc import Iterator

import numpy as np

from medseg.core.views import LABEL_COLOURS
from medseg.inspect.report import Slice
from medseg.pages.pictures import Layer, Picture, data_uri, drawn

__all__ = ["picture_of"]

_TINT = 0.18
"""How much of its colour a label's inside has: the image below must stay visible."""

MOST_LEGEND = 8


def picture_of(shown: Slice, case: str) -> Picture:
    """A slice as a picture."""
    pixels = drawn(shown.grey, _layers(shown), shown.aspect, shown.ring)
    height, width = pixels.shape[:2]
    present = [int(number) for number in np.unique(shown.labels) if number]
    names = [shown.names[number - 1] for number in present]
    outlined = f"outlines of {', '.join(names[:MOST_LEGEND])}" if names else "no label"
    return Picture(
        source=data_uri(pixels),
        width=width,
        height=height,
        title=shown.title,
        alternative=f"{case}, {shown.title or 'picture'}: {outlined}.",
        legend=tuple((name, _colour(number)) for name, number in zip(names[:MOST_LEGEND], present, strict=False)),
        more=max(0, len(names) - MOST_LEGEND),
        edges=shown.edges,
    )


def _layers(shown: Slice) -> Iterator[Layer]:
    for number in np.unique(shown.labels):
        if number:
            yield Layer(shown.labels == number, _colour(int(number)), tint=_TINT)


def _colour(number: int) -> str:
    return LABEL_COLOURS[(number - 1) % len(LABEL_COLOURS)]
