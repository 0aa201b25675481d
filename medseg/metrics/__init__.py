"""Arrays and spacing in, numbers out: overlap, distances between boundaries, statistics. numpy and scipy only.

The plain functions take a prediction and a reference as arrays; `Confusion`, `Boundary` and `SurfaceDistances` are
the values behind them, for whoever judges many labels of one pair. Undefined is NaN: no policy about empty masks hides
here.
"""

from medseg.metrics.boundary import (
    Boundary,
    DirectedDistances,
    SurfaceDistances,
    boundary_of,
    surface_distances,
)
from medseg.metrics.boxes import boxes_of
from medseg.metrics.measures import (
    assd,
    dice,
    hausdorff,
    hausdorff95,
    iou,
    masd,
    nsd,
    overlap,
    precision,
    recall,
    surfaces,
)
from medseg.metrics.overlap import Confusion, Overlap, confusion
from medseg.metrics.statistics import Description, describe

__all__ = [
    "Boundary",
    "Confusion",
    "Description",
    "DirectedDistances",
    "Overlap",
    "SurfaceDistances",
    "assd",
    "boundary_of",
    "boxes_of",
    "confusion",
    "describe",
    "dice",
    "hausdorff",
    "hausdorff95",
    "iou",
    "masd",
    "nsd",
    "overlap",
    "precision",
    "recall",
    "surface_distances",
    "surfaces",
]
