"""Planes with outlines, as PNG inside a page.

Grey as the scanner made it, outlines in bright colours that are far apart for the colour-blind too, letters at the
edges as radiologists are used to. Arrays are (rows, columns), from the upper left corner. A picture comes with its
words: alternative text and a legend.
"""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Layer", "Picture", "data_uri", "drawn", "grey_of"]

SHOWN_SIDE = 260
"""Pixels along the longer side of a picture, at least: small planes are enlarged, pixel by pixel."""

RING_RADIUS, RING_COLOUR = 16, "#ffffff"
"""Pixels from a spot to the ring around it: near enough to point, far enough to leave its surroundings."""

_SHOWN_PERCENTILES = (1.0, 99.5)
"""From black to white: a few bright voxels must not make the rest dark."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with its words.

    Attributes:
        source: The PNG as a data URI.
        width: Pixels on the screen.
        height: Pixels on the screen.
        title: Which plane it is.
        alternative: What it shows, for who cannot see it.
        legend: Names of what is outlined in it with their colours.
        edges: Letters at the left, right, upper and lower edge; empty where there is no patient.
        more: How much is outlined that the legend leaves out.
    """

    source: str
    width: int
    height: int
    title: str
    alternative: str
    legend: tuple[tuple[str, str], ...]
    edges: tuple[str, str, str, str]
    more: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A mask to outline.

    Attributes:
        mask: bool (rows, columns).
        colour: Of its outline, as "#rrggbb".
        width: Of the outline, in pixels: 1, or 3 for one that shows on both sides of a narrow one.
        tint: How much of its colour the inside has: the image below must stay visible.
    """

    mask: NDArray[np.bool_]
    colour: str
    width: int = 1
    tint: float = 0.0


def grey_of(plane: NDArray[Any]) -> NDArray[np.uint8]:
    """Values of any range as grey from 0 to 255."""
    values = np.nan_to_num(np.asarray(plane, np.float32))
    low, high = (float(each) for each in np.percentile(values, _SHOWN_PERCENTILES))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) / max(high - low, 1e-30)
    grey: NDArray[np.uint8] = (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return grey


def drawn(
    grey: NDArray[np.uint8],
    layers: Iterable[Layer],
    aspect: float = 1.0,
    ring: tuple[int, int] | None = None,
    side: int = SHOWN_SIDE,
) -> NDArray[np.uint8]:
    """RGB pixels (rows, columns, 3) of square size on the screen, later layers on top of earlier ones.

    Args:
        grey: The plane.
        layers: Masks on it.
        aspect: A pixel's height over its width.
        ring: The pixel (row, column) to point at.
        side: Pixels that the longer side has at least.
    """
    rows, columns = grey.shape
    height, width = rows * max(aspect, 1e-6), float(columns)
    scale = max(1.0, side / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    pixels = np.repeat(_enlarged(grey, size)[..., None], 3, axis=2).astype(np.float32)
    for layer in layers:
        mask, colour = _enlarged(layer.mask, size), _rgb(layer.colour)
        pixels[mask] = (1 - layer.tint) * pixels[mask] + layer.tint * colour
        pixels[_outline(mask, layer.width)] = colour
    if ring is not None:
        pixels[_ring(ring, grey.shape, size)] = _rgb(RING_COLOUR)
    result: NDArray[np.uint8] = pixels.round().astype(np.uint8)
    return result


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """RGB pixels as a PNG inside a page."""
    from PIL import Image

    data = BytesIO()
    Image.fromarray(pixels).save(data, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode('ascii')}"


def _enlarged(array: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    rows, columns = ((np.arange(n) * old) // n for n, old in zip(size, array.shape, strict=True))
    enlarged: NDArray[Any] = array[rows[:, None], columns[None, :]]
    return enlarged


def _outline(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Pixels of a mask that have a neighbour outside of it; of width 3 those beside them too."""
    inner = np.pad(mask, 1)
    border = mask & ~(inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:])
    if width == 1:
        return border
    from scipy.ndimage import binary_dilation

    wide: NDArray[np.bool_] = binary_dilation(border, np.ones((width, width), bool))
    return wide


def _ring(spot: tuple[int, int], shape: tuple[int, ...], size: tuple[int, int]) -> NDArray[np.bool_]:
    """A circle around a pixel of the small picture, in the large one."""
    row, column = ((place + 0.5) * new / old for place, old, new in zip(spot, shape, size, strict=True))
    distance = np.hypot(np.arange(size[0])[:, None] - row, np.arange(size[1])[None, :] - column)
    circle: NDArray[np.bool_] = np.abs(distance - RING_RADIUS) <= 1
    return circle


def _rgb(colour: str) -> NDArray[np.float32]:
    return np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)], np.float32)
