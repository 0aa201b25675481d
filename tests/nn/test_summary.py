"""The table of a network: parameters and FLOP counted by hand, receptive fields seen by gradients."""

from math import prod

import pytest
import torch

from medseg.nn.networks import build
from medseg.nn.summary import receptive_field, summarise
from medseg.nn.unet import UNet
from medseg.plan.cost import forward_gflop
from tests.nn.specs import spec


def test_a_small_network_counted_by_hand():
    wanted = spec(2, (2, 3), convolutions=1, n_classes=2, deep_supervision=True)
    summary = summarise(wanted, (8, 4))
    rows = {(row.path, row.name): row for row in summary.rows}
    # Convolution weights in · out · 9, then scale and shift of the normalisation; the upsampling has a bias.
    expected = {
        ("contracting", "stage 0"): ((8, 4), 2, 1 * 2 * 9 + 4, 2 * 32 * (1 * 2 * 9)),
        ("bottleneck", "stage 1"): ((4, 2), 3, 2 * 3 * 9 + 6, 2 * 8 * (2 * 3 * 9)),
        ("expanding", "stage 0"): ((8, 4), 2, (3 * 2 * 4 + 2) + (4 * 2 * 9 + 4), 2 * 32 * (3 * 2 + 4 * 2 * 9)),
        ("output", "final 1×1 convolution"): ((8, 4), 2, 2 * 2 + 2, 2 * 32 * (2 * 2)),
    }
    total = sum(flop for *_, flop in expected.values())
    assert list(rows) == list(expected)
    for key, (resolution, features, parameters, flop) in expected.items():
        row = rows[key]
        assert (row.resolution, row.features, row.parameters) == (resolution, features, parameters)
        assert row.gflop == pytest.approx(flop / 1e9)
        assert row.share == pytest.approx(flop / total)
    assert summary.forward_gflop == pytest.approx(total / 1e9)
    assert summary.parameters == sum(p.numel() for p in build(wanted).parameters())
    # Stage 0: 3. Bottleneck: 3 coarse voxels are 6 fine ones, and one more on each side. Expanding: a convolution's 3
    # voxels lie in 2 coarse ones; each sees 8, the second 2 further on.
    assert rows["contracting", "stage 0"].receptive_field == (3, 3)
    assert rows["bottleneck", "stage 1"].receptive_field == (8, 8)
    assert rows["output", "final 1×1 convolution"].receptive_field == (10, 10)


@pytest.mark.parametrize("upsample", ["transposed", "nearest", "linear"])
def test_the_work_is_what_the_plan_reckons_with(upsample):
    wanted = spec(3, (4, 8, 8), kernels=((1, 3, 3), (3, 3, 3), (3, 3, 5)), upsample=upsample)
    assert summarise(wanted, (8, 12, 16)).forward_gflop == pytest.approx(forward_gflop(wanted, (8, 12, 16)))


def seen_by(network, side, voxel, period):
    """Voxels of a line-shaped image whose gradient is not 0 at a voxel of the logits, over two slopes of the line.

    Weights are positive and so are the features: nothing cancels. A maximum passes one gradient on: on a rising line
    that of the far end of its window, on a falling one that of the near end.
    """
    seen = torch.zeros(side, dtype=torch.bool)
    for slope in (1, -1):
        line = (torch.arange(side, dtype=torch.float64) * slope / side + 2).view(1, 1, side, 1)
        image = line.expand(1, 1, side, period).clone().requires_grad_()
        network(image)[0, 0, voxel].sum().backward()
        seen |= image.grad[0, 0].abs().sum(-1) > 0
    first, *_, last = seen.nonzero().flatten().tolist()
    return last - first + 1


@pytest.mark.parametrize("downsample", ["maxpool", "strided"])
@pytest.mark.parametrize("upsample", ["transposed", "nearest", "linear"])
@pytest.mark.parametrize(
    ("strides", "kernels", "residual"),
    [((2, 2), (3, 3, 3), False), ((3, 2), (3, 1, 3), False), ((2, 4), (1, 3, 1), True), ((2,), (3, 5), True)],
)
def test_the_receptive_field_is_where_gradients_come_from(downsample, upsample, strides, kernels, residual):
    wanted = spec(
        2,
        (2,) * len(kernels),
        kernels=tuple((k, 1) for k in kernels),
        strides=((1, 1), *((s, 1) for s in strides)),
        downsample=downsample,
        upsample=upsample,
        convolutions=2,
        residual=residual,
        normalisation="none",
        activation="relu",
    )
    network = UNet(wanted).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.1)
    period = prod(strides)
    side = 24 * period
    widest = max(seen_by(network, side, side // 2 + voxel, 2) for voxel in range(period))
    assert receptive_field(wanted, 0, "expanding")[0] == widest
    assert widest < side - 2 * period


def test_summarising_leaves_the_random_state_alone_and_costs_no_memory():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    summary = summarise(spec(3, (64, 128, 256, 512)), (512, 512, 512))
    assert torch.equal(torch.get_rng_state(), before)
    assert summary.rows[0].resolution == (512, 512, 512)


def test_parts_of_another_network_hold_each_parameter_and_all_work_once():
    for name, options in {"dynunet": {}, "segresnet": {"features": (8, 16, 32)}, "attentionunet": {}}.items():
        summary = summarise(spec(2, name=name, **options), (16, 16))
        assert sum(row.parameters for row in summary.rows) == summary.parameters
        assert sum(row.share for row in summary.rows) == pytest.approx(1)
