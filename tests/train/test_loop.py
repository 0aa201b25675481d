import math

import pytest
import torch

from medseg.config.schema import TrainingConfig
from medseg.core.errors import InputError
from medseg.core.events import EpochEnded, StepEnded, Warned
from medseg.nn.losses import SegmentationLoss
from medseg.nn.networks import build
from medseg.predict.arithmetic import Arithmetic
from medseg.train.loop import GIVE_UP_AFTER, Learner, Race, fit


def learner(plan, **training):
    torch.manual_seed(0)
    return Learner(
        network=build(plan.network),
        ema=build(plan.network),
        loss=SegmentationLoss(),
        augment=None,
        training=TrainingConfig(**{"ema": 0.9, **training}),
        arithmetic=Arithmetic(),
        device=torch.device("cpu"),
        dimensions=plan.dimensions,
        seed=0,
    )


def batch(plan, seed=0):
    generator = torch.Generator().manual_seed(seed)
    classes = torch.zeros(2, *plan.patch, dtype=torch.uint8)
    classes[:, 4:10, 4:10, 2:6] = 1
    classes[:, 11:14, 4:10, 2:6] = 2
    image = classes[:, None].float() * 2 + 0.1 * torch.randn(2, 1, *plan.patch, generator=generator)
    return image, classes


class Clock:
    """A clock that stands still but for what a step is said to take."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def batches(self, plan, n, seconds):
        for number in range(n):
            self.now += seconds
            yield batch(plan, number)


def test_a_learner_learns(plan):
    pupil = learner(plan)
    losses = [float(pupil.learn(batch(plan), step, 5e-3)[0]) for step in range(40)]
    assert losses[-1] < 0.5 * losses[0]


def test_the_average_follows_the_weights_more_slowly(plan):
    pupil = learner(plan, ema=0.9)
    start = [p.clone() for p in pupil.ema.parameters()]
    for step in range(10):
        pupil.learn(batch(plan), step, 5e-3)
    moved = sum(float((p - s).detach().norm()) for p, s in zip(pupil.network.parameters(), start, strict=True))
    averaged = sum(float((p - s).detach().norm()) for p, s in zip(pupil.ema.parameters(), start, strict=True))
    assert 0 < averaged < moved


def test_without_averaging_the_model_is_the_last_weights(plan):
    pupil = learner(plan, ema=0.0)
    pupil.learn(batch(plan), 0, 5e-3)
    for averaged, current in zip(pupil.ema.parameters(), pupil.network.parameters(), strict=True):
        assert torch.equal(averaged, current)


def test_the_same_seed_gives_the_same_bits(plan):
    states = []
    for _ in range(2):
        pupil = learner(plan)
        for step in range(3):
            pupil.learn(batch(plan, step), step, 5e-3)
        states.append(pupil.state()["ema"])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_restored_learner_goes_on_with_the_same_bits(plan):
    whole, first, second = learner(plan), learner(plan), learner(plan)
    for step in range(4):
        whole.learn(batch(plan, step), step, 5e-3)
    for step in range(2):
        first.learn(batch(plan, step), step, 5e-3)
    second.restore(**first.state())
    for step in range(2, 4):
        second.learn(batch(plan, step), step, 5e-3)
    ours, theirs = second.state()["network"], whole.state()["network"]
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_gradient_that_is_not_finite_leaves_the_weights_alone(plan):
    pupil = learner(plan)
    before = [p.clone() for p in pupil.network.parameters()]
    image, classes = batch(plan)
    _, norm = pupil.learn((image * math.inf, classes), 0, 5e-3)
    assert not math.isfinite(norm)
    assert all(torch.equal(p, b) for p, b in zip(pupil.network.parameters(), before, strict=True))


def test_biases_and_normalisation_do_not_decay(plan):
    decaying, free = learner(plan).optimizer.param_groups
    assert decaying["weight_decay"] > 0
    assert free["weight_decay"] == 0
    assert all(p.ndim == 1 for p in free["params"])


def test_a_race_reports_each_step_and_each_epoch(plan):
    race, clock = Race(planned_steps=7, steps_an_epoch=3), Clock()
    events = list(fit(learner(plan), clock.batches(plan, 7, 1.0), race, clock))
    assert [e.step for e in events if isinstance(e, StepEnded)] == [1, 2, 3, 4, 5, 6, 7]
    ended = [(e.epoch, e.epochs, e.step) for e in events if isinstance(e, EpochEnded)]
    assert ended == [(1, 3, 3), (2, 3, 6), (3, 3, 7)]
    assert race.done == 1
    assert race.training_s == 7


def test_a_race_that_runs_late_announces_fewer_steps_and_ends_in_time(plan):
    """Twenty steps in 20 s were planned, but a step takes 2 s."""
    race, clock = Race(planned_steps=20, steps_an_epoch=100), Clock()
    events = list(fit(learner(plan), clock.batches(plan, 80, 2.0), race, clock, end_s=lambda _: 30.0))
    warnings = [e for e in events if isinstance(e, Warned)]
    assert "slower" in warnings[0].text
    assert race.step == race.steps == 15
    assert race.done == pytest.approx(1)
    assert clock.now == 30


def test_a_race_that_runs_early_uses_the_rest_of_its_time(plan):
    race, clock = Race(planned_steps=10, steps_an_epoch=100), Clock()
    events = list(fit(learner(plan), clock.batches(plan, 40, 1.0), race, clock, end_s=lambda _: 20.0))
    assert any("faster" in e.text for e in events if isinstance(e, Warned))
    assert race.step == 20
    assert clock.now == 20


def test_pauses_are_not_taken_for_slowness(plan):
    race, clock = Race(planned_steps=10, steps_an_epoch=2), Clock()
    for event in fit(
        learner(plan), clock.batches(plan, 40, 1.0), race, clock, end_s=lambda _: clock.now + 10 - race.step
    ):
        assert not isinstance(event, Warned)
        if isinstance(event, EpochEnded):
            clock.now += 5
            race.paused_s += 5


def test_training_that_diverges_stops_with_the_learning_rate(plan):
    image, classes = batch(plan)
    broken = ((image * math.inf, classes) for _ in range(100))
    with pytest.raises(InputError, match=r"diverged: .* Lower training.learning_rate \(now"):
        list(fit(learner(plan), broken, Race(100, 10), Clock()))
    assert GIVE_UP_AFTER < 100


def test_a_second_correction_compares_itself_with_the_first(plan):
    """Two seconds a step, then none at all: slower than counted, faster than counted last."""
    race, clock = Race(planned_steps=40, steps_an_epoch=100), Clock()

    def batches():
        for number in range(400):
            clock.now += 2.0 if number < 5 else 0.1
            yield batch(plan)

    events = list(fit(learner(plan), batches(), race, clock, end_s=lambda _: 40.0))
    texts = [e.text for e in events if isinstance(e, Warned)]
    assert "slower than it was when the steps were counted" in texts[0]
    assert "faster than it was when the steps were last counted" in texts[1]
