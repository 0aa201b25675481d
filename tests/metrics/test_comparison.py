"""Comparisons of runs and of measurements: known answers, and what must hold whatever the numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from medseg.core.errors import UsageError
from medseg.metrics.comparison import bland_altman, compare_paired, holm, rank_runs

shares = st.floats(0, 1).map(lambda x: round(x, 3))


def test_ten_wins_of_ten_have_the_smallest_p_that_there_is():
    a = np.arange(1, 11) / 10
    found = compare_paired(a + np.arange(1, 11) / 100, a)
    assert (found.wins, found.ties, found.losses) == (10, 0, 0)
    assert found.p == pytest.approx(2 / 2**10)
    assert found.effect == 1


def test_below_six_pairs_there_is_no_p():
    found = compare_paired([0.9, 0.8, 0.7, 0.9, 0.8], [0.5] * 5)
    assert found.p is None
    assert found.interval is None
    assert found.mean_difference == pytest.approx(0.32)


def test_ties_alone_are_neither_better_nor_tested():
    found = compare_paired([0.5] * 8, [0.5] * 8)
    assert (found.wins, found.ties, found.losses, found.p, found.effect) == (0, 8, 0, None, None)


def test_zeros_keep_their_ranks_as_pratt_has_it():
    # |d|: 0 0 1 2 3 4 5 6 with ranks 1.5 1.5 3…8; of the 33 that count the one loss (|d| = 2) has 4.
    difference = [0, 0, 1, -2, 3, 4, 5, 6]
    found = compare_paired(difference, [0] * 8)
    assert found.effect == pytest.approx((33 - 2 * 4) / 33)
    assert found.ties == 2


def test_smaller_is_better_for_distances():
    found = compare_paired([1.0] * 7, [2.0] * 7, larger_is_better=False)
    assert (found.wins, found.losses) == (7, 0)
    assert found.mean_difference == -1


def test_cases_of_a_patient_count_once():
    a = [0.9, 0.9, 0.9, 0.1, *np.linspace(0.5, 0.9, 6)]
    b = [0.8, 0.8, 0.8, 0.8, *np.linspace(0.4, 0.8, 6)]
    found = compare_paired(a, b, groups=["p", "p", "p", "p", *range(6)])
    assert found.n == 7
    assert (found.wins, found.losses) == (6, 1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(shares, shares), min_size=6, max_size=30))
def test_swapping_both_sides_turns_the_answer_round(pairs):
    a, b = zip(*pairs, strict=True)
    there, back = compare_paired(a, b), compare_paired(b, a)
    assert (there.wins, there.ties, there.losses) == (back.losses, back.ties, back.wins)
    assert there.mean_difference == pytest.approx(-back.mean_difference, abs=1e-12)
    assert there.p == back.p if there.p is None else there.p == pytest.approx(back.p)


def test_the_sizes_of_both_sides_must_agree():
    with pytest.raises(UsageError, match="same cases"):
        compare_paired([1.0], [1.0, 2.0])


def test_holm_by_hand():
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert holm([]) == ()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_never_below_p_nor_above_bonferroni_and_keeps_the_order(p):
    adjusted = holm(p)
    for value, corrected in zip(p, adjusted, strict=True):
        assert value <= corrected <= min(1, len(p) * value) + 1e-15
    order = np.argsort(p, kind="stable")
    assert np.all(np.diff(np.array(adjusted)[order]) >= 0)


def test_a_run_that_is_always_better_is_first_in_every_draw():
    good, bad = np.linspace(0.8, 0.9, 12), np.linspace(0.5, 0.6, 12)
    first, second = rank_runs({"bad": bad, "good": good})
    assert (first.run, first.rank, first.interval, first.first) == ("good", 1, (1, 1), 1.0)
    assert (second.run, second.rank, second.interval, second.first) == ("bad", 2, (2, 2), 0.0)


def test_equal_runs_share_the_first_place():
    values = np.linspace(0.5, 0.9, 9)
    assert [each.rank for each in rank_runs({"a": values, "b": values})] == [1, 1]


def test_how_often_a_run_is_first_can_be_counted():
    # B wins one case of three by more than A wins the others: A's mean is lower only where that case is drawn. With
    # gains of +1, +1 and −4 a draw of three has a mean above 0 only without the third case.
    first = next(each for each in rank_runs({"a": [1, 1, -4], "b": [0, 0, 0]}, seed=1) if each.run == "a").first
    expected = (2 / 3) ** 3
    assert first == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 2000))


def test_the_limits_of_agreement_by_hand():
    # Differences 1, 2, 3: mean 2, SD 1; t(0.975, 2) = 4.302653.
    found = bland_altman([11, 22, 33], [10, 20, 30])
    assert found.bias == pytest.approx(2)
    assert found.limits == pytest.approx((0.04, 3.96))
    assert found.bias_interval == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-5)
    assert found.lower_interval == pytest.approx((0.04 - 4.302653, 0.04 + 4.302653), abs=1e-5)


def test_a_difference_that_grows_with_the_size_is_told_as_a_ratio():
    reference = np.linspace(10, 100, 20)
    found = bland_altman(1.1 * reference, reference)
    assert found.slope == pytest.approx(0.1 / 1.05)
    assert found.ratio_limits == pytest.approx((1.1, 1.1))


def test_two_pairs_say_nothing_of_agreement():
    assert bland_altman([1, 2], [1, 2]) is None


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=6, max_size=8))
def test_p_with_ties_and_zeros_is_that_of_scipy(differences):
    if not any(differences):
        return
    expected = wilcoxon(differences, zero_method="pratt").pvalue
    assert compare_paired(differences, [0] * len(differences)).p == pytest.approx(expected)
