"""What goes into the page of an evaluation; the template beside this module holds words and looks.

Everything shown is read from the evaluation: its numbers are those of summary.json and metrics.csv, rounded as the
tables of the screen are. Failures come first, definitions and versions last.
"""

import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy

from medseg._version import __version__
from medseg.evaluate.catalogue import LESIONS, Metric, metric_of
from medseg.evaluate.evaluation import Evaluation
from medseg.evaluate.report import definitions, plots
from medseg.evaluate.report.closeups import PREDICTION_COLOUR, REFERENCE_COLOUR, CloseUp, close_ups
from medseg.evaluate.score import STATUSES, Row
from medseg.evaluate.summary import Figure
from medseg.evaluate.tables import (
    NONE,
    Table,
    contests,
    failures,
    number_of,
    ranks,
    readers,
    scores,
    statuses,
    title_of,
)
from medseg.pages import render as rendered
from medseg.pages.charts import Chart

__all__ = ["render"]

MOST_ROWS = 10_000
"""Rows of the table of cases; of more those that went wrong and the worst."""

MOST_SIDE_CHARTS = 24
"""Labels with a chart of their own; of more those with the worst means."""

_GRAVE = frozenset({"missing", "failed"})


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    numeric: bool


@dataclass(frozen=True, slots=True)
class _Line:
    """A row of the table of cases: texts of its cells, empty where the status says why."""

    case: str
    label: str
    status: str
    cells: tuple[str, ...]


def render(evaluation: Evaluation) -> str:
    """The page, whole."""
    (lines, n_lines), pictures = _lines(evaluation), _pictures(evaluation)
    return rendered(
        "medseg.evaluate.report",
        "page.html",
        evaluation=evaluation,
        verdict=_verdict(evaluation),
        subtitle=_subtitle(evaluation),
        counts=list(_counts(evaluation)),
        failures=failures(evaluation) if evaluation.failures else None,
        scores=_scores(evaluation),
        statuses=statuses(evaluation),
        figures=_figures(evaluation),
        distributions=list(plots.distributions(evaluation)),
        agreement=_some(list(plots.agreement(evaluation))),
        nsd=_some(list(plots.nsd_curves(evaluation))),
        reliability=_some(list(plots.reliability(evaluation))),
        domain=definitions.domain(),
        lesions=_lesions(evaluation) if set(LESIONS) & set(evaluation.options.metrics) else None,
        pictures=pictures,
        hung=any(any(each.pictures[0].edges) for _, shown in pictures for each in shown),
        colours=(("reference (wide line)", REFERENCE_COLOUR), ("prediction (narrow line)", PREDICTION_COLOUR)),
        ranked_by=next((metric.title for metric in evaluation.options.measured if metric.is_headline), ""),
        columns=[_Column("Case", False), _Column("Label", False), _Column("Status", False)]
        + [_Column(title_of(metric.name), True) for metric in evaluation.options.measured],
        lines=lines,
        n_lines=n_lines,
        seen=[status for status in STATUSES if any(status in each for each in evaluation.summary.statuses.values())],
        labels=list(evaluation.summary.figures),
        comparison=None if evaluation.comparison is None else contests(evaluation.comparison),
        ranking=None if evaluation.comparison is None else ranks(evaluation.comparison),
        readers=readers(evaluation) if evaluation.reader_agreement else None,
        definitions=_definitions(evaluation),
        means=[(status, definitions.STATUS_MEANS[status]) for status in STATUSES],
        conventions=list(definitions.conventions(evaluation)),
        options=_options(evaluation),
        versions=", ".join(f"{name} {number}" for name, number in _versions().items()),
    )


def _verdict(evaluation: Evaluation) -> str:
    n_labels = len(evaluation.summary.figures)
    over = f"{_n(evaluation.n_cases, 'case')} and {_n(n_labels, 'label')}"
    headline = _headline(evaluation)
    if headline is None or headline.name not in evaluation.headline:
        return f"Evaluation of {over}"
    value = number_of(evaluation.headline[headline.name], headline.name)
    return f"Mean {headline.title} {value}{f' {headline.unit}' if headline.unit else ''} over {over}"


def _subtitle(evaluation: Evaluation) -> str:
    """The other mean, and the interval where there is one label."""
    headline = _headline(evaluation)
    if headline is None or headline.name not in evaluation.headline:
        return ""
    found = number_of(evaluation.summary.headline_found.get(headline.name), headline.name)
    said = f"Over all cases; where both sides have the label it is {found}."
    figures = list(evaluation.summary.figures.values())
    interval = _interval(figures[0][headline.name]) if len(figures) == 1 else NONE
    return said if interval == NONE else f"{said} The {100 * evaluation.options.level:g} % interval is {interval}."


def _headline(evaluation: Evaluation) -> Metric | None:
    return next((metric for metric in evaluation.options.measured if metric.is_headline), None)


def _counts(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """How it went, as words with their severity."""
    yield f"{evaluation.n_compared} of {_n(evaluation.n_cases, 'case')} compared", "note"
    outcomes = [failure.status for failure in evaluation.failures]
    for outcome, word in (("missing", "missing"), ("failed", "failed"), ("no_reference", "without reference")):
        if outcome in outcomes:
            yield f"{outcomes.count(outcome)} {word}", "error" if outcome in _GRAVE else "warning"
    for status, one, many in (
        ("missed", "label missed", "labels missed"),
        ("false_alarm", "false alarm", "false alarms"),
    ):
        n = sum(each.get(status, 0) for each in evaluation.summary.statuses.values())  # type: ignore[call-overload]  # both are statuses
        if n:
            yield f"{n} {one if n == 1 else many}", "warning"
    if evaluation.warnings:
        yield _n(len(evaluation.warnings), "warning"), "warning"


def _n(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _scores(evaluation: Evaluation) -> Table:
    """The table of the screen, every row with its label: rows can be read alone."""
    table, name, rows = scores(evaluation), "", []
    for first, *others in table.rows:
        name = first or name
        rows.append((name, *others))
    return replace(table, title="Means over cases", rows=tuple(rows))


def _figures(evaluation: Evaluation) -> Table:
    """Every figure of every label, in full."""
    rows = [
        (label, title_of(name), *_full(figure, name))
        for label, figures in evaluation.summary.figures.items()
        for name, figure in figures.items()
    ]
    level = f"{100 * evaluation.options.level:g} % interval"
    heads = ("mean of all", level, "n", "mean of found", "n found", "SD", "median", "quartiles")
    methods = {figure.everywhere.method for each in evaluation.summary.figures.values() for figure in each.values()}
    by = " and ".join(name for method, name in (("t", "Student’s t"), ("bca", "BCa")) if method in methods)
    notes = (f"SD, median and quartiles are of all, as is the interval of the mean{f', by {by}' if by else ''}.",)
    numeric = (False, False, *(True for _ in heads))
    return Table("Figures of each label", ("label", "metric", *heads), tuple(rows), numeric, notes)


def _full(figure: Figure, name: str) -> tuple[str, ...]:
    about = figure.everywhere
    quartiles = NONE if about.quartiles is None else " to ".join(number_of(end, name) for end in about.quartiles)
    return (
        number_of(about.mean, name),
        _interval(figure, name),
        str(about.n),
        number_of(figure.found, name),
        str(figure.n_found),
        number_of(about.sd, name),
        number_of(about.median, name),
        quartiles,
    )


def _interval(figure: Figure, name: str = "dice") -> str:
    interval = figure.everywhere.interval
    return NONE if interval is None else " to ".join(number_of(end, name) for end in interval)


def _lesions(evaluation: Evaluation) -> Table:
    """Lesions of all cases together, label by label."""
    totals: dict[tuple[str, str], float] = {}
    cases: dict[str, set[str]] = {}
    for row in evaluation.rows:
        if row.metric in LESIONS and row.value is not None:
            totals[row.label, row.metric] = totals.get((row.label, row.metric), 0.0) + row.value
            if row.metric == "lesions_predicted":
                cases.setdefault(row.label, set()).add(row.case)
    rows = []
    for label, figures in evaluation.summary.figures.items():
        n, predicted, missed, spurious = (
            totals.get((label, f"lesions_{name}"), 0.0) for name in ("reference", "predicted", "missed", "spurious")
        )
        n_cases = len(cases.get(label, ()))
        rows.append(
            (
                label,
                *(f"{each:.0f}" for each in (n, n - missed, missed, predicted, spurious)),
                _share(n - missed, n),
                _share(predicted - spurious, predicted),
                NONE if not n_cases else f"{spurious / n_cases:.2f}",
                *(
                    number_of(figures[name].everywhere.mean, name) if name in figures else NONE
                    for name in ("lesion_f1", "pq")
                ),
            )
        )
    heads = ("lesions", "found", "missed", "predicted", "spurious", "share found", "share right", "spurious a case")
    return Table(
        "Lesions of all compared cases together",
        ("label", *heads, "F1", "PQ"),
        tuple(rows),
        (False, *(True for _ in range(10))),
        (f"A lesion is a connected component ({evaluation.options.connectivity} neighbours); F1, PQ: means of all.",),
    )


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.3f}" if whole else NONE


def _some(charts: list[Chart]) -> tuple[list[Chart], int]:
    """As many charts as a page bears, and how many are left out."""
    return charts[:MOST_SIDE_CHARTS], max(0, len(charts) - MOST_SIDE_CHARTS)


def _pictures(evaluation: Evaluation) -> list[tuple[str, list[CloseUp]]]:
    by_label: dict[str, list[CloseUp]] = {}
    for each in close_ups(evaluation):
        by_label.setdefault(each.label, []).append(each)
    return list(by_label.items())


def _lines(evaluation: Evaluation) -> tuple[list[_Line], int]:
    """The rows of the table of cases, and how many there are in all."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in evaluation.rows:
        found.setdefault((row.case, row.label), []).append(row)
    kept = list(found.values())
    if len(kept) > MOST_ROWS:
        kept = sorted(kept, key=lambda rows: _worth(rows, _headline(evaluation)))[:MOST_ROWS]
    lines = [
        _Line(
            rows[0].case,
            rows[0].label,
            rows[0].status,
            tuple("" if row.value is None else _cell(row.value, row.metric) for row in rows),
        )
        for rows in kept
    ]
    # A prediction or a reference without any label has no row, and is still a case.
    missing = [each for each in evaluation.failures if not evaluation.summary.figures]
    blank = ("",) * len(evaluation.options.metrics)
    return [*lines, *(_Line(each.case, "", each.status, blank) for each in missing)], len(found) + len(missing)


def _cell(value: float, name: str) -> str:
    metric = metric_of(name)
    is_count = metric.needs == "lesions" and metric.larger_is_better is None
    return f"{value:.0f}" if is_count else number_of(value, name)


def _worth(rows: list[Row], headline: Metric | None) -> tuple[bool, float]:
    """What comes first where not all can be shown: what went wrong, then the worst."""
    value = next((row.counted for row in rows if headline is not None and row.metric == headline.name), None)
    sign = 1.0 if headline is None or headline.larger_is_better else -1.0
    return rows[0].status == "ok", sign * (0.0 if value is None else value)


def _definitions(evaluation: Evaluation) -> Table:
    rows = tuple(
        (
            metric.title,
            metric.name,
            metric.unit or NONE,
            definitions.definition_of(metric),
            definitions.counts_as(metric),
        )
        for metric in evaluation.options.measured
    )
    heads = ("metric", "name in the files", "unit", "what it is", "without a value it counts as")
    return Table("Metrics", heads, rows, (False,) * 5)


def _versions() -> dict[str, str]:
    """Of what the numbers come from."""
    return {
        "medseg": __version__,
        "Python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }


def _options(evaluation: Evaluation) -> Table:
    rows = []
    for name, value in evaluation.options.to_json().items():
        if name == "metrics":
            continue
        parts = value.items() if isinstance(value, dict) else ()
        said = ", ".join(f"{key} {each}" for key, each in parts) if isinstance(value, dict) else str(value)
        rows.append((name, said or NONE))
    return Table("Options", ("option", "value"), tuple(rows), (False, False))
