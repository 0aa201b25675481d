"""Which axes of an NRRD array are of space, which one holds channels, and where the grid lies; from the header alone.

An axis is of space by its direction (not `none`), else by its kind. One axis may hold something else: channels if its
kind says so, and what is to be asked for if not. The module reads no voxels.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry, Voxels, is_solid
from medseg.io.header_units import axis_units_mm, world_units_mm
from medseg.io.options import ReadOptions, channels_of_volumes
from medseg.io.text_headers import TextHeader

__all__ = ["Axes", "Placing", "axes_of", "grid_of"]

_OF_SPACE = frozenset({"domain", "space"})
_UNKNOWN = frozenset({"", "???", "none", "time"})
"""Kinds that do not say that an axis holds channels."""

_TO_RAS = {
    **dict.fromkeys(("ras", "right-anterior-superior", "rast", "right-anterior-superior-time"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("las", "left-anterior-superior", "last", "left-anterior-superior-time"), (-1.0, 1.0, 1.0)),
    **dict.fromkeys(("lps", "left-posterior-superior", "lpst", "left-posterior-superior-time"), (-1.0, -1.0, 1.0)),
}
"""Spaces that name patient axes: which of them are turned to come to RAS."""

_LPS = (-1.0, -1.0, 1.0)


@dataclass(frozen=True)
class Axes:
    """The roles of an array's axes.

    Attributes:
        space: The axes of space, two or three, in order.
        other: The axis that holds channels or volumes; None where there is none.
        n_channels: How many channels of it are asked for.
        volume: The one that is taken, None for all.
    """

    space: tuple[int, ...]
    other: int | None
    n_channels: int
    volume: int | None


@dataclass(frozen=True)
class Placing:
    """A grid in RAS mm, whether the file says so, and what there is to say about it."""

    grid: Geometry
    placed: bool
    warnings: tuple[str, ...]


def axes_of(header: TextHeader, path: Path, options: ReadOptions) -> Axes:
    """The roles of the axes.

    Raises:
        InputError: There are too many axes, or nothing says what one of them holds; then with the options that do.
    """
    sizes, directions, kinds = header.sizes, _directions(header, path), _kinds(header)
    others = [axis for axis in range(len(sizes)) if not _is_of_space(axis, directions, kinds)]
    if len(sizes) - len(others) == 4:
        others = [_asked_axis(path, sizes, options)]
    # An axis of one thing holds nothing to choose from.
    while len(others) > 1 and any(sizes[axis] == 1 for axis in others):
        others.remove(next(axis for axis in others if sizes[axis] == 1))
    space = tuple(a for a in range(len(sizes)) if a not in others and _is_of_space(a, directions, kinds))
    if len(others) > 1 or len(space) not in (2, 3):
        listed = " × ".join(map(str, sizes))
        raise InputError(f"{path} has the axes {listed}; medseg reads two or three of space and one of channels.")
    other = others[0] if others else None
    if other is None or sizes[other] == 1:
        return Axes(space, other, 1, None)
    if kinds[other] not in _UNKNOWN | _OF_SPACE or options.channels == "first":
        return Axes(space, other, sizes[other], None)
    return Axes(space, other, channels_of_volumes(sizes[other], path, options), options.volume)


def grid_of(header: TextHeader, axes: Axes, path: Path, options: ReadOptions) -> Placing:
    """Where the grid lies.

    Raises:
        InputError: The space names no patient axes, its vectors are damaged or lie in a plane, or its unit is unknown.
    """
    directions = _directions(header, path)
    vectors = [directions[axis] for axis in axes.space] if directions else []
    affine = np.eye(4)
    if vectors:
        signs, placed, warnings = _space(header, path, options)
        affine[:3] = _from_vectors(header, [v for v in vectors if v is not None], path)
    else:
        signs, placed, warnings = _LPS, False, _NO_SPACE
        affine[:3] = _from_spacings(header, axes.space, path)
    affine = np.diag([*signs, 1.0]) @ affine
    if not is_solid(affine):
        raise InputError(f"{path} has a damaged header: its axes do not span a space.")
    i, j, k = (*(header.sizes[axis] for axis in axes.space), 1)[:3]
    shape: Voxels = (i, j, k)
    return Placing(Geometry(shape, affine), placed, warnings)


_NO_SPACE = ("The file has no place in space (no NRRD space); its axes were taken along L, P and S.",)


def _kinds(header: TextHeader) -> tuple[str, ...]:
    """The kind of each axis, in lower case, "" where none is given."""
    kinds = re.findall(r'"[^"]*"|\S+', header.fields.get("kinds", ""))
    return (*(kind.strip('"').lower() for kind in kinds), *[""] * len(header.sizes))[: len(header.sizes)]


def _directions(header: TextHeader, path: Path) -> tuple[NDArray[np.float64] | None, ...]:
    """The first three numbers of each axis' direction, None for an axis without; empty where no directions are given.

    An axis whose direction is along a fourth one of the world (time) has none.
    """
    text = header.fields.get("space directions")
    if text is None:
        return ()
    words = re.findall(r"\([^)]*\)|[^\s()]+", text)
    if len(words) != len(header.sizes):
        raise InputError(f"{path} has a damaged header: {len(words)} space directions for {len(header.sizes)} axes.")
    return tuple(None if word.lower() == "none" else _in_space(_vector(word, path)) for word in words)


def _in_space(vector: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """A vector of two or three numbers as it is; of four, without the last, or None if that is all of it."""
    return None if vector.size > 3 and not vector[:3].any() else vector[:3]


def _vector(word: str, path: Path) -> NDArray[np.float64]:
    try:
        found = np.array([float(number) for number in word.strip("()").split(",")])
    except ValueError:
        found = np.empty(0)
    if not 2 <= found.size <= 4 or not np.isfinite(found).all():
        raise InputError(f"{path} has a damaged header: '{word[:80]}' is no vector of its space.")
    return found


def _is_of_space(axis: int, directions: Sequence[NDArray[np.float64] | None], kinds: Sequence[str]) -> bool:
    if kinds[axis] not in _UNKNOWN | _OF_SPACE:
        return False
    return directions[axis] is not None if directions else kinds[axis] != "time"


def _asked_axis(path: Path, sizes: Sequence[int], options: ReadOptions) -> int:
    """Which of four axes, all of them of space by the header, holds the channels or volumes.

    Raises:
        InputError: The options do not say it either.
    """
    if options.channels == "first":
        return 0
    if options.channels == "last" or options.volume is not None or sizes[3] == 1:
        return 3
    raise InputError(
        f"{path} has four axes ({' × '.join(map(str, sizes))}) and does not say which of them holds its channels or "
        "volumes; say --read channels=first or --read channels=last, or --read volume=0 to take the first along the "
        "last axis."
    )


def _space(header: TextHeader, path: Path, options: ReadOptions) -> tuple[tuple[float, ...], bool, tuple[str, ...]]:
    """Which axes of the world are turned to come to RAS, whether the file says where its grid lies, and warnings."""
    fields = header.fields
    name = fields.get("space", "").strip('"').lower()
    if name in _TO_RAS:
        return _TO_RAS[name], True, ()
    if "space" not in fields and "space dimension" not in fields:
        return _LPS, False, _NO_SPACE
    if fields.get("space dimension") == "2":
        return _LPS, False, ()
    if options.space == "auto":
        raise InputError(
            f"{path} does not say which patient axes its space uses "
            f"(space: {fields.get('space', 'no name')}); say --read space=lps or --read space=ras."
        )
    return _LPS if options.space == "lps" else (1.0, 1.0, 1.0), True, ()


def _from_vectors(header: TextHeader, vectors: Sequence[NDArray[np.float64]], path: Path) -> NDArray[np.float64]:
    """Rows of an affine, (3, 4), in mm of the file's own world."""
    affine = np.eye(4)[:3]
    units_mm = np.array((*world_units_mm(header, vectors[0].size, path), 1.0)[:3])
    for axis, vector in enumerate(vectors):
        affine[:, axis] = 0
        affine[: vector.size, axis] = vector
    if len(vectors) == 2 and vectors[0].size == 3:
        across = np.cross(affine[:, 0], affine[:, 1])
        affine[:, 2] = across / (np.linalg.norm(across) or 1.0)
    if "space origin" in header.fields:
        origin = _vector(header.fields["space origin"], path)[:3]
        affine[: origin.size, 3] = origin
    affine *= units_mm[:, None]
    return affine


def _from_spacings(header: TextHeader, axes: Sequence[int], path: Path) -> NDArray[np.float64]:
    """Rows of an affine, (3, 4), in mm, of `spacings` and `axis mins`: each axis along one of the world."""
    affine = np.eye(4)[:3]
    spacings, lowest = _numbers(header, "spacings", path), _numbers(header, "axis mins", path)
    centers = header.fields.get("centers", "").lower().split()
    for place, (axis, unit_mm) in enumerate(zip(axes, axis_units_mm(header, tuple(axes), path), strict=True)):
        spacing = spacings[axis] if np.isfinite(spacings[axis]) else 1.0
        affine[place, place] = spacing * unit_mm
        if np.isfinite(lowest[axis]):
            is_node = len(centers) > axis and centers[axis] == "node"
            affine[place, 3] = (lowest[axis] + (0.0 if is_node else abs(spacing) / 2)) * unit_mm
    return affine


def _numbers(header: TextHeader, key: str, path: Path) -> list[float]:
    """A number for each axis, NaN where none is given."""
    try:
        found = [float(word) for word in header.fields.get(key, "").split()]
    except ValueError:
        raise InputError(f"{path} has a damaged header: '{key}' is '{header.fields[key][:80]}'.") from None
    return (found + [np.nan] * len(header.sizes))[: len(header.sizes)]
