"""Folders of predictions against references → rows → summary, tables. Never torch.

`evaluate` judges label maps, files or folders; `run` does the same as a generator of events. Rows have a status, so no
case is ever dropped: missing, extra, unreadable and misplaced predictions are in the table. The module itself can be
called: `medseg.evaluate(predicted, reference)` is `medseg.evaluate.evaluate(predicted, reference)`.
"""

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from medseg.core.labels import Labels
from medseg.evaluate._run import Judged, evaluate, run, run_pairs
from medseg.evaluate.catalogue import DEFAULT_METRICS, METRICS, Metric, metric_of
from medseg.evaluate.compare import Run, compare, run_comparison
from medseg.evaluate.contests import Comparison, Contest
from medseg.evaluate.evaluation import Evaluation, Failure, check, parse_thresholds
from medseg.evaluate.options import EvaluateOptions, parse_labels, parse_tolerances
from medseg.evaluate.pairs import Pair, find_label_maps, match, read_table
from medseg.evaluate.results import refuse_foreign_results
from medseg.evaluate.score import STATUSES, Row
from medseg.evaluate.summary import Figure, Summary, summarise
from medseg.evaluate.tables import Table, render, tables

if TYPE_CHECKING:
    from medseg.evaluate.report import write_results

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "STATUSES",
    "Comparison",
    "Contest",
    "EvaluateOptions",
    "Evaluation",
    "Failure",
    "Figure",
    "Metric",
    "Pair",
    "Row",
    "Run",
    "Summary",
    "Table",
    "check",
    "compare",
    "evaluate",
    "find_label_maps",
    "match",
    "metric_of",
    "parse_labels",
    "parse_thresholds",
    "parse_tolerances",
    "read_table",
    "refuse_foreign_results",
    "render",
    "run",
    "run_comparison",
    "run_pairs",
    "summarise",
    "tables",
    "write_results",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  the report draws: only who asks for it loads it
    if name == "write_results":
        from medseg.evaluate.report import write_results

        return write_results
    raise AttributeError(f"module 'medseg.evaluate' has no attribute '{name}'")


class _Callable(ModuleType):
    """The room has the name of its verb, and the contract lets both be called `medseg.evaluate`."""

    def __call__(
        self,
        predicted: Judged,
        reference: Judged,
        options: EvaluateOptions | None = None,
        labels: Labels | None = None,
        *,
        readers: Mapping[str, Judged] | None = None,
        group: str | None = None,
    ) -> Evaluation:
        return evaluate(predicted, reference, options, labels, readers=readers, group=group)


sys.modules[__name__].__class__ = _Callable
