import time

import pytest
import torch

from medseg.config.schema import TrainingConfig
from medseg.predict.arithmetic import Arithmetic
from medseg.train.measure import free_memory_gib, layer_gflops, peak_memory_gib, time_steps

CPU = torch.device("cpu")


class Pupil:
    """Something that can be timed like a learner: it sleeps as long as its arithmetic is said to take."""

    def __init__(self, seconds, asked):
        self.seconds, self.asked = seconds, asked

    def learn(self, batch, step, rate):
        self.asked.append(batch)
        time.sleep(self.seconds)


def timed(plan, seconds, **training):
    asked, made = [], []

    def learner(arithmetic):
        made.append(arithmetic)
        return Pupil(seconds[arithmetic.memory_format], asked)

    return time_steps(plan, TrainingConfig(arithmetic="float32", **training), learner, CPU), asked, made


def test_the_faster_layout_is_chosen_and_both_are_told(plan):
    measured, asked, _ = timed(plan, {"channels_last": 0.02, "channels_first": 0.002})
    assert measured.arithmetic == Arithmetic("float32", "channels_first")
    assert measured.seconds_per_step == pytest.approx(0.002, rel=2)
    assert len(measured.tried) == 2
    image, classes = asked[0]
    assert image.shape == (plan.batch, len(plan.channels), *plan.patch)
    assert classes.shape == (plan.batch, *plan.patch)
    assert int(classes.max()) < plan.network.n_classes


def test_a_hopeless_candidate_is_run_once(plan):
    measured, asked, _ = timed(plan, {"channels_last": 0.001, "channels_first": 0.1})
    assert measured.arithmetic.memory_format == "channels_last"
    assert len(asked) == 4 + 1


def test_what_the_user_has_fixed_is_all_that_is_tried(plan):
    measured, _, made = timed(plan, {"channels_first": 0.001}, memory_format="channels_first")
    assert made == [measured.arithmetic] == [Arithmetic("float32", "channels_first")]


def test_a_layer_reaches_what_a_processor_can():
    assert 0.1 < layer_gflops(CPU) < 1e5


def test_memory_is_a_plausible_number():
    assert 0.05 < free_memory_gib(CPU) < 1e5
    peak = peak_memory_gib(CPU)
    assert peak is None or 0.05 < peak < 1e5
