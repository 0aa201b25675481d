"""The outline of a mask as closed contours that give back the very mask, however a reader fills them.

Contours run at the half level, midway between the centre of a pixel of the mask and that of its neighbour outside; so
no centre lies on one, and an even-odd test at the centres gives the mask without a difference. (Contours through the
centres of border pixels lose a tenth of an organ to such a reader.) Pixels that touch at a corner only are apart.
A hole is cut in by a keyhole: the outline walks to it and back on one line between the centres, which is how the
standard draws a hole with CLOSED_PLANAR contours, and what readers that unite contours need to keep it.

Coordinates are array indices (i, j); the mask is on the left hand of a contour in these axes. No world, no file.
"""

from bisect import bisect_left, insort

import numpy as np
from numpy.typing import NDArray

__all__ = ["contours_of"]

Loop = NDArray[np.int64]
"""Vertices (n, 2) of a closed contour in half pixels: 2·(i, j); the last is joined to the first."""

Vertex = tuple[int, int]


def contours_of(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Closed contours (n, 2) in index coordinates of a mask (i, j), one for each part of it, holes cut in by keyholes.

    >>> contours_of(np.ones((1, 1), bool))[0].tolist()
    [[0.0, -0.5], [0.5, 0.0], [0.0, 0.5], [-0.5, 0.0]]
    """
    loops = _loops(mask)
    holes = [loop for loop in loops if _doubled_area(loop) < 0]
    outlines = [loop for loop in loops if _doubled_area(loop) > 0]
    if holes:
        outlines = _with_keyholes(outlines, holes)
    return [_without_needless(loop) / 2 for loop in outlines]


def _loops(mask: NDArray[np.bool_]) -> list[Loop]:
    """Marching squares: all outlines, the mask on their left.

    A vertex is the middle of a grid edge between a pixel of the mask and one outside. Each has one way on: around the
    pixel of the mask that it belongs to, so each cell of four centres turns at most two corners.
    """
    padded = np.pad(mask, 1)
    # Index of a vertex: 2·(i, j) of the padded grid, flattened; one of the two is odd.
    n_columns = 2 * padded.shape[1]
    starts, ends = _edges(padded, n_columns)
    following = dict(zip(starts.tolist(), ends.tolist(), strict=True))
    loops = []
    while following:
        first, at = following.popitem()
        flat = [first]
        while at != first:
            flat.append(at)
            at = following.pop(at)
        pairs = np.array(flat)
        # Less the padding of one pixel, which is two halves.
        loops.append(np.column_stack([pairs // n_columns - 2, pairs % n_columns - 2]))
    return loops


def _edges(padded: NDArray[np.bool_], n_columns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and end of every directed piece of outline, as flat indices of vertices."""
    a, b = padded[:-1, :-1], padded[1:, :-1]
    d, c = padded[:-1, 1:], padded[1:, 1:]
    #   i →   a b     sides of a cell: ab, bc, cd, da, met in this order when walking around it.
    #   j ↓   d c     The piece around a corner of the mask goes from the side before it to the side behind it.
    corners = (a, b, c, d)
    sides = np.array([(1, 0), (2, 1), (1, 2), (0, 1)])  # ab, bc, cd, da in half pixels from the cell's origin
    starts, ends = [], []
    for corner in range(4):
        here, before, opposite, behind = (corners[(corner + step) % 4] for step in (0, 3, 2, 1))
        side_before, side_behind = sides[corner - 1], sides[corner]
        pieces = (
            (here & ~before & ~behind, side_behind, side_before),  # a corner alone (two of them: each its own)
            (~here & before & behind & opposite, side_before, side_behind),  # all but this corner
            (here & behind & ~before & ~opposite, sides[(corner + 1) % 4], side_before),  # two beside each other
        )
        for where, start, end in pieces:
            i, j = np.nonzero(where)
            starts.append((2 * i + start[0]) * n_columns + 2 * j + start[1])
            ends.append((2 * i + end[0]) * n_columns + 2 * j + end[1])
    return np.concatenate(starts), np.concatenate(ends)


def _doubled_area(loop: Loop) -> int:
    """Positive where the inside is on the left (i to the right, j down: seen so, clockwise)."""
    following = np.roll(loop, -1, axis=0)
    return int((loop[:, 0] * following[:, 1] - loop[:, 1] * following[:, 0]).sum())


def _with_keyholes(outlines: list[Loop], holes: list[Loop]) -> list[Loop]:
    """Each hole joined to what lies before it along i, on a line of odd j: midway between two columns of centres.

    The leftmost hole first: then what it meets is an outline, or a hole that has been joined to one already.
    """
    rings = [_with_crossings(loop) for loop in outlines]
    on_line: dict[int, list[int]] = {}
    attached: dict[Vertex, list[list[Vertex]]] = {}

    def remember(vertices: list[Vertex]) -> None:
        for i, j in vertices:
            if j % 2:
                insort(on_line.setdefault(j, []), i)

    remember([vertex for ring in rings for vertex in ring])
    for vertices in sorted(_from_the_left(_with_crossings(hole)) for hole in holes):
        i, j = vertices[0]
        joint = on_line[j][bisect_left(on_line[j], i) - 1]
        attached.setdefault((joint, j), []).append(vertices)
        remember(vertices)
    return [np.array(_walked(ring, attached)) for ring in rings]


def _walked(ring: list[Vertex], attached: dict[Vertex, list[list[Vertex]]]) -> list[Vertex]:
    """A contour that at each joint goes around what is attached there, and comes back to the joint."""
    way, ahead = [], [iter(ring)]
    while ahead:
        for vertex in ahead[-1]:
            way.append(vertex)
            if vertex in attached:
                ahead.append(iter([v for hole in attached.pop(vertex) for v in (*hole, hole[0], vertex)]))
                break
        else:
            ahead.pop()
    return way


def _with_crossings(loop: Loop) -> list[Vertex]:
    """The vertices of a contour, and the middles of pieces of length 1: all places where it crosses lines of odd j."""
    following = np.roll(loop, -1, axis=0)
    is_straight = (loop == following).any(axis=1)
    doubled = np.stack([loop, (loop + following) // 2], axis=1).reshape(-1, 2)
    kept = doubled[np.stack([np.ones(len(loop), bool), is_straight], axis=1).ravel()]
    return [(i, j) for i, j in kept.tolist()]


def _from_the_left(vertices: list[Vertex]) -> list[Vertex]:
    """The same contour from its leftmost place on a line of odd j."""
    start = min((n for n, (_, j) in enumerate(vertices) if j % 2), key=lambda n: vertices[n])
    return [*vertices[start:], *vertices[:start]]


def _without_needless(loop: Loop) -> Loop:
    """The same contour without vertices on the straight way between their neighbours."""
    to_here, on = loop - np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0) - loop
    kept: Loop = loop[to_here[:, 0] * on[:, 1] != to_here[:, 1] * on[:, 0]]
    return kept
