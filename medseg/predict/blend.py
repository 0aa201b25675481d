"""From windows to classes: predictions of overlapping windows are blended, brought back to another grid and decided.

No array of all classes over a whole volume ever exists. Windows run along one axis of the volume; a slab one window
thick gathers their weighted probabilities, rows that no later window will reach are handed on, resampled linearly,
decided by argmax and forgotten. So the memory is that of a few slabs (`slab_bytes`), whatever the volume's length.

What is blended are probabilities, not logits as in nnU-Net: then windows, mirrored views and the networks of an
ensemble are all terms of one weighted mean, which needs one slab however many there are. Arrays are (classes, i, j, k)
on one grid; the module must never know of files, models, spacing or the patient.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medseg.core.errors import ModelError
from medseg.predict.windows import Tile, blend_window, tiles
from medseg.transforms.grid import axis_weights

__all__ = ["WindowProbabilities", "blended_slabs", "cropped", "decide", "gathered", "slab_axis", "slab_bytes"]

WindowProbabilities = Callable[[Tensor], Tensor]
"""Windows (batch, channels, *box) → probabilities of the classes (batch, classes, *box), float32."""

CHUNK_BYTES = 64 * 2**20
"""Probabilities that are resampled at once on the way back: enough for fast arithmetic, little beside a slab."""

_ROUNDING = 1e-4
"""How far below 1/K a class's probability may lie and still be thought able to win: blending rounds."""


def slab_axis(shape: Sequence[int], box: Sequence[int]) -> int:
    """The axis to walk along: the one on which a window-thick slab is the smallest part of the volume."""
    return min(range(len(shape)), key=lambda axis: box[axis] / shape[axis])


def slab_bytes(
    shape: Sequence[int], box: Sequence[int], n_classes: int, new_shape: Sequence[int], axis: int | None = None
) -> int:
    """What `blended_slabs` and `decide` hold at most, in bytes, on the way to a grid of `new_shape` along `axis`.

    Three slabs of `shape` (the open one, the rows handed on, those that wait for their neighbours) and, four times, the
    rows that are resampled at once.
    """
    axis = slab_axis(shape, box) if axis is None else axis
    slab = 4 * (n_classes + 1) * box[axis] * prod(shape) // shape[axis]
    row = 4 * n_classes * prod(new_shape) // new_shape[axis]
    return 3 * slab + 4 * max(row, min(CHUNK_BYTES, row * new_shape[axis]))


def blended_slabs(
    image: Tensor,
    box: tuple[int, int, int],
    overlap: float,
    probabilities: WindowProbabilities,
    *,
    axis: int,
    batch: int = 1,
    store: torch.device | None = None,
) -> Iterator[Tensor]:
    """Slabs of blended probabilities, in order along `axis`, which together make the whole volume.

    Args:
        image: (channels, i, j, k), nowhere smaller than `box`.
        box: The sides of a window, in voxels.
        overlap: Least share of a window that neighbours have in common.
        probabilities: The network.
        axis: The spatial axis to walk along (`slab_axis`).
        batch: Windows that run at once.
        store: Where slabs are kept; where the image is, by default.

    Yields:
        float32 (classes, i, j, k), of all rows on two axes and a few on `axis`; they sum to one over classes.
    """
    store = store or image.device
    window = torch.from_numpy(blend_window(box)).to(store)
    placed = sorted(tiles(image.shape[1:], box, overlap), key=lambda tile: tile.start[axis])
    open_slab: _OpenSlab | None = None
    for some in _chunks(placed, batch):
        predicted = probabilities(torch.stack([image[(slice(None), *tile.slices)] for tile in some])).to(store)
        open_slab = open_slab or _OpenSlab(predicted.shape[1], image.shape[1:], window, axis)
        for tile, one in zip(some, predicted, strict=True):
            if tile.start[axis] > open_slab.start:
                yield open_slab.close(up_to=tile.start[axis])
            open_slab.add(tile, one)
    if open_slab is not None:
        yield open_slab.close(up_to=image.shape[axis + 1])


def cropped(slabs: Iterable[Tensor], axis: int, inside: Sequence[slice]) -> Iterator[Tensor]:
    """Slabs of a padded volume less the padding: only what lies `inside`, an index with bounds for each axis."""
    first = 0
    for slab in slabs:
        rows = slab.shape[axis + 1]
        low, high = max(inside[axis].start - first, 0), min(inside[axis].stop - first, rows)
        first += rows
        if low < high:
            yield slab[(slice(None), *(slice(low, high) if a == axis else part for a, part in enumerate(inside)))]


def decide(
    slabs: Iterable[Tensor],
    axis: int,
    old_shape: Sequence[int],
    new_shape: Sequence[int],
    placed: NDArray[np.float64] | None = None,
) -> NDArray[np.integer[Any]]:
    """The most probable class of each voxel of a grid of `new_shape` over the same extent, edge to edge.

    Probabilities are interpolated linearly (by the half-voxel rule; beyond the outermost centres they stay as they are)
    and only then decided: an outline that was decided first would come back as stairs. A grid of equal shape is decided
    as it is. Of equal probabilities the first class wins.

    Args:
        slabs: Blended probabilities on the old grid, in order along `axis`.
        axis: The spatial axis that slabs follow each other on.
        old_shape: Shape of the old grid (i, j, k).
        new_shape: Shape of the new grid (i, j, k).
        placed: Where the new grid leans in the old one: new voxel indices to old ones, 4×4. Planes slide on each other:
            along `axis` both grids must have the same extent. None: edge to edge on all axes.

    Returns:
        Class indices, (i, j, k) of `new_shape`; uint8, or int32 for more than 256 classes.
    """
    plane = [n for a, n in enumerate(new_shape) if a != axis]
    classes: NDArray[np.integer[Any]] | None = None
    row = 0
    for rows in _resampled_rows(slabs, axis, old_shape[axis], new_shape[axis], plane):
        if classes is None:
            classes = np.empty((new_shape[axis], *plane), np.uint8 if rows.shape[1] <= 256 else np.int32)
        where = None if placed is None else _in_plane(placed, axis, row, len(rows), plane, rows)
        decided = _most_probable(rows, plane, where)
        classes[row : row + len(decided)] = decided.cpu().numpy()
        row += len(decided)
    if classes is None or row != new_shape[axis]:
        raise ValueError(f"{row} rows were decided, but the grid has {new_shape[axis]}")
    return np.moveaxis(classes, 0, axis)


def gathered(
    slabs: Iterable[Tensor],
    axis: int,
    old_shape: Sequence[int],
    new_shape: Sequence[int],
    placed: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """The probabilities that `decide` decides by, all of them: (classes, i, j, k) of `new_shape`, float32.

    This is the array that `decide` avoids: 4 bytes a voxel and class. Arguments are those of `decide`.
    """
    plane = [n for a, n in enumerate(new_shape) if a != axis]
    whole: NDArray[np.float32] | None = None
    row = 0
    for rows in _resampled_rows(slabs, axis, old_shape[axis], new_shape[axis], plane):
        if whole is None:
            whole = np.empty((rows.shape[1], new_shape[axis], *plane), np.float32)
        where = None if placed is None else _in_plane(placed, axis, row, len(rows), plane, rows)
        whole[:, row : row + len(rows)] = _on_plane(rows, plane, where).movedim(1, 0).cpu().numpy()
        row += len(rows)
    if whole is None or row != new_shape[axis]:
        raise ValueError(f"{row} rows came, but the grid has {new_shape[axis]}")
    return np.moveaxis(whole, 1, axis + 1)


class _OpenSlab:
    """Weighted sums over the rows that a window may still reach: `start` and as many rows as a window is thick."""

    def __init__(self, n_classes: int, shape: Sequence[int], window: Tensor, axis: int) -> None:
        sides = [window.shape[a] if a == axis else n for a, n in enumerate(shape)]
        self.start = 0
        self._axis = axis
        self._window = window
        self._sums = torch.zeros(n_classes, *sides, device=window.device)
        self._weights = torch.zeros(*sides, device=window.device)

    def add(self, tile: Tile, probabilities: Tensor) -> None:
        """Add the probabilities (classes, *box) of the tile, which begins where the slab does."""
        where = tuple(slice(None) if a == self._axis else part for a, part in enumerate(tile.slices))
        self._sums[(slice(None), *where)].addcmul_(probabilities, self._window)
        self._weights[where] += self._window

    def close(self, up_to: int) -> Tensor:
        """The means of the rows before `up_to`, which no window will reach any more; the slab then starts there.

        Raises:
            ModelError: The network answered with NaN.
        """
        n = up_to - self.start
        finished = self._sums.narrow(self._axis + 1, 0, n) / self._weights.narrow(self._axis, 0, n)
        if not torch.isfinite(finished).all():
            raise ModelError(
                "The network answered with values that are no numbers (NaN or infinite). Its training has diverged, or "
                "its arithmetic is too coarse: try float32."
            )
        _advance(self._sums, self._axis + 1, n)
        _advance(self._weights, self._axis, n)
        self.start = up_to
        return finished


def _advance(array: Tensor, axis: int, n: int) -> None:
    """Drop the first n rows along an axis, in place: the others move up, zeros follow."""
    left = array.shape[axis] - n
    if left:
        array.narrow(axis, 0, left).copy_(array.narrow(axis, n, left).clone())
    array.narrow(axis, left, n).zero_()


def _chunks(placed: Sequence[Tile], size: int) -> Iterator[list[Tile]]:
    rest = iter(placed)
    while some := list(islice(rest, size)):
        yield some


def _resampled_rows(
    slabs: Iterable[Tensor], axis: int, n_old: int, n_new: int, plane: Sequence[int]
) -> Iterator[Tensor]:
    """Rows of the new grid along `axis`, a few at a time: (rows, classes, *old plane), in order."""
    low, high, share = axis_weights(n_old, n_new)
    held: Tensor | None = None
    first = row = 0
    for slab in slabs:
        rows = slab.movedim(axis + 1, 0)
        held = rows if held is None else torch.cat((held, rows))
        ready = int(np.searchsorted(high, first + len(held)))
        at_once = max(1, CHUNK_BYTES // (4 * held.shape[1] * max(prod(plane), held[0, 0].numel())))
        while row < ready:
            stop = min(row + at_once, ready)
            yield _between(held, low[row:stop] - first, high[row:stop] - first, share[row:stop])
            row = stop
        if row < n_new:
            # A grid that is much coarser skips rows, perhaps some that have not come yet.
            done = min(int(low[row]) - first, len(held))
            # A copy: a view would keep the whole slab alive.
            held, first = held[done:].clone(), first + done


def _between(held: Tensor, low: NDArray[np.intp], high: NDArray[np.intp], share: NDArray[np.float32]) -> Tensor:
    """Rows between two held ones each: `share` of the way from `low` to `high`."""
    if not share.any():
        return held[torch.from_numpy(low).to(held.device)]
    parts = torch.from_numpy(share).to(held.device).reshape(-1, 1, 1, 1)
    return torch.lerp(held[torch.from_numpy(low).to(held.device)], held[torch.from_numpy(high).to(held.device)], parts)


def _in_plane(
    placed: NDArray[np.float64], axis: int, first: int, n_rows: int, plane: Sequence[int], like: Tensor
) -> Tensor:
    """Where voxels of new rows lie in their old planes, (rows, *plane, 2), as `grid_sample` counts: -1…1, x first."""
    p, q = (a for a in range(3) if a != axis)
    indices = [
        torch.arange(first, first + n_rows, dtype=torch.float64).reshape(-1, 1, 1),
        torch.arange(plane[0], dtype=torch.float64).reshape(1, -1, 1),
        torch.arange(plane[1], dtype=torch.float64).reshape(1, 1, -1),
    ]
    ends = []
    for side, n_old in ((q, like.shape[3]), (p, like.shape[2])):
        index = placed[side, 3] + sum(placed[side, a] * along for a, along in zip((axis, p, q), indices, strict=True))
        # Edges, not centres, lie at -1 and 1.
        ends.append(((2 * index + 1) / n_old - 1).to(torch.float32))
    return torch.stack([end.expand(n_rows, *plane) for end in ends], dim=-1).to(like.device)


def _most_probable(rows: Tensor, plane: Sequence[int], where: Tensor | None = None) -> Tensor:
    """The class of each voxel of the new plane: (rows, classes, *old plane) to (rows, *plane)."""
    n_classes = rows.shape[1]
    # Some class has at least 1/K everywhere, and interpolation never exceeds the largest value: a class below 1/K on
    # all of these rows wins nowhere. With a hundred organs most are absent from most slabs, and cost nothing.
    able = torch.nonzero(rows.amax(dim=(0, 2, 3)) >= 1 / n_classes - _ROUNDING).flatten()
    if len(able) < n_classes:
        rows = rows[:, able]
    dtype = torch.uint8 if n_classes <= 256 else torch.int32
    return able.to(dtype)[_on_plane(rows, plane, where).argmax(dim=1)]


def _on_plane(rows: Tensor, plane: Sequence[int], where: Tensor | None) -> Tensor:
    """Rows on the new plane: (rows, classes, *old plane) to (rows, classes, *plane), linear."""
    if where is not None:
        return functional.grid_sample(rows, where, mode="bilinear", padding_mode="border", align_corners=False)
    if tuple(rows.shape[2:]) != tuple(plane):
        return functional.interpolate(rows, size=tuple(plane), mode="bilinear", align_corners=False)
    return rows
