"""Calibration: known answers by hand, the plain formulas, and what must hold for every prediction."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.metrics.calibration import near, reliability, scores


def drawn(seed, n_classes=3, shape=(6, 5, 4)):
    generator = np.random.default_rng(seed)
    p = generator.dirichlet(np.ones(n_classes), shape).transpose(3, 0, 1, 2)
    return p, generator.integers(0, n_classes, shape), generator.random(shape) < 0.6


def test_a_sure_and_right_prediction_costs_nothing_and_a_sure_and_wrong_one_the_most():
    truth = np.array([[[0, 1]]])
    sure = np.stack([truth == 0, truth == 1]).astype(float)
    right, wrong = scores(sure, truth), scores(sure, 1 - truth)
    assert (right.brier, right.nll) == (0, 0)
    assert wrong.brier == 2
    assert wrong.nll == pytest.approx(-np.log(1e-7))


def test_saying_a_half_costs_a_half_and_a_bit():
    found = scores(np.full((2, 1, 1, 4), 0.5), np.array([[[0, 1, 0, 1]]]))
    assert found.brier == 0.5
    assert found.nll == pytest.approx(np.log(2))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_scores_are_the_plain_formulas_over_the_domain(seed):
    p, truth, domain = drawn(seed)
    y = np.stack([truth == c for c in range(3)])
    found = scores(p, truth, domain)
    assert found.n == domain.sum()
    if found.n:
        assert found.brier == pytest.approx(np.square(p - y).sum(axis=0)[domain].mean())
        assert found.nll == pytest.approx(-np.log(np.maximum((p * y).sum(axis=0)[domain], 1e-7)).mean())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, (1, 2)]))
def test_the_calibration_error_is_the_plain_formula(seed, label):
    p, truth, domain = drawn(seed)
    labels = np.atleast_1d(label)
    said, true = p[labels].sum(axis=0)[domain], np.isin(truth, labels)[domain]
    expected = sum(
        abs(said[inside].mean() - true[inside].mean()) * inside.mean()
        for low in range(15)
        if (inside := (said > low / 15) & (said <= (low + 1) / 15)).any()
    )
    assert reliability(p, truth, label, domain).ece == pytest.approx(expected)


def test_by_hand_seven_of_ten_at_nine_tenths_are_two_tenths_off():
    p = np.full((1, 1, 10), 0.9)
    truth = np.array([[[1] * 7 + [0] * 3]])
    found = reliability(np.stack([1 - p, p]), truth, 1)
    assert found.ece == pytest.approx(0.2)
    assert found.counts[13] == 10
    assert (found.said[13], found.true[13]) == pytest.approx((0.9, 0.7))


def test_probabilities_that_are_drawn_from_are_calibrated():
    generator = np.random.default_rng(3)
    p = generator.random((40, 40, 40))
    truth = (generator.random(p.shape) < p).astype(int)
    assert reliability(np.stack([1 - p, p]), truth, 1).ece < 0.01


def test_the_domain_reaches_so_many_mm_around_both_masks():
    grid = Geometry.from_spacing((21, 21, 9), (1, 1, 4))
    reference, predicted = np.zeros((2, *grid.shape), bool)
    reference[10, 10, 4] = True
    domain = near(reference, predicted, grid, 5)
    assert domain[15, 10, 4]
    assert not domain[16, 10, 4]
    assert domain[10, 10, 5]
    assert not domain[10, 10, 6]
    assert domain[13, 10, 5]  # 3 mm and 4 mm
    assert not domain[14, 10, 5]
    assert near(predicted, predicted, grid).all()


def test_an_empty_domain_has_no_score():
    p, truth, domain = drawn(1)
    assert np.isnan(scores(p, truth, np.zeros_like(domain)).brier)
    assert np.isnan(reliability(p, truth, 1, np.zeros_like(domain)).ece)


def test_classes_without_a_probability_and_other_grids_are_refused():
    p, truth, _ = drawn(1)
    with pytest.raises(InputError, match="probabilities of 3 classes"):
        scores(p, truth + 1)
    with pytest.raises(InputError, match="same grid"):
        scores(p[:, :5], truth)
