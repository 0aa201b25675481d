import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.config.schema import TrainingConfig
from medseg.plan.plan import Correction
from medseg.train.schedule import (
    FLOOR,
    PEAK,
    augmentation_strength,
    corrected_steps,
    learning_rate,
    progress,
    steps_within,
)

SCHEDULES = ("cosine", "polynomial", "constant")


@given(steps=st.integers(2, 10_000), data=st.data())
def test_progress_rises_from_zero_to_one_whatever_is_corrected(steps, data):
    at = data.draw(st.integers(1, steps - 1))
    end = data.draw(st.integers(at + 1, 3 * steps))
    correction = (Correction(at=at, steps=end),)
    seen = [progress(step, steps, correction) for step in range(0, end + 1, max(1, end // 50))]
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert progress(end, steps, correction) == pytest.approx(1)
    before, after = progress(at, steps), progress(at, steps, correction)
    assert after == pytest.approx(before), "a correction must not jump"


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_learning_rate_warms_up_to_its_peak_and_ends_at_its_floor(schedule, optimizer):
    training = TrainingConfig(schedule=schedule, optimizer=optimizer, warmup=0.1)
    peak = PEAK[optimizer]
    assert learning_rate(0, training) == pytest.approx(FLOOR * peak)
    assert learning_rate(0.1, training) == pytest.approx(peak)
    assert learning_rate(1.0, training) == pytest.approx(peak if schedule == "constant" else FLOOR * peak)


def test_half_way_down_the_cosine_is_half_the_peak():
    assert learning_rate(0.5, TrainingConfig(learning_rate=1.0, warmup=0)) == pytest.approx(FLOOR + (1 - FLOOR) / 2)


def test_no_warm_up_starts_at_the_peak():
    assert learning_rate(0, TrainingConfig(learning_rate=0.2, warmup=0)) == pytest.approx(0.2)


def test_a_budget_holds_as_many_steps_as_fit_and_never_none():
    assert steps_within(60, 0.5) == 120
    assert steps_within(-5, 0.5) == 20


def test_a_slow_machine_gets_fewer_steps_and_a_fast_one_more():
    """100 steps in 100 s were planned; half of them took 60 s, or 40 s."""
    assert corrected_steps(50, 100, elapsed_s=60, seconds_per_step=1.2, end_s=100, tolerance=0.03) == 50 + 33
    assert corrected_steps(50, 100, elapsed_s=40, seconds_per_step=0.8, end_s=100, tolerance=0.03) == 50 + 75
    assert corrected_steps(50, 100, elapsed_s=51, seconds_per_step=1.0, end_s=100, tolerance=0.03) is None


def test_a_run_that_is_far_too_late_still_takes_one_step():
    assert corrected_steps(50, 100, elapsed_s=500, seconds_per_step=10, end_s=100, tolerance=0.03) == 51


def test_augmentation_grows_with_the_steps_and_is_full_in_the_end():
    strengths = [augmentation_strength(steps) for steps in (1, 800, 3000, 6000, 100_000)]
    assert strengths == sorted(strengths)
    assert 0 < strengths[0] < 0.5
    assert math.isclose(strengths[-1], 1)
