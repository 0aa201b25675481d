"""What is kept of a case once its voxels are forgotten: a few kilobytes from which all else follows.

Indices are voxels of the image's own grid (i, j, k), counted from 0 as viewers of arrays do; world coordinates are RAS+
mm. Nothing here holds a path, a name or a date of a file. Values only; reading and measuring are `reading`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medseg.core.geometry import Voxels
from medseg.data.fingerprint import CaseFacts
from medseg.inspect.findings import Finding

__all__ = ["CaseReport", "Gap", "Island", "Likeness", "Mark", "Role", "Slice"]

Role = Literal["labelled", "unlabelled", "test"]


@dataclass(frozen=True, slots=True)
class Island:
    """A small piece of a label apart from its largest one."""

    n_voxels: int
    voxel: Voxels
    distance_mm: float
    """From the island's nearest voxel to the largest piece's, centre to centre."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a label's shape says in one case.

    Attributes:
        n_voxels: Of the label.
        volume_ml: Of the label.
        centre_mm: World coordinates of its centre.
        n_pieces: Connected pieces (26 neighbours).
        largest_share: Share of its voxels that the largest piece has.
        n_islands: Pieces so small that they may be slips; counted only where the label is in the main one piece.
        islands: The smallest of them, the smallest first.
    """

    n_voxels: int
    volume_ml: float
    centre_mm: tuple[float, float, float]
    n_pieces: int
    largest_share: float
    n_islands: int = 0
    islands: tuple[Island, ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """A run of slices without labels that looks as if it should have some.

    Attributes:
        label: The label that is missing there; "" if no label is there at all.
        axis: The array axis that slices are counted along.
        first: Index of the first slice of the run.
        last: Index of the last.
        n_slices: How many slices the image has.
        end: Which way the labels stop, as a letter of orientation ("S": towards the head); None between labelled ones.
        continuity: How alike the last labelled slice and the first unlabelled one are around the label, as a share of
            how alike labelled neighbours are (1: just as much).
        area: Area of the label in its last slice over its median area: 1 is an abrupt end, near 0 a natural one.
    """

    label: str
    axis: int
    first: int
    last: int
    n_slices: int
    end: str | None
    continuity: float
    area: float


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """What tells whether two images are one: a digest of all voxels, and a thumbnail of local contrast, normed to 1.

    `thumbnail` is None for an image without contrast.
    """

    digest: str
    thumbnail: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """A slice to be shown: `grey` uint8 and `labels` (indices of `names` from 1, 0 is none), both (rows, columns).

    `aspect` is the height of a pixel over its width; `edges` are the letters at the left, right, upper and lower edge;
    `ring` is the pixel (row, column) to look at.
    """

    grey: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    names: tuple[str, ...]
    aspect: float
    title: str
    edges: tuple[str, str, str, str] = ("", "", "", "")
    ring: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CaseReport:
    """One case, read and summarised.

    Attributes:
        case: Its id.
        role: Whether it has a label map, has none, or is kept for testing.
        facts: What the fingerprint takes of it; None where it could not be read.
        usable: Whether training would take it.
        findings: What is wrong with it alone.
        dtype: Type of the image's numbers.
        label_dtype: Type of the label map's numbers as stored; "" where unknown.
        placed_by: What says where the grid lies: "sform", "qform", "header", or "nothing".
        likeness: Of its image.
        label_digest: Of its label map; "" without one.
        marks: By label name, what its shape says; a label without a voxel is not in it.
        gaps: Runs of slices that may lack labels.
        reach: Whether labels reach the first or last slice along the slice axis: letter of orientation → yes or no.
        ignored_share: Share of the label map's voxels that are to be ignored.
        blank_planes: For each channel, how many planes at the border of the grid have one value throughout.
        glance: The slice with most labels (the middle one without labels).
        close_ups: Kind of a finding → the slices that show it.
        trace: Traceback of a defect of medseg; "" otherwise.
    """

    case: str
    role: Role
    facts: CaseFacts | None = None
    usable: bool = False
    findings: tuple[Finding, ...] = ()
    dtype: str = ""
    label_dtype: str = ""
    placed_by: str = ""
    likeness: Likeness | None = None
    label_digest: str = ""
    marks: Mapping[str, Mark] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    reach: Mapping[str, bool] = field(default_factory=dict)
    ignored_share: float = 0.0
    blank_planes: tuple[int, ...] = ()
    glance: Slice | None = None
    close_ups: Mapping[str, tuple[Slice, ...]] = field(default_factory=dict)
    trace: str = ""
