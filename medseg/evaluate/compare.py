"""Runs against each other on the same cases: who is better at what, by how much, and how sure is that.

A `Run` is what one set of predictions counts as, case by case (*all*: a miss counts as the worst value, so no run gains
by leaving out what is difficult). It comes from an `Evaluation`, from the metrics.csv of an earlier one, or from the
summary.json that nnU-Net writes. `compare` pairs the first run with each other by case, label and metric: the mean
difference with its interval, wins, ties and losses over patients, Wilcoxon's p corrected for all tests of the report
(Holm), and a ranking of all runs with its uncertainty. Images are read only where
another run is a folder of predictions, by the same way as the first.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from itertools import count
from math import isfinite
from pathlib import Path
from typing import Any

from medseg.core.errors import InputError, UsageError
from medseg.core.escapes import from_csv
from medseg.core.events import Event
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.words import counted
from medseg.data.dataset import listed
from medseg.evaluate._run import run_beside
from medseg.evaluate.catalogue import Metric
from medseg.evaluate.contests import MEAN, Comparison, Contest
from medseg.evaluate.evaluation import Evaluation
from medseg.evaluate.score import STATUSES, Row, Status, counted_as, overlap_values
from medseg.io.files import read_json
from medseg.metrics import Overlap
from medseg.metrics.comparison import Ranking, compare_paired, holm, rank_runs

__all__ = ["Run", "compare", "is_written_run", "read_run", "run_comparison", "run_of"]

Key = tuple[str, str, str]
"""Case, label, metric."""


@dataclass(frozen=True)
class Run:
    """What one set of predictions counts as: a value for each case, label and metric; absent where there is none."""

    name: str
    counted: Mapping[Key, float]

    @property
    def cases(self) -> frozenset[str]:
        return frozenset(case for case, _, _ in self.counted)


def run_of(evaluation: Evaluation, name: str) -> Run:
    """What an evaluation counts, under a name."""
    return Run(name, _counted(evaluation.rows))


def read_run(path: Path, evaluation: Evaluation, name: str) -> Run:
    """A run from what was written of it: a folder of an evaluation or its metrics.csv, or nnU-Net's summary.json.

    Args:
        path: The file or folder.
        evaluation: The first run's: it knows the grids, labels and options, which must be those of the other.
        name: What to call the run.

    Raises:
        InputError: The file is none of these, or holds no case and metric of the first run.
    """
    table = path / "metrics.csv" if path.is_dir() else path
    grids = {facts.pair.case: facts.grid for facts in evaluation.facts}
    if table.suffix == ".csv":
        counted = dict(_of_table(table, grids, evaluation))
    else:
        counted = dict(_of_nnunet(path / "summary.json" if path.is_dir() else path, grids, evaluation))
    found = Run(name, counted)
    if not found.cases:
        raise InputError(
            f"{path} has no case and metric of this evaluation, whose cases are {listed(grids, 3)}. "
            "Compare runs on the same cases, under the same names."
        )
    return found


def is_written_run(path: Path) -> bool:
    """Whether a path is what `read_run` reads, not a folder of predictions."""
    if path.is_file():
        return path.name == "summary.json" or path.suffix == ".csv"
    return (path / "metrics.csv").is_file() and not any(path.glob("*.nii*"))


def compare(evaluation: Evaluation, others: Sequence[Run], name: str = "this run") -> Comparison:
    """Compare an evaluation with other runs, metric by metric that has a headline, label by label and their mean."""
    first = run_of(evaluation, name)
    groups = {facts.pair.case: facts.pair.group for facts in evaluation.facts}
    metrics = [metric for metric in evaluation.options.measured if metric.is_headline]
    labels = tuple(dict.fromkeys(label for _, label, _ in first.counted))
    names = (*labels, MEAN) if len(labels) > 1 else labels
    ours, *theirs = (_with_means(each, labels, metrics) for each in (first, *others))
    contests: list[Contest] = []
    notes: list[str] = []
    for other, values in zip(others, theirs, strict=True):
        notes += _unpaired(first, other)
        for metric in metrics:
            for label in names:
                contest = _contest(ours, values, other.name, label, metric, groups, evaluation)
                if contest is not None:
                    contests.append(contest)
    adjusted = holm([contest.result.p for contest in contests])
    all_runs = {each.name: values for each, values in zip((first, *others), (ours, *theirs), strict=True)}
    ranked = {
        metric.name: ranking
        for metric in metrics
        if (ranking := _ranking(all_runs, names[-1], metric, groups, evaluation.options.seed))
    }
    return Comparison(
        (name, *(other.name for other in others)),
        tuple(replace(contest, p_holm=p) for contest, p in zip(contests, adjusted, strict=True)),
        ranked,
        tuple(notes),
    )


def run_comparison(evaluation: Evaluation, others: Sequence[Path], name: str) -> Iterator[Event | Evaluation]:
    """Judge or read every other run, compare, and give the evaluation back with its `comparison`, as the last item.

    Args:
        evaluation: The first run's.
        others: Folders of predictions (judged by all that the first was judged by), or what `read_run` reads.
        name: What to call the first run.

    Raises:
        UsageError: A path does not exist, or holds no prediction.
        InputError: It is no run of the same cases.
    """
    runs: list[Run] = []
    for path in others:
        if not path.exists():
            raise UsageError(f"{path} does not exist; --compare takes a folder of predictions or a run's results.")
        called = _free_name(path, [name, *(run.name for run in runs)])
        if is_written_run(path):
            runs.append(read_run(path, evaluation, called))
            continue
        for item in run_beside(evaluation, path):
            if isinstance(item, Evaluation):
                runs.append(run_of(item, called))
            else:
                yield item
    yield replace(evaluation, comparison=compare(evaluation, runs, name))


def _free_name(path: Path, taken: Sequence[str]) -> str:
    """A short name for a run: its folder's, with a number where that is taken."""
    own = path.resolve()
    name = own.parent.name if own.suffix in (".csv", ".json") else own.name
    return name if name not in taken else next(f"{name} ({n})" for n in count(2) if f"{name} ({n})" not in taken)


def _contest(
    ours: Mapping[Key, float],
    theirs: Mapping[Key, float],
    other: str,
    label: str,
    metric: Metric,
    groups: Mapping[str, str],
    evaluation: Evaluation,
) -> Contest | None:
    cases = [case for case in groups if (case, label, metric.name) in ours and (case, label, metric.name) in theirs]
    if not cases:
        return None
    a, b = ([side[case, label, metric.name] for case in cases] for side in (ours, theirs))
    result = compare_paired(
        a,
        b,
        groups=[groups[case] for case in cases],
        larger_is_better=bool(metric.larger_is_better),
        level=evaluation.options.level,
        seed=evaluation.options.seed,
    )
    return Contest(other, label, metric.name, sum(a) / len(a), sum(b) / len(b), result, None)


def _ranking(
    values: Mapping[str, Mapping[Key, float]],
    label: str,
    metric: Metric,
    groups: Mapping[str, str],
    seed: int,
) -> tuple[Ranking, ...]:
    """All runs by their mean over the cases that each of them has; empty where there are none."""
    cases = [case for case in groups if all((case, label, metric.name) in each for each in values.values())]
    if not cases:
        return ()
    return rank_runs(
        {name: [each[case, label, metric.name] for case in cases] for name, each in values.items()},
        groups=[groups[case] for case in cases],
        larger_is_better=bool(metric.larger_is_better),
        seed=seed,
    )


def _with_means(run: Run, labels: Sequence[str], metrics: Sequence[Metric]) -> dict[Key, float]:
    """The run's values, and for each case the mean over the labels that it has."""
    values = dict(run.counted)
    for metric in metrics:
        by_case: dict[str, list[float]] = {}
        for (case, label, name), value in run.counted.items():
            if name == metric.name and label in labels:
                by_case.setdefault(case, []).append(value)
        values |= {(case, MEAN, metric.name): sum(each) / len(each) for case, each in by_case.items()}
    return values


def _unpaired(first: Run, other: Run) -> Iterator[str]:
    missing, extra = first.cases - other.cases, other.cases - first.cases
    if missing:
        cases = f"{counted(len(missing), 'case')}, which {'is' if len(missing) == 1 else 'are'}"
        yield f"{other.name} has no result for {cases} not compared: {listed(missing, 3)}."
    if extra:
        be = "is" if len(extra) == 1 else "are"
        yield f"{other.name} has {counted(len(extra), 'case')} that {be} not judged here: {listed(extra, 3)}."


def _counted(rows: Sequence[Row]) -> dict[Key, float]:
    return {(row.case, row.label, row.metric): row.counted for row in rows if row.counted is not None}


def _of_table(path: Path, grids: Mapping[str, Geometry | None], evaluation: Evaluation) -> Iterator[tuple[Key, float]]:
    """The cells of an earlier metrics.csv; what a status counts as needs the grid, which the first run knows."""
    try:
        rows = list(csv.DictReader(StringIO(path.read_text(encoding="utf-8"), newline="")))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a table of metrics: {error}.") from error
    wanted = {"case", "label", "metric", "value", "status"}
    if not rows or not wanted <= rows[0].keys():
        raise InputError(f"{path} is no metrics.csv of medseg: it has no rows with {', '.join(sorted(wanted))}.")
    measured = {metric.name: metric for metric in evaluation.options.measured}
    for row in rows:
        metric, status = measured.get(row["metric"]), row["status"]
        case, label = from_csv(row["case"]), from_csv(row["label"])
        if metric is None or case not in grids or status not in STATUSES:
            continue
        value = float(row["value"]) if row["value"] else None
        counted = counted_as(metric, _as_status(status), value, grids[case])
        if counted is not None:
            yield (case, label, metric.name), counted


def _as_status(text: str) -> Status:
    return STATUSES[STATUSES.index(text)]


def _of_nnunet(path: Path, grids: Mapping[str, Geometry | None], evaluation: Evaluation) -> Iterator[tuple[Key, float]]:
    """The counts that nnU-Net v2 writes of each case and label, judged by the rules of this table."""
    found = read_json(path, "the summary of a run")
    cases = found.get("metric_per_case") if isinstance(found, Mapping) else None
    if not isinstance(cases, Sequence):
        raise InputError(f"{path} is no summary of nnU-Net: it has no list 'metric_per_case'.")
    metrics = [metric for metric in evaluation.options.measured if metric.needs == "counts"]
    for entry in cases:
        case = _case_of(entry)
        grid = grids.get(case)
        if grid is None:
            continue
        for label, counts in _labelled(entry.get("metrics", {}), evaluation.labels):
            yield from _judged(case, label, counts, grid, metrics)


def _judged(
    case: str, label: str, counts: Overlap, grid: Geometry, metrics: Sequence[Metric]
) -> Iterator[tuple[Key, float]]:
    values = overlap_values(counts, grid.voxel_volume_ml)
    status: Status = "both_empty"
    if counts.n_reference and counts.n_predicted:
        status = "ok"
    elif counts.n_reference or counts.n_predicted:
        status = "missed" if counts.n_reference else "false_alarm"
    for metric in metrics:
        value = values.get(metric.name)
        counted = counted_as(metric, status, value if value is not None and isfinite(value) else None, grid)
        if counted is not None:
            yield (case, label, metric.name), counted


def _case_of(entry: Mapping[str, Any]) -> str:
    from medseg.io import stem

    return stem(Path(str(entry.get("prediction_file") or entry.get("reference_file") or "").replace("\\", "/")))


def _labelled(metrics: Mapping[str, Mapping[str, float]], labels: Labels) -> Iterator[tuple[str, Overlap]]:
    """The counts under the names that the values have here; nnU-Net writes "1", and "(1, 2)" for a region."""
    names = {values: name for name, values in labels.values.items()}
    for key, counts in metrics.items():
        try:
            values = json.loads(key.replace("(", "[").replace(")", "]").replace(",]", "]"))
        except json.JSONDecodeError:
            continue
        name = names.get(tuple(sorted(values)) if isinstance(values, list) else (values,))
        if name is not None and {"TP", "FP", "FN", "TN"} <= counts.keys():
            yield name, Overlap(*(int(counts[each]) for each in ("TP", "FP", "FN", "TN")))
