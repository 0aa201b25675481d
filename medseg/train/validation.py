"""Whole-volume validation: held-out cases through the real reader, the real predictor and the real metric.

On the way a few cases and their Dice suffice. At the end all are predicted and written, and `evaluate` judges the
folder of masks as `medseg evaluate` would: the same rows, the same means, the same files. A case that is to be ignored
as a whole judges nothing: it is predicted and left out of every mean. A case that cannot be read (any more) is a
warning on the way and a failed row at the end: no validation ends a training.
"""

import math
import shutil
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg import io
from medseg.core.errors import InputError, MedsegError
from medseg.core.events import CaseFailed, CaseRead, Event, Warned
from medseg.core.volume import LabelMap
from medseg.data.cases import read_case, read_label_map, with_meaning
from medseg.evaluate import EvaluateOptions, Evaluation, Pair
from medseg.evaluate.score import Facts, measure
from medseg.metrics import confusion
from medseg.predict.outputs import default_format
from medseg.predict.predictor import Predictor
from medseg.train.setup import Setup

__all__ = ["Validation", "seconds_a_case", "validate_all", "validate_some"]

SLOW_CASE_S = 5.0
"""A case that takes longer than this is tried once only."""

JUDGING = 1.3
"""Distances, writing and a margin, as a factor on reading, predicting and counting."""


@dataclass(frozen=True)
class Validation:
    """How good a model is on held-out cases.

    Attributes:
        dice: Mean over the labels of the mean over cases; a label that neither side has counts as found (1). None where
            no case has an annotated voxel.
        dice_by_label: The same for each label that can be judged.
        n_cases: Cases that the means are of.
        summary: `summary.json`, where all metrics were computed.
        n_failed: Cases that could not be predicted.
    """

    dice: float | None
    dice_by_label: Mapping[str, float]
    n_cases: int
    summary: Mapping[str, Any] = field(default_factory=dict)
    n_failed: int = 0


_BROKEN = (MedsegError, OSError, MemoryError)
"""What a single case may do to a validation: be unreadable, be gone, not fit into memory."""


def validate_some(predictor: Predictor, setup: Setup, ids: Sequence[str]) -> Generator[Event, None, Validation]:
    """Predict some held-out cases and take their Dice; nothing is written."""
    scores: list[dict[str, float]] = []
    n_failed = 0
    for done, case in enumerate(ids, start=1):
        try:
            predicted, reference = _predicted(predictor, setup, case)
            score = _dice(predicted, reference, setup)
            scores += [] if score is None else [score]
        except _BROKEN as error:
            n_failed += 1
            yield Warned(f"The case could not be validated on the way; training goes on. {_reason(error)}", case)
        yield CaseRead(case, done, len(ids), "validating")
    if not scores:
        return Validation(None, {}, 0, n_failed=n_failed)
    by_label = {name: _mean([score[name] for score in scores]) for name in setup.labels.names}
    return Validation(_mean(list(by_label.values())), by_label, len(scores), n_failed=n_failed)


def validate_all(
    predictor: Predictor, setup: Setup, ids: Sequence[str], folder: Path
) -> Generator[Event, None, Validation]:
    """Predict held-out cases, write their masks into `folder` and judge them with every default metric."""
    shutil.rmtree(folder, ignore_errors=True)
    options = EvaluateOptions(seed=setup.config.seed, read=setup.read)
    facts = []
    for done, case in enumerate(ids, start=1):
        group = setup.cases[case].group
        try:
            predicted, reference = _predicted(predictor, setup, case)
        except _BROKEN as error:
            facts.append(_unpredicted(setup, case, _reason(error), options))
            yield CaseFailed(case, _reason(error), done, len(ids))
            continue
        kind = default_format(predicted.meta.kind, predicted.geometry.shape)
        path = folder / f"{case}{io.suffix_for(kind)}"
        io.write(predicted, path)
        # Judged by what lies on the disk, one at a time: the voxels of the others need no memory.
        facts.append(measure(Pair(case, path, reference, group), setup.labels, options))
        yield CaseRead(case, done, len(ids), "validating")
    evaluation = Evaluation(tuple(facts), setup.labels, options)
    evaluation.write(folder)
    figures = {name: figures["dice"].everywhere.mean for name, figures in evaluation.summary.figures.items()}
    by_label = {name: mean for name, mean in figures.items() if mean is not None}
    judging = [each for each in facts if each.outcome != "no_reference"]
    n_judging = sum(any(each.annotates(name) for name in setup.labels.names) for each in judging)
    n_failed = sum(1 for each in facts if each.outcome != "compared")
    return Validation(evaluation.headline.get("dice"), by_label, n_judging, evaluation.to_json(), n_failed)


def seconds_a_case(predictor: Predictor, setup: Setup, ids: Sequence[str]) -> float:
    """What it takes to read, predict, judge and write a case, by trying the first that can be read; 0 if none can."""
    for case in ids:
        try:
            return _seconds(predictor, setup, case)
        except _BROKEN:
            continue  # a validation will name it
    return 0.0


def _seconds(predictor: Predictor, setup: Setup, case: str) -> float:
    """A first try pays for allocations, so there are two."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        _dice(*_predicted(predictor, setup, case), setup)
        seconds.append(time.perf_counter() - start)
        if seconds[0] > SLOW_CASE_S:
            break
    return JUDGING * min(seconds)


def _predicted(predictor: Predictor, setup: Setup, case: str) -> tuple[LabelMap, LabelMap]:
    """What the model says of a case, and its truth on the same grid."""
    volume, reference, _ = read_case(setup.cases[case], setup.labels, setup.read, setup.plan.channels)
    return predictor(volume).labels, reference


def _unpredicted(setup: Setup, case_id: str, reason: str, options: EvaluateOptions) -> Facts:
    """The facts of a case that could not be predicted: it counts as the worst, if its label map can be read."""
    case = setup.cases[case_id]
    try:
        if case.label is None:
            raise InputError(f"Case {case_id} has no label map.")
        label_map = read_label_map(case.label, setup.read.updated(case.read), case.images[0])
        label_map, _ = with_meaning(label_map, setup.labels, case_id)
    except _BROKEN:
        return Facts(Pair(case_id, None, None, case.group), "no_reference", reason)
    return measure(Pair(case_id, None, label_map, case.group), setup.labels, options).failed(reason)


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "The memory of this machine is not enough for it."
    return str(error)


def _dice(predicted: LabelMap, reference: LabelMap, setup: Setup) -> dict[str, float] | None:
    """Dice of each label; None where the reference is to be ignored as a whole."""
    counts = confusion(reference.array, predicted.array, ignore=setup.labels.ignore)
    if not counts.reference_counts:
        return None
    found = {name: counts.overlap(values).dice for name, values in setup.labels.values.items()}
    return {name: 1.0 if math.isnan(dice) else dice for name, dice in found.items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
