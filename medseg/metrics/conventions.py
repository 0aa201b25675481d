"""The boundaries of other libraries, so that published tables can be compared with: `surfels` and `voxels`.

medseg measures between the centres of voxel faces (`boundary`), which comes closest to the continuous surface. Tables
in the literature were made otherwise, and numbers of two conventions may not stand in one column:

- `surfels_of`: DeepMind's surface-distance. Elements are the corners of voxels that touch both the mask and what is not
  the mask, weighed by the area (in a picture: the length) that marching cubes gives to the eight voxels around.
- `voxels_of`: MONAI and MedPy. Elements are the mask's voxels with a neighbour outside, all of one weight, and
  percentiles are interpolated linearly. MONAI's HD95 is the larger of the two percentiles, MedPy's is that of both sets
  (`pooled`); what MedPy calls "ASSD" is our MASD.

Areas are those of a grid at right angles. Both drop what touches a voxel to ignore, as `boundary_of` does.
Source of the table of areas: github.com/google-deepmind/surface-distance, Apache License 2.0.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medseg.core.geometry import Geometry, Voxels
from medseg.metrics.boundary import Boundary, boundary_of, joined, keys_of, slabs_of

__all__ = ["BOUNDARIES", "BoundaryName", "surfels_of", "voxels_of"]

BoundaryName = Literal["faces", "surfels", "voxels"]

_TRIANGLES = """
    000 111 111 220+220 111 202+202 111+111 400+222+111 111 111+111 202+202 400+222+111 220+220 400+222+111
    400+222+111 400+400 111 022+022 111+111 040+222+111 111+111 004+222+111 111+111+111 111+222+222+111 111+111
    022+022+111 202+202+111 111+333+022+202 111+220+220 333+022+111+220 400+111+222+111 400+111+222 111 111+111
    022+022 040+111+222 111+111 111+202+202 022+022+111 333+022+111+202 111+111 111+111+111 004+222+111
    222+222+111+111 111+220+220 400+222+111+111 022+333+111+220 400+222+111 220+220 040+222+111 040+111+222
    040+040 220+220+111 333+202+111+220 111+040+222+111 040+222+111 111+220+220 040+222+111+111 333+220+111+202
    040+222+111 220+220+220+220 220+220+111 111+220+220 220+220 111 111+111 111+111 111+220+220 022+022
    004+222+111 022+022+111 333+022+111+220 111+111 111+111+111 111+202+202 400+222+111+111 040+222+111
    222+222+111+111 202+333+022+111 400+222+111 202+202 004+222+111 111+202+202 202+333+220+111 004+222+111
    004+004 111+111+222+004 111+222+004 202+202+111 004+222+111+111 202+202+202+202 111+202+202 202+333+220+111
    004+222+111 111+202+202 202+202 111+111 111+111+111 111+022+022 040+111+222+111 022+022+111 004+222+111+111
    022+022+022+022 022+022+111 111+111+111 111+111+111+111 004+222+111+111 111+111+111 040+222+111+111
    111+111+111 022+022+111 111+111 400+222+111 222+111+222+111 333+022+111+202 040+222+111 333+220+022+111
    111+222+004 111+022+022 022+022 400+222+111+111 111+111+111 202+202+111 111+111 220+220+111 111+111 111+111
    111 111 111+111 111+111 220+220+111 111+111 202+202+111 111+111+111 400+222+111+111 022+022 111+022+022
    111+222+004 333+220+022+111 040+222+111 333+022+111+202 222+111+222+111 400+222+111 111+111 022+022+111
    111+111+111 040+222+111+111 111+111+111 004+222+111+111 111+111+111+111 111+111+111 022+022+111
    022+022+022+022 004+222+111+111 022+022+111 040+111+222+111 111+022+022 111+111+111 111+111 202+202
    111+202+202 004+222+111 202+333+220+111 111+202+202 202+202+202+202 004+222+111+111 202+202+111 111+222+004
    111+111+222+004 004+004 004+222+111 202+333+220+111 111+202+202 004+222+111 202+202 400+222+111
    202+333+022+111 222+222+111+111 040+222+111 400+222+111+111 111+202+202 111+111+111 111+111 333+022+111+220
    022+022+111 004+222+111 022+022 111+220+220 111+111 111+111 111 220+220 111+220+220 220+220+111
    220+220+220+220 040+222+111 333+220+111+202 040+222+111+111 111+220+220 040+222+111 111+040+222+111
    333+202+111+220 220+220+111 040+040 040+111+222 040+222+111 220+220 400+222+111 022+333+111+220
    400+222+111+111 111+220+220 222+222+111+111 004+222+111 111+111+111 111+111 333+022+111+202 022+022+111
    111+202+202 111+111 040+111+222 022+022 111+111 111 400+111+222 400+111+222+111 333+022+111+220 111+220+220
    111+333+022+202 202+202+111 022+022+111 111+111 111+222+222+111 111+111+111 004+222+111 111+111 040+222+111
    111+111 022+022 111 400+400 400+222+111 400+222+111 220+220 400+222+111 202+202 111+111 111 400+222+111
    111+111 202+202 111 220+220 111 111 000
"""
"""For each of the 256 ways in which eight voxels can be in or out: the triangles of marching cubes, by the sizes of the
three parts of their normals in eighths of a face."""


def surfels_of(
    mask: NDArray[np.bool_],
    grid: Geometry,
    *,
    start: Voxels = (0, 0, 0),
    ignored: NDArray[np.bool_] | None = None,
) -> Boundary:
    """The boundary of a mask as DeepMind's surface-distance has it; arguments as in `boundary_of`."""
    is_picture = grid.shape[2] == 1
    sizes = _lengths(grid) if is_picture else _areas(grid)
    return joined(
        [
            _corners(inside[:, :, 1:2] if is_picture else inside, _cut(beside, is_picture), sizes, grid, origin)
            for inside, beside, origin in slabs_of(mask, grid, start, ignored)
        ]
    )


def voxels_of(
    mask: NDArray[np.bool_],
    grid: Geometry,
    *,
    start: Voxels = (0, 0, 0),
    ignored: NDArray[np.bool_] | None = None,
) -> Boundary:
    """The boundary of a mask as MONAI and MedPy have it; arguments as in `boundary_of`."""
    return joined(
        [
            _shell(inside, beside, grid, origin)
            for inside, beside, origin in slabs_of(mask, grid, start, ignored, before=1)
        ],
        interpolates=True,
    )


BOUNDARIES: Mapping[str, Callable[..., Boundary]] = MappingProxyType(
    dict(zip(get_args(BoundaryName), (boundary_of, surfels_of, voxels_of), strict=True))
)
"""The kinds of boundary by name; all take a mask, its grid, `start` and `ignored`."""


def _cut(beside: NDArray[np.bool_] | None, is_picture: bool) -> NDArray[np.bool_] | None:
    return beside[:, :, 1:2] if beside is not None and is_picture else beside


def _corners(
    inside: NDArray[np.bool_],
    beside: NDArray[np.bool_] | None,
    sizes: NDArray[np.float64],
    grid: Geometry,
    origin: Voxels,
) -> Boundary:
    """The corners of a slab that touch both sides, each between a voxel and the next along every axis."""
    code = _codes(inside)
    is_border = (code != 0) & (code != sizes.size - 1)
    n_all = int(is_border.sum())
    if beside is not None:
        is_border &= _codes(beside) == 0
    index = np.argwhere(is_border)
    places = index + np.array(origin)
    centres = places + 0.5
    if inside.shape[2] == 1:
        places[:, 2], centres[:, 2] = 0, 0
    return Boundary(keys_of(places, grid), grid.to_world(centres), sizes[code[is_border]], n_all - len(index))


def _codes(inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Which of the voxels around each inner corner are inside: eight bits (in a picture four), first voxel highest."""
    code: NDArray[np.uint8] = inside.astype(np.uint8)
    for axis in range(2 if inside.shape[2] == 1 else 3):
        low = [slice(None)] * 3
        high = [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        bits = 1 << axis
        # The axes before this one already fill `bits` bits; the last axis is to vary fastest, so they are spread.
        code = np.bitwise_or(_spread(code[tuple(low)], bits) << 1, _spread(code[tuple(high)], bits), dtype=np.uint8)
    return code


def _spread(code: NDArray[np.uint8], n_bits: int) -> NDArray[np.uint8]:
    """Bits n…1 of a code with a free place below each."""
    out = np.zeros_like(code)
    for bit in range(n_bits):
        out |= ((code >> bit) & 1) << (2 * bit)
    return out


def _areas(grid: Geometry) -> NDArray[np.float64]:
    """The area in mm² of each of the 256 codes."""
    i, j, k = grid.spacing_mm
    face = np.array([j * k, i * k, i * j]) / 8
    return np.array(
        [
            sum(float(np.linalg.norm(face * [int(part) for part in triangle])) for triangle in code.split("+"))
            for code in _TRIANGLES.split()
        ]
    )


def _lengths(grid: Geometry) -> NDArray[np.float64]:
    """The length in mm of each of the 16 codes of a picture."""
    along, across, _ = grid.spacing_mm
    diagonal = float(np.hypot(along, across)) / 2
    # From 0000 to 1111: which of the pixels top left, top right, bottom left, bottom right are inside.
    return np.array(
        [
            *(0, diagonal, diagonal, across, diagonal, along, 2 * diagonal, diagonal),
            *(diagonal, 2 * diagonal, along, diagonal, across, diagonal, diagonal, 0),
        ]
    )


def _shell(inside: NDArray[np.bool_], beside: NDArray[np.bool_] | None, grid: Geometry, origin: Voxels) -> Boundary:
    """The voxels of a slab (all but its border) that have a neighbour across a face outside of the mask."""
    core = (slice(1, -1),) * 3
    has_outside = np.zeros_like(inside[core])
    touches_ignored = np.zeros_like(inside[core])
    for axis in (0, 1) if grid.shape[2] == 1 else (0, 1, 2):
        for side in (slice(None, -2), slice(2, None)):
            where = tuple(side if a == axis else slice(1, -1) for a in range(3))
            outside = ~inside[where]
            if beside is not None:
                touches_ignored |= beside[where]
                outside &= ~beside[where]
            has_outside |= outside
    found = inside[core] & has_outside
    n_dropped = int((inside[core] & ~has_outside & touches_ignored).sum())
    index = np.argwhere(found) + np.array(origin) + 1
    return Boundary(keys_of(index, grid), grid.to_world(index), np.ones(len(index)), n_dropped)
