"""Small real plans, networks and models that the tests of prediction share."""

import torch
from torch import nn

from medseg.config.network import NetworkSpec
from medseg.plan.plan import Plan
from medseg.transforms.preprocessing import ChannelNormalisation, Preprocessing


def small_plan(
    patch=(6, 6, 6),
    spacing_mm=(None, None, None),
    labels=None,
    channels=("image",),
    slice_axis=None,
    thick_axis=None,
    **more,
):
    """A plan whose preprocessing leaves intensities as they are."""
    labels = {"bright": 1} if labels is None else labels
    dimensions = 3 if slice_axis is None else 2
    spec = NetworkSpec(
        dimensions=dimensions,
        in_channels=len(channels),
        n_classes=1 + len({v for value in labels.values() for v in ([value] if isinstance(value, int) else value)}),
        features=(4, 8),
        kernels=((3,) * dimensions,) * 2,
        strides=((1,) * dimensions, (2,) * dimensions),
    )
    how = Preprocessing(
        spacing_mm=spacing_mm,
        thick_axis=thick_axis,
        normalisation=(ChannelNormalisation(scheme="none"),) * len(channels),
    )
    facts = {"dimensions": dimensions, "slice_axis": slice_axis, "preprocessing": how, "network": spec, "patch": patch}
    return Plan(channels=channels, labels=labels, batch=1, **{**facts, **more})


def threshold(at, dimensions=3, gain=4.0):
    """A network whose class 1 is where the image is above `at`: one 1×1 convolution."""
    layer = (nn.Conv3d if dimensions == 3 else nn.Conv2d)(1, 2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([-gain, gain]).reshape(layer.weight.shape))
        layer.bias.copy_(torch.tensor([gain * at, -gain * at]))
    return layer


def looking_around(n_channels=1, n_classes=3, dimensions=3, seed=0):
    """A convolution of random weights that sees one voxel around: what it says depends on where its window ends."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return (nn.Conv3d if dimensions == 3 else nn.Conv2d)(n_channels, n_classes, 3, padding=1)
