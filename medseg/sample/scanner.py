"""The scanner: where its grid lies around the phantom, and what it does to true intensities.

Grids come in any of the 48 axis orders and directions, straight or oblique, with their own spacing; the picture is
blurred, gets the grainy noise of reconstructed CT, and is stored as whole HU. Arrays are (i, j, k); lengths are mm.
"""

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from medseg.core.geometry import Geometry, Reorientation
from medseg.sample.implicit import Field

__all__ = ["AXES", "HU_STEP", "Scanner", "rotation", "texture"]

HU_STEP = 5
"""Stored intensities are multiples of this many HU: a third of the noise, and files half as large."""

AXES = tuple(
    Reorientation((order[0], order[1], order[2]), (bool(flips[0]), bool(flips[1]), bool(flips[2])))
    for order in permutations(range(3))
    for flips in product((0, 1), repeat=3)
)
"""The 48 ways from an RAS grid to the axes of a file."""

_FIELD_OF_VIEW_MM = (164.0, 128.0, 146.0)
"""What a scan covers across (left-right), through (back-front) and along the body, before it varies by 4 %."""

_SIDE_RANGE = (48, 96)
"""Fewest and most voxels along an axis."""


@dataclass(frozen=True)
class Scanner:
    """One machine's settings for one scan."""

    geometry: Geometry
    noise_hu: float
    blur_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator, axes: Reorientation, tilt_deg: float, slice_mm: float) -> "Scanner":
        """A scanner whose files have these axes and slice distance, with a grid `tilt_deg` off the room's axes."""
        pixel_mm = round(float(rng.uniform(1.75, 2.3)), 3)
        spacing_mm = np.array((pixel_mm, pixel_mm, slice_mm))
        extent_mm = np.array(_FIELD_OF_VIEW_MM) * rng.uniform(0.96, 1.04, 3)
        i, j, k = (int(n) for n in np.clip(np.rint(extent_mm / spacing_mm), *_SIDE_RANGE))
        turn = rotation(rng.normal(size=3), tilt_deg)
        centre_mm = rng.uniform(-4, 4, 3)
        affine = np.eye(4)
        affine[:3, :3] = turn * spacing_mm
        affine[:3, 3] = centre_mm - affine[:3, :3] @ ((np.array((i, j, k)) - 1) / 2)
        geometry = Geometry((i, j, k), np.round(affine, 6)).reorient(axes)
        return cls(geometry, noise_hu=float(rng.uniform(14, 22)), blur_mm=float(rng.uniform(0.9, 1.4)))

    def scan(self, rng: np.random.Generator, true_hu: Field) -> NDArray[np.int16]:
        """What the scanner stores of true intensities on its own grid: blurred, noisy, whole HU, clipped as CT is."""
        spacing = np.array(self.geometry.spacing_mm)
        seen = gaussian_filter(true_hu, self.blur_mm / spacing, mode="nearest")
        grain = self.noise_hu * texture(rng, seen.shape, spacing, 1.2)
        # Fewer photons are lost in air, so there is less noise around the patient than inside.
        seen += grain * np.interp(seen, (-1000, -200), (0.03, 1.0))
        stored: NDArray[np.int16] = (np.rint(np.clip(seen, -1020, 3070) / HU_STEP) * HU_STEP).astype(np.int16)
        return stored


def texture(rng: np.random.Generator, shape: tuple[int, ...], spacing_mm: Field, grain_mm: float) -> Field:
    """Normal noise of standard deviation 1 with grains of about `grain_mm`."""
    smooth: Field = gaussian_filter(rng.normal(size=shape), grain_mm / 2 / spacing_mm, mode="wrap")
    smooth /= smooth.std()
    return smooth


def rotation(axis: Field, angle_deg: float) -> Field:
    """The 3×3 rotation about `axis` (any length > 0), by Rodrigues' formula."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array(((0, -z, y), (z, 0, -x), (-y, x, 0)))
    angle = np.deg2rad(angle_deg)
    turn: Field = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return turn
