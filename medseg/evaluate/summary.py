"""Rows → figures of a whole set: two means side by side, counts of every status, intervals, one headline.

*All* answers how good: a miss, a false alarm, a missing or failed prediction count as the worst value. *Found* answers
how good where it was found: only pairs in which both sides have the label. One number for a set is first the mean over
the cases of a label, then over the labels, so that a rare label weighs as much as a frequent one. No row is dropped:
what is in no mean is in the counts of statuses. The module sees rows and never a file.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medseg.evaluate.catalogue import metric_of
from medseg.evaluate.options import EvaluateOptions
from medseg.evaluate.score import STATUSES, Row, Status
from medseg.metrics import Description, describe

__all__ = ["Figure", "Summary", "summarise"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric of one label over all cases.

    Attributes:
        everywhere: What the counted values of all cases are like; its mean is *all*.
        found: The mean over the pairs in which both sides have the label; None if there is none.
        n_found: How many those are.
    """

    everywhere: Description
    found: float | None
    n_found: int


@dataclass(frozen=True)
class Summary:
    """What a set of rows comes to.

    Attributes:
        figures: Label → metric → figure.
        statuses: Label → how many cases have each status, those that occur.
        headline: Metric → the mean over labels of *all*.
        headline_found: Metric → the mean over labels of *found*.
        n_cases: How many cases there are, whatever their status.
    """

    figures: Mapping[str, Mapping[str, Figure]]
    statuses: Mapping[str, Mapping[Status, int]]
    headline: Mapping[str, float]
    headline_found: Mapping[str, float]
    n_cases: int


def summarise(rows: Sequence[Row], options: EvaluateOptions) -> Summary:
    """Summarise the rows of all cases; a label or metric without any row does not occur."""
    cells: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        cells.setdefault((row.label, row.metric), []).append(row)
    labels = tuple(dict.fromkeys(row.label for row in rows))
    figures = {
        label: {name: _figure(cells[label, name], options) for name in options.metrics if (label, name) in cells}
        for label in labels
    }
    statuses = {label: _statuses(cells[label, options.metrics[0]]) for label in labels}
    headlines = [metric.name for metric in options.measured if metric.is_headline]
    return Summary(
        figures,
        statuses,
        _means({name: [figures[label][name].everywhere.mean for label in labels] for name in headlines}),
        _means({name: [figures[label][name].found for label in labels] for name in headlines}),
        len({row.case for row in rows}),
    )


def _figure(rows: Sequence[Row], options: EvaluateOptions) -> Figure:
    counted = [(row.counted, row.group) for row in rows if row.counted is not None]
    found = [row.value for row in rows if row.status == "ok" and row.value is not None]
    return Figure(
        describe(
            [value for value, _ in counted],
            groups=[group for _, group in counted],
            bounds=metric_of(rows[0].metric).bounds,
            level=options.level,
            seed=options.seed,
        ),
        sum(found) / len(found) if found else None,
        len(found),
    )


def _statuses(rows: Sequence[Row]) -> dict[Status, int]:
    counts = Counter(row.status for row in rows)
    return {status: counts[status] for status in STATUSES if counts[status]}


def _means(values: Mapping[str, Sequence[float | None]]) -> dict[str, float]:
    """The mean over labels of each metric, labels without a value left out; a metric without any does not occur."""
    defined = {name: [value for value in each if value is not None] for name, each in values.items()}
    return {name: sum(each) / len(each) for name, each in defined.items() if each}
