import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medseg.core.errors import ModelError
from medseg.predict import blend
from medseg.predict.blend import blended_slabs, cropped, decide, gathered, slab_axis, slab_bytes
from medseg.predict.windows import blend_window, pad_to, tiles
from medseg.transforms.grid import resample_linear
from tests.predict.plans import looking_around
from tests.predict.test_windows import boxes

overlaps = st.floats(0, 0.75)


def probabilities_of(network):
    def run(windows):
        with torch.no_grad():
            return network(windows).softmax(dim=1)

    return run


def whole(image, box, overlap, probabilities):
    """The blend as it is defined, with arrays of the whole volume, in float64."""
    window = blend_window(box).astype(np.float64)
    sums, weights = None, np.zeros(image.shape[1:])
    for tile in tiles(image.shape[1:], box, overlap):
        one = probabilities(image[(slice(None), *tile.slices)][None])[0].double().numpy()
        sums = np.zeros((len(one), *image.shape[1:])) if sums is None else sums
        sums[(slice(None), *tile.slices)] += one * window
        weights[tile.slices] += window
    return sums / weights


def image_of(shape, n_channels=1, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n_channels, *shape)).astype(np.float32))


@given(boxes(largest=7), overlaps, st.integers(0, 2), st.integers(1, 4))
def test_slabs_along_any_axis_are_the_whole_blend(shape_box, overlap, axis, batch):
    shape, box = shape_box
    image, network = image_of(shape, 2), probabilities_of(looking_around(n_channels=2))
    slabs = list(blended_slabs(image, box, overlap, network, axis=axis, batch=batch))
    assert all(slab.shape[axis + 1] <= box[axis] for slab in slabs)
    np.testing.assert_allclose(torch.cat(slabs, dim=axis + 1).numpy(), whole(image, box, overlap, network), atol=1e-5)


@pytest.mark.parametrize(("shape", "box"), [((16, 12, 20), (8, 8, 8)), ((24, 9, 16), (12, 6, 8))])
def test_the_blend_is_monais_where_windows_lie_alike(shape, box):
    inferers = pytest.importorskip("monai.inferers.utils")
    network = looking_around()
    image = image_of(shape)
    expected = inferers.sliding_window_inference(
        image[None], box, 2, probabilities_of(network), overlap=0.5, mode="gaussian", sigma_scale=0.125
    )[0]
    slabs = blended_slabs(image, box, 0.5, probabilities_of(network), axis=0)
    np.testing.assert_allclose(torch.cat(list(slabs), dim=1).numpy(), expected.numpy(), atol=1e-5)


@given(boxes(largest=6), st.tuples(*[st.integers(1, 15)] * 3), st.integers(0, 2), st.integers(2, 5))
def test_deciding_slab_by_slab_is_deciding_the_resampled_whole(shape_box, new_shape, axis, n_classes):
    shape, box = shape_box
    image, network = image_of(shape), probabilities_of(looking_around(n_classes=n_classes))
    classes = decide(blended_slabs(image, box, 0.5, network, axis=axis), axis, shape, new_shape)
    resampled = resample_linear(whole(image, box, 0.5, network), new_shape)
    best = np.sort(resampled, axis=0)
    clear = best[-1] - best[-2] > 1e-4
    assert classes.shape == new_shape
    assert classes.dtype == np.uint8
    np.testing.assert_array_equal(classes[clear], resampled.argmax(axis=0)[clear])
    assert clear.mean() > 0.5 or clear.size < 100, "where classes are as likely, either is right: most are not"


@given(boxes(largest=6), st.tuples(*[st.integers(1, 15)] * 3), st.integers(0, 2))
def test_what_is_gathered_is_the_resampled_whole_and_decides_as_slabs_do(shape_box, new_shape, axis):
    shape, box = shape_box
    image, network = image_of(shape), probabilities_of(looking_around())
    said = gathered(blended_slabs(image, box, 0.5, network, axis=axis), axis, shape, new_shape)
    np.testing.assert_allclose(said, resample_linear(whole(image, box, 0.5, network), new_shape), atol=1e-5)
    classes = decide(blended_slabs(image, box, 0.5, network, axis=axis), axis, shape, new_shape)
    np.testing.assert_array_equal(said.argmax(axis=0), classes)


def test_one_slice_after_the_other_is_the_same_as_all_at_once(monkeypatch):
    shape, new_shape, network = (9, 8, 7), (20, 5, 13), probabilities_of(looking_around())
    image = image_of(shape)
    at_once = decide(blended_slabs(image, (4, 4, 4), 0.5, network, axis=0), 0, shape, new_shape)
    monkeypatch.setattr(blend, "CHUNK_BYTES", 1)
    one_by_one = decide(blended_slabs(image, (4, 4, 4), 0.5, network, axis=0), 0, shape, new_shape)
    np.testing.assert_array_equal(at_once, one_by_one)


def test_outlines_of_interpolated_probabilities_are_no_stairs():
    # Class 1 rises from 0 to 1 over two voxels: on a grid four times finer its edge lies half-way between them.
    rising = torch.tensor([0.0, 0.0, 1.0, 1.0]).reshape(1, 4, 1, 1)
    slab = torch.cat((1 - rising, rising))
    assert decide([slab], 0, (4, 1, 1), (16, 1, 1)).ravel().tolist() == [0] * 8 + [1] * 8
    third = torch.tensor([0.0, 0.0, 0.75, 0.75]).reshape(1, 4, 1, 1)
    # 0.75 · t > 1/2 from t = 2/3 on: new centres lie at t = 1/8, 3/8, 5/8, 7/8.
    assert decide([torch.cat((1 - third, third))], 0, (4, 1, 1), (16, 1, 1)).ravel().tolist() == [0] * 9 + [1] * 7


@given(st.integers(3, 40), st.integers(0, 5))
def test_classes_that_win_nowhere_are_left_out_without_a_change(n_classes, seed):
    probabilities = torch.from_numpy(
        np.random.default_rng(seed).dirichlet(np.full(n_classes, 0.2), (5, 4, 3)).astype(np.float32)
    ).movedim(-1, 0)
    expected = resample_linear(probabilities.numpy(), (9, 7, 5)).argmax(axis=0)
    np.testing.assert_array_equal(decide([probabilities], 0, (5, 4, 3), (9, 7, 5)), expected)


def test_more_than_256_classes_have_room():
    probabilities = torch.full((300, 2, 1, 1), 1e-3)
    probabilities[299, 1], probabilities[0, 0] = 0.7, 0.7
    classes = decide([probabilities], 0, (2, 1, 1), (2, 1, 1))
    assert classes.ravel().tolist() == [0, 299]


@given(st.tuples(*[st.integers(1, 6)] * 3), st.integers(0, 2))
def test_padding_is_cropped_away_again(shape, axis):
    image, box = image_of(shape), (5, 4, 6)
    padded, inside = pad_to(image.numpy(), box)
    network = probabilities_of(looking_around())
    slabs = blended_slabs(torch.from_numpy(padded), box, 0.5, network, axis=axis)
    cut = torch.cat(list(cropped(slabs, axis, inside)), dim=axis + 1).numpy()
    np.testing.assert_allclose(
        cut, whole(torch.from_numpy(padded), box, 0.5, network)[(slice(None), *inside)], atol=1e-5
    )


def test_a_network_that_answers_nan_is_no_result():
    def broken(windows):
        return torch.full((len(windows), 2, *windows.shape[2:]), float("nan"))

    with pytest.raises(ModelError, match="no numbers"):
        list(blended_slabs(image_of((6, 6, 6)), (4, 4, 4), 0.5, broken, axis=0))


def test_slabs_follow_the_axis_on_which_they_are_thinnest():
    assert slab_axis((40, 200, 60), (32, 64, 32)) == 1
    assert slab_axis((512, 512, 30), (256, 256, 1)) == 2


class LargestTensor(TorchDispatchMode):
    """Notes the largest memory that any tensor made within has."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.bytes = max(self.bytes, leaf.untyped_storage().nbytes())
        return result


def test_the_memory_is_that_of_a_few_slabs_not_of_the_volume(monkeypatch):
    n_classes, shape, new_shape, box = 12, (96, 20, 20), (192, 40, 40), (8, 20, 20)
    monkeypatch.setattr(blend, "CHUNK_BYTES", 2**20)
    alive = []

    def network(windows):
        return windows.expand(-1, n_classes, -1, -1, -1).softmax(dim=1)

    def watched():
        for slab in blended_slabs(image_of(shape), box, 0.5, network, axis=0):
            alive.append(weakref.ref(slab))
            yield slab
            del slab
            assert sum(ref() is not None for ref in alive) <= 2

    with LargestTensor() as seen:
        classes = decide(watched(), 0, shape, new_shape)
    assert classes.shape == new_shape
    one_slab = 4 * n_classes * box[0] * 20 * 20
    assert seen.bytes <= max(2 * one_slab, 2**20) < 4 * n_classes * np.prod(new_shape) / 10
    assert slab_bytes(shape, box, n_classes, new_shape) <= 4 * one_slab + 4 * 2**20
