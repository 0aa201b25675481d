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

SHOWN_SIDE = 240
"""Pixels along the longer side of a picture, at least: small crops are enlarged, pixel by pixel."""

_TINT = 0.18
"""How much of its colour a label's inside has: the image below must stay visible."""

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
        legend: Names of the labels in it with their colours.
        edges: Letters at the left, right, upper and lower edge; empty where there is no patient.
    """

    source: str
    width: int
    height: int
    title: str
    alternative: str
    legend: tuple[tuple[str, str], ...]
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
    drawn: NDArray[np.uint8] = pixels.round().astype(np.uint8)
    return drawn


def _enlarged(array: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    rows, columns = ((np.arange(n) * old) // n for n, old in zip(size, array.shape, strict=True))
    return array[rows[:, None], columns[None, :]]


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
