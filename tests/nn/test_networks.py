"""Networks by name keep one contract, and refuse what they cannot do by the name of the key."""

import copy
import sys

import pytest
import torch
from torch.nn import functional

from medseg.config.load import list_presets, load_config
from medseg.config.network import NETWORK_NAMES, NetworkSpec
from medseg.core.errors import UsageError
from medseg.nn.networks import Padded, _dynunet_heads, build, names
from medseg.nn.summary import skeleton, summarise
from medseg.nn.unet import UNet
from tests.nn.specs import spec

SMALL = {
    "unet": {},
    "dynunet": {"features": (4, 6, 8, 8)},
    "basicunet": {"features": (4, 4, 6, 6, 8)},
    "segresnet": {"features": (8, 16, 32), "normalisation": "group", "upsample": "linear"},
    "attentionunet": {},
    "swinunetr": {"features": (12, 12, 24, 48, 96, 192)},
    "mednext": {"features": (4, 8, 16)},
}
HEADS = {"unet": 2, "dynunet": 3, "mednext": 3}


def test_the_list_without_torch_is_the_table():
    assert names() == NETWORK_NAMES
    assert set(SMALL) == set(names())


@pytest.mark.parametrize(("name", "dimensions"), [(n, d) for n in SMALL for d in (2, 3) if (n, d) != ("swinunetr", 3)])
def test_any_size_gives_logits_and_in_training_heads_finest_first(name, dimensions):
    torch.manual_seed(0)
    network = build(spec(dimensions, name=name, **SMALL[name]))
    for size in ((1,) * dimensions, (7, 19, 5)[:dimensions]):
        image = torch.randn(1, 1, *size)
        heads = network.train()(image)
        expected = [tuple(-(-n // 2**stage) for n in size) for stage in range(HEADS.get(name, 1))]
        assert [tuple(head.shape) for head in heads] == [(1, 3, *shape) for shape in expected]
        sum(head.square().mean() for head in heads).backward()
        with torch.inference_mode():
            assert network.eval()(image).shape == (1, 3, *size)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_a_skeleton_has_the_names_shapes_and_types_of_the_network_and_no_memory(name):
    described = spec(2, name=name, **SMALL[name])
    bones, flesh = skeleton(described).state_dict(), build(described).state_dict()
    assert {key: (value.shape, value.dtype) for key, value in bones.items()} == {
        key: (value.shape, value.dtype) for key, value in flesh.items()
    }
    assert {value.device.type for value in bones.values()} == {"meta"}


def test_a_network_larger_than_any_machine_has_a_skeleton():
    giant = spec(3, features=(4096,) * 10, kernels=((31,) * 3,) * 10, n_classes=65_536)
    assert sum(tensor.numel() for tensor in skeleton(giant).state_dict().values()) > 10**12


def test_without_deep_supervision_training_gives_one_tensor():
    for name in ("unet", "dynunet", "mednext"):
        network = build(spec(2, name=name, deep_supervision=False, **SMALL[name])).train()
        assert network(torch.randn(1, 1, 9, 6)).shape == (1, 3, 9, 6)


def test_ours_needs_no_padding_around_it():
    assert isinstance(build(spec(2)), UNet)
    assert isinstance(build(spec(2, name="mednext", features=(4, 8, 16))), Padded)


def test_dynunets_heads_are_what_monai_repeats():
    wanted = spec(3, (4, 4, 6, 6), name="dynunet", strides=((1, 1, 1), (2, 2, 1), (2, 2, 2), (1, 3, 2)))
    stacked = build(wanted).train().network(torch.randn(1, 1, 8, 12, 8))
    heads = _dynunet_heads(stacked, wanted)
    assert [tuple(head.shape[2:]) for head in heads] == [(8, 12, 8), (4, 6, 8), (2, 3, 4)]
    for head, repeated in zip(heads, stacked.unbind(1), strict=True):
        torch.testing.assert_close(functional.interpolate(head, (8, 12, 8)), repeated, rtol=0, atol=0)


def test_a_network_that_has_trained_can_be_copied():
    for name in ("unet", "dynunet", "mednext"):
        network = build(spec(2, name=name, **SMALL[name])).train()
        network(torch.randn(1, 1, 16, 16))
        twin = copy.deepcopy(network)
        assert list(twin.state_dict()) == list(network.state_dict())


@pytest.mark.parametrize("preset", list_presets())
def test_every_presets_network_runs(preset):
    config = load_config(preset)
    wanted, dimensions = config.network, config.plan.dimensions
    dimensions = 3 if dimensions == "auto" else dimensions
    small = spec(dimensions, wanted.features or (4, 8, 8))
    options = {
        name: value
        for name, value in wanted.model_dump().items()
        if name in NetworkSpec.model_fields and value is not None and name != "features"
    }
    summary = summarise(small.model_copy(update=options), (32,) * dimensions)
    assert summary.parameters > 0
    assert summary.forward_gflop > 0


def refusal(name, **options):
    with pytest.raises(UsageError) as caught:
        build(spec(2, name=name, **(SMALL.get(name, {}) | options)))
    return str(caught.value)


def test_an_unknown_name_is_answered_with_the_names_and_the_nearest():
    expected = (
        "network.name is 'dynunett', but the networks are unet, dynunet, basicunet, segresnet, attentionunet, "
        "swinunetr, mednext. Did you mean dynunet?"
    )
    assert refusal("dynunett") == expected


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("dynunet", {"upsample": "linear"}, "network.upsample is linear, but dynunet only comes with transposed."),
        ("dynunet", {"convolutions": 3}, "network.convolutions is 3, but dynunet only comes with 2."),
        (
            "dynunet",
            {"normalisation": "none"},
            "network.normalisation is none, but dynunet only comes with instance or",
        ),
        ("dynunet", {"features": (4, 8)}, "network.stages is 2, but dynunet needs 3 or more."),
        (
            "basicunet",
            {"downsample": "strided"},
            "network.downsample is strided, but basicunet only comes with maxpool.",
        ),
        ("basicunet", {"features": (4, 8, 8)}, "network.stages is 3, but basicunet has 5. Set network.stages=5."),
        ("segresnet", {"features": (8, 16, 16)}, "Set network.features=[8, 16, 32]."),
        ("segresnet", {"strides": ((1, 1), (2, 1), (2, 2))}, "Set network.strides=[[1, 1], [2, 2], [2, 2]]."),
        (
            "attentionunet",
            {"normalisation": "group"},
            "network.normalisation is group, but attentionunet only comes with",
        ),
        ("attentionunet", {"kernels": ((5, 5),) * 3}, "Set network.kernels=[[3, 3], [3, 3], [3, 3]]."),
        (
            "swinunetr",
            {"features": (16,) * 6},
            "network.features starts with 16, but swinunetr needs a multiple of 12.",
        ),
        ("mednext", {"dropout": 0.5}, "network.dropout is 0.5, but mednext only comes with 0.0."),
        ("mednext", {"kernels": ((5, 5), (3, 3), (5, 5))}, "mednext has one kernel everywhere."),
    ],
)
def test_what_a_network_cannot_do_is_refused_by_its_key(name, options, sentence):
    assert sentence in refusal(name, **options)


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "einops", None)
    expected = "network.name is swinunetr, which needs einops. Install it: pip install 'medseg[networks]'"
    assert refusal("swinunetr") == expected
