"""The U-Net: every pair of options, any size, and the parts of the paper doing what the paper says."""

from itertools import combinations, product
from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from medseg.nn.unet import UNet, _InstanceNormalisation, crop, pad_to_multiples
from tests.nn.specs import spec

OPTIONS = {
    "dimensions": (2, 3),
    "stages": (2, 3, 4),
    "anisotropic": (False, True),
    "convolutions": (1, 2, 3),
    "normalisation": ("instance", "batch", "group", "none"),
    "activation": ("relu", "leaky_relu", "gelu", "silu"),
    "dropout": (0.0, 0.2),
    "residual": (False, True),
    "deep_supervision": (False, True),
    "downsample": ("maxpool", "strided"),
    "upsample": ("transposed", "nearest", "linear"),
}


def every_pair():
    """Few combinations of options in which each value of each option meets each value of each other one (greedily)."""
    names = list(OPTIONS)
    waiting = {
        frozenset({(a, x), (b, y)}) for a, b in combinations(names, 2) for x, y in product(OPTIONS[a], OPTIONS[b])
    }
    rows = []
    while waiting:
        # Sorted: a set has another order in each process, and every worker must collect the same tests.
        row = dict(sorted(min(waiting, key=lambda pair: sorted(map(str, pair))), key=str))
        for name in (n for n in names if n not in row):
            row[name] = max(
                OPTIONS[name], key=lambda v: sum(frozenset({(name, v), item}) in waiting for item in row.items())
            )
        waiting -= {frozenset(pair) for pair in combinations(row.items(), 2)}
        rows.append(row)
    return rows


def spec_of(row):
    options = dict(row)
    dimensions, stages = options.pop("dimensions"), options.pop("stages")
    if options.pop("anisotropic"):
        thin = (1,) * (dimensions - 1)
        options["kernels"] = ((*(3 for _ in thin), 1), *((3,) * dimensions,) * (stages - 1))
        options["strides"] = ((1,) * dimensions, (*(2 for _ in thin), 1), *((2,) * dimensions,) * (stages - 2))
    return spec(dimensions, (4, 6, 8, 8)[:stages], in_channels=2, **options)


def ids(row):
    return "-".join(str(value) for value in row.values())


def sides(dimensions, largest=13):
    return st.tuples(*[st.integers(1, largest)] * dimensions)


@pytest.mark.parametrize("row", every_pair(), ids=ids)
def test_every_pair_of_options_gives_logits_of_the_images_size_and_a_gradient_to_every_parameter(row):
    torch.manual_seed(0)
    wanted = spec_of(row)
    network = UNet(wanted)
    size = (13, 10, 9)[: wanted.dimensions]
    image = torch.randn(2, 2, *size)

    outputs = network.train()(image)
    assert isinstance(outputs, list) == wanted.deep_supervision
    heads = outputs if isinstance(outputs, list) else [outputs]
    expected = [size]
    for stride in wanted.strides[1:-1] if wanted.deep_supervision else ():
        expected.append(tuple(-(-n // s) for n, s in zip(expected[-1], stride, strict=True)))
    assert [tuple(head.shape) for head in heads] == [(2, 3, *shape) for shape in expected]

    sum((head * torch.randn_like(head)).sum() for head in heads).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []

    with torch.inference_mode():
        logits = network.eval()(image)
        assert logits.shape == (2, 3, *size)
        torch.testing.assert_close(network(image), logits, rtol=0, atol=0)


@given(sides(2, 21), st.sampled_from(["instance", "batch", "group", "none"]))
def test_any_picture_passes_in_training_even_of_one_pixel(size, normalisation):
    network = UNet(spec(2, (2, 2, 3), normalisation=normalisation, downsample="strided"))
    outputs = network.train()(torch.randn(1, 1, *size))
    assert outputs[0].shape == (1, 3, *size)
    assert all(head.isfinite().all() for head in outputs)


@given(sides(3))
def test_any_volume_passes(size):
    network = UNet(spec(3, (2, 2, 2), strides=((1, 1, 1), (2, 2, 1), (2, 2, 3)))).eval()
    with torch.inference_mode():
        assert network(torch.randn(1, 1, *size)).shape == (1, 3, *size)


def test_a_volume_of_one_voxel_trains_with_every_normalisation_and_all_gradients_are_finite():
    for normalisation in OPTIONS["normalisation"]:
        network = UNet(spec(3, (2, 3, 4), normalisation=normalisation)).train()
        network(torch.randn(1, 1, 1, 1, 1))[0].sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@given(sides(3), st.tuples(*[st.integers(1, 5)] * 3))
def test_padding_repeats_the_border_at_the_far_end_and_cropping_undoes_it(size, divisor):
    image = torch.rand(1, 2, *size)
    padded = pad_to_multiples(image, divisor)
    assert all(n % d == 0 for n, d in zip(padded.shape[2:], divisor, strict=True))
    assert prod(n // d for n, d in zip(padded.shape[2:], divisor, strict=True)) > 1
    torch.testing.assert_close(crop(padded, size), image, rtol=0, atol=0)
    assert padded[0, 1, -1, -1, -1] == image[0, 1, -1, -1, -1]
    assert {*padded.unique().tolist()} == {*image.unique().tolist()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_padding_works_in_the_arithmetic_of_training(dtype):
    assert pad_to_multiples(torch.ones(1, 1, 3, 5, 2, dtype=dtype), (4, 4, 4)).shape == (1, 1, 4, 8, 4)


def test_an_image_that_fits_is_not_copied():
    image = torch.rand(1, 1, 8, 4)
    assert pad_to_multiples(image, (4, 4)) is image


def test_the_forward_pass_is_contracting_path_bottleneck_expanding_path_and_final_convolution():
    torch.manual_seed(1)
    network = UNet(spec(2)).eval()
    image = torch.randn(1, 1, 8, 8)
    skips = network.contracting_path(image)
    expanded = network.expanding_path(network.bottleneck(skips[-1]), skips)
    torch.testing.assert_close(network(image), network.final_convolution(expanded[0]), rtol=0, atol=0)
    assert [tuple(skip.shape) for skip in skips] == [(1, 4, 8, 8), (1, 6, 4, 4)]


@pytest.mark.parametrize("upsample", OPTIONS["upsample"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_each_skip_connection_carries_and_so_does_the_way_from_below(dimensions, upsample):
    torch.manual_seed(2)
    network = UNet(spec(dimensions, (4, 4, 6, 6), upsample=upsample)).eval()
    skips = network.contracting_path(torch.randn(1, 1, *(16,) * dimensions))
    deepest = network.bottleneck(skips[-1])
    whole = network.expanding_path(deepest, skips)[0]
    for stage in range(3):
        cut = [torch.zeros_like(skip) if s == stage else skip for s, skip in enumerate(skips)]
        assert (network.expanding_path(deepest, cut)[0] - whole).abs().max() > 1e-3
    assert (network.expanding_path(torch.zeros_like(deepest), skips)[0] - whole).abs().max() > 1e-3


def test_max_pooling_is_maximum_pooling_and_a_strided_network_has_none():
    pooled, strided = UNet(spec(2)), UNet(spec(2, downsample="strided"))
    stage = pooled.contracting_path.stages[1]
    image = torch.randn(1, 4, 6, 6)
    torch.testing.assert_close(stage.max_pooling(image), functional.max_pool2d(image, 2))
    assert not any(isinstance(module, nn.MaxPool2d) for module in strided.modules())
    assert strided.bottleneck.stage.convolutions.layers[0].convolution.stride == (2, 2)


def test_a_residual_stage_with_silent_convolutions_passes_its_input_on():
    network = UNet(spec(2, (4, 4), residual=True, normalisation="none", activation="relu"))
    block = network.bottleneck.stage.convolutions
    nn.init.zeros_(block.layers[-1].convolution.weight)
    features = torch.randn(1, 4, 6, 6)
    torch.testing.assert_close(block(features), features.relu())


def test_linear_upsampling_keeps_a_plane_and_nearest_repeats():
    linear = UNet(spec(2, (4, 4), upsample="linear")).expanding_path.stages[0].upsampling[0]
    nearest = UNet(spec(2, (4, 4), upsample="nearest")).expanding_path.stages[0].upsampling[0]
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    # A voxel is a cell: the fine centres lie at -1/4, 1/4, 3/4 … of the coarse index, clamped at the border.
    assert linear(ramp)[0, 0, 0].tolist() == [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]
    assert nearest(ramp)[0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def classic():
    return spec(
        2,
        (64, 128, 256, 512, 1024),
        n_classes=2,
        normalisation="none",
        activation="relu",
        deep_supervision=False,
    )


def test_the_network_of_2015_has_23_convolutions_and_31030658_parameters():
    with torch.device("meta"):
        network = UNet(classic())
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 23
    assert all(module.bias is not None for module in convolutions)
    assert sum(parameter.numel() for parameter in network.parameters()) == 31_030_658


def test_names_of_the_weights_are_a_file_format():
    names = list(UNet(spec(2, (4, 6, 8), convolutions=1, residual=True)).state_dict())
    expected = [
        "contracting_path.stages.0.convolutions.layers.0.convolution.weight",
        "contracting_path.stages.0.convolutions.layers.0.normalisation.weight",
        "contracting_path.stages.0.convolutions.layers.0.normalisation.bias",
        "contracting_path.stages.0.convolutions.shortcut.0.convolution.weight",
        "contracting_path.stages.0.convolutions.shortcut.0.normalisation.weight",
        "contracting_path.stages.0.convolutions.shortcut.0.normalisation.bias",
        "contracting_path.stages.1.convolutions.layers.0.convolution.weight",
        "contracting_path.stages.1.convolutions.layers.0.normalisation.weight",
        "contracting_path.stages.1.convolutions.layers.0.normalisation.bias",
        "contracting_path.stages.1.convolutions.shortcut.0.convolution.weight",
        "contracting_path.stages.1.convolutions.shortcut.0.normalisation.weight",
        "contracting_path.stages.1.convolutions.shortcut.0.normalisation.bias",
        "bottleneck.stage.convolutions.layers.0.convolution.weight",
        "bottleneck.stage.convolutions.layers.0.normalisation.weight",
        "bottleneck.stage.convolutions.layers.0.normalisation.bias",
        "bottleneck.stage.convolutions.shortcut.0.convolution.weight",
        "bottleneck.stage.convolutions.shortcut.0.normalisation.weight",
        "bottleneck.stage.convolutions.shortcut.0.normalisation.bias",
        *(
            f"expanding_path.stages.{stage}.{name}"
            for stage in (0, 1)
            for name in (
                "upsampling.weight",
                "upsampling.bias",
                "convolutions.layers.0.convolution.weight",
                "convolutions.layers.0.normalisation.weight",
                "convolutions.layers.0.normalisation.bias",
                "convolutions.shortcut.0.convolution.weight",
                "convolutions.shortcut.0.normalisation.weight",
                "convolutions.shortcut.0.normalisation.bias",
            )
        ),
        "final_convolution.weight",
        "final_convolution.bias",
        "deep_supervision_heads.0.weight",
        "deep_supervision_heads.0.bias",
    ]
    assert names == expected
    plain = list(UNet(spec(2, (4, 6), convolutions=1, normalisation="none", upsample="linear")).state_dict())
    assert plain == [
        "contracting_path.stages.0.convolutions.layers.0.convolution.weight",
        "contracting_path.stages.0.convolutions.layers.0.convolution.bias",
        "bottleneck.stage.convolutions.layers.0.convolution.weight",
        "bottleneck.stage.convolutions.layers.0.convolution.bias",
        "expanding_path.stages.0.upsampling.1.weight",
        "expanding_path.stages.0.upsampling.1.bias",
        "expanding_path.stages.0.convolutions.layers.0.convolution.weight",
        "expanding_path.stages.0.convolutions.layers.0.convolution.bias",
        "final_convolution.weight",
        "final_convolution.bias",
    ]


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 3, 5, 4, 6), (3, 2, 4, 4, 2)])
def test_our_instance_normalisation_is_torchs_in_both_memory_formats(shape):
    torch.manual_seed(3)
    ours = _InstanceNormalisation(shape[1])
    nn.init.normal_(ours.weight)
    nn.init.normal_(ours.bias)
    channels_last = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    values = torch.randn(shape)
    expected = functional.instance_norm(values, weight=ours.weight, bias=ours.bias)
    torch.testing.assert_close(ours(values), expected)
    rearranged = ours(values.contiguous(memory_format=channels_last))
    torch.testing.assert_close(rearranged, expected)
    assert rearranged.is_contiguous(memory_format=channels_last)


def test_both_memory_formats_give_the_same_logits_and_gradients():
    torch.manual_seed(4)
    network = UNet(spec(3, (4, 6))).double()
    image = torch.randn(2, 1, 6, 8, 4, dtype=torch.float64)
    results = []
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        network.to(memory_format=layout).zero_grad()
        logits = network(image.contiguous(memory_format=layout))[0]
        logits.square().sum().backward()
        results.append([logits, *(p.grad.clone() for p in network.parameters())])
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second)


@pytest.mark.parametrize("activation", OPTIONS["activation"])
def test_a_fresh_network_keeps_the_size_of_its_features_and_gives_logits_of_order_one(activation):
    torch.manual_seed(5)
    network = UNet(spec(2, (32, 48, 64), normalisation="none", activation=activation)).eval()
    image = torch.randn(2, 1, 32, 32)
    skips = network.contracting_path(image)
    expanded = network.expanding_path(network.bottleneck(skips[-1]), skips)
    sizes = [features.square().mean().sqrt() for features in (*skips, *expanded)]
    assert max(sizes) / min(sizes) < 6
    assert 0.2 < network(image).std() < 2


def test_it_learns_to_tell_a_disk_from_a_square_of_the_same_brightness():
    torch.manual_seed(6)
    i, j = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    disk = (i - 7) ** 2 + (j - 7) ** 2 <= 20
    square = (i >= 14) & (i < 21) & (j >= 13) & (j < 20)
    classes = (disk.long() + 2 * square.long())[None]
    image = (classes > 0).float()[None] + 0.1 * torch.randn(1, 1, 24, 24)
    network = UNet(spec(2, (8, 16, 16), deep_supervision=False))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        functional.cross_entropy(network(image), classes).backward()
        optimizer.step()
    assert (network(image).argmax(1) == classes).float().mean() > 0.99
