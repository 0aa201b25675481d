"""The result of an evaluation: rows, failures, summary, the two files, and what a command asks of it.

`metrics.csv` is long (case, label, metric, value, unit, status), raw values only: an empty cell is a value that does
not exist, and the status says why. `summary.json` follows the schema medseg/summary/1. Neither holds a path of the
machine.
"""

import csv
import io as text_io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from medseg._version import __version__
from medseg.core.errors import UsageError
from medseg.core.escapes import for_csv
from medseg.core.labels import Labels
from medseg.evaluate.catalogue import METRICS, Metric, metric_of
from medseg.evaluate.contests import Comparison
from medseg.evaluate.options import EvaluateOptions
from medseg.evaluate.results import SUMMARY, TABLE, TABLE_HEADER
from medseg.evaluate.score import Facts, Row, rows_of
from medseg.evaluate.summary import Figure, Summary, summarise
from medseg.io.files import write_json, write_text
from medseg.metrics import describe
from medseg.metrics.comparison import BlandAltman, bland_altman

__all__ = ["SCHEMA", "Evaluation", "Failure", "check", "parse_thresholds"]

SCHEMA = "medseg/summary/1"


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that was not compared: its status, and the sentence that says why."""

    case: str
    status: str
    reason: str
    defect: str = ""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predictions judged against references.

    Attributes:
        facts: What was measured, a case each, in natural order of the ids.
        labels: The labels that the table has.
        options: What was measured and how.
        warnings: What the user should know: one sentence each.
        comparison: How the run does beside others, where there are any.
    """

    facts: tuple[Facts, ...]
    labels: Labels
    options: EvaluateOptions
    warnings: tuple[str, ...] = ()
    comparison: Comparison | None = None

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """All rows: cases, then labels, then metrics, in order."""
        return tuple(row for facts in self.facts for row in rows_of(facts, self.labels, self.options))

    @cached_property
    def summary(self) -> Summary:
        return summarise(self.rows, self.options)

    @property
    def headline(self) -> Mapping[str, float]:
        """Metric → one number for the set: the mean over labels of *all*."""
        return self.summary.headline

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The cases that were not compared, in order."""
        return tuple(
            Failure(facts.pair.case, facts.outcome, facts.reason, facts.defect)
            for facts in self.facts
            if facts.outcome != "compared"
        )

    @property
    def n_cases(self) -> int:
        return len(self.facts)

    @property
    def n_failed(self) -> int:
        """Cases that should have been judged and could not be: an extra prediction is listed but is no failure."""
        return sum(
            facts.outcome != "compared" and not (facts.outcome == "no_reference" and facts.pair.reference is None)
            for facts in self.facts
        )

    @property
    def n_compared(self) -> int:
        return sum(facts.outcome == "compared" for facts in self.facts)

    @cached_property
    def volumes(self) -> Mapping[str, BlandAltman | None]:
        """Label → how far predicted and true volumes (ml) agree, over the cases that were compared."""
        found: dict[str, BlandAltman | None] = {}
        for name in self.options.select(self.labels):
            pairs = self.volume_pairs(name)
            found[name] = bland_altman([p for _, p, _ in pairs], [r for _, _, r in pairs], level=self.options.level)
        return found

    def volume_pairs(self, label: str) -> tuple[tuple[str, float, float], ...]:
        """Case, predicted and true volume in ml of a label, of the cases that were compared and are annotated."""
        pairs = []
        for facts in self.facts:
            if facts.confusion is not None and facts.grid is not None and facts.annotates(label):
                overlap = facts.confusion.overlap(facts.values_of(label, self.labels))
                voxel = facts.grid.voxel_volume_ml
                pairs.append((facts.pair.case, overlap.n_predicted * voxel, overlap.n_reference * voxel))
        return tuple(pairs)

    @cached_property
    def reader_agreement(self) -> Mapping[tuple[str, str], Mapping[str, tuple[float, ...]]]:
        """Pair of readers → label → Dice of each case, where there were several readers."""
        found: dict[tuple[str, str], dict[str, list[float]]] = {}
        for facts in self.facts:
            for readers, by_label in facts.agreement.items():
                for label, value in by_label.items():
                    found.setdefault(readers, {}).setdefault(label, []).append(value)
        return {readers: {label: tuple(v) for label, v in each.items()} for readers, each in found.items()}

    def to_csv(self) -> str:
        """The text of metrics.csv; values with all their digits, undefined ones empty, no name a formula."""
        text = text_io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(TABLE_HEADER)
        for row in self.rows:
            value = "" if row.value is None else repr(row.value)
            writer.writerow((for_csv(row.case), for_csv(row.label), row.metric, value, row.unit, row.status))
        return text.getvalue()

    def to_json(self) -> dict[str, Any]:
        """The content of summary.json."""
        summary = self.summary
        return {
            "schema": SCHEMA,
            "medseg": __version__,
            "headline": dict(summary.headline),
            "headline_found": dict(summary.headline_found),
            "n_cases": self.n_cases,
            "n_failed": self.n_failed,
            "labels": {
                label: {
                    **{name: _figure(figure) for name, figure in figures.items()},
                    "status": dict(summary.statuses[label]),
                }
                for label, figures in summary.figures.items()
            },
            "values": {name: list(self.labels.values[name]) for name in summary.figures},
            "failures": [
                {"case": failure.case, "status": failure.status, "reason": failure.reason} for failure in self.failures
            ],
            "warnings": list(self.warnings),
            "options": self.options.to_json(),
            "volume_agreement": {name: None if each is None else _limits(each) for name, each in self.volumes.items()},
            **({"readers": _readers(self.reader_agreement, self.options)} if self.reader_agreement else {}),
            **({} if self.comparison is None else {"comparison": self.comparison.to_json()}),
        }

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write metrics.csv and summary.json into a folder, each whole or not at all; their paths."""
        table, summary = folder / TABLE, folder / SUMMARY
        write_text(table, self.to_csv())
        write_json(summary, self.to_json())
        return table, summary


def parse_thresholds(texts: Iterable[str]) -> dict[str, float]:
    """What `--fail-under` asks for.

    >>> parse_thresholds(["dice=0.85", "hd95=5"])
    {'dice': 0.85, 'hd95_mm': 5.0}

    Raises:
        UsageError: Not METRIC=NUMBER, or a metric that has no headline figure.
    """
    thresholds = {}
    for text in texts:
        name, _, number = text.partition("=")
        metric = _headline(name)
        try:
            thresholds[metric.name] = float(number)
        except ValueError:
            raise UsageError(f"A threshold is METRIC=NUMBER, as in dice=0.85, not '{text}'.") from None
    return thresholds


def _headline(name: str) -> Metric:
    """The metric that a name means, its unit left out or not, if a set of cases has one figure of it.

    Raises:
        UsageError: It has none.
    """
    headlines = [each for each, metric in METRICS.items() if metric.is_headline]
    for candidate in (name, f"{name}_mm"):
        try:
            metric = metric_of(candidate)
        except UsageError:
            continue
        if metric.is_headline:
            return metric
    nearest = get_close_matches(name, [*headlines, *(each.removesuffix("_mm") for each in headlines)], 1, 0.5)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    raise UsageError(f"'{name}' is no headline figure.{hint} These are: {', '.join(headlines)}.")


def check(evaluation: Evaluation, thresholds: Mapping[str, float]) -> tuple[str, ...]:
    """What does not reach its threshold, one sentence each: below it for shares, above it for distances.

    Raises:
        UsageError: A figure was not measured.
    """
    unmet = []
    for name, threshold in thresholds.items():
        if name not in evaluation.headline and name not in evaluation.options.metrics:
            measured = ", ".join(metric.name for metric in evaluation.options.measured if metric.is_headline)
            raise UsageError(f"'{name}' was not measured, so it has no threshold to meet; measured are {measured}.")
        metric, value = metric_of(name), evaluation.headline.get(name)
        if value is None:
            bound = "at least" if metric.larger_is_better else "at most"
            unmet.append(f"{metric.title} has no value in any case; it should be {bound} {threshold:g}.")
        elif not metric.larger_is_better and value > threshold:
            unit = f" {metric.unit}" if metric.unit else ""
            unmet.append(f"{metric.title} is {value:.4g}{unit}, above {threshold:g}{unit}.")
        elif metric.larger_is_better and value < threshold:
            unmet.append(f"{metric.title} is {value:.4f}, below {threshold:g}.")
    return tuple(unmet)


def _figure(figure: Figure) -> dict[str, Any]:
    every = figure.everywhere
    return {
        "all": every.mean,
        "found": figure.found,
        "n": every.n,
        "n_found": figure.n_found,
        "interval": None if every.interval is None else list(every.interval),
        "method": every.method,
        "sd": every.sd,
        "median": every.median,
        "quartiles": None if every.quartiles is None else list(every.quartiles),
    }


def _limits(found: BlandAltman) -> dict[str, Any]:
    return {
        "n": found.n,
        "bias_ml": found.bias,
        "bias_interval": list(found.bias_interval),
        "limits_ml": list(found.limits),
        "lower_interval": list(found.lower_interval),
        "upper_interval": list(found.upper_interval),
        "slope": found.slope,
        "slope_p": found.slope_p,
        "ratio_limits": None if found.ratio_limits is None else list(found.ratio_limits),
    }


def _readers(
    agreement: Mapping[tuple[str, str], Mapping[str, tuple[float, ...]]], options: EvaluateOptions
) -> dict[str, Any]:
    """Mean Dice of each pair of readers with its interval over cases."""
    described = {
        readers: {
            label: describe(values, bounds=(0, 1), level=options.level, seed=options.seed)
            for label, values in each.items()
        }
        for readers, each in agreement.items()
    }
    return {
        f"{one}, {other}": {
            label: {"mean": d.mean, "n": d.n, "interval": None if d.interval is None else list(d.interval)}
            for label, d in each.items()
        }
        for (one, other), each in described.items()
    }
