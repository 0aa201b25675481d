"""What a comparison of runs comes to, as values: contests of two runs, and rankings of all."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medseg.metrics.comparison import PairedComparison, Ranking

__all__ = ["MEAN", "Comparison", "Contest"]

MEAN = "mean over labels"
"""What stands in place of a label's name for the mean of all of them in a case."""


@dataclass(frozen=True, slots=True)
class Contest:
    """The first run against another in one metric of one label; differences are first − other.

    Attributes:
        other: The other run's name.
        label: The label's name, or `MEAN`.
        metric: The metric's.
        first_mean: The mean over the cases of both.
        other_mean: The same of the other run.
        result: Difference, interval, p, effect, wins, ties and losses.
        p_holm: p corrected for all tests of the report; None where there is no p.
    """

    other: str
    label: str
    metric: str
    first_mean: float
    other_mean: float
    result: PairedComparison
    p_holm: float | None


@dataclass(frozen=True)
class Comparison:
    """All contests of a report, and by metric the ranking of all runs by their mean over labels."""

    runs: tuple[str, ...]
    contests: tuple[Contest, ...]
    rankings: Mapping[str, tuple[Ranking, ...]]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For summary.json."""
        return {
            "runs": list(self.runs),
            "contests": [
                {
                    "other": each.other,
                    "label": each.label,
                    "metric": each.metric,
                    "n": each.result.n,
                    "mean": each.first_mean,
                    "other_mean": each.other_mean,
                    "difference": each.result.mean_difference,
                    "interval": None if each.result.interval is None else list(each.result.interval),
                    "wins": each.result.wins,
                    "ties": each.result.ties,
                    "losses": each.result.losses,
                    "effect": each.result.effect,
                    "p": each.result.p,
                    "p_holm": each.p_holm,
                }
                for each in self.contests
            ],
            "rankings": {
                name: [
                    {
                        "run": each.run,
                        "mean": each.mean,
                        "rank": each.rank,
                        "interval": list(each.interval),
                        "first": each.first,
                    }
                    for each in ranking
                ]
                for name, ranking in self.rankings.items()
            },
            "notes": list(self.notes),
        }
