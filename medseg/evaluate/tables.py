"""An evaluation as tables of words, and the tables as text, Markdown, LaTeX or CSV.

Failures come first, then both means side by side, then the statuses. A `Table` is plain data, so that a screen can draw
it in its own way; numbers are already rounded as a reader wants them. The module knows no colour and no terminal.
"""

import csv
import io as text_io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from textwrap import wrap
from typing import Literal, get_args

from medseg.core.errors import UsageError
from medseg.core.escapes import for_csv, for_latex, for_markdown
from medseg.core.words import counted
from medseg.evaluate.catalogue import metric_of
from medseg.evaluate.contests import Comparison
from medseg.evaluate.evaluation import Evaluation
from medseg.evaluate.score import STATUSES

__all__ = [
    "NONE",
    "Form",
    "Table",
    "contests",
    "failures",
    "number_of",
    "ranks",
    "readers",
    "render",
    "scores",
    "statuses",
    "tables",
    "title_of",
]

Form = Literal["text", "markdown", "latex", "csv"]
"""How tables can be written."""

NONE = "–"
"""What stands where there is no value."""

_SHOWN_TOO = ("volume_error_ml",)
"""What a table shows besides the headlines; every figure, with its interval, is in summary.json."""

_GAP, _LEAST_WORDS = "  ", 24
"""What stands between two columns of text, and what a column of words has at least."""

_DECIMALS = {"": 3, "mm": 2, "ml": 2, "%": 1}


@dataclass(frozen=True)
class Table:
    """A table of words.

    Attributes:
        title: What it shows.
        headers: A name for each column.
        rows: Cells, as many a row as there are headers.
        numeric: For each column whether it holds numbers (and is set flush right).
        notes: What to know when reading it: one sentence each.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    notes: tuple[str, ...] = ()


def tables(evaluation: Evaluation) -> tuple[Table, ...]:
    """The tables of an evaluation: failures (if there are any), scores, statuses."""
    several = (readers(evaluation),) if evaluation.reader_agreement else ()
    compared = () if evaluation.comparison is None else (contests(evaluation.comparison), ranks(evaluation.comparison))
    return (
        *((failures(evaluation),) if evaluation.failures else ()),
        scores(evaluation),
        statuses(evaluation),
        *(table for table in (*several, *compared) if table.rows),
    )


def render(many: Sequence[Table], form: Form, width: int | None = None) -> str:
    """Tables as text, Markdown, LaTeX (booktabs) or CSV, one after the other, with a line feed at the end.

    Args:
        many: The tables.
        form: As what.
        width: Columns of the screen, into which text is laid; None: as wide as it is.

    Raises:
        UsageError: The form is unknown.
    """
    if form not in _WRITERS:
        raise UsageError(f"A table can be written as {', '.join(get_args(Form))}, not as '{form}'.")
    if form == "text":
        return "\n\n".join(_text(table, width) for table in many) + "\n"
    return "\n\n".join(_WRITERS[form](table) for table in many) + "\n"


def failures(evaluation: Evaluation) -> Table:
    rows = tuple((failure.case, failure.status, failure.reason) for failure in evaluation.failures)
    title = f"Not compared: {len(rows)} of {counted(evaluation.n_cases, 'case')}"
    return Table(title, ("case", "status", "reason"), rows, (False, False, False))


def scores(evaluation: Evaluation) -> Table:
    """Two rows a label, the mean of all cases above that of those found; a column a metric that has a headline."""
    summary = evaluation.summary
    metrics = [each.name for each in evaluation.options.measured if each.is_headline or each.name in _SHOWN_TOO]
    rows = []
    for label, figures in summary.figures.items():
        shown = [figures[name] for name in metrics]
        n_all, n_found = (max(n, default=0) for n in zip(*((f.everywhere.n, f.n_found) for f in shown), strict=True))
        rows.append((label, "all", str(n_all), *_cells({n: f.everywhere.mean for n, f in figures.items()}, metrics)))
        rows.append(("", "found", str(n_found), *_cells({n: f.found for n, f in figures.items()}, metrics)))
    if len(summary.figures) > 1:
        rows.append(("mean over labels", "all", "", *_cells(summary.headline, metrics)))
        rows.append(("", "found", "", *_cells(summary.headline_found, metrics)))
    return Table(
        f"Scores of {counted(evaluation.n_cases, 'case')}",
        ("label", "mean of", "n", *map(title_of, metrics)),
        tuple(rows),
        (False, False, True, *(True for _ in metrics)),
        _score_notes(evaluation),
    )


def _cells(values: Mapping[str, float | None], metrics: Sequence[str]) -> list[str]:
    return [number_of(values.get(name), name) for name in metrics]


def _score_notes(evaluation: Evaluation) -> tuple[str, ...]:
    notes = [
        "all: a miss, a false alarm and a missing or failed prediction count as the worst value; absent in both counts "
        "as perfect. found: cases in which both sides have the label.",
    ]
    if any(metric.worst == "diagonal" for metric in evaluation.options.measured):
        notes.append(
            "The worst distance is the image's diagonal, so the mean of a distance in all grows with the field of view."
        )
    if "nsd" in evaluation.options.metrics:
        single = "".join(f", {name} {value:g} mm" for name, value in evaluation.options.tolerances_mm.items())
        notes.append(f"NSD at a tolerance of {evaluation.options.tolerance_mm:g} mm{single}.")
    return tuple(notes)


def statuses(evaluation: Evaluation) -> Table:
    counts = evaluation.summary.statuses
    seen = [status for status in STATUSES if any(status in each for each in counts.values())]
    rows = tuple((label, *(str(each.get(status, 0)) for status in seen)) for label, each in counts.items())
    return Table("Cases by status", ("label", *seen), rows, (False, *(True for _ in seen)))


def readers(evaluation: Evaluation) -> Table:
    labels = evaluation.options.select(evaluation.labels)
    rows = []
    for (one, other), by_label in evaluation.reader_agreement.items():
        means = [sum(values) / len(values) if (values := by_label.get(name, ())) else None for name in labels]
        rows.append((one, other, *(number_of(mean, "dice") for mean in means)))
    notes = (
        "Mean Dice of each pair over the cases in which either has the label. "
        f"The reference that the scores are against is what the readers agree on ({evaluation.options.consensus}).",
    )
    numeric = (False, False, *(True for _ in labels))
    return Table("Readers", ("reader", "other", *labels), tuple(rows), numeric, notes)


def contests(comparison: Comparison) -> Table:
    rows = []
    for contest in comparison.contests:
        result = contest.result
        interval = (
            "–" if result.interval is None else " to ".join(_signed(end, contest.metric) for end in result.interval)
        )
        rows.append(
            (
                contest.other,
                contest.label,
                title_of(contest.metric),
                str(result.n),
                number_of(contest.first_mean, contest.metric),
                number_of(contest.other_mean, contest.metric),
                _signed(result.mean_difference, contest.metric),
                interval,
                f"{result.wins}/{result.ties}/{result.losses}",
                NONE if result.effect is None else f"{result.effect:+.2f}",
                "too few" if contest.p_holm is None and result.effect is not None else _p(contest.p_holm),
            )
        )
    heads = ("label", "metric", "n", "mean", "its mean", "difference", "95 % interval", "won/tied/lost", "effect", "p")
    return Table(
        f"{comparison.runs[0]} beside others",
        ("other", *heads),
        tuple(rows),
        (False, False, False, *(True for _ in heads[2:])),
        (
            "All cases that both runs have; a miss counts as the worst value. Differences are this run's mean less the "
            "other's; n, won, tied and lost are patients.",
            "p: Wilcoxon's signed-rank test, zeros by Pratt, corrected for all tests of this table (Holm). effect: "
            "matched rank-biserial correlation.",
            *comparison.notes,
        ),
    )


def ranks(comparison: Comparison) -> Table:
    rows = tuple(
        (
            title_of(name),
            str(each.rank),
            each.run,
            number_of(each.mean, name),
            f"{each.interval[0]} to {each.interval[1]}",
            f"{100 * each.first:.0f} %",
        )
        for name, ranking in comparison.rankings.items()
        for each in ranking
    )
    heads = ("metric", "rank", "run", "mean", "rank in 95 % of draws", "first in")
    notes = ("By the mean over labels of all cases that every run has; patients drawn anew 2,000 times.",)
    return Table("Ranking", heads, rows, (False, True, False, True, True, True), notes)


def _signed(value: float | None, name: str) -> str:
    return NONE if value is None else f"{value:+z.{_DECIMALS[metric_of(name).unit]}f}"


def _p(value: float | None) -> str:
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def title_of(name: str) -> str:
    metric = metric_of(name)
    return f"{metric.title} [{metric.unit}]" if metric.unit else metric.title


def number_of(value: float | None, name: str) -> str:
    return NONE if value is None else f"{value:z.{_DECIMALS[metric_of(name).unit]}f}"


def _text(table: Table, width: int | None = None) -> str:
    """A table as text; where it is wider than `width`, its columns go into several blocks, and no cell is broken."""
    notes = [line for note in table.notes for line in _wrapped(note, width)]
    blocks = [_block(table, columns, width) for columns in _blocks(table, width)]
    return "\n".join([table.title, "\n\n".join(blocks), *notes])


def _blocks(table: Table, width: int | None) -> list[list[int]]:
    """The columns of each block; those that say what a row is (the first ones, of words) are in every block."""
    widths = _widths(table)
    keys = list(takewhile(lambda column: not table.numeric[column], range(len(widths))))
    others = list(range(len(keys), len(widths)))
    if width is None or not others:
        return [[*keys, *others]]
    blocks: list[list[int]] = []
    for column in others:
        current = blocks[-1] if blocks else []
        if not blocks or sum(widths[each] + len(_GAP) for each in (*keys, *current, column)) - len(_GAP) > width:
            blocks.append([])
        blocks[-1].append(column)
    return [[*keys, *block] for block in blocks]


def _block(table: Table, columns: Sequence[int], width: int | None) -> str:
    """Some columns of a table; a last one of words is wrapped into the room that there is."""
    widths = _widths(table)
    last = columns[-1]
    if width is not None and not table.numeric[last]:
        others = sum(widths[each] + len(_GAP) for each in columns[:-1])
        widths[last] = min(widths[last], max(_LEAST_WORDS, width - others))

    def lines(cells: Sequence[str]) -> list[str]:
        first, *more = _wrapped(cells[last], widths[last]) or [""]
        rows = [
            [cells[each] for each in columns[:-1]] + [first],
            *([""] * (len(columns) - 1) + [line] for line in more),
        ]
        return [_GAP.join(_padded(row, columns)).rstrip() for row in rows]

    def _padded(row: Sequence[str], columns: Sequence[int]) -> Iterator[str]:
        for cell, column in zip(row, columns, strict=True):
            yield cell.rjust(widths[column]) if table.numeric[column] else cell.ljust(widths[column])

    rule = _GAP.join("-" * widths[column] for column in columns)
    return "\n".join([*lines(table.headers), rule, *(line for row in table.rows for line in lines(row))])


def _widths(table: Table) -> list[int]:
    return [max(map(len, column)) for column in zip(table.headers, *table.rows, strict=True)]


def _wrapped(text: str, width: int | None) -> list[str]:
    return [text] if width is None or len(text) <= width else wrap(text, width)


def _markdown(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def escaped(cells: Sequence[str]) -> str:
        return line([for_markdown(cell) for cell in cells])

    rule = line(["---:" if right else "---" for right in table.numeric])
    notes = ["", *map(for_markdown, table.notes)] if table.notes else []
    head = [f"**{for_markdown(table.title)}**", "", escaped(table.headers), rule]
    return "\n".join([*head, *map(escaped, table.rows), *notes])


def _latex(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(for_latex, cells)) + r" \\"

    columns = "".join("r" if right else "l" for right in table.numeric)
    body = [
        f"% {_comment(table.title)}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        line(table.headers),
        r"\midrule",
        *map(line, table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join([*body, *(f"% {_comment(note)}" for note in table.notes)])


def _comment(text: str) -> str:
    """A text that stays in its line of LaTeX, where nothing is read but the line's end."""
    return " ".join(text.splitlines())


def _csv(table: Table) -> str:
    text = text_io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    # Cells of numbers are ours ("-0.5 to 0.1"), all others may begin with anything.
    writer.writerow(map(for_csv, table.headers))
    for row in table.rows:
        cells = zip(row, table.numeric, strict=True)
        writer.writerow("" if cell == NONE else cell if numeric else for_csv(cell) for cell, numeric in cells)
    return text.getvalue().rstrip("\n")


_WRITERS: Mapping[str, Callable[[Table], str]] = {
    "text": _text,
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
}
