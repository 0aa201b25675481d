"""Grids whose axes do not stand at right angles (gantry tilt, sheared files), and the upright grid that holds them.

A tilted scanner moves each slice a little further than the one before. The matrix of such a grid is Q·D·S: a rotation,
spacings, and a shear S that is unit upper triangular in a suitable order of axes. So voxels come upright by a few moves
along single axes, each by an amount that grows along another axis (`Lean`); the axis that comes last, the *stack*, is
never moved along: its planes only slide. This is geometry only: voxels are moved in `medseg.transforms.shear`.
"""

from dataclasses import dataclass
from itertools import permutations
from math import ceil, degrees

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry

__all__ = ["Lean", "Straightening", "straightening"]

SEEN = 0.01
"""A lean that moves nothing by more than this, in voxels, is the rounding of an affine and is left as it is."""

SMALLEST_ANGLE_DEG = 30.0
"""Axes that stand closer are no tilt of a scanner, and the upright grid would be mostly empty."""

SAME_SPACING = 0.01
"""Spacings that differ by no more than this share count as equal."""


@dataclass(frozen=True, slots=True)
class Lean:
    """One elementary shear: voxel `a` along `axis` comes to `a + offset + slope · b`, where `b` is its index `along`.

    Attributes:
        axis: The array axis that voxels move along.
        along: The array axis that says how far.
        slope: Voxels of `axis` for each voxel of `along`.
        offset: Whole voxels, so that nothing moves below 0.
        length: Voxels along `axis` afterwards, so that nothing moves beyond the end.
    """

    axis: int
    along: int
    slope: float
    offset: int
    length: int

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The move as a 4×4 matrix on voxel indices."""
        matrix = np.eye(4)
        matrix[self.axis, self.along] = self.slope
        matrix[self.axis, 3] = self.offset
        return matrix


@dataclass(frozen=True, slots=True)
class Straightening:
    """The way of a leaning grid to an upright one that holds all of its voxels.

    Attributes:
        leans: The moves, in order.
        stack: The axis whose planes stay planes: index k along it is k before and after.
        grid: The upright grid.
    """

    leans: tuple[Lean, ...]
    stack: int
    grid: Geometry

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Voxel indices of the leaning grid to those of the upright one, 4×4."""
        return _product(self.leans)


def straightening(grid: Geometry) -> Straightening | None:
    """How a grid comes upright; None where its axes stand at right angles already.

    The coarsest axis is the stack, so that voxels move along the finest ones, where interpolation costs least; where
    spacings are equal, the order with the fewest moves is taken. It depends on the axes in space only: a permutation or
    flips of the array that keep the canonical axes have no influence.

    Raises:
        InputError: The axes are too far from right angles for a grid of slices.
    """
    if grid.is_orthogonal:
        return None
    _check_angles(grid)
    spacing = grid.spacing_mm
    coarsest = [axis for axis in range(3) if spacing[axis] >= (1 - SAME_SPACING) * max(spacing)]
    orders = [order for order in permutations(range(3)) if order[2] in coarsest]
    leans, stack = min(
        ((_leans(grid, order), order[2]) for order in orders), key=lambda found: (len(found[0]), -found[1])
    )
    if not leans:
        return None
    shape = list(grid.shape)
    for lean in leans:
        shape[lean.axis] = lean.length
    upright = Geometry((shape[0], shape[1], shape[2]), grid.affine @ np.linalg.inv(_product(leans)))
    return Straightening(leans, stack, upright)


def _leans(grid: Geometry, order: tuple[int, ...]) -> tuple[Lean, ...]:
    """The moves that make the axes orthogonal one after the other, in this order (A = Q·D·S)."""
    triangle = np.linalg.qr(grid.affine[:3, :3][:, list(order)], mode="r")
    shear = triangle / np.diag(triangle)[:, None]
    first, second, third = order
    moves = (
        (second, third, shear[1, 2]),
        (first, second, shear[0, 1]),
        # The second axis has moved already, so its part is taken off.
        (first, third, shear[0, 2] - shear[0, 1] * shear[1, 2]),
    )
    shape, leans = list(grid.shape), []
    for axis, along, slope in moves:
        reach = float(slope) * (shape[along] - 1)
        if abs(reach) < SEEN:
            continue
        lean = Lean(axis, along, float(slope), ceil(max(0.0, -reach)), shape[axis] + ceil(abs(reach)))
        shape[axis] = lean.length
        leans.append(lean)
    return tuple(leans)


def _product(leans: tuple[Lean, ...]) -> NDArray[np.float64]:
    matrix = np.eye(4)
    for lean in leans:
        matrix = lean.matrix @ matrix
    return matrix


def _check_angles(grid: Geometry) -> None:
    axes = grid.affine[:3, :3] / np.array(grid.spacing_mm)
    closest = np.abs(axes.T @ axes - np.eye(3)).max()
    # The three axes may lie near one plane though each pair stands well apart.
    flatness = min(1.0, abs(float(np.linalg.det(axes))))
    angle_deg = min(degrees(np.arccos(min(1.0, closest))), degrees(np.arcsin(flatness)))
    if angle_deg < SMALLEST_ANGLE_DEG:
        raise InputError(
            f"The axes of the grid stand at {angle_deg:.0f}° to each other; below {SMALLEST_ANGLE_DEG:.0f}° it is no "
            "tilted stack of slices. Resample the image to a grid at right angles first."
        )
