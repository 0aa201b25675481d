import pytest

from medseg.config.network import NetworkSpec
from medseg.plan.cost import forward_gflop, stage_sides, step_gflop


def spec(features=(16, 32, 64, 128), **changes):
    stages = len(features)
    values = {
        "dimensions": 3,
        "in_channels": 1,
        "n_classes": 3,
        "features": features,
        "kernels": ((3, 3, 3),) * stages,
        "strides": ((1, 1, 1), *((2, 2, 2),) * (stages - 1)),
    }
    return NetworkSpec(**{**values, **changes})


def test_two_stages_cost_what_a_hand_counts():
    # 4 voxels a side: 64 voxels above, 8 below; kernels of 27.
    above = 64 * 27 * (1 * 2 + 2 * 2)
    below = 8 * 27 * (2 * 4 + 4 * 4)
    upsampling = 64 * 4 * 2
    expanding = 64 * 27 * (4 * 2 + 2 * 2)
    head = 64 * 2 * 3
    assert forward_gflop(spec((2, 4)), (4, 4, 4)) == pytest.approx(
        2e-9 * (above + below + upsampling + expanding + head)
    )


def test_the_network_of_the_hippocampus_costs_57_gflop_a_step():
    """Counted by the operations of the real network in a profile, before these rules existed."""
    assert step_gflop(spec(), (40, 56, 40), batch=2) == pytest.approx(57.5, rel=0.01)


def test_sides_are_rounded_up_where_a_stride_does_not_divide_them():
    assert stage_sides((5, 9), [(1, 1), (2, 2), (2, 2)]) == [(5, 9), (3, 5), (2, 3)]
