"""Hypothesis strategies for grids and label maps: every orientation, oblique, anisotropic, sheared if asked.

Shrinks towards small, axis-aligned RAS grids at the origin.
"""

from itertools import permutations, product

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from medseg.core.geometry import Geometry, Reorientation
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap

__all__ = [
    "ORIENTATIONS",
    "affines",
    "geometries",
    "label_arrays",
    "label_maps",
    "named_labels",
    "rotations",
    "shapes",
    "spacings_mm",
]

ORIENTATIONS = tuple(
    Reorientation((order[0], order[1], order[2]), (flips[0], flips[1], flips[2]))
    for order in permutations(range(3))
    for flips in product((False, True), repeat=3)
)
"""All 48 ways to lay array axes along the axes of the world."""


def spacings_mm(smallest=0.2, largest=6.0):
    """Three independent spacings in mm, so ratios of up to 30."""
    side = st.floats(smallest, largest, allow_nan=False).map(lambda x: round(x, 3))
    return st.tuples(side, side, side)


def shapes(smallest=1, largest=9):
    """Shapes (i, j, k); sides are independent, so single slices occur."""
    side = st.integers(smallest, largest)
    return st.tuples(side, side, side)


@st.composite
def rotations(draw, largest_deg=40.0):
    """A 3×3 rotation by up to `largest_deg` about each axis in turn; the identity is what it shrinks to."""
    matrix = np.eye(3)
    for axis in range(3):
        angle = np.deg2rad(draw(st.floats(-largest_deg, largest_deg, allow_nan=False).map(lambda x: round(x, 2))))
        a, b = (n for n in range(3) if n != axis)
        turn = np.eye(3)
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix = turn @ matrix
    return matrix


@st.composite
def affines(draw, oblique=True, sheared=False, smallest_mm=0.2, largest_mm=6.0):
    """A 4×4 affine: one of 48 orientations, turned (if `oblique`), anisotropic, moved, and sheared if asked."""
    spacing = draw(spacings_mm(smallest_mm, largest_mm))
    orientation = draw(st.sampled_from(ORIENTATIONS))
    axes = np.eye(3)[:, list(orientation.order)] * np.where(orientation.flips, -1.0, 1.0)
    if oblique:
        axes = draw(rotations()) @ axes
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array(spacing)
    if sheared:
        # A gantry tilt: the slice axis leans towards the second axis.
        affine[:3, 2] += draw(st.floats(0.05, 0.35).map(lambda x: round(x, 3))) * spacing[2] * axes[:, 1]
    origin = st.floats(-200, 200, allow_nan=False).map(lambda x: round(x, 2))
    affine[:3, 3] = draw(st.tuples(origin, origin, origin))
    return affine


@st.composite
def geometries(draw, smallest=1, largest=9, oblique=True, sheared=False, smallest_mm=0.2, largest_mm=6.0):
    """A grid of `smallest`…`largest` voxels a side with an affine of `affines`."""
    affine = draw(affines(oblique=oblique, sheared=sheared, smallest_mm=smallest_mm, largest_mm=largest_mm))
    return Geometry(draw(shapes(smallest, largest)), affine)


@st.composite
def label_arrays(draw, shape, values=(0, 1, 2, 5), dtype=np.uint8):
    """An integer array of `shape` whose voxels come from `values`."""
    chosen = draw(npst.arrays(np.intp, shape, elements=st.integers(0, len(values) - 1)))
    return np.array(values, dtype)[chosen]


@st.composite
def label_maps(draw, values=(0, 1, 2, 5), dtype=np.uint8, smallest=1, largest=9, oblique=True, sheared=False):
    """A label map without names on a grid of `geometries`."""
    grid = draw(geometries(smallest=smallest, largest=largest, oblique=oblique, sheared=sheared))
    return LabelMap(draw(label_arrays(grid.shape, values, dtype)), grid)


@st.composite
def named_labels(draw, largest_value=300, regions=True):
    """Labels with gaps between their values, perhaps regions, perhaps an ignore value."""
    values = draw(st.lists(st.integers(1, largest_value), min_size=1, max_size=6, unique=True))
    named = {f"label {value}": (value,) for value in values}
    if regions and len(values) > 1 and draw(st.booleans()):
        named["all of it"] = tuple(values)
    ignore = draw(st.none() | st.integers(1, largest_value).filter(lambda v: v not in values))
    return Labels(named, ignore)
