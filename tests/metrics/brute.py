"""The definitions once more, slow and plain: loops over voxels, all distances, nothing shared with medseg."""

from itertools import product

import numpy as np


def boundary(mask, affine, ignored=None):
    """Face centres in mm and their areas of a mask (i, j, k); edges and lengths if there is one slice."""
    axes = (0, 1) if mask.shape[2] == 1 else (0, 1, 2)
    ignored = np.zeros(mask.shape, bool) if ignored is None else ignored
    sides = np.asarray(affine)[:3, :3]

    def at(array, voxel):
        return all(0 <= v < n for v, n in zip(voxel, array.shape, strict=True)) and bool(array[tuple(voxel)])

    points, weights = [], []
    for voxel in product(*(range(n) for n in mask.shape)):
        if not mask[voxel] or ignored[voxel]:
            continue
        for axis, step in product(axes, (-1, 1)):
            other = np.array(voxel)
            other[axis] += step
            if (at(mask, other) and not at(ignored, other)) or at(ignored, other):
                continue
            centre = np.array(voxel, float)
            centre[axis] += step / 2
            points.append(np.asarray(affine)[:3, :3] @ centre + np.asarray(affine)[:3, 3])
            a, b = (sides[:, n] for n in range(3) if n != axis)
            weights.append(np.linalg.norm(a) if len(axes) == 2 else np.linalg.norm(np.cross(a, b)))
    return np.array(points).reshape(-1, 3), np.array(weights)


def directed(of, to):
    return np.array([min((np.linalg.norm(p - q) for q in to), default=np.inf) for p in of])


def percentile(distances, weights, share):
    cumulated = 0.0
    for d, w in sorted(zip(distances, weights, strict=True)):
        cumulated += w
        if cumulated >= share * sum(weights) * (1 - 1e-9):
            return d
    return np.nan


def distances(reference, predicted, affine, tolerance_mm=1.0, ignored=None):
    """HD, HD95 (max and pooled), ASSD, MASD, NSD by their formulas; both masks must have a boundary."""
    (r, wr), (p, wp) = (boundary(mask, affine, ignored) for mask in (reference, predicted))
    dr, dp = directed(r, p), directed(p, r)
    total = wr.sum() + wp.sum()
    return {
        "hd": max(dr.max(), dp.max()),
        "hd95": max(percentile(dr, wr, 0.95), percentile(dp, wp, 0.95)),
        "pooled": percentile([*dr, *dp], [*wr, *wp], 0.95),
        "assd": ((dr * wr).sum() + (dp * wp).sum()) / total,
        "masd": ((dr * wr).sum() / wr.sum() + (dp * wp).sum() / wp.sum()) / 2,
        "nsd": (wr[dr <= tolerance_mm + 1e-6].sum() + wp[dp <= tolerance_mm + 1e-6].sum()) / total,
    }
