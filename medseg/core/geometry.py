"""Where voxels lie in space: a shape and an affine, and everything that moves voxels without losing their place.

Convention: array axes (i, j, k); the affine maps voxel *centres* (i, j, k) to world (x, y, z) in mm, RAS+ (x to the
patient's right, y to the front, z to the head), as NIfTI does. Two-dimensional images are volumes of one slice
(k = 1). A picture without a place in space has the identity affine: then a "mm" is a pixel. The module knows no files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg.core.errors import InputError

__all__ = ["Geometry", "Reorientation", "Voxels", "is_solid"]

Voxels = tuple[int, int, int]
"""A shape, an index or a box corner, in voxels along (i, j, k)."""

_FLAT = 1e-9
"""A voxel that fills less than this share of a box of its sides is flat: the affine cannot be inverted."""

_AXIS_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
"""What an array axis points to when it runs along the negative or positive world axis."""


@dataclass(frozen=True, slots=True)
class Reorientation:
    """A permutation of axes followed by flips: array axis `a` of the result is axis `order[a]` of the source.

    `flips[a]` says whether result axis `a` runs backwards. Lossless, and undone by `inverse`.
    """

    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @property
    def inverse(self) -> "Reorientation":
        order = tuple(self.order.index(axis) for axis in range(3))
        return Reorientation(
            (order[0], order[1], order[2]),
            (self.flips[order[0]], self.flips[order[1]], self.flips[order[2]]),
        )

    def apply(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """A view of `array`, whose last three axes are (i, j, k), in the new order."""
        lead = array.ndim - 3
        moved = array.transpose(*range(lead), *(lead + axis for axis in self.order))
        backwards = tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        return moved[(slice(None),) * lead + backwards]

    def source_of(self, voxel: Voxels, shape: Voxels) -> Voxels:
        """The index in the source of a voxel of the result, which has the shape `shape`.

        >>> Reorientation((1, 0, 2), (True, False, False)).source_of((0, 3, 7), (5, 4, 8))
        (3, 4, 7)
        """
        found = [0, 0, 0]
        for axis, source in enumerate(self.order):
            found[source] = shape[axis] - 1 - voxel[axis] if self.flips[axis] else voxel[axis]
        return found[0], found[1], found[2]


@dataclass(frozen=True, eq=False)
class Geometry:
    """A grid of voxels in space: `shape` in voxels (i, j, k) and a 4×4 float64 `affine` to world mm (RAS+).

    Frozen; the affine is a read-only copy. Equality is exact, `same_as` is what data need.

    Raises:
        InputError: A side is not a whole number ≥ 1, the affine is not finite or not invertible.
    """

    shape: Voxels
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        if len(shape) != 3 or min(shape) < 1:
            raise InputError(f"A grid needs three sides of at least one voxel; this one has the shape {shape}.")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise InputError("The affine of the grid is not a finite 4×4 matrix; its place in space is unknown.")
        if not is_solid(affine):
            raise InputError("The affine of the grid cannot be inverted (a voxel has no volume).")
        affine[3] = (0, 0, 0, 1)
        affine.flags.writeable = False
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def from_spacing(
        cls, shape: Sequence[int], spacing_mm: Sequence[float] = (1, 1, 1), origin_mm: Sequence[float] = (0, 0, 0)
    ) -> "Geometry":
        """An axis-aligned RAS grid."""
        affine = np.diag([*map(float, spacing_mm), 1.0])
        affine[:3, 3] = origin_mm
        return cls((shape[0], shape[1], shape[2]), affine)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Geometry):
            return NotImplemented
        return self.shape == other.shape and np.array_equal(self.affine, other.affine)

    def __hash__(self) -> int:
        return hash((self.shape, self.affine.tobytes()))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along each array axis: the column norms of the affine."""
        i, j, k = (float(n) for n in np.linalg.norm(self.affine[:3, :3], axis=0))
        return i, j, k

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of a voxel, right for sheared grids too."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    @property
    def diagonal_mm(self) -> float:
        """The longest of the four space diagonals of the whole grid (voxel edges included)."""
        edges = self.affine[:3, :3] * np.array(self.shape)
        return max(float(np.linalg.norm(edges @ (1, s, t))) for s, t in product((-1, 1), repeat=2))

    @property
    def is_orthogonal(self) -> bool:
        """Whether the axes stand at right angles (within 1e-4 of a cosine): no gantry tilt."""
        axes = self.affine[:3, :3] / np.array(self.spacing_mm)
        return bool(np.abs(axes.T @ axes - np.eye(3)).max() <= 1e-4)

    @property
    def to_canonical(self) -> Reorientation:
        """The permutation and flips that bring the axes closest to RAS+."""
        axes = self.affine[:3, :3] / np.array(self.spacing_mm)
        # The best of the 6 permutations, not a greedy choice: an oblique grid near 45° needs a one-to-one answer.
        order = max(_PERMUTATIONS, key=lambda p: sum(abs(axes[world, p[world]]) for world in range(3)))
        i, j, k = (bool(axes[world, order[world]] < 0) for world in range(3))
        return Reorientation(order, (i, j, k))

    @property
    def orientation(self) -> str:
        """Three letters, what each array axis points to, e.g. "RAS" or "LPI"."""
        reorientation = self.to_canonical
        letters = [""] * 3
        for world, axis in enumerate(reorientation.order):
            letters[axis] = _AXIS_LETTERS[world][0 if reorientation.flips[world] else 1]
        return "".join(letters)

    def to_world(self, voxels: ArrayLike) -> NDArray[np.float64]:
        """World mm of voxel indices: (…, 3) to (…, 3), float64."""
        return np.asarray(voxels, np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_voxel(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Fractional voxel indices of world points: (…, 3) to (…, 3), float64."""
        return (np.asarray(points_mm, np.float64) - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T

    @property
    def corners_mm(self) -> NDArray[np.float64]:
        """Centres of the eight corner voxels in world mm, (8, 3), C order of the corners."""
        return self.to_world(list(product(*((0, n - 1) for n in self.shape))))

    def crop(self, start: Sequence[int], stop: Sequence[int]) -> "Geometry":
        """The grid of `array[start:stop]`; a negative start or a stop beyond the shape pads instead."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_world(start)
        i, j, k = (b - a for a, b in zip(start, stop, strict=True))
        return Geometry((i, j, k), affine)

    def flip(self, axis: int) -> "Geometry":
        """The grid of `np.flip(array, axis)`."""
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, axis] * (self.shape[axis] - 1)
        affine[:3, axis] *= -1
        return Geometry(self.shape, affine)

    def permute(self, order: Sequence[int]) -> "Geometry":
        """The grid of `array.transpose(order)`."""
        affine = self.affine.copy()
        affine[:3, :3] = affine[:3, list(order)]
        i, j, k = (self.shape[axis] for axis in order)
        return Geometry((i, j, k), affine)

    def reorient(self, reorientation: Reorientation) -> "Geometry":
        """The grid of `reorientation.apply(array)`."""
        grid = self.permute(reorientation.order)
        for axis, flip in enumerate(reorientation.flips):
            grid = grid.flip(axis) if flip else grid
        return grid

    def resampled(self, spacing_mm: Sequence[float]) -> "Geometry":
        """A grid of (close to) this spacing over the same extent, edge to edge (the half-voxel rule).

        Each side has the nearest whole number of voxels; the spacing is then what fills the extent exactly.
        """
        new_shape = [
            max(1, round(n * old / new)) for n, old, new in zip(self.shape, self.spacing_mm, spacing_mm, strict=True)
        ]
        scale = np.array(self.shape) / np.array(new_shape)
        affine = self.affine.copy()
        affine[:3, :3] *= scale
        affine[:3, 3] = self.to_world((scale - 1) / 2)
        return Geometry((new_shape[0], new_shape[1], new_shape[2]), affine)

    def distance_mm(self, other: "Geometry") -> float:
        """The largest distance between corresponding corner voxels of two grids of one shape, in mm."""
        return float(np.linalg.norm(self.corners_mm - other.corners_mm, axis=1).max())

    def same_as(self, other: "Geometry", tolerance_mm: float | None = None) -> bool:
        """Whether two grids are one: equal shape, every corner within the tolerance.

        The default tolerance is max(0.01 mm, 1 % of the smallest spacing), but never above a tenth of a voxel where
        it is tiny (mice, microscopes): there 0.01 mm would be whole voxels.
        """
        if self.shape != other.shape:
            return False
        return self.distance_mm(other) <= (self.tolerance_mm if tolerance_mm is None else tolerance_mm)

    @property
    def tolerance_mm(self) -> float:
        """How far corners may lie apart for two grids to count as the same."""
        smallest = min(self.spacing_mm)
        return min(max(0.01, 0.01 * smallest), 0.1 * smallest)


_PERMUTATIONS: tuple[tuple[int, int, int], ...] = (
    (0, 1, 2),
    (0, 2, 1),
    (1, 0, 2),
    (1, 2, 0),
    (2, 0, 1),
    (2, 1, 0),
)


def is_solid(affine: NDArray[np.float64]) -> bool:
    """Whether an affine, (4, 4), can be inverted: its axes span a space.

    Judged by share, not by mm³: voxels of electron microscopy have sides of nanometres.
    """
    sides_mm = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(abs(np.linalg.det(affine[:3, :3])) > _FLAT * np.prod(sides_mm))
