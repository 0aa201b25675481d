"""What the report says of its metrics, statuses and conventions: a sentence or two each.

The wording is that of docs/metrics.md, which has the sources. The module knows metrics by name and looks at no number.
"""

from collections.abc import Iterator, Mapping

from medseg.evaluate.catalogue import CALIBRATION, LESIONS, Metric, metric_of
from medseg.evaluate.evaluation import Evaluation
from medseg.evaluate.options import EvaluateOptions
from medseg.evaluate.score import Status
from medseg.metrics.calibration import DOMAIN_MM

__all__ = ["STATUS_MEANS", "conventions", "counts_as", "definition_of", "domain"]

STATUS_MEANS: Mapping[Status, str] = {
    "ok": "Both sides have the label.",
    "both_empty": "Neither side has it.",
    "missed": "The reference has it, the prediction does not.",
    "false_alarm": "The prediction has it, the reference does not.",
    "not_annotated": "The reference was not annotated with it; in no mean.",
    "missing": "There is no prediction.",
    "failed": "The prediction is unreadable, on another grid, or holds an unknown value.",
    "no_reference": "There is nothing to judge by; in no mean.",
}

_SENTENCES: Mapping[str, str] = {
    "dice": "2TP/(2TP+FP+FN), over voxels (Dice 1945, Zijdenbos 1994).",
    "iou": "TP/(TP+FP+FN), over voxels (Jaccard 1912).",
    "precision": "TP/(TP+FP), over voxels.",
    "recall": "TP/(TP+FN), over voxels.",
    "specificity": "TN/(TN+FP), over voxels; it grows with the field of view and ranks nothing.",
    "reference_ml": "Voxels of the reference × the volume of a voxel by the affine.",
    "predicted_ml": "Voxels of the prediction × the volume of a voxel by the affine.",
    "volume_error_ml": "V_P − V_R, predicted less true volume.",
    "absolute_volume_error_ml": "|V_P − V_R|.",
    "volume_error_percent": "100·(V_P − V_R)/V_R.",
    "volume_similarity": "1 − |V_P − V_R|/(V_P + V_R) (Taha & Hanbury 2015).",
    "boundary_iou": "IoU of what lies within the tolerance of each mask’s own boundary (Cheng 2021).",
    "cldice": "Harmonic mean of the share of each mask’s centre line that lies in the other, on an isotropic grid "
    "(Shit 2021).",
    "lesions_reference": "Lesions of the reference: connected components.",
    "lesions_predicted": "Lesions of the prediction.",
    "lesions_missed": "Lesions of the reference that share no voxel with the prediction.",
    "lesions_spurious": "Lesions of the prediction that share no voxel with the reference.",
    "lesion_recall": "Share of the reference’s lesions that are found (share a voxel with the prediction).",
    "lesion_precision": "Share of the predicted lesions that are right (share a voxel with the reference).",
    "lesion_f1": "Harmonic mean of lesion recall and lesion precision (Kuijf 2019).",
    "pq": "SQ·RQ; pairs of lesions with an IoU above ½ are matched (Kirillov 2019).",
    "sq": "Mean IoU of matched lesions.",
    "rq": "TP/(TP+FP/2+FN/2), over matched lesions.",
    "brier": "Mean of Σ(p − y)², 0 to 2, label against rest (Brier 1950).",
    "nll": "Mean of −ln p of what is true, p at least 1e-7, label against rest.",
    "ece": "15 equal bins of the label’s probability: mean distance between what was said and what was true, weighed "
    "by voxels (Guo 2017).",
}

_ELEMENTS = {
    "faces": "centres of the faces between voxels of the mask and others, weighed by area (medseg’s)",
    "surfels": "corners of voxels with the area of marching cubes (DeepMind’s)",
    "voxels": "voxels of the mask with a neighbour outside, all alike (MONAI’s, MedPy’s)",
}


def definition_of(metric: Metric) -> str:
    """What a metric is."""
    if metric.name in _SENTENCES:
        return _SENTENCES[metric.name]
    distance = metric.distance
    if metric.rule:
        what = "Dice" if distance is None else "HD95"
        return (
            f"{what} lesion by lesion as BraTS 2023 ({metric.rule.upper()}) does: reference lesions merged by "
            "dilation, small ones left out, missed and spurious ones 0 and 374 mm."
        )
    if distance is None:
        return f"{metric.title}."
    said = {
        "assd": "Weighted mean of the distances from all elements of both boundaries to the other (Heimann 2009).",
        "masd": "Mean of the two directed weighted mean distances (Metrics Reloaded 2024).",
        "nsd": "Share of both boundaries within the tolerance of the other (Nikolov 2018/2021).",
    }.get(distance.figure)
    if said is None:
        said = "The largest distance from an element of one boundary to the nearest of the other (Huttenlocher 1993)."
        if distance.q < 100:
            how = "of both sets as one" if distance.pooled else "the larger of the two directed ones"
            said = f"The {distance.q:g}th percentile of the distances between the boundaries: {how}, by weight."
    return said if distance.boundary == "faces" else f"{said} Elements: {_ELEMENTS[distance.boundary]}."


def counts_as(metric: Metric) -> str:
    """What a metric counts as in *all* where it has no value."""
    worst = (
        "the image’s diagonal" if metric.worst == "diagonal" else None if metric.worst is None else f"{metric.worst:g}"
    )
    if worst is None:
        return "left out"
    perfect = "left out" if metric.perfect is None else f"{metric.perfect:g}"
    return f"worst: {worst}; absent in both: {perfect}"


def domain() -> str:
    """Where calibration is looked at."""
    return f"within {DOMAIN_MM:g} mm of either mask, and the whole image where neither has the label"


def conventions(evaluation: Evaluation) -> Iterator[str]:
    """How the numbers of a report came about: one sentence each."""
    options = evaluation.options
    yield (
        "all: the mean over all cases; a miss, a false alarm and a missing or failed prediction count as the worst "
        "value, absent in both as a perfect one. found: the mean over cases in which both sides have the label."
    )
    yield "One number for a set is first the mean over the cases of a label, then over the labels."
    yield from _of_boundaries(options)
    if set(options.metrics) & set(LESIONS):
        yield f"A lesion is a connected component; a voxel has {options.connectivity} neighbours."
    if set(options.metrics) & set(CALIBRATION):
        yield f"Calibration is looked at {domain()}."
    n_groups = len({facts.pair.group for facts in evaluation.facts})
    of = f"{n_groups} groups (patients)" if n_groups < evaluation.n_cases else "cases"
    yield (
        f"Intervals are for the mean of all at {100 * options.level:g} %, over {of}: none below 6, Student’s t clipped "
        f"to the metric’s range below 20, BCa with 2,000 draws from 20 on; the seed is {options.seed}."
    )
    if any(facts.pair.readers for facts in evaluation.facts):
        yield f"The reference is what several readers agree on ({options.consensus})."


def _of_boundaries(options: EvaluateOptions) -> Iterator[str]:
    distances = [metric_of(name).distance for name in options.metrics]
    kinds = dict.fromkeys(each.boundary for each in distances if each is not None)
    for kind in kinds:
        yield (
            f"Distances are in mm through the affine, between boundary elements: {_ELEMENTS[kind]}. Outside of the "
            "image is background, so a mask at the border has a closed surface."
        )
    if any(each is not None and each.figure == "nsd" for each in distances) or "boundary_iou" in options.metrics:
        single = "".join(f", {name} {value:g} mm" for name, value in options.tolerances_mm.items())
        yield f"The tolerance is {options.tolerance_mm:g} mm{single}."
