"""Dice plus cross-entropy: answers by hand, MONAI's as the oracle, gradients by differences."""

from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.losses import DiceCELoss
from torch.nn import functional

from medseg.nn.losses import SMOOTH, SegmentationLoss, head_weights, shrink_classes, soft_dice

ORACLE = {"include_background": False, "to_onehot_y": True, "softmax": True, "smooth_nr": SMOOTH, "smooth_dr": SMOOTH}

seeds = st.integers(0, 2**31)
sides = st.lists(st.integers(1, 6), min_size=2, max_size=3)


def drawn(seed, shape, n_classes, batch=2):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, n_classes, *shape, generator=generator) * 2
    return logits, torch.randint(0, n_classes, (batch, *shape), generator=generator)


@given(seeds, sides, st.integers(2, 5), st.booleans(), st.floats(0.0, 2), st.floats(0.1, 2))
def test_it_is_monais_dice_and_cross_entropy(seed, shape, n_classes, batch_dice, dice_weight, cross_entropy_weight):
    logits, classes = drawn(seed, shape, n_classes)
    ours = SegmentationLoss(dice_weight, cross_entropy_weight, batch_dice=batch_dice)
    theirs = DiceCELoss(**ORACLE, batch=batch_dice, lambda_dice=dice_weight, lambda_ce=cross_entropy_weight)
    torch.testing.assert_close(ours(logits, classes), theirs(logits, classes[:, None]), rtol=1e-4, atol=1e-5)


@given(seeds, sides, st.booleans(), st.sampled_from([torch.uint8, torch.int32, torch.int64]))
def test_ignored_voxels_are_as_if_they_were_not_there(seed, shape, batch_dice, dtype):
    logits, classes = drawn(seed, (*shape, 4), 3)
    loss = SegmentationLoss(batch_dice=batch_dice)
    half = loss(logits[..., :2], classes[..., :2])
    classes[..., 2:] = 255
    torch.testing.assert_close(loss(logits, classes.to(dtype)), half, rtol=1e-4, atol=1e-5)
    wild = logits.clone()
    wild[..., 2:] = 50
    torch.testing.assert_close(loss(wild, classes.to(dtype)), half, rtol=1e-4, atol=1e-5)


def test_dice_of_every_class_leaves_ignored_voxels_out():
    probabilities = torch.tensor([0.9, 0.6, 0.2, 0.5]).view(1, 1, 4, 1)
    probabilities = torch.cat((probabilities, 1 - probabilities), 1)
    classes = torch.tensor([0, 1, 1, 9]).view(1, 4, 1)
    expected = soft_dice(probabilities[:, :, :3], classes[:, :3])
    torch.testing.assert_close(soft_dice(probabilities, classes, ignore=9), expected)


def test_where_nothing_is_judged_there_is_no_gradient_and_no_nan():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    SegmentationLoss()(logits, torch.full((1, 4, 4), 255)).backward()
    assert logits.grad.abs().max() < 1e-4


def test_dice_of_four_voxels_by_hand():
    probabilities = torch.tensor([[[0.9, 0.6, 0.2, 0.5]], [[0.1, 0.4, 0.8, 0.5]]]).transpose(0, 1)[..., None]
    classes = torch.tensor([0, 1, 1, 0]).view(1, 4, 1)
    # class 0: 2 · (0.9 + 0.5) / (2.2 + 2), class 1: 2 · (0.4 + 0.8) / (1.8 + 2)
    assert soft_dice(probabilities, classes)[0].tolist() == pytest.approx([2.8 / 4.2, 2.4 / 3.8], abs=1e-4)


def test_loss_of_an_undecided_network_by_hand():
    # p = 1/2 everywhere; of 8 voxels 2 are foreground: Dice 2 · 1 / (4 + 2), cross-entropy log 2.
    classes = torch.zeros(1, 2, 4, dtype=torch.uint8)
    classes[0, 0, :2] = 1
    loss = SegmentationLoss(dice_weight=1, cross_entropy_weight=2)(torch.zeros(1, 2, 2, 4), classes)
    assert loss.item() == pytest.approx(1 - 1 / 3 + 2 * log(2), abs=1e-4)


def test_a_perfect_prediction_costs_nothing_even_where_a_class_is_absent():
    classes = torch.randint(0, 2, (2, 5, 5))
    logits = 60 * functional.one_hot(classes, 3).movedim(-1, 1).float()
    for batch_dice in (True, False):
        assert SegmentationLoss(batch_dice=batch_dice)(logits, classes).item() == pytest.approx(0, abs=1e-5)


def test_batch_dice_takes_the_batch_as_one_image():
    logits, classes = drawn(0, (4, 6), 3)
    joined = logits.movedim(0, 1).flatten(1, 2)[None]
    together = SegmentationLoss(batch_dice=True)(logits, classes)
    torch.testing.assert_close(together, SegmentationLoss(batch_dice=False)(joined, classes.flatten(0, 1)[None]))


@pytest.mark.parametrize("batch_dice", [True, False])
def test_the_gradient_is_that_of_finite_differences(batch_dice):
    logits, classes = drawn(1, (3, 2), 3)
    classes[0, 0, 0] = 255
    loss = SegmentationLoss(batch_dice=batch_dice)
    assert torch.autograd.gradcheck(lambda x: loss(x, classes), logits.double().requires_grad_())


def test_heads_weigh_1_a_half_a_quarter_by_their_sum():
    assert head_weights(1) == [1.0]
    assert head_weights(3) == pytest.approx([4 / 7, 2 / 7, 1 / 7])


def test_coarser_heads_are_judged_on_their_own_grid():
    logits, classes = drawn(2, (8, 6), 3)
    coarse, _ = drawn(3, (4, 3), 3)
    loss = SegmentationLoss()
    expected = 2 / 3 * loss(logits, classes) + 1 / 3 * loss(coarse, classes[:, 1::2, 1::2])
    torch.testing.assert_close(loss([logits, coarse], classes), expected)


def test_classes_shrink_to_the_voxel_under_each_centre():
    line = torch.arange(8)[None, :, None]
    assert shrink_classes(line, (4, 1))[0, :, 0].tolist() == [1, 3, 5, 7]
    assert shrink_classes(line, (2, 1))[0, :, 0].tolist() == [2, 6]
    assert shrink_classes(line[:, :5], (3, 1))[0, :, 0].tolist() == [0, 2, 4]
    assert shrink_classes(line, (8, 1)) is line


@given(seeds, st.lists(st.integers(1, 9), min_size=3, max_size=3), st.lists(st.integers(1, 4), min_size=3, max_size=3))
def test_shrinking_is_torchs_nearest_exact(seed, shape, factors):
    classes = drawn(seed, shape, 5)[1]
    small = [-(-n // f) for n, f in zip(shape, factors, strict=True)]
    theirs = functional.interpolate(classes[:, None].double(), size=small, mode="nearest-exact")[:, 0].long()
    assert torch.equal(shrink_classes(classes, small), theirs)


def test_sums_over_millions_of_voxels_keep_their_small_addends():
    n = 1_500_000
    probabilities = torch.full((1, 2, n // 1000, 1000), 0.1)
    dice = soft_dice(probabilities, torch.ones(1, n // 1000, 1000, dtype=torch.uint8))
    assert dice[0, 1].item() == pytest.approx(0.2 * n / (1.1 * n), abs=1e-5)
