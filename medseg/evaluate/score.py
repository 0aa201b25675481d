"""One pair of label maps → what was measured (`Facts`) → rows of the table: a value, or a status that says why not.

`measure` is the boundary of a batch: whatever goes wrong with one case becomes its status and a sentence, never an
exception, so the other cases go on. It returns facts that are small and can be sent between processes; which labels
the table has may only be known when all references were seen (`rows_of`). The table of statuses is the contract's:

    reference ↓ / prediction →   has the label   has none       no file    unreadable, other grid, unknown value
    has the label                ok              missed         missing    failed
    annotated, has none          false_alarm     both_empty     missing    failed
    label not annotated          not_annotated   not_annotated  …          …
    no reference                 no_reference
"""

import os
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Literal, TypeVar

import numpy as np

from medseg import io
from medseg.core.errors import InputError, MedsegError, UsageError, is_shortage
from medseg.core.geometry import Geometry
from medseg.core.given import as_kept
from medseg.core.labels import Labels, folded
from medseg.core.volume import LabelMap
from medseg.data.checks import MENDED_VOXELS, count_values, offset_of, refuse_images, turn_onto
from medseg.evaluate.catalogue import Metric
from medseg.evaluate.engine import Curve, Engine, Probabilities
from medseg.evaluate.meaning import Meant, agreed, read_prediction, read_reference
from medseg.evaluate.options import EvaluateOptions
from medseg.evaluate.pairs import Pair, Source, files_of
from medseg.evaluate.readers import agreement, consensus, in_one_numbering
from medseg.io.chosen import NOT_ASKED_FOR
from medseg.metrics import Confusion, Overlap, confusion

__all__ = [
    "STATUSES",
    "Facts",
    "Row",
    "Status",
    "counted_as",
    "measure",
    "overlap_values",
    "read_again",
    "rows_of",
    "unknown_values",
]

Status = Literal["ok", "both_empty", "missed", "false_alarm", "not_annotated", "missing", "failed", "no_reference"]
STATUSES: tuple[Status, ...] = (
    "ok",
    "both_empty",
    "missed",
    "false_alarm",
    "not_annotated",
    "missing",
    "failed",
    "no_reference",
)
"""All statuses of a (case, label), in the order of tables."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Row:
    """One cell of the long table.

    Attributes:
        case: The case id.
        label: Name of the label or region.
        metric: A name of the catalogue.
        value: The raw value; None where the metric is not defined for the pair.
        unit: The metric's.
        status: Why a value is there or not.
        counted: What the row counts as in the mean over *all*; None: in no mean.
        group: What the case belongs to.
    """

    case: str
    label: str
    metric: str
    value: float | None
    unit: str
    status: Status
    counted: float | None
    group: str


@dataclass(frozen=True)
class Facts:
    """What was measured of one case.

    Attributes:
        pair: The case.
        outcome: "compared"; "missing" (no prediction), "failed" (a prediction that cannot be judged), or
            "no_reference" (nothing to judge by).
        reason: What is wrong, in a sentence; empty for "compared".
        defect: The traceback, if what went wrong is a defect of medseg.
        grid: The reference's grid; None where there is no reference.
        placed: Whether the reference says where its grid lies in space.
        reference_counts: Voxels of each value of the reference, ignored ones left out.
        confusion: The counts of pairs of values; None but for "compared".
        figures: By label: the metrics that need more than counts, where they are defined.
        curves: By label: the reliability curve, where probabilities were saved.
        nsd_curves: By label: NSD at each of `engine.NSD_TOLERANCES_MM`, where it was measured.
        agreement: By pair of readers (the prediction is "prediction"): Dice of each label.
        labels: What the values of this case mean, where its files call structures by name and nothing is declared.
        annotated: Names (folded) that the reference's file has; None: it says nothing of it.
        notes: What the user should know: one sentence each.
    """

    pair: Pair
    outcome: Literal["compared", "missing", "failed", "no_reference"]
    reason: str = ""
    defect: str = ""
    grid: Geometry | None = None
    placed: bool = True
    reference_counts: Mapping[int, int] = field(default_factory=dict)
    confusion: Confusion | None = None
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    nsd_curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    agreement: Mapping[tuple[str, str], Mapping[str, float]] = field(default_factory=dict)
    labels: Labels | None = None
    annotated: frozenset[str] | None = None
    notes: tuple[str, ...] = ()

    def own_name(self, name: str) -> str:
        """What the files of this case call a label: the same, but for case and blanks."""
        own = () if self.labels is None else self.labels.names
        return next((each for each in own if folded(each) == folded(name)), name)

    def values_of(self, name: str, labels: Labels) -> tuple[int, ...]:
        """The values of a label in this case."""
        return labels.values[name] if self.labels is None else self.labels.values.get(self.own_name(name), ())

    def annotates(self, name: str) -> bool:
        """Whether the reference can judge a label: of a map that is to be ignored as a whole, none."""
        if self.outcome != "no_reference" and not self.reference_counts:
            return False
        if self.pair.annotated is not None and name not in self.pair.annotated:
            return False
        return self.annotated is None or folded(name) in self.annotated

    def failed(self, reason: str) -> "Facts":
        """These facts with a prediction that turned out not to be judgeable."""
        return replace(self, outcome="failed", reason=reason, confusion=None, figures={})


def measure(pair: Pair, labels: Labels | None, options: EvaluateOptions) -> Facts:
    """Compare one case. Whatever goes wrong is in the facts.

    Args:
        pair: The case.
        labels: What is declared; None: each value is a label of its own.
        options: What to measure.
    """
    if pair.reference is None:
        return Facts(pair, "no_reference", "There is no reference for this prediction.")
    source, prediction = pair.reference, pair.predicted
    truth = _attempt(lambda: _truth(source, pair, labels, options), pair)
    if isinstance(truth, _Failure):
        return Facts(pair, "no_reference", f"The reference cannot be used. {truth.reason}", truth.defect)
    raw, alone = truth.map, truth.alone
    facts = Facts(
        pair,
        "missing",
        "There is no prediction for this case.",
        grid=raw.geometry,
        placed=raw.meta.placed,
        labels=alone.labels,
        annotated=alone.annotated,
        notes=truth.notes,
    )
    if prediction is None:
        counts = _counts(alone.reference, labels or alone.labels)
        return replace(facts, reference_counts=counts, agreement=_agreement(truth.readers, labels))

    def compare() -> Facts:
        predicted = read_prediction(prediction, raw, options.read, _wanted(labels, options))
        refuse_images(predicted, labels, "The prediction")
        agreed_on = _agreement({**truth.readers, "prediction": predicted} if truth.readers else {}, labels)
        return _compare(replace(facts, agreement=agreed_on), raw, predicted, labels, options)

    compared = _attempt(compare, pair)
    if isinstance(compared, _Failure):
        counts = _counts(alone.reference, labels or alone.labels)
        return replace(facts, reference_counts=counts, defect=compared.defect).failed(compared.reason)
    return compared


def read_again(facts: Facts, labels: Labels, options: EvaluateOptions) -> Meant:
    """Both sides of a case that was compared, in the numbering of its facts, to look at what the numbers say.

    Raises:
        InputError: A file cannot be read any more.
        UsageError: A side of the case is missing.
    """
    pair = facts.pair
    if pair.reference is None or pair.predicted is None:
        raise UsageError(f"The case {pair.case} has not both sides; there is nothing to compare.")
    # What files call by name is in their own numbering, unless labels were declared.
    declared = labels if facts.labels is None else None
    raw = _truth(pair.reference, pair, declared, options).map
    predicted = read_prediction(pair.predicted, raw, options.read, _wanted(declared, options))
    return agreed(raw, predicted, (raw if pair.readers else pair.reference, pair.predicted), declared)


@dataclass(frozen=True, eq=False)
class _Truth:
    """What a case is judged by.

    Attributes:
        map: As it was read, or what the readers agree on.
        alone: What it means where there is nothing beside it.
        readers: The single readers' maps in one numbering; empty where there is one.
        notes: What was noticed.
    """

    map: LabelMap
    alone: Meant
    readers: Mapping[str, LabelMap]
    notes: tuple[str, ...] = ()


def _truth(source: Source, pair: Pair, labels: Labels | None, options: EvaluateOptions) -> _Truth:
    """The reference of a case; of several readers, what they agree on.

    Raises:
        InputError: A map cannot be read, or the readers' do not belong together.
    """
    wanted = _wanted(labels, options)
    found = read_reference(source, pair.predicted, options.read, wanted)
    aside = tuple(note for note in found.meta.warnings if note.startswith(NOT_ASKED_FOR) and wanted is None)
    refuse_images(found, labels, "It")
    if not pair.readers:
        return _Truth(found, agreed(found, None, (pair.reference, None), labels), {}, aside)
    others = {name: read_reference(each, pair.predicted, options.read, wanted) for name, each in pair.readers.items()}
    for name, other in others.items():
        refuse_images(other, labels, f"The map of the reader {name}")
    readers = in_one_numbering({"reference": found, **others})
    found, notes = consensus(readers, options.consensus)
    return _Truth(found, agreed(found, None, (found, None), labels), readers, aside + notes)


def _wanted(labels: Labels | None, options: EvaluateOptions) -> tuple[str, ...] | None:
    """The names that are asked for, where files call structures by name; None: all."""
    return labels.names if labels is not None else options.labels or None


def _agreement(maps: Mapping[str, LabelMap], labels: Labels | None) -> dict[tuple[str, str], dict[str, float]]:
    """Dice of every pair of readers, where they share a numbering with the prediction."""
    own = [each.labels for each in maps.values()]
    if len(maps) < 2 or (labels is None and any(each != own[0] for each in own)):
        return {}
    named = labels or own[0]
    if named is None:
        named = Labels.from_values(int(v) for each in maps.values() for v in np.unique(each.array) if v)
    return agreement(maps, named)


def unknown_values(facts: Facts, known: Collection[int]) -> dict[int, int]:
    """The predicted values that nothing declares and no reference has, with their numbers of voxels.

    Where structures have names, values mean nothing: a structure that no reference names is one that nobody judges.
    """
    if facts.confusion is None or facts.labels is not None:
        return {}
    return {v: n for v, n in facts.confusion.predicted_counts.items() if v != 0 and v not in known}


def rows_of(facts: Facts, labels: Labels, options: EvaluateOptions) -> list[Row]:
    """The rows of one case: every label by every metric."""
    rows: list[Row] = []
    for name in options.select(labels):
        status, values = _judge(facts, name, facts.values_of(name, labels))
        for metric in options.measured:
            value = values.get(metric.name, _where_empty(metric, status))
            value = None if value is None or not isfinite(value) else float(value)
            counted = counted_as(metric, status, value, facts.grid)
            rows.append(Row(facts.pair.case, name, metric.name, value, metric.unit, status, counted, facts.pair.group))
    return rows


def _judge(facts: Facts, name: str, numbers: Collection[int]) -> tuple[Status, dict[str, float]]:
    """The status of a label in a case, and all values that are defined (undefined ones absent or NaN)."""
    if facts.outcome == "no_reference" or facts.grid is None:
        return "no_reference", {}
    if not facts.annotates(name):
        return "not_annotated", {}
    voxel_ml = facts.grid.voxel_volume_ml
    if facts.confusion is None:
        in_reference = sum(facts.reference_counts.get(number, 0) for number in numbers)
        return ("missing" if facts.outcome == "missing" else "failed"), {"reference_ml": in_reference * voxel_ml}
    overlap = facts.confusion.overlap(numbers)
    values = overlap_values(overlap, voxel_ml)
    values |= facts.figures.get(facts.own_name(name), {})
    if overlap.n_reference and overlap.n_predicted:
        return "ok", values
    if not overlap.n_reference and not overlap.n_predicted:
        return "both_empty", values
    return ("missed" if overlap.n_reference else "false_alarm"), values


def _where_empty(metric: Metric, status: Status) -> float | None:
    """The raw value of a metric that could not be measured because a side lacks the label, if it has one."""
    if status == "both_empty":
        return metric.neither
    return metric.one_empty if status in ("missed", "false_alarm") else None


def counted_as(metric: Metric, status: Status, value: float | None, grid: Geometry | None) -> float | None:
    """What a row counts as in the mean over all cases: its value where it has one, else the contract's."""
    if status in ("no_reference", "not_annotated"):
        return None
    if value is not None:
        return value
    if status == "both_empty":
        return metric.perfect
    if status == "ok" or metric.worst is None:
        return None
    if metric.worst == "diagonal":
        return None if grid is None else grid.diagonal_mm
    return metric.worst


def overlap_values(overlap: Overlap, voxel_ml: float) -> dict[str, float]:
    """The metrics that follow from the counts alone; NaN where a formula is 0/0."""
    return {
        "dice": overlap.dice,
        "iou": overlap.iou,
        "precision": overlap.precision,
        "recall": overlap.recall,
        "specificity": overlap.specificity,
        "reference_ml": overlap.n_reference * voxel_ml,
        "predicted_ml": overlap.n_predicted * voxel_ml,
        "volume_error_ml": overlap.volume_error_ml(voxel_ml),
        "absolute_volume_error_ml": abs(overlap.volume_error_ml(voxel_ml)),
        "volume_error_percent": overlap.volume_error_percent,
        "volume_similarity": overlap.volume_similarity,
    }


def _compare(
    facts: Facts, reference: LabelMap, predicted: LabelMap, labels: Labels | None, options: EvaluateOptions
) -> Facts:
    """The facts of a case that can be compared.

    Raises:
        InputError: The grids differ, names and values cannot be matched, or the prediction holds the value to ignore.
    """
    predicted, mended = _on_grid_of(reference, predicted)
    facts = replace(facts, notes=facts.notes + mended)
    # A consensus is a map in memory: no file says what its values mean.
    source = reference if facts.pair.readers else facts.pair.reference
    meant = agreed(reference, predicted, (source, facts.pair.predicted), labels)
    reference, predicted = meant.reference, meant.predicted or predicted
    declared = labels or meant.labels
    ignore = None if declared is None else declared.ignore
    counted = confusion(reference.array, predicted.array, ignore=ignore)
    if ignore is not None and ignore in counted.predicted_counts:
        raise InputError(
            f"The prediction holds the value {ignore} ({counted.predicted_counts[ignore]} voxels), which means "
            "'ignore' and may stand in references only."
        )
    figures: dict[str, dict[str, float]] = {}
    engine: Engine | None = None
    notes = facts.notes + _undeclared(counted.reference_counts, declared)
    beyond = [metric for metric in options.measured if metric.needs != "counts"]
    if beyond:
        present = counted.reference_counts.keys() | counted.predicted_counts.keys()
        named = declared or Labels.from_values(present)
        said, doubts = _probabilities(facts, beyond, declared)
        notes += doubts
        engine = Engine(reference, predicted, beyond, ignore, options.connectivity, said)
        facts = replace(
            facts, labels=meant.labels, annotated=meant.annotated, reference_counts=counted.reference_counts
        )
        for name in _to_measure(facts, named, labels, options):
            figures[name] = engine.figures(name, named.values[name], options.tolerance_of(name))
        if engine.n_dropped:
            notes += (f"{engine.n_dropped} boundary elements touch voxels to ignore and were left out.",)
    return replace(
        facts,
        outcome="compared",
        reason="",
        reference_counts=counted.reference_counts,
        confusion=counted,
        figures=figures,
        curves={} if engine is None else engine.curves,
        nsd_curves={} if engine is None else engine.nsd_curves,
        labels=meant.labels,
        annotated=meant.annotated,
        notes=notes,
    )


def _probabilities(
    facts: Facts, metrics: Collection[Metric], labels: Labels | None
) -> tuple[Probabilities | None, tuple[str, ...]]:
    """The probabilities of the classes, where they were saved and are asked for; or why they cannot be used.

    Raises:
        InputError: The file is damaged, or lies on another grid.
    """
    path = facts.pair.probabilities
    if path is None or not any(metric.needs == "probabilities" for metric in metrics):
        return None, ()
    volume = io.read(path, io.ReadOptions(channels="last"))
    if facts.grid is None or volume.geometry.shape != facts.grid.shape:
        raise InputError(f"{path.name} lies on another grid than the reference. Predict again.")
    values = () if labels is None else labels.classes
    if len(values) != volume.n_channels:
        known = f"{len(values)} with background" if values else "not known"
        return None, (
            f"{path.name} holds {volume.n_channels} classes, the labels are {known}: which is which cannot be said, so "
            "calibration was left out. Declare the labels as the model has them.",
        )
    return Probabilities(volume.array, values), ()


def _to_measure(facts: Facts, named: Labels, labels: Labels | None, options: EvaluateOptions) -> tuple[str, ...]:
    """The names whose boundaries count: those chosen, and of those the ones that the reference can judge."""
    if labels is not None:
        return tuple(name for name in options.select(labels) if facts.annotates(name))
    chosen = {folded(name) for name in options.labels}
    names = [name for name in named.names if not chosen or facts.labels is None or folded(name) in chosen]
    return tuple(name for name in names if facts.annotates(name))


def _counts(reference: LabelMap, labels: Labels | None) -> dict[int, int]:
    """Voxels of each value of a reference that has nothing to be compared with."""
    ignore = None if labels is None else labels.ignore
    return {value: n for value, n in count_values(reference.array).items() if value != ignore}


def _undeclared(counts: Mapping[int, int], labels: Labels | None) -> tuple[str, ...]:
    unknown = {} if labels is None else {v: n for v, n in counts.items() if v not in labels.classes}
    if not unknown:
        return ()
    listed = ", ".join(f"{value} ({count} voxels)" for value, count in list(unknown.items())[:5])
    return (f"The reference holds values that no label declares: {listed}. They count as background.",)


def _on_grid_of(reference: LabelMap, predicted: LabelMap) -> tuple[LabelMap, tuple[str, ...]]:
    """The prediction on the reference's grid, and what was mended: as training lays label maps on their images.

    Raises:
        InputError: Their shapes differ, or their corners lie more than half a voxel apart however it is turned.
    """
    grid, own = reference.geometry, predicted.geometry
    placed = predicted.meta.placed and reference.meta.placed
    if own.shape == grid.shape:
        if not placed or grid.same_as(own):
            return predicted, ()
        offset = offset_of(grid, own)
        if offset.voxels <= MENDED_VOXELS:
            note = (
                f"The prediction lies up to {offset.mm:.2g} mm ({offset.voxels:.2g} voxels) off the reference; taken "
                "as one grid."
            )
            return LabelMap(predicted.array, grid, predicted.labels, predicted.meta), (note,)
    turn = turn_onto(grid, own) if placed else None
    if turn is not None:
        note = f"The prediction runs along other axes ({own.orientation}) than the reference ({grid.orientation}); "
        turned = LabelMap(turn.apply(predicted.array), grid, predicted.labels, predicted.meta)
        return turned, (note + "it was turned.",)
    if own.shape != grid.shape:
        raise InputError(
            f"The prediction has {_by(own)} voxels, the reference {_by(grid)}. "
            "Resample the prediction to the reference's grid, or check that both are of one scan."
        )
    raise InputError(
        f"The prediction lies up to {grid.distance_mm(own):.3g} mm away from the reference (half a voxel and less is "
        "taken for one grid). Resample it to the reference's grid, or check that both are of one scan."
    )


@dataclass(frozen=True, slots=True)
class _Failure:
    """What went wrong: a sentence, and the traceback if it is a defect."""

    reason: str
    defect: str = ""


def _attempt(action: Callable[[], _Result], pair: Pair) -> "_Result | _Failure":
    """The result of an action, or why there is none."""
    try:
        return action()
    except MedsegError as error:
        if is_shortage(error.__cause__):
            raise  # the next case would fare no better
        return _Failure(_without_folder(str(error), pair))
    except MemoryError:
        return _Failure("The case does not fit into the memory of this machine. Use fewer --jobs, or crop the images.")
    except Exception as error:  # noqa: BLE001  the boundary of a batch: one case must not end the others
        reason = f"An error that medseg did not expect: {type(error).__name__}: {error}"
        return _Failure(as_kept(_without_folder(reason, pair), ()), traceback.format_exc())


def _by(grid: Geometry) -> str:
    return "×".join(str(n) for n in (grid.shape[:2] if grid.shape[2] == 1 else grid.shape))


def _without_folder(text: str, pair: Pair) -> str:
    """A sentence with file names in place of whole paths: results say nothing of where a machine keeps its files."""
    for source in (pair.predicted, pair.reference):
        for path in files_of(source):
            text = text.replace(f"{path.parent}{os.sep}", "")
    return text
