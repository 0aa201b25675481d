"""The story of an evaluation: find the pairs, compare them (in parallel if asked), and conclude.

`run` is a generator of events whose last item is the `Evaluation`; `evaluate` listens to nobody and returns it. Cases
go to processes that are started afresh (spawn), a few at a time, and come back as small facts, so memory is that of the
pairs in work and not of the data set.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from medseg import io
from medseg.core.errors import AmbiguousError, MedsegError, UsageError
from medseg.core.events import CaseFailed, CaseScored, Event, Warned
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels, folded, union
from medseg.core.volume import LabelMap
from medseg.core.words import counted
from medseg.core.workers import side_by_side
from medseg.data.dataset import listed, natural_key
from medseg.data.leftovers import left_aside
from medseg.evaluate.catalogue import CALIBRATION, DEFAULT_METRICS
from medseg.evaluate.evaluation import Evaluation
from medseg.evaluate.options import EvaluateOptions
from medseg.evaluate.pairs import (
    Drawn,
    Pair,
    References,
    Source,
    find_label_maps,
    is_table,
    lossy_note,
    match,
    modality_predicted,
    references,
)
from medseg.evaluate.score import Facts, measure, unknown_values
from medseg.io.listing import kind_of_special

__all__ = ["Judged", "evaluate", "run", "run_beside", "run_pairs"]

Judged = str | Path | LabelMap | Mapping[str, str | Path | LabelMap]
"""What can be judged or judged by: a label map, a file, a folder, or label maps and files by case id."""

WORTH_A_PROCESS = 4
"""A process takes a second or two to start: fewer cases than this are compared sooner without it."""

MOST_OWN_VALUES = 32
"""More values than this in one reference alone are said. Not measured: a reference may have a few rare structures."""

_BYTES_A_VOXEL = 4
"""Reckoned for a pair: two maps of up to two bytes a voxel."""

_BYTES_A_PROCESS = 250 * 2**20
"""A fresh process with numpy and scipy, and what the boundaries of a case take beside its maps."""


def evaluate(
    predicted: Judged,
    reference: Judged,
    options: EvaluateOptions | None = None,
    labels: Labels | None = None,
    *,
    readers: Mapping[str, Judged] | None = None,
    group: str | None = None,
) -> Evaluation:
    """Judge predictions: the same numbers as the command.

    Args:
        predicted: A label map, a file, a folder of files, or a mapping of case ids.
        reference: The same; or the folder of a data set.
        options: What to measure.
        labels: The labels to judge by name; else those of the data set or of the references, else their values.
        readers: Further readers of the same cases, by name: a case is judged by what all of its readers agree on.
        group: What cases of one patient have in common: a column of the data set's table, or a pattern of ids.

    Raises:
        UsageError: A path does not exist, or an option is wrong.
        InputError: There is nothing to compare. What is wrong with a single case is a row and no exception.
        MachineError: No process could be started.
    """
    for item in run(predicted, reference, options, labels, readers=readers, group=group):
        if isinstance(item, Evaluation):
            return item
    raise AssertionError("an evaluation ends with its result")


def run(
    predicted: Judged,
    reference: Judged,
    options: EvaluateOptions | None = None,
    labels: Labels | None = None,
    *,
    readers: Mapping[str, Judged] | None = None,
    group: str | None = None,
) -> Iterator[Event | Evaluation]:
    """Like `evaluate`, as it goes on: `Warned`, `CaseScored` and `CaseFailed`, and at last the `Evaluation`."""
    options = options or EvaluateOptions()
    try:
        to_judge_by = _references(reference, options, group)
    except AmbiguousError:
        # An archive of CT and PET with labels on both: the predictions say which of them they are of.
        modality = modality_predicted(Path(predicted)) if isinstance(predicted, str | Path) else None
        if modality is None or options.read.modality is not None:
            raise
        options = replace(options, read=options.read.updated({"modality": modality}))
        to_judge_by = _references(reference, options, group)
    maps, judged_by = _predictions(predicted, to_judge_by), to_judge_by.maps
    sides = (*_left_aside(predicted, options), *_left_aside(reference, options))
    yield from map(Warned, dict.fromkeys(sides))
    if _is_single(predicted) and _is_single(reference):
        # Two files are a pair, whatever their names.
        maps = dict(zip(judged_by, maps.values(), strict=True))
    elif _is_single(predicted):
        judged_by = _of_one(judged_by, next(iter(maps)), "reference")
    elif _is_single(reference):
        maps = _of_one(maps, next(iter(judged_by)), "prediction")
    pairs = _with_readers(match(maps, judged_by, to_judge_by.groups, to_judge_by.scans), readers or {}, options)
    yield from run_pairs(pairs, options, labels or to_judge_by.labels)


def run_beside(evaluation: Evaluation, predicted: Judged) -> Iterator[Event | Evaluation]:
    """Judge other predictions by all that an evaluation was judged by: references, readers, groups, labels, options.

    Raises:
        UsageError: A path does not exist or holds no label map.
        InputError: Not a single prediction has the name of a case.
    """
    known = {facts.pair.case: facts.pair for facts in evaluation.facts if facts.pair.reference is not None}
    judged_by = {case: pair.reference for case, pair in known.items() if pair.reference is not None}
    maps = _predictions(predicted, References(judged_by))
    if _is_single(predicted) and len(known) == 1:
        maps = dict(zip(known, maps.values(), strict=True))
    elif _is_single(predicted):
        judged_by = _of_one(judged_by, next(iter(maps)), "reference")
    pairs = [replace(known.get(pair.case, pair), predicted=pair.predicted) for pair in match(maps, judged_by)]
    yield from run_pairs(pairs, evaluation.options, evaluation.labels)


def run_pairs(
    pairs: Sequence[Pair], options: EvaluateOptions | None = None, labels: Labels | None = None
) -> Iterator[Event | Evaluation]:
    """Judge pairs that are known (from a table, or from whoever made them).

    Raises:
        UsageError: There is no pair, or a label asked for is unknown.
        MachineError: No process could be started.
    """
    options = options or EvaluateOptions()
    if not pairs:
        raise UsageError("There is nothing to evaluate: no prediction and no reference.")
    if labels is not None:
        options.select(labels)
    if any(pair.probabilities is not None for pair in pairs) and set(DEFAULT_METRICS) <= set(options.metrics):
        options = replace(options, metrics=(*options.metrics, *CALIBRATION))
    warnings = [*_warn_of_pairs(pairs)]
    yield from map(Warned, warnings)

    measured: list[Facts] = []
    # A value that its own reference lacks may still be another's: such cases wait until all references were seen.
    waiting: list[Facts] = []
    declared = set() if labels is None else set(labels.classes)
    for facts in _measure_all(pairs, labels, options):
        if unknown_values(facts, declared | facts.reference_counts.keys()):
            waiting.append(facts)
            continue
        measured.append(facts)
        yield from _events(facts, len(measured), len(pairs))
    known = declared.union(*(facts.reference_counts for facts in (*measured, *waiting)))
    for facts in waiting:
        measured.append(_refuse_unknown(facts, known))
        yield from _events(measured[-1], len(measured), len(pairs))

    order = {pair.case: place for place, pair in enumerate(pairs)}
    measured.sort(key=lambda facts: order[facts.pair.case])
    if labels is None and any(facts.labels is not None for facts in measured):
        measured = [_refuse_nameless(facts) for facts in measured]
    labels = labels or _labels_of(measured)
    late = _warn_of_results(measured, labels, options)
    yield from map(Warned, late)
    yield Evaluation(tuple(measured), labels, options, (*warnings, *late))


def _with_readers(pairs: Sequence[Pair], readers: Mapping[str, Judged], options: EvaluateOptions) -> tuple[Pair, ...]:
    """The pairs with every reader who has the case; a single map of a reader is of the single pair."""
    for name, reader in readers.items():
        maps = _references(reader, options).maps
        if _is_single(reader) and len(pairs) == 1:
            maps = {pairs[0].case: next(iter(maps.values()))}
        if not any(pair.case in maps for pair in pairs):
            raise UsageError(f"The reader {name} has none of these cases; it has {listed(maps.keys(), 3)}.")
        pairs = [
            replace(pair, readers={**pair.readers, name: maps[pair.case]}) if pair.case in maps else pair
            for pair in pairs
        ]
    return tuple(pairs)


def _references(reference: Judged, options: EvaluateOptions, group: str | None = None) -> References:
    if isinstance(reference, LabelMap):
        return References({"case": reference}, reference.labels)
    if isinstance(reference, Mapping):
        maps = {case: _source(thing) for case, thing in reference.items()}
        named = [thing.labels for thing in maps.values() if isinstance(thing, LabelMap) and thing.labels is not None]
        return References(maps, named[0] if named else None)
    return references(_existing(Path(reference)), options.read, group)


def _predictions(predicted: Judged, to_judge_by: References) -> dict[str, Source]:
    if isinstance(predicted, LabelMap):
        return {"case": predicted}
    if isinstance(predicted, Mapping):
        return {case: _source(thing) for case, thing in predicted.items()}
    path = _existing(Path(predicted))
    if path.is_file():
        return {io.stem(path): path}
    found = find_label_maps(path)
    if not found:
        raise UsageError(
            f"{path} holds no label map. Predictions should lie in it as CASE.nii.gz (or another kind), for the cases "
            f"{listed(to_judge_by.maps.keys(), 3)}."
        )
    return dict(found)


def _left_aside(side: Judged, options: EvaluateOptions) -> tuple[str, ...]:
    """What a folder holds that is no label map, nor anything that is left aside without a word."""
    if isinstance(side, LabelMap | Mapping) or not Path(side).is_dir():
        return ()
    lossy = () if options.read.lossy == "threshold" else lossy_note(Path(side))
    return (*left_aside(Path(side)), *lossy)


def _is_single(side: Judged) -> bool:
    if isinstance(side, LabelMap | Mapping):
        return isinstance(side, LabelMap)
    return Path(side).is_file() and not is_table(Path(side))


def _of_one(maps: Mapping[str, Source], case: str, what: str) -> dict[str, Source]:
    """The one map that belongs to a case: a single file beside a folder says that only its case is meant.

    Raises:
        UsageError: The folder has none.
    """
    if case not in maps:
        raise UsageError(f"There is no {what} for the case '{case}'; there are {listed(maps.keys(), 3)}.")
    return {case: maps[case]}


def _source(thing: str | Path | LabelMap) -> Source:
    return Path(thing) if isinstance(thing, str) else thing


def _existing(path: Path) -> Path:
    if not path.exists():
        raise UsageError(f"{path} does not exist.")
    special = kind_of_special(path)
    if special is not None:
        raise UsageError(f"{path} is {special}; give a file or a folder.")
    return path


def _measure_all(pairs: Sequence[Pair], labels: Labels | None, options: EvaluateOptions) -> Iterator[Facts]:
    """The facts of all pairs, as they get ready."""
    n_processes = max(1, min(options.jobs, len(pairs) // WORTH_A_PROCESS, _processes_in_memory(pairs, options)))
    in_memory = any(isinstance(side, LabelMap) for pair in pairs for side in (pair.predicted, pair.reference))
    work = partial(measure, labels=labels, options=options)
    yield from side_by_side(work, pairs, 1 if in_memory else n_processes, partial(_lost, options=options))


def _lost(pair: Pair, reason: str, options: EvaluateOptions) -> Facts:
    """What is to be said of a case that cost its process its life; it counts as the worst, where its grid is known."""
    reason = f"{reason} Run again with fewer --jobs or a smaller --max-memory."
    grid = None if pair.reference is None else _grid(pair.reference, options)
    return Facts(pair, "failed" if grid else "no_reference", reason, grid=grid)


def _processes_in_memory(pairs: Sequence[Pair], options: EvaluateOptions) -> int:
    """How many pairs fit into the memory allowed at once, the largest of them; at least one."""
    if options.max_memory_bytes is None or options.jobs == 1:
        return options.jobs
    sizes = [_voxels(pair.reference, options) for pair in pairs if pair.reference is not None]
    return max(1, options.max_memory_bytes // (max(sizes, default=0) * _BYTES_A_VOXEL + _BYTES_A_PROCESS))


def _voxels(source: Source, options: EvaluateOptions) -> int:
    grid = _grid(source, options)
    # Without one it will end as a row of its own.
    return 0 if grid is None else grid.shape[0] * grid.shape[1] * grid.shape[2]


def _grid(source: Source, options: EvaluateOptions) -> Geometry | None:
    """The grid of a map, from its header alone; None where it cannot be read."""
    try:
        if isinstance(source, LabelMap):
            return source.geometry
        if isinstance(source, Drawn):
            return io.read_geometry(source.image, options.read.updated(source.read).of_channel(0))[0]
        return io.read_geometry(source, options.read)[0]
    except MedsegError:
        return None


def _events(facts: Facts, done: int, total: int) -> Iterator[Event]:
    for note in facts.notes:
        yield Warned(note, facts.pair.case)
    if facts.outcome == "compared":
        yield CaseScored(facts.pair.case, done, total)
    else:
        yield CaseFailed(facts.pair.case, facts.reason, done, total)


def _refuse_unknown(facts: Facts, known: set[int]) -> Facts:
    unknown = unknown_values(facts, known)
    if not unknown:
        return facts
    values = ", ".join(f"{value} ({count} voxels)" for value, count in list(unknown.items())[:5])
    return facts.failed(
        f"The prediction holds values that no label declares and no reference has: {values}. "
        "Declare them with --labels NAME=VALUE, or correct the prediction."
    )


def _refuse_nameless(facts: Facts) -> Facts:
    """Beside cases whose structures have names, values alone say nothing."""
    if facts.labels is not None:
        return facts
    if facts.outcome != "compared":
        return replace(facts, reference_counts={})
    return replace(facts, reference_counts={}).failed(
        "The files of this case have only values, while those of other cases call their structures by name. "
        "Say what the values mean with --labels NAME=VALUE."
    )


def _labels_of(measured: Sequence[Facts]) -> Labels:
    """A label for each name, else for each value, of any reference."""
    named = [facts for facts in measured if facts.labels is not None]
    if named:
        everything = union(facts.labels for facts in named if facts.labels is not None)
        # What only predictions name is judged by nobody.
        judged = [name for name in everything.names if any(facts.annotates(name) for facts in named)]
        return Labels({name: everything.values[name] for name in judged}, everything.ignore)
    return Labels.from_values({value for facts in measured for value in facts.reference_counts})


def _warn_of_pairs(pairs: Sequence[Pair]) -> Iterator[str]:
    missing = [pair.case for pair in pairs if pair.predicted is None]
    extra = [pair.case for pair in pairs if pair.reference is None]
    if missing:
        yield (
            f"{len(missing)} of {counted(len(pairs), 'case')} {_have(missing)} no prediction and "
            f"{'counts' if len(missing) == 1 else 'count'} as the worst value: {listed(missing)}. "
            "If they were not to be predicted, list the cases with --pairs pairs.csv."
        )
    if extra:
        yield f"{counted(len(extra), 'prediction')} {_have(extra)} no reference and cannot be judged: {listed(extra)}."


def _have(things: Sequence[object]) -> str:
    return "has" if len(things) == 1 else "have"


def _warn_of_results(measured: Sequence[Facts], labels: Labels, options: EvaluateOptions) -> tuple[str, ...]:
    warnings = [*_warn_of_extra_structures(measured, labels), *_warn_of_images(measured, labels)]
    if not labels.names:
        warnings.append("No label could be judged: the references hold nothing but background, or none could be read.")
    pictures = [facts for facts in measured if facts.grid is not None and _is_picture(facts.grid, facts.placed)]
    if pictures:
        warnings.append(
            f"{len(pictures)} of {counted(len(measured), 'reference')} "
            f"{'is a picture' if len(pictures) == 1 else 'are pictures'} without a place in space: "
            "there a mm is a pixel, and an ml a thousand of them."
        )
    tolerances = [options.tolerance_of(name) for name in options.select(labels)]
    coarse = [
        facts.pair.case
        for facts in measured
        if facts.grid is not None and min(tolerances, default=0.0) < _largest_spacing_mm(facts.grid) / 2
    ]
    if coarse and tolerances and any(m.distance and m.distance.figure == "nsd" for m in options.measured):
        warnings.append(
            f"The tolerance of NSD, {min(tolerances):g} mm, is below half the voxel spacing of {len(coarse)} of "
            f"{counted(len(measured), 'case')} ({listed(sorted(coarse, key=natural_key), 3)}): there NSD measures the "
            "grid rather than the boundary. Choose a larger --tolerance."
        )
    return tuple(warnings)


def _warn_of_images(measured: Sequence[Facts], labels: Labels) -> Iterator[str]:
    """A reference of 8 bits that is an image has a label for each shade, which all other cases lack as they should."""
    values_of = {facts.pair.case: set(facts.reference_counts) for facts in measured if facts.labels is None}
    seen = Counter(value for values in values_of.values() for value in values)
    for case, values in values_of.items():
        own = sorted(value for value in values if seen[value] == 1 and value in labels.classes)
        if len(own) > MOST_OWN_VALUES and len(values_of) > 1:
            yield (
                f"The reference of {case} holds {len(own)} values that no other reference has (from {own[0]} to "
                f"{own[-1]}), each a label of its own: is it an image? Then take it out, or say with --labels which "
                "values are labels; absent in the other cases, they lift all means."
            )


def _warn_of_extra_structures(measured: Sequence[Facts], labels: Labels) -> Iterator[str]:
    judged = {folded(name) for name in labels.names}
    extra: dict[str, str] = {}
    for facts in measured:
        found = {} if facts.confusion is None else facts.confusion.predicted_counts
        for name, values in (facts.labels.values if facts.labels is not None else {}).items():
            if folded(name) not in judged and found.keys() & set(values):
                extra.setdefault(folded(name), name)
    if extra:
        yield f"{len(extra)} predicted structures are in no reference and were not judged: {listed(extra.values())}."


def _is_picture(grid: Geometry, placed: bool) -> bool:
    return not placed and grid.shape[2] == 1 and grid.spacing_mm == (1.0, 1.0, 1.0)


def _largest_spacing_mm(grid: Geometry) -> float:
    spacing = grid.spacing_mm
    return max(spacing[:2] if grid.shape[2] == 1 else spacing)
