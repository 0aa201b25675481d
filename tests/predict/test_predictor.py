from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from medseg.core.errors import InputError, MachineError, UsageError
from medseg.core.geometry import Geometry, Reorientation
from medseg.core.volume import Meta, Volume
from medseg.model import ModelInfo, save_model
from medseg.nn.networks import build
from medseg.predict import Arithmetic, Predictor
from medseg.transforms.preprocess import plan_grid, preprocess
from tests.predict.plans import looking_around, small_plan, threshold
from tests.strategies import ORIENTATIONS, affines, geometries, shapes

STEADY = Arithmetic()


def volume_on(grid, seed=0, n_channels=1, **meta):
    """Whole numbers 0…9, so that a threshold half-way between two of them is exact."""
    array = np.random.default_rng(seed).integers(0, 10, (n_channels, *grid.shape)).astype(np.float32)
    return Volume(array, grid, Meta(**meta))


def predictor_of(network, arithmetic=STEADY, **plan):
    return Predictor(small_plan(**plan), [network], "cpu", arithmetic=arithmetic)


@given(geometries(smallest=1, largest=11), st.integers(0, 9))
def test_a_threshold_comes_back_voxel_for_voxel_from_any_grid(grid, seed):
    volume = volume_on(grid, seed)
    result = predictor_of(threshold(4.5), patch=(5, 4, 6))(volume)
    np.testing.assert_array_equal(result.labels.array, volume.array[0] > 4.5)
    assert result.labels.geometry == grid
    assert result.labels.array.flags.c_contiguous
    assert result.volumes_ml["bright"] == pytest.approx(np.sum(volume.array > 4.5) * grid.voxel_volume_ml)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_gives_back_a_mask_that_is_the_threshold(orientation):
    canonical = Geometry.from_spacing((7, 9, 5), (0.8, 1.1, 3.0), (-10, 20, 5))
    grid = canonical.reorient(orientation)
    volume = volume_on(grid, seed=3)
    result = predictor_of(threshold(4.5), patch=(4, 4, 4), spacing_mm=(0.8, 1.1, 3.0))(volume)
    np.testing.assert_array_equal(result.labels.array, volume.array[0] > 4.5)
    assert result.labels.geometry == grid


@settings(max_examples=25)
@given(
    grid=geometries(smallest=4, largest=10, smallest_mm=0.7, largest_mm=3.0),
    orientation=st.sampled_from(ORIENTATIONS),
)
def test_the_same_scan_stored_another_way_gives_the_same_mask_in_space(grid, orientation):
    volume = volume_on(grid)
    turned = Volume(
        np.ascontiguousarray(orientation.apply(volume.array)), volume.geometry.reorient(orientation), volume.meta
    )
    predictor = predictor_of(
        looking_around(), patch=(5, 5, 5), spacing_mm=(1.3, 1.5, 2.0), labels={"first": 1, "second": 2}
    )
    expected = orientation.apply(predictor(volume).labels.array)
    found = predictor(turned).labels.array
    # A grid near 45° may be taken for another canonical one once turned; then there is nothing to compare.
    if grid.reorient(grid.to_canonical) == turned.geometry.reorient(turned.geometry.to_canonical):
        np.testing.assert_array_equal(found, expected)


@settings(max_examples=25)
@given(
    affine=affines(smallest_mm=0.5, largest_mm=3.0),
    shape=shapes(12, 16),
    factor=st.tuples(*[st.sampled_from([0.6, 1.0, 1.4, 1.7])] * 3),
    towards=st.tuples(*[st.integers(-3, 3)] * 3).filter(any),
)
def test_a_plane_stays_where_it_is_in_space_through_any_plan_grid(affine, shape, factor, towards):
    """A shift by half a voxel, a swapped axis or a wrong affine would move it."""
    grid = Geometry(shape, affine)
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    normal = np.array(towards) / np.linalg.norm(towards)
    distance_mm = grid.to_world(indices) @ normal - grid.to_world((np.array(shape) - 1) / 2) @ normal
    spacing = grid.reorient(grid.to_canonical).spacing_mm
    plan_spacing = tuple(s * f for s, f in zip(spacing, factor, strict=True))
    # Probabilities that rise slowly are nearly linear in the distance, so interpolating them moves no outline.
    predictor = predictor_of(threshold(0.0, gain=0.02), patch=(8, 8, 8), spacing_mm=plan_spacing)
    result = predictor(Volume(distance_mm[None].astype(np.float32), grid))
    clear = np.abs(distance_mm) > 0.1 * max(plan_spacing)
    # Near the border splines have nothing to go by.
    clear[tuple(np.nonzero(np.minimum(indices, np.array(shape) - 1 - indices).min(axis=-1) < 4))] = False
    np.testing.assert_array_equal(result.labels.array[clear], distance_mm[clear] > 0)
    assert result.labels.geometry == grid


@settings(max_examples=25)
@given(
    affine=affines(smallest_mm=0.7, largest_mm=2.0, sheared=True),
    shape=shapes(14, 18),
    factor=st.tuples(*[st.sampled_from([0.7, 1.0, 1.4])] * 3),
    towards=st.tuples(*[st.integers(-3, 3)] * 3).filter(any),
)
def test_a_plane_stays_where_it_is_in_space_on_a_leaning_grid_too(affine, shape, factor, towards):
    """The answer lies on the grid of the file; a lean of the wrong sign or axis would turn the plane."""
    grid = Geometry(shape, affine)
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    normal = np.array(towards) / np.linalg.norm(towards)
    distance_mm = grid.to_world(indices) @ normal - grid.to_world((np.array(shape) - 1) / 2) @ normal
    spacing = plan_grid(grid, small_plan().preprocessing).grid.spacing_mm
    plan_spacing = tuple(s * f for s, f in zip(spacing, factor, strict=True))
    predictor = predictor_of(threshold(0.0, gain=0.02), patch=(8, 8, 8), spacing_mm=plan_spacing)
    result = predictor(Volume(distance_mm[None].astype(np.float32), grid))
    clear = np.abs(distance_mm) > 0.15 * max(plan_spacing)
    # Near the border splines have nothing to go by.
    clear[tuple(np.nonzero(np.minimum(indices, np.array(shape) - 1 - indices).min(axis=-1) < 5))] = False
    np.testing.assert_array_equal(result.labels.array[clear], distance_mm[clear] > 0)
    assert result.labels.geometry == grid


@pytest.mark.parametrize(("slice_axis", "patch"), [(None, (16, 16, 8)), (2, (24, 24))])
@pytest.mark.parametrize("orientation", ORIENTATIONS[::7])
@pytest.mark.parametrize("spacing_mm", [(None, None, None), (1.1, 1.1, None), (0.9, 0.9, 1.5)])
def test_a_ball_comes_back_to_the_slices_of_a_tilted_ct(slice_axis, patch, orientation, spacing_mm):
    affine = np.diag([0.9, 0.9, 2.0, 1.0])
    affine[1, 2] = np.tan(np.deg2rad(16.5)) * 2.0
    grid = Geometry((40, 40, 16), affine).reorient(orientation)
    indices = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    centre = grid.to_world((np.array(grid.shape) - 1) / 2)
    ball = np.linalg.norm(grid.to_world(indices) - centre, axis=-1) <= 11
    # Mixed shares of 0 and 1 are decided at a half; the tissue around it varies, as tissue does.
    noise = np.random.default_rng(0).normal(0, 0.02, ball.shape)
    network = threshold(0.5, dimensions=2 if slice_axis == 2 else 3)
    predictor = predictor_of(network, patch=patch, slice_axis=slice_axis, spacing_mm=spacing_mm)
    result = predictor(Volume((ball + noise)[None].astype(np.float32), grid))
    found = result.labels.array == 1
    assert result.labels.geometry == grid
    # Measured: 0.999 to 1.000; 0.82 with the lean turned round.
    assert 2 * (found & ball).sum() / (found.sum() + ball.sum()) > 0.99
    assert result.volumes_ml["bright"] == pytest.approx(ball.sum() * grid.voxel_volume_ml, rel=0.01)


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
@settings(max_examples=15)
@given(grid=geometries(smallest=3, largest=9), seed=st.integers(0, 9))
def test_a_2d_plan_sees_slices_of_the_canonical_grid(slice_axis, grid, seed):
    volume = volume_on(grid, seed)
    network = looking_around(dimensions=2)
    predictor = predictor_of(network, patch=(20, 20), slice_axis=slice_axis, labels={"first": 1, "second": 2})
    image = grid.to_canonical.apply(volume.array)
    with torch.no_grad():
        slices = np.moveaxis(image, slice_axis + 1, 0)
        padded = np.zeros((len(slices), 1, 20, 20), np.float32)
        before = [(20 - n) // 2 for n in slices.shape[2:]]
        inside = tuple(slice(b, b + n) for b, n in zip(before, slices.shape[2:], strict=True))
        padded[(..., *inside)] = slices
        logits = network(torch.from_numpy(padded))[(..., *inside)].numpy()
    expected = np.moveaxis(logits.argmax(axis=1), 0, slice_axis)
    top = np.moveaxis(np.diff(np.sort(logits, axis=1)[:, -2:], axis=1)[:, 0], 0, slice_axis)
    clear = grid.to_canonical.inverse.apply(top > 1e-4)
    found = predictor(volume).labels.array
    np.testing.assert_array_equal(found[clear], grid.to_canonical.inverse.apply(expected)[clear])


def test_a_volume_smaller_than_the_window_is_padded_with_zeros_around_it():
    # The network sums over its window: zeros around the image must not change what it sees of it.
    class Total(nn.Module):
        def forward(self, x):
            total = x.sum(dim=(2, 3, 4), keepdim=True).expand_as(x)
            return torch.cat((total * 0 + 59.5, total), dim=1)

    grid = Geometry.from_spacing((3, 4, 5))
    volume = Volume(np.ones((1, 3, 4, 5), np.float32), grid)
    assert predictor_of(Total(), patch=(9, 9, 9))(volume).labels.array.all()


class Always(nn.Module):
    """The same probabilities everywhere."""

    def __init__(self, *probabilities):
        super().__init__()
        self.register_buffer("logits", torch.tensor(probabilities).log())

    def forward(self, x):
        return self.logits.reshape(1, -1, *[1] * (x.ndim - 2)).expand(len(x), -1, *x.shape[2:])


def test_an_ensemble_averages_probabilities_not_votes_nor_logits():
    plan = small_plan(labels={"first": 1, "second": 2})
    volume = volume_on(Geometry.from_spacing((5, 6, 7)))

    def answer(*networks):
        (value,) = np.unique(Predictor(plan, networks, "cpu", arithmetic=STEADY)(volume).labels.array)
        return value

    # Means: 0.34, 0.477, 0.183; two of the three vote for the background.
    assert answer(Always(0.5, 0.45, 0.05), Always(0.5, 0.05, 0.45), Always(0.02, 0.93, 0.05)) == 1
    # Means: 0.433, 0.46, 0.107; the mean logit of the background is the largest.
    assert answer(Always(0.3, 0.69, 0.01), Always(0.3, 0.69, 0.01), Always(0.7, 1e-6, 0.3)) == 1


@pytest.mark.parametrize(("slice_axis", "mirror_axes"), [(None, (0, 2)), (1, (0, 2)), (0, (1,))])
def test_mirrored_views_are_averaged_over_every_subset_of_the_axes(slice_axis, mirror_axes):
    network = looking_around(dimensions=3 if slice_axis is None else 2)
    patch = (8, 8, 8) if slice_axis is None else (8, 8)
    plan = small_plan(patch=patch, slice_axis=slice_axis, mirror_axes=mirror_axes, labels={"first": 1, "second": 2})
    array = np.random.default_rng(0).normal(size=(1, 8, 8, 8)).astype(np.float32)
    alone = Predictor(plan, [network], "cpu", arithmetic=STEADY)
    total = 0
    views = [view for n in range(len(mirror_axes) + 1) for view in combinations(mirror_axes, n)]
    for view in views:
        axes = [axis + 1 for axis in view]
        windows = torch.from_numpy(np.flip(array, axes).copy())
        if slice_axis is not None:
            windows = windows.movedim(slice_axis + 1, 0)
            with torch.no_grad():
                seen = network(windows).softmax(1).movedim(0, slice_axis + 1)
        else:
            with torch.no_grad():
                seen = network(windows[None]).softmax(1)[0]
        total = total + np.flip(seen.numpy(), axes)
    best = np.sort(total, axis=0)
    clear = best[-1] - best[-2] > 1e-4
    found = Predictor(plan, [network], "cpu", mirror=True, arithmetic=STEADY).classes(array)
    np.testing.assert_array_equal(found[clear], total.argmax(axis=0)[clear])
    assert (found != alone.classes(array)).any()


def test_labels_have_the_users_values_in_the_smallest_type():
    volume = volume_on(Geometry.from_spacing((4, 5, 6)))
    small = predictor_of(threshold(4.5), labels={"bright": 7})(volume).labels
    large = predictor_of(threshold(4.5), labels={"bright": 700})(volume).labels
    assert (small.array.dtype, set(np.unique(small.array))) == (np.uint8, {0, 7})
    assert (large.array.dtype, set(np.unique(large.array))) == (np.uint16, {0, 700})
    assert large.labels.names == ("bright",)


def test_the_wrong_number_of_channels_is_refused_with_both_numbers():
    with pytest.raises(InputError, match=r"has 1 channel, but the model needs 2 channels \(T1, T2\)"):
        predictor_of(nn.Conv3d(2, 2, 1), channels=("T1", "T2"))(volume_on(Geometry.from_spacing((4, 4, 4))))
    with pytest.raises(InputError, match=r"needs 2 channels \(CT, PT\)\. Give it the folder that holds all series"):
        predictor_of(nn.Conv3d(2, 2, 1), channels=("CT", "PT"))(
            volume_on(Geometry.from_spacing((4, 4, 4)), kind="dicom")
        )


def test_an_image_without_a_place_is_warned_of_where_the_model_needs_mm():
    volume = volume_on(Geometry.from_spacing((4, 4, 4)), placed=False, warnings=("The reader mended something.",))
    needs_mm = predictor_of(threshold(4.5), spacing_mm=(1.0, 1.0, None))(volume)
    assert needs_mm.warnings[0] == "The reader mended something."
    assert "1 × 1 × any mm" in needs_mm.warnings[1]
    assert needs_mm.volumes_ml == {}
    assert predictor_of(threshold(4.5))(volume).warnings == ("The reader mended something.",)


def test_probabilities_that_would_not_fit_are_refused_before_anything_is_computed():
    volume = volume_on(Geometry.from_spacing((20, 20, 20)))
    plan = small_plan(labels={str(value): value for value in range(1, 41)})
    predictor = Predictor(plan, [looking_around(n_classes=41)], "cpu", max_memory=2_500_000)
    with pytest.raises(MachineError, match=r"41 classes in 20 × 20 × 20 voxels take 2\.56 MiB .* only 2\.38"):
        predictor.with_probabilities(volume)


def test_a_bound_on_the_memory_is_kept_or_refused_with_both_numbers():
    volume = volume_on(Geometry.from_spacing((20, 20, 20)))
    plan = small_plan(patch=(8, 8, 8))
    Predictor(plan, [threshold(4.5)], "cpu", max_memory=2**30)(volume)
    # Three slabs of 8 · 20 · 20 voxels in 2 classes and a weight, and four times 20³ voxels in 2 classes, 4 bytes each.
    with pytest.raises(MachineError, match=r"20 × 20 × 20 .* takes \d+ KiB, but only 195 KiB are allowed"):
        Predictor(plan, [threshold(4.5)], "cpu", max_memory=200_000)(volume)


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ({"overlap": 1.0}, "overlap"),
        ({"device": "abacus"}, "'abacus' is no device"),
        ({"device": "meta"}, "'meta' is no device that medseg runs on"),
        ({"networks": []}, "at least one network"),
    ],
)
def test_what_makes_no_sense_is_refused(wishes, reason):
    with pytest.raises(UsageError, match=reason):
        Predictor(**{"plan": small_plan(), "networks": [threshold(1)], "device": "cpu", **wishes})


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_the_machines_fault():
    with pytest.raises(MachineError, match="no device 'cuda'"):
        Predictor(small_plan(), [threshold(1)], "cuda")


def test_the_arithmetic_is_timed_on_a_volume_that_is_worth_it_and_training_can_go_on():
    network = build(small_plan().network)
    plan = small_plan(patch=(8, 8, 8))
    predictor = Predictor(plan, [network], "cpu", arithmetic="auto")
    small, large = volume_on(Geometry.from_spacing((8, 8, 8))), volume_on(Geometry.from_spacing((20, 20, 20)))
    predictor(small)
    assert not predictor._settled
    predictor(large)
    assert predictor._settled
    network.train()
    torch.optim.SGD(network.parameters(), 0.1).zero_grad()
    out = network(torch.zeros(1, 1, 8, 8, 8))
    (out[0] if isinstance(out, list) else out).sum().backward()
    with torch.no_grad():
        next(network.parameters()).add_(1)


def test_a_memory_map_of_a_prepared_case_is_predicted_as_the_volume_is(tmp_path):
    volume = volume_on(Geometry.from_spacing((9, 8, 7)).reorient(Reorientation((2, 0, 1), (True, False, True))))
    predictor = predictor_of(threshold(4.5), patch=(9, 4, 4))
    prepared = preprocess(volume, predictor.plan.preprocessing)
    np.save(tmp_path / "image.npy", prepared.array)
    classes = predictor.classes(np.load(tmp_path / "image.npy", mmap_mode="r"))
    np.testing.assert_array_equal(prepared.reorientation.inverse.apply(classes), predictor(volume).labels.array)
    np.testing.assert_array_equal(predictor.native_classes(prepared), predictor(volume).labels.array)


def test_a_saved_model_predicts_as_the_network_that_was_saved(tmp_path):
    plan = small_plan(labels={"first": 1, "second": 2}, spacing_mm=(1.0, 1.0, 1.0))
    networks = [build(plan.network) for _ in range(2)]
    save_model(tmp_path / "model", ModelInfo(plan), {n: network.state_dict() for n, network in enumerate(networks)})
    volume = volume_on(Geometry.from_spacing((9, 10, 8), (0.9, 1.2, 1.0)))
    expected = Predictor(plan, [network.eval() for network in networks], "cpu", arithmetic=STEADY)(volume)
    loaded = Predictor.load(tmp_path, device="cpu", arithmetic="float32")(volume)
    np.testing.assert_array_equal(loaded.labels.array, expected.labels.array)
    one = Predictor.load(tmp_path / "model", device="cpu", folds=["1"], arithmetic="float32")(volume)
    alone = Predictor(plan, [networks[1]], "cpu", arithmetic=STEADY)(volume)
    np.testing.assert_array_equal(one.labels.array, alone.labels.array)
