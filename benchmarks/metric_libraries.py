"""The distance metrics of medseg and of other libraries, each called as its users call it, behind one signature.

`LIBRARIES` maps a name to `measure(reference, predicted, spacing) -> {"hd": …, "hd95": …, "assd": …, "nsd1": …}`: bool
arrays (i, j, k) of one label and mm along their axes in, mm out; what a library does not offer is absent. A library
that is not installed is left out of `installed()`. MedPy is GPL-3: it is measured where the user has it, never shipped.
"""

import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]
Measure = Callable[[Mask, Mask, Spacing], dict[str, float]]

TOLERANCE_MM = 1.0


def medseg(reference: Mask, predicted: Mask, spacing: Spacing) -> dict[str, float]:
    from medseg.metrics import surfaces

    found = surfaces(predicted, reference, spacing)
    return {
        "hd": found.hd_mm,
        "hd95": found.hd95_mm(),
        "assd": found.assd_mm,
        "nsd1": found.nsd(TOLERANCE_MM),
    }


def surface_distance(reference: Mask, predicted: Mask, spacing: Spacing) -> dict[str, float]:
    import surface_distance as deepmind

    found = deepmind.compute_surface_distances(reference, predicted, spacing)
    areas = {side: found[f"surfel_areas_{side}"] for side in ("gt", "pred")}
    sums = found["distances_gt_to_pred"] @ areas["gt"] + found["distances_pred_to_gt"] @ areas["pred"]
    return {
        "hd": deepmind.compute_robust_hausdorff(found, 100),
        "hd95": deepmind.compute_robust_hausdorff(found, 95),
        # It returns the two directed means; weighed by area they are the ASSD.
        "assd": sums / (areas["gt"].sum() + areas["pred"].sum()),
        "nsd1": deepmind.compute_surface_dice_at_tolerance(found, TOLERANCE_MM),
    }


def monai(reference: Mask, predicted: Mask, spacing: Spacing) -> dict[str, float]:
    import torch
    from monai import metrics

    pair = [torch.as_tensor(mask)[None, None] for mask in (predicted, reference)]
    how: dict[str, Any] = {"include_background": True, "spacing": list(spacing)}
    return {
        "hd": float(metrics.compute_hausdorff_distance(*pair, **how)),
        "hd95": float(metrics.compute_hausdorff_distance(*pair, percentile=95, **how)),
        "assd": float(metrics.compute_average_surface_distance(*pair, symmetric=True, **how)),
        "nsd1": float(metrics.compute_surface_dice(*pair, class_thresholds=[TOLERANCE_MM], **how)),
    }


def meshmetrics(reference: Mask, predicted: Mask, spacing: Spacing) -> dict[str, float]:
    from meshmetrics import DistanceMetrics

    found = DistanceMetrics(verbose=False)
    found.set_input(reference, predicted, spacing=spacing)
    return {"hd": found.hd(100), "hd95": found.hd(95), "assd": found.assd(), "nsd1": found.nsd(TOLERANCE_MM)}


def medpy(reference: Mask, predicted: Mask, spacing: Spacing) -> dict[str, float]:
    from medpy.metric import binary

    return {
        "hd": binary.hd(predicted, reference, voxelspacing=spacing),
        "hd95": binary.hd95(predicted, reference, voxelspacing=spacing),
        "assd": binary.assd(predicted, reference, voxelspacing=spacing),
    }


def seg_metrics(reference: Mask, predicted: Mask, spacing: Spacing) -> dict[str, float]:
    from seg_metrics.seg_metrics import write_metrics

    found = write_metrics(
        labels=[1],
        gdth_img=reference.astype(np.uint8),
        pred_img=predicted.astype(np.uint8),
        spacing=spacing,
        metrics=["hd", "hd95", "msd"],
        verbose=False,
    )
    row = found[0] if isinstance(found, list) else found
    return {"hd": float(row["hd"][0]), "hd95": float(row["hd95"][0]), "assd": float(row["msd"][0])}


def panoptica(reference: Mask, predicted: Mask, spacing: Spacing) -> dict[str, float]:
    from panoptica import metrics

    masks, how = (reference.astype(np.uint8), predicted.astype(np.uint8)), {"voxelspacing": spacing}
    return {
        "hd": float(metrics._compute_hausdorff_distance(*masks, **how)),
        "hd95": float(metrics._compute_hausdorff_distance95(*masks, **how)),
        "assd": float(metrics._average_symmetric_surface_distance(*masks, **how)),
        "nsd1": float(metrics._compute_normalized_surface_dice(*masks, threshold=TOLERANCE_MM, **how)),
    }


def simpleitk(reference: Mask, predicted: Mask, spacing: Spacing) -> dict[str, float]:
    import SimpleITK as sitk  # noqa: N813  its users' name

    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (reference, predicted)]
    for image in images:
        image.SetSpacing(spacing[::-1])
    found = sitk.HausdorffDistanceImageFilter()
    found.Execute(*images)
    # Its "average Hausdorff distance" is over all voxels of the masks, no surface distance.
    return {"hd": found.GetHausdorffDistance()}


LIBRARIES: Mapping[str, tuple[str, Measure]] = {
    "medseg": ("medseg", medseg),
    "surface-distance": ("surface-distance", surface_distance),
    "MONAI": ("monai", monai),
    "MeshMetrics": ("pymeshmetrics", meshmetrics),
    "MedPy": ("MedPy", medpy),
    "seg-metrics": ("seg_metrics", seg_metrics),
    "panoptica": ("panoptica", panoptica),
    "SimpleITK": ("SimpleITK", simpleitk),
}
"""Name in tables → the distribution's name, and how it measures."""


def installed() -> dict[str, Measure]:
    """The libraries that are here, ready to be called; old ones get the names that numpy dropped."""
    warnings.filterwarnings("ignore")
    for name, value in (("Inf", np.inf), ("NaN", np.nan)):
        if not hasattr(np, name):
            setattr(np, name, value)
    return {name: measure for name, (package, measure) in LIBRARIES.items() if version_of(package)}


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cropped(measure: Measure) -> Measure:
    """The same on the box of both masks, one voxel of border around, as a careful caller does."""

    def inside(reference: Mask, predicted: Mask, spacing: Spacing) -> dict[str, float]:
        places = [np.flatnonzero((reference | predicted).any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        box = tuple(slice(max(0, each[0] - 1), each[-1] + 2) for each in places)
        return measure(reference[box], predicted[box], spacing)

    return inside
