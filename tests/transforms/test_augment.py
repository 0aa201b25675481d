"""Augmentation: image and classes move together, draws are honoured and repeatable, each change is what it says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medseg.config.schema import AugmentationConfig
from medseg.core.errors import UsageError
from medseg.transforms.augment import Augmenter
from medseg.transforms.grid import nearest_weights, resample_axis, resample_linear

CHANGES = ("rotation", "scale", "brightness", "contrast", "gamma", "noise", "blur", "low_resolution")
NOTHING = dict.fromkeys(CHANGES, 0.0)
EVERYTHING = AugmentationConfig(**dict.fromkeys(CHANGES, 1.0))


def only(**settings):
    return AugmentationConfig(**{**NOTHING, **settings})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(shape=(2, 1, 12, 10, 8), seed=0, values=(0, 1, 2, 255)):
    rng = generator(seed)
    classes = torch.tensor(values, dtype=torch.uint8)[torch.randint(len(values), (shape[0], *shape[2:]), generator=rng)]
    return torch.randn(shape, generator=rng), classes


def blocks(shape, side=6):
    """Class indices (1, *shape) of large blocks, so that most voxels are surrounded by their own kind."""
    place = torch.meshgrid(*(torch.arange(n) // side for n in shape), indexing="ij")
    return (sum(part * weight for part, weight in zip(place, (1, 2, 4), strict=False)) % 5).to(torch.uint8)[None]


def ball(shape, spacing, radius):
    """A soft ball about the centre, in millimetres: (1, 1, *shape)."""
    axes = [(torch.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing, strict=True)]
    distance = torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0)
    return torch.sigmoid((radius - distance) / 1.5)[None, None]


class TestDraws:
    def test_without_any_probability_nothing_changes_but_the_memory(self):
        image, classes = batch()
        changed, moved = Augmenter(only(), (1, 1, 1))(image, classes, generator())
        assert torch.equal(changed, image)
        assert torch.equal(moved, classes)
        assert changed.data_ptr() != image.data_ptr()
        assert moved.data_ptr() != classes.data_ptr()

    def test_switched_off_it_does_not_even_mirror(self):
        image, classes = batch()
        config = EVERYTHING.model_copy(update={"enabled": False})
        changed, moved = Augmenter(config, (1, 1, 1), (0, 1, 2))(image, classes, generator())
        assert torch.equal(changed, image)
        assert torch.equal(moved, classes)

    def test_at_strength_zero_only_mirroring_is_left(self):
        image, classes = batch()
        changed, _ = Augmenter(EVERYTHING, (1, 1, 1), (1,), strength=0)(image, classes, generator())
        for before, after in zip(image, changed, strict=True):
            assert torch.equal(after, before) or torch.equal(after, before.flip(2))

    @pytest.mark.parametrize("shape", [(3, 2, 12, 10, 8), (3, 2, 16, 13)])
    def test_the_same_generator_gives_the_same_bits_and_another_does_not(self, shape):
        image, classes = batch(shape)
        augment = Augmenter(EVERYTHING, (1.0,) * (len(shape) - 2), (0,))
        before = image.clone(), classes.clone(), torch.get_rng_state()
        first, again, other = (augment(image, classes, generator(seed)) for seed in (4, 4, 5))
        assert torch.equal(first[0], again[0])
        assert torch.equal(first[1], again[1])
        assert not torch.equal(first[0], other[0])
        assert torch.equal(image, before[0])
        assert torch.equal(classes, before[1])
        assert torch.equal(torch.get_rng_state(), before[2])

    @pytest.mark.parametrize("change", CHANGES)
    @pytest.mark.parametrize("strength", [1.0, 0.5])
    def test_a_probability_is_the_share_of_samples_that_change(self, change, strength):
        n = 600
        image, classes = batch((n, 1, 6, 5))
        config = only(**{change: 0.4}, low_resolution_range=(0.5, 0.6))
        changed, _ = Augmenter(config, (1, 1), strength=strength)(image, classes, generator(1))
        share = (changed != image).flatten(1).any(1).double().mean().item()
        expected = 0.4 * strength
        assert abs(share - expected) < 4 * (expected * (1 - expected) / n) ** 0.5

    def test_one_change_does_not_reshuffle_the_others(self):
        image, classes = batch((4, 2, 9, 8))
        alone = Augmenter(only(brightness=0.6, gamma=0.5), (1, 1))(image, classes, generator())
        beside = only(brightness=0.6, gamma=0.5, noise=0.5, noise_sd_range=(0, 0), contrast=1, contrast_range=(1, 1))
        together = Augmenter(beside, (1, 1))(image, classes, generator())
        torch.testing.assert_close(together[0], alone[0], atol=1e-5, rtol=1e-5)

    def test_factors_lie_as_often_below_one_as_above(self):
        image = torch.ones(2000, 1, 2, 2)
        augment = Augmenter(only(brightness=1, brightness_range=(0.5, 3)), (1, 1))
        factors = augment(image, torch.zeros(2000, 2, 2, dtype=torch.uint8), generator())[0][:, 0, 0, 0]
        assert factors.min() >= 0.5
        assert factors.max() <= 3
        assert abs((factors < 1).double().mean() - 0.5) < 0.05

    @pytest.mark.parametrize("name", ["scale_range", "gamma_range"])
    def test_a_factor_of_zero_is_refused_by_its_key(self, name):
        with pytest.raises(UsageError, match=rf"augmentation.{name} is \[0.0, 1.0\]"):
            Augmenter(only(**{name: (0.0, 1.0)}), (1, 1))

    def test_a_mirror_axis_beyond_the_network_is_refused(self):
        with pytest.raises(UsageError, match=r"Mirror axes \[2\] do not fit a network of 2 axes"):
            Augmenter(only(), (1, 1), (2,))


class TestSpace:
    def test_flips_are_exact_independent_and_only_along_mirror_axes(self):
        n = 400
        image, classes = batch((n, 2, 3, 2, 4))
        changed, moved = Augmenter(only(), (1, 1, 1), (0, 2))(image, classes, generator(3))
        seen = {}
        for before, after, label, moved_label in zip(image, changed, classes, moved, strict=True):
            flips = [axes for axes in ((), (1,), (3,), (1, 3)) if torch.equal(after, before.flip(axes))]
            assert len(flips) == 1
            assert torch.equal(moved_label, label.flip([axis - 1 for axis in flips[0]]))
            seen[flips[0]] = seen.get(flips[0], 0) + 1
        assert all(abs(count / n - 0.25) < 0.09 for count in seen.values())
        assert len(seen) == 4

    @pytest.mark.parametrize(
        ("shape", "spacing"), [((40, 32), (1, 1)), ((24, 20, 22), (1, 1.4, 0.8)), ((24, 28, 12), (1, 1, 5))]
    )
    @pytest.mark.parametrize("change", [{"rotation": 1}, {"scale": 1}, {"rotation": 1, "scale": 1}])
    def test_image_and_classes_move_together(self, shape, spacing, change):
        classes = blocks(shape).expand(4, *shape)
        image = classes[:, None].float()
        config = only(**change, rotation_deg=30, scale_range=(0.7, 1.5))
        changed, moved = Augmenter(config, spacing)(image, classes, generator())
        # Where the interpolated classes are whole, all voxels about are of one class.
        sure = (changed[:, 0] - changed[:, 0].round()).abs() < 1e-4
        same = changed[:, 0].round() == moved
        assert sure.double().mean() > 0.25
        # A voxel between 0 and 2 can look like 1 by chance; hardly any do.
        assert same[sure].double().mean() > 0.98
        assert (moved != classes).double().mean() > 0.05

    def test_a_ball_in_millimetres_is_still_a_ball_when_turned(self):
        spacing = (1.0, 2.5, 1.6)
        image = ball((36, 16, 24), spacing, radius=11)
        classes = (image[:, 0] > 0.5).to(torch.uint8)
        config = only(rotation=1, rotation_deg=90)

        def error(assumed):
            augment = Augmenter(config, assumed)
            return max((augment(image, classes, generator(seed))[0] - image).abs().max() for seed in range(5))

        assert error(spacing) < 0.13
        assert error((1, 1, 1)) > 0.5

    def test_a_turn_goes_by_the_angle_that_was_drawn(self):
        # A rod along axis 0: a turn of at most 30° keeps its end within a cone, and the cone is used.
        place = torch.stack(torch.meshgrid(torch.arange(41) - 20.0, torch.arange(41) - 20.0, indexing="ij"))
        rod = ((place[1].abs() < 1.5) & (place[0] > 0)).to(torch.uint8)[None].expand(60, 41, 41)
        image = rod[:, None].float()
        _, moved = Augmenter(only(rotation=1, rotation_deg=30), (1, 1))(image, rod, generator())
        ring = (place.norm(dim=0) - 15).abs() < 1
        ends = torch.stack([place[:, (label > 0) & ring].mean(1) for label in moved])
        angles_deg = torch.rad2deg(torch.atan2(ends[:, 1], ends[:, 0]))
        assert angles_deg.abs().max() < 31.5
        assert angles_deg.max() > 20
        assert angles_deg.min() < -20

    @pytest.mark.parametrize("zoom", [0.8, 1.25])
    def test_a_scaled_ball_has_the_scaled_radius(self, zoom):
        spacing = (1.0, 1.5, 1.2)
        shape = (48, 32, 40)
        before, after = ball(shape, spacing, 10), ball(shape, spacing, 10 * zoom)
        config = only(scale=1, scale_range=(zoom, zoom))
        image, classes = Augmenter(config, spacing)(before, (before[:, 0] > 0.5).to(torch.uint8), generator())
        assert (image - after).abs().max() < 0.15
        assert (classes != (after[:, 0] > 0.5)).double().mean() < 0.02
        np.testing.assert_allclose(classes.sum(), (after > 0.5).sum(), rtol=0.06)

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_slices_of_a_thick_axis_are_never_mixed(self, axis):
        slices = torch.arange(10.0).reshape([-1 if a == axis else 1 for a in range(3)]).expand(10, 10, 10)
        image = slices[None, None].repeat(3, 1, 1, 1, 1)
        classes = image[:, 0].to(torch.uint8)
        config = only(rotation=1, scale=1, blur=1, low_resolution=1)
        spacing = tuple(3.0 if a == axis else 1.0 for a in range(3))
        changed, moved = Augmenter(config, spacing)(image, classes, generator())
        torch.testing.assert_close(changed, image, atol=1e-4, rtol=0)
        assert torch.equal(moved, classes)
        mixed, _ = Augmenter(config, (1.0, 1.0, 1.0))(image, classes, generator())
        assert (mixed - image).abs().max() > 0.3

    @settings(max_examples=25)
    @given(
        st.sampled_from([(2, 1, 7, 6, 5), (1, 2, 9, 4), (3, 1, 1, 8)]),
        st.sampled_from([torch.uint8, torch.int32]),
        st.integers(0, 1000),
    )
    def test_classes_keep_type_and_values_and_the_image_stays_finite(self, shape, dtype, seed):
        image, classes = batch(shape, seed)
        classes = classes.to(dtype)
        augment = Augmenter(EVERYTHING, (1.0, 0.7, 2.0)[: len(shape) - 2], (0,))
        changed, moved = augment(image, classes, generator(seed))
        assert moved.dtype == dtype
        assert moved.shape == classes.shape
        for before, after in zip(classes, moved, strict=True):
            assert set(after.unique().tolist()) <= set(before.unique().tolist())
        assert changed.shape == image.shape
        assert changed.dtype == image.dtype
        assert changed.isfinite().all()


class TestIntensity:
    def test_brightness_multiplies_each_channel_by_its_own_factor(self):
        image, classes = batch((3, 2, 6, 6))
        changed, moved = Augmenter(only(brightness=1), (1, 1))(image, classes, generator())
        factors = (changed / image).flatten(2)
        torch.testing.assert_close(factors, factors[..., :1].expand_as(factors), rtol=1e-4, atol=1e-4)
        assert len(factors[..., 0].unique()) == 6
        assert factors.min() >= 0.75
        assert factors.max() <= 1.25
        assert torch.equal(moved, classes)

    @pytest.mark.parametrize("factor", [0.75, 1.25])
    def test_contrast_stretches_about_the_mean_within_the_range(self, factor):
        image, classes = batch((2, 2, 9, 9))
        changed, _ = Augmenter(only(contrast=1, contrast_range=(factor, factor)), (1, 1))(image, classes, generator())
        mean = image.mean((2, 3), keepdim=True)
        low, high = image.amin((2, 3), keepdim=True), image.amax((2, 3), keepdim=True)
        expected = torch.minimum(torch.maximum(mean + factor * (image - mean), low), high)
        torch.testing.assert_close(changed, expected)

    @pytest.mark.parametrize("exponent", [0.7, 1.5])
    def test_gamma_keeps_mean_deviation_and_order(self, exponent):
        image, classes = batch((40, 1, 9, 9))
        changed, _ = Augmenter(only(gamma=1, gamma_range=(exponent, exponent)), (1, 1))(image, classes, generator())
        torch.testing.assert_close(changed.mean((1, 2, 3)), image.mean((1, 2, 3)), atol=1e-4, rtol=1e-4)
        once = [(before, after) for before, after in zip(image, changed, strict=True) if not torch.equal(before, after)]
        skews = []
        for before, after in once:
            torch.testing.assert_close(after.std(), before.std(), atol=1e-3, rtol=1e-3)
            assert torch.equal(before.flatten().argsort(), after.flatten().argsort())
            skews.append(((after - after.mean()) ** 3).mean() > ((before - before.mean()) ** 3).mean())
        # Some are bent upwards and, inverted, some downwards.
        assert {bool(skew) for skew in skews} == {True, False}

    def test_noise_has_the_deviation_that_was_asked_for(self):
        image, classes = batch((4, 2, 40, 40))
        changed, _ = Augmenter(only(noise=1, noise_sd_range=(0.3, 0.3)), (1, 1))(image, classes, generator())
        noise = (changed - image).flatten(2)
        torch.testing.assert_close(noise.std(2), torch.full((4, 2), 0.3), atol=0.03, rtol=0)
        assert noise.mean(2).abs().max() < 0.03
        assert abs(torch.corrcoef(noise[:, 0])[0, 1]) < 0.15

    @pytest.mark.parametrize("sigma", [0.5, 1.0])
    def test_blur_is_the_gaussian_of_scipy_away_from_the_border(self, sigma):
        image, classes = batch((2, 2, 14, 15, 16))
        changed, _ = Augmenter(only(blur=1, blur_sigma_range=(sigma, sigma)), (1, 1, 1))(image, classes, generator())
        expected = ndimage.gaussian_filter(image.numpy(), (0, 0, sigma, sigma, sigma), truncate=6)
        inside = (..., *[slice(6, -6)] * 3)
        np.testing.assert_allclose(changed.numpy()[inside], expected[inside], atol=1e-5)

    def test_a_blur_without_width_is_no_blur(self):
        image, classes = batch()
        changed, _ = Augmenter(only(blur=1, blur_sigma_range=(0, 0)), (1, 1, 1))(image, classes, generator())
        torch.testing.assert_close(changed, image)

    @pytest.mark.parametrize("share", [0.5, 0.7, 1.0, 0.01])
    def test_low_resolution_is_nearest_down_and_linear_up_as_on_grids(self, share):
        image, classes = batch((2, 2, 12, 10, 9))
        config = only(low_resolution=1, low_resolution_range=(share, share))
        changed, _ = Augmenter(config, (1, 1, 1))(image, classes, generator())
        coarse = image.numpy()
        for axis, side in enumerate((12, 10, 9), start=2):
            coarse = resample_axis(coarse, axis, nearest_weights(side, max(1, round(share * side))))
        np.testing.assert_allclose(changed.numpy(), resample_linear(coarse, (12, 10, 9)), atol=1e-5)

    @pytest.mark.parametrize("change", sorted(set(CHANGES) - {"noise"}))
    def test_a_flat_patch_stays_flat(self, change):
        image = torch.full((8, 2, 6, 6), -0.4)
        classes = torch.zeros(8, 6, 6, dtype=torch.uint8)
        changed, _ = Augmenter(only(**{change: 1}), (1, 1))(image, classes, generator())
        torch.testing.assert_close(changed, changed[..., :1, :1].expand_as(changed), atol=1e-5, rtol=0)
        assert changed.isfinite().all()

    @pytest.mark.parametrize("axis", [1, 2, 3])
    def test_changes_of_intensity_do_not_know_left_from_right(self, axis):
        image, classes = batch((3, 1, 8, 7, 6))
        augment = Augmenter(only(brightness=1, contrast=1, gamma=1, blur=1), (1, 1, 1))
        flipped, _ = augment(image.flip(axis + 1), classes.flip(axis), generator())
        expected, _ = augment(image, classes, generator())
        torch.testing.assert_close(flipped.flip(axis + 1), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_another_device_draws_and_changes_alike():
    image, classes = batch((4, 2, 16, 15, 14))
    augment = Augmenter(EVERYTHING, (1, 1, 1.5), (0, 1))
    here = augment(image, classes, generator())
    there = augment(image.cuda(), classes.cuda(), generator())
    assert there[0].is_cuda
    torch.testing.assert_close(there[0].cpu(), here[0], atol=1e-3, rtol=1e-3)
    # A centre on the edge of two voxels may fall to either.
    assert (there[1].cpu() != here[1]).double().mean() < 1e-3
