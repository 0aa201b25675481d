"""Slices with the outlines of their labels, as PNG inside the page: what a reader looks at first.

Grey as the scanner made it, outlines in the colours that labels have in all of medseg's pictures, letters at the edges
as radiologists are used to. A picture comes with its words: alternative text and a legend.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from medseg.core.views import LABEL_COLOURS
from medseg.inspect.report import Slice

__all__ = ["Picture", "picture_of"]

SHOWN_SIDE = 260
"""Pixels along the longer side of a picture, at least: small crops are enlarged, pixel by pixel."""

_TINT = 0.18
"""How much of its colour a label's inside has: the image below must stay visible."""

RING_RADIUS, RING_COLOUR = 16, "#ffffff"
"""Pixels from a spot to the ring around it: near enough to point, far enough to leave its surroundings."""

MOST_LEGEND = 8


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with its words.

    Attributes:
        source: The PNG as a data URI.
        width: Pixels on the screen.
        height: Pixels on the screen.
        title: Which slice it is.
        alternative: What it shows, for who cannot see it.
        legend: Names of the labels in it with their colours, the first few.
        more: How many labels the legend leaves out.
        edges: Letters at the left, right, upper and lower edge; empty where there is no patient.
    """

    source: str
    width: int
    height: int
    title: str
    alternative: str
    legend: tuple[tuple[str, str], ...]
    more: int
    edges: tuple[str, str, str, str]


def picture_of(shown: Slice, case: str) -> Picture:
    """A slice as a picture."""
    pixels = _drawn(shown)
    height, width = pixels.shape[:2]
    present = [int(number) for number in np.unique(shown.labels) if number]
    names = [shown.names[number - 1] for number in present]
    outlined = f"outlines of {', '.join(names[:MOST_LEGEND])}" if names else "no label"
    return Picture(
        source=f"data:image/png;base64,{base64.b64encode(_png(pixels)).decode('ascii')}",
        width=width,
        height=height,
        title=shown.title,
        alternative=f"{case}, {shown.title or 'picture'}: {outlined}.",
        legend=tuple((name, _colour(number)) for name, number in zip(names[:MOST_LEGEND], present, strict=False)),
        more=max(0, len(names) - MOST_LEGEND),
        edges=shown.edges,
    )


def _drawn(shown: Slice) -> NDArray[np.uint8]:
    """RGB pixels (rows, columns, 3) of square size on the screen."""
    rows, columns = shown.grey.shape
    height, width = rows * max(shown.aspect, 1e-6), float(columns)
    scale = max(1.0, SHOWN_SIDE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    grey, labels = _enlarged(shown.grey, size), _enlarged(shown.labels, size)
    pixels = np.repeat(grey[..., None], 3, axis=2).astype(np.float32)
    for number in np.unique(labels):
        if number:
            mask, colour = labels == number, _rgb(_colour(int(number)))
            pixels[mask] = (1 - _TINT) * pixels[mask] + _TINT * colour
            pixels[mask & _border(mask)] = colour
    if shown.ring is not None:
        pixels[_ring(shown.ring, shown.grey.shape, size)] = _rgb(RING_COLOUR)
    drawn: NDArray[np.uint8] = pixels.round().astype(np.uint8)
    return drawn


def _enlarged(array: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    rows, columns = ((np.arange(n) * old) // n for n, old in zip(size, array.shape, strict=True))
    enlarged: NDArray[np.uint8] = array[rows[:, None], columns[None, :]]
    return enlarged


def _ring(spot: tuple[int, int], shape: tuple[int, ...], size: tuple[int, int]) -> NDArray[np.bool_]:
    """A circle around a pixel of the small picture, in the large one."""
    row, column = ((place + 0.5) * new / old for place, old, new in zip(spot, shape, size, strict=True))
    distance = np.hypot(np.arange(size[0])[:, None] - row, np.arange(size[1])[None, :] - column)
    circle: NDArray[np.bool_] = np.abs(distance - RING_RADIUS) <= 1
    return circle


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a mask that have a neighbour outside of it."""
    inner = np.pad(mask, 1)
    return ~(inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:])


def _colour(number: int) -> str:
    return LABEL_COLOURS[(number - 1) % len(LABEL_COLOURS)]


def _rgb(colour: str) -> NDArray[np.float32]:
    channels: Sequence[int] = [int(colour[n : n + 2], 16) for n in (1, 3, 5)]
    return np.array(channels, np.float32)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    data = BytesIO()
    Image.fromarray(pixels).save(data, format="PNG", optimize=True)
    return data.getvalue()
