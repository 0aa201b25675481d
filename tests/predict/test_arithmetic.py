import time

import pytest
import torch
from torch import nn

from medseg.predict.arithmetic import Arithmetic, candidates, fastest

CPU = torch.device("cpu")


def test_the_fastest_is_taken_and_a_hopeless_one_runs_only_once():
    seconds = {
        Arithmetic("float32", "channels_last"): 0.01,
        Arithmetic("float32", "channels_first"): 0.004,
        Arithmetic("bfloat16", "channels_last"): 0.1,
    }
    runs = dict.fromkeys(seconds, 0)

    def run(arithmetic):
        runs[arithmetic] += 1
        time.sleep(seconds[arithmetic])

    assert fastest(seconds, run, CPU) == Arithmetic("float32", "channels_first")
    assert runs[Arithmetic("bfloat16", "channels_last")] == 1


def test_a_wish_is_kept_and_float32_is_always_a_candidate():
    assert {arithmetic.dtype for arithmetic in candidates("bfloat16", CPU)} == {"bfloat16"}
    assert candidates("auto", CPU)[0].dtype == "float32"


def test_choosing_candidates_draws_no_random_numbers():
    before = torch.get_rng_state()
    candidates("auto", CPU)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("dimensions", "layer"), [(2, nn.Conv2d), (3, nn.Conv3d)])
def test_a_network_answers_alike_in_either_layout(dimensions, layer):
    network, image = layer(3, 4, 3, padding=1), torch.randn(1, 3, *[6] * dimensions)
    with torch.no_grad():
        expected = network(image)
        arithmetic = Arithmetic("float32", "channels_last")
        placed = arithmetic.place(network, CPU, dimensions)
        found = placed(image.contiguous(memory_format=arithmetic.layout(dimensions)))
    torch.testing.assert_close(found, expected)
