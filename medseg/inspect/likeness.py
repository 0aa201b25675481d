"""Whether two images show the same: exactly (a digest of their voxels) or nearly (thumbnails of local contrast).

A thumbnail is the image averaged in blocks, its extremes clipped, less its own blurred self, normed. So neither scale
nor offset nor noise nor a slightly other crop or resolution matters much, and what all brains have in common, their
outline, is left out. Measured on real sets: copies with noise, gamma, a cropped border or other resolution correlate by
0.85 to 1.00 with their source; images of different people in one space by at most 0.77 (mice, registered), else 0.5;
two visits of one patient by up to 0.95. Arrays are in canonical order; pairs are of thumbnails alone.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.inspect.report import Likeness

__all__ = ["Neighbourhood", "Pair", "digest_of", "likeness_of", "near_pairs", "neighbourhood"]

BLOCKS_3D = 16
BLOCKS_2D = 32
"""Blocks along each side: enough to tell people apart, few enough that noise averages out."""

_CLIPPED = (1.0, 99.0)
"""Percentiles of the blocks: a metal implant must not be all that counts."""

NEAR = 0.88
"""Thumbnails that correlate by this show one scan or one patient (see above)."""

NEAR_FEW = 0.95
"""… in a set of a few images, where what is usual cannot be told."""

FEW = 8

OUTSTANDING = 6.0
LEAST_SPREAD = 0.1
"""By so many robust standard deviations of Fisher's z over all pairs, and such a one at least, near pairs stand out:
phantoms are all alike."""

_ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images by their places in a sequence, and how their thumbnails correlate."""

    first: int
    second: int
    correlation: float


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """How often an image's most similar one is its neighbour in the sequence, and how often chance would have it."""

    n: int
    n_neighbours: int

    @property
    def expected(self) -> float:
        # Two neighbours of n - 1 others, one for the first and the last.
        return 2.0 if self.n > 1 else 0.0

    @property
    def share(self) -> float:
        return self.n_neighbours / self.n if self.n else 0.0


def likeness_of(image: NDArray[Any], thumbnail: bool = True) -> Likeness:
    """Of an image (c, i, j, k); the thumbnail is of its first channel, and there may be reasons to have none."""
    return Likeness(digest_of(image, np.float32), _thumbnail(image[0]) if thumbnail else None)


def digest_of(array: NDArray[Any], dtype: type[np.float32 | np.uint16]) -> str:
    """Of shape and values as `dtype`, whatever type and order they are stored in."""
    found = hashlib.blake2b(str(array.shape).encode(), digest_size=16)
    for index in np.ndindex(array.shape[:-3]):
        for k in range(array.shape[-1]):
            plane: NDArray[Any] = np.ascontiguousarray(array[(*index, ..., k)], dtype)
            # Adding 0 makes -0 and 0 one value.
            found.update((plane + dtype(0)).tobytes())
    return found.hexdigest()


def near_pairs(thumbnails: Sequence[NDArray[np.float32] | None]) -> tuple[Pair, ...]:
    """The pairs that show nearly the same, the most alike first; images without contrast have no pair."""
    where = [number for number, each in enumerate(thumbnails) if each is not None]
    if len(where) < 2:
        return ()
    least = NEAR if len(where) >= FEW else NEAR_FEW
    pairs, usual, spread = [], 0.0, 0.0
    if len(where) >= FEW:
        usual, spread = _usual(_stack(thumbnails, where))
    for start, rows in _rows(_stack(thumbnails, where)):
        for row, column in zip(*np.nonzero(rows >= least), strict=True):
            r = float(rows[row, column])
            if start + row < column and _fisher(r) - usual >= OUTSTANDING * spread:
                pairs.append(Pair(where[start + int(row)], where[int(column)], r))
    return tuple(sorted(pairs, key=lambda pair: -pair.correlation))


def neighbourhood(thumbnails: Sequence[NDArray[np.float32] | None]) -> Neighbourhood:
    """Of a sequence of images in the order of their names."""
    where = [number for number, each in enumerate(thumbnails) if each is not None]
    if len(where) < 2:
        return Neighbourhood(len(where), 0)
    nearest: list[int] = []
    for start, rows in _rows(_stack(thumbnails, where)):
        for row in range(rows.shape[0]):
            rows[row, start + row] = -2
        nearest += rows.argmax(axis=1).tolist()
    return Neighbourhood(len(where), sum(abs(number - other) == 1 for number, other in enumerate(nearest)))


def _thumbnail(channel: NDArray[Any]) -> NDArray[np.float32] | None:
    n_blocks = BLOCKS_2D if 1 in channel.shape else BLOCKS_3D
    # The slowest axis of the file first: then the whole is read once, and what remains is small.
    blocks: NDArray[Any] = channel
    for axis in np.argsort(channel.strides)[::-1]:
        blocks = _averaged(blocks, int(axis), 1 if channel.shape[axis] == 1 else n_blocks)
    low, high = np.percentile(blocks, _CLIPPED)
    blocks = np.clip(blocks, low, high)
    detail = blocks - ndimage.uniform_filter(blocks, [min(3, side) for side in blocks.shape], mode="nearest")
    detail -= detail.mean()
    norm = float(np.linalg.norm(detail))
    if norm <= 1e-6 * max(1e-30, float(np.linalg.norm(blocks))):
        return None
    thumbnail: NDArray[np.float32] = (detail / norm).astype(np.float32).ravel()
    return thumbnail


def _averaged(array: NDArray[Any], axis: int, n: int) -> NDArray[np.float64]:
    """The array with `n` blocks along an axis: means of voxels, or values in between where there are fewer voxels."""
    side = array.shape[axis]
    if side < n:
        places = (np.arange(n) + 0.5) * side / n - 0.5
        below = np.clip(np.floor(places).astype(int), 0, side - 1)
        weight = np.clip(places - below, 0, 1).reshape([-1 if a == axis else 1 for a in range(array.ndim)])
        above = np.minimum(below + 1, side - 1)
        return np.asarray(np.take(array, below, axis) * (1 - weight) + np.take(array, above, axis) * weight)
    edges = np.linspace(0, side, n + 1).astype(int)
    sums = [array[(slice(None),) * axis + (slice(a, b),)].sum(axis=axis, dtype=np.float64) for a, b in _spans(edges)]
    widths = np.diff(edges).reshape([-1 if a == axis else 1 for a in range(array.ndim)])
    return np.asarray(np.stack(sums, axis) / widths)


def _spans(edges: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    return zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)


def _stack(thumbnails: Sequence[NDArray[np.float32] | None], where: Sequence[int]) -> NDArray[np.float32]:
    """One row an image; pictures and volumes have thumbnails of different lengths, which never correlate."""
    kept = [each for number in where if (each := thumbnails[number]) is not None]
    longest = max(each.size for each in kept)
    return np.stack([np.pad(each, (0, longest - each.size)) for each in kept])


def _rows(stack: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The matrix of correlations, some rows at a time: for 20,000 images it would not fit into memory."""
    for start in range(0, len(stack), _ROWS_AT_ONCE):
        yield start, stack[start : start + _ROWS_AT_ONCE] @ stack.T


def _usual(stack: NDArray[np.float32]) -> tuple[float, float]:
    """Median and robust standard deviation of Fisher's z over the pairs of (at most some) images."""
    chosen = stack[:: max(1, len(stack) // _ROWS_AT_ONCE)]
    matrix = chosen @ chosen.T
    z = _fisher(matrix[np.triu_indices(len(chosen), 1)].astype(np.float64))
    middle = float(np.median(z))
    return middle, max(LEAST_SPREAD, 1.4826 * float(np.median(np.abs(z - middle))))


def _fisher(r: Any) -> Any:  # noqa: ANN401  a number or an array of them
    return np.arctanh(np.clip(r, -0.999999, 0.999999))
