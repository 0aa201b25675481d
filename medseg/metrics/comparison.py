"""Two lists of numbers of the same cases: which is better, by how much, and how sure is that; and do volumes agree.

`compare_paired` tests whether one method is better than another on the same cases, `holm` corrects for having tested
many times, `rank_runs` says how sure a ranking is, `bland_altman` how far two measurements of one quantity agree. What
is tested, resampled and counted is the *group* (the patient): the cases of a group are first averaged. scipy tests;
this module must never know of files, labels or what a value means.

Sources: Wilcoxon 1945 with zeros by Pratt 1959; Holm 1979; Kerby 2014 (rank-biserial correlation); Bland & Altman 1986
and 1999; Maier-Hein 2018, Wiesenfarth 2021 (bootstrap of rankings).
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from medseg.core.errors import UsageError
from medseg.metrics.statistics import describe, group_means

__all__ = [
    "SMALLEST_FOR_TEST",
    "BlandAltman",
    "PairedComparison",
    "Ranking",
    "bland_altman",
    "compare_paired",
    "holm",
    "rank_runs",
]

SMALLEST_FOR_TEST = 6
"""With fewer pairs no two-sided p below 0.05 is possible (n = 5: 0.0625), so none is given."""

_ENUMERATED = 13
"""Up to so many pairs all 2ⁿ signs are looked at where there are ties or zeros, as scipy does."""

_DRAWS = 2_000
_SLOPE_LEVEL = 0.05
"""Below this p the difference is said to grow with the size of what is measured."""


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """A against B on the same cases; differences are A − B.

    Attributes:
        n: Groups compared.
        mean_difference: The mean over cases of A − B; None for none.
        interval: For the mean difference, by t or BCa over groups; None below six groups.
        wins: Groups in which A is better.
        ties: Groups in which both are alike.
        losses: Groups in which B is better.
        p: Two-sided Wilcoxon signed-rank test, zeros by Pratt; None below six groups or where all are ties.
        effect: Matched rank-biserial correlation in [−1, 1], above 0 where A is larger; None where all are ties.
    """

    n: int
    mean_difference: float | None
    interval: tuple[float, float] | None
    wins: int
    ties: int
    losses: int
    p: float | None
    effect: float | None


def compare_paired(
    a: Sequence[float],
    b: Sequence[float],
    *,
    groups: Sequence[Hashable] | None = None,
    larger_is_better: bool = True,
    level: float = 0.95,
    seed: int = 0,
) -> PairedComparison:
    """Compare two methods by their values on the same cases, in the same order.

    Raises:
        UsageError: There are not as many values in both, or one is not finite.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape:
        raise UsageError(f"A comparison needs the same cases on both sides; there are {first.size} and {second.size}.")
    difference = first - second
    about = describe(list(difference), groups=groups, level=level, seed=seed)
    by_group = _without_rounding(group_means(difference, groups), max(1.0, *np.abs([*first, *second, 0.0])))
    better = by_group if larger_is_better else -by_group
    p, effect = _signed_rank(by_group)
    return PairedComparison(
        by_group.size,
        about.mean,
        about.interval,
        int((better > 0).sum()),
        int((better == 0).sum()),
        int((better < 0).sum()),
        p,
        effect,
    )


def holm(p: Sequence[float | None]) -> tuple[float | None, ...]:
    """Holm's adjusted p values of a family of tests, in their order; None (not tested) stays None.

    >>> holm([0.01, None, 0.04, 0.03])
    (0.03, None, 0.06, 0.06)
    """
    tested = sorted((value, place) for place, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    largest = 0.0
    for rank, (value, place) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * value))
        adjusted[place] = largest
    return tuple(adjusted)


@dataclass(frozen=True, slots=True)
class Ranking:
    """The place of one run among several.

    Attributes:
        run: Its name.
        mean: The mean over cases.
        rank: By the mean, 1 is best; equal means share the better place.
        interval: Within which the rank stays in 95 % of the bootstrap draws over groups.
        first: In which share of the draws it is first.
    """

    run: str
    mean: float
    rank: int
    interval: tuple[int, int]
    first: float


def rank_runs(
    values: Mapping[str, Sequence[float]],
    *,
    groups: Sequence[Hashable] | None = None,
    larger_is_better: bool = True,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[Ranking, ...]:
    """Rank runs by their mean over the same cases, best first, and say how sure that is: groups are drawn anew.

    Raises:
        UsageError: The runs have different numbers of cases, or none.
    """
    table = np.array([list(map(float, each)) for each in values.values()], np.float64)
    if table.ndim != 2 or table.shape[1] == 0:
        raise UsageError("Runs can be ranked only by the same cases, at least one.")
    signed = table if larger_is_better else -table
    n_cases = table.shape[1]
    members = _members(groups if groups is not None else range(n_cases))
    generator = np.random.default_rng(seed)
    ranks = np.empty((_DRAWS, len(values)), np.int64)
    for draw in range(_DRAWS):
        drawn = np.concatenate([members[g] for g in generator.integers(0, len(members), len(members))])
        ranks[draw] = _ranks(signed[:, drawn].mean(axis=1))
    own = _ranks(signed.mean(axis=1))
    ends = np.quantile(ranks, [(1 - level) / 2, (1 + level) / 2], axis=0, method="inverted_cdf")
    found = [
        Ranking(
            run,
            float(table[row].mean()),
            int(own[row]),
            (int(ends[0, row]), int(ends[1, row])),
            float((ranks[:, row] == 1).mean()),
        )
        for row, run in enumerate(values)
    ]
    return tuple(sorted(found, key=lambda each: each.rank))


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """How far two measurements of one quantity agree; differences are measured − reference.

    Attributes:
        n: Pairs.
        bias: Mean difference.
        bias_interval: For the bias, by t.
        limits: Bias ± 1.96 SD (n − 1): where 95 % of differences lie if they are normal.
        lower_interval: For the lower limit, by t (Bland & Altman 1986: the standard error is √(3/n) SD).
        upper_interval: For the upper limit.
        slope: Of the difference on the mean of both.
        slope_p: Whether that is 0.
        ratio_limits: Where the difference grows with the size and all values are above 0: within which factors of the
            reference 95 % of the measurements lie (limits of the logarithms' difference); else None.
    """

    n: int
    bias: float
    bias_interval: tuple[float, float]
    limits: tuple[float, float]
    lower_interval: tuple[float, float]
    upper_interval: tuple[float, float]
    slope: float | None = None
    slope_p: float | None = None
    ratio_limits: tuple[float, float] | None = None


def bland_altman(measured: Sequence[float], reference: Sequence[float], *, level: float = 0.95) -> BlandAltman | None:
    """Limits of agreement of two measurements; None below three pairs, where a spread says nothing."""
    ours, theirs = np.asarray(measured, np.float64), np.asarray(reference, np.float64)
    n = ours.size
    if n < 3:
        return None
    difference = ours - theirs
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    quantile = float(stdtrit(n - 1, (1 + level) / 2))
    reach, reach_of_limit = quantile * sd / np.sqrt(n), quantile * sd * np.sqrt(3 / n)
    lower, upper = bias - 1.96 * sd, bias + 1.96 * sd
    slope, slope_p = _slope(difference, (ours + theirs) / 2)
    ratio = None
    if slope_p is not None and slope_p < _SLOPE_LEVEL and min(ours.min(), theirs.min()) > 0:
        logs = np.log(ours) - np.log(theirs)
        spread = 1.96 * logs.std(ddof=1)
        ratio = (float(np.exp(logs.mean() - spread)), float(np.exp(logs.mean() + spread)))
    return BlandAltman(
        n,
        bias,
        (bias - reach, bias + reach),
        (lower, upper),
        (lower - reach_of_limit, lower + reach_of_limit),
        (upper - reach_of_limit, upper + reach_of_limit),
        slope,
        slope_p,
        ratio,
    )


def _signed_rank(difference: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """The two-sided p and the rank-biserial correlation; zeros keep their ranks and count for neither side (Pratt)."""
    from scipy.stats import rankdata, wilcoxon  # a second to load: only where something is compared

    ranks = rankdata(np.abs(difference))
    counted = float(ranks[difference != 0].sum())
    if not counted:
        return None, None
    effect = float((ranks[difference > 0].sum() - ranks[difference < 0].sum()) / counted)
    if difference.size < SMALLEST_FOR_TEST:
        return None, effect
    if difference.size <= _ENUMERATED and _has_ties(difference):
        return _by_all_signs(ranks[difference != 0], float(ranks[difference > 0].sum())), effect
    p = float(wilcoxon(difference, zero_method="pratt").pvalue)
    return (p if isfinite(p) else None), effect


def _has_ties(difference: NDArray[np.float64]) -> bool:
    return bool((difference == 0).any() or np.unique(np.abs(difference)).size < difference.size)


def _by_all_signs(ranks: NDArray[np.float64], above: float) -> float:
    """The two-sided p of a sum of ranks, every way to give them signs being as likely.

    What scipy does where there are ties or zeros, but from one table of all sums: it takes a second for one p.
    """
    signs = (np.arange(2**ranks.size)[:, None] >> np.arange(ranks.size)) & 1
    sums = signs @ ranks
    return min(1.0, 2 * float(min((sums >= above - 1e-9).mean(), (sums <= above + 1e-9).mean())))


def _without_rounding(difference: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Differences that are rounding are ties."""
    return np.where(np.abs(difference) <= 1e-12 * scale, 0.0, difference)


def _ranks(means: NDArray[np.float64]) -> NDArray[np.int64]:
    """1 for the largest; equal ones share the better rank."""
    ranks: NDArray[np.int64] = 1 + np.count_nonzero(means[None] > means[:, None], axis=1)
    return ranks


def _members(groups: Sequence[Hashable]) -> list[NDArray[np.intp]]:
    """The places of the cases of each group, groups in the order in which they first occur."""
    places: dict[Hashable, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group, []).append(place)
    return [np.array(each, np.intp) for each in places.values()]


def _slope(difference: NDArray[np.float64], mean: NDArray[np.float64]) -> tuple[float | None, float | None]:
    if np.ptp(mean) == 0 or np.ptp(difference) == 0:
        return None, None
    from scipy.stats import linregress

    fit = linregress(mean, difference)
    return float(fit.slope), float(fit.pvalue)
