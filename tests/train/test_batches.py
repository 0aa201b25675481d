import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.predict.windows import pad_to
from medseg.train.batches import PatchBatches, step_generator
from medseg.train.cache import Cache

CASES = ("a", "b", "c")


def coded(shape, offset):
    """Each voxel's value is its place, so that a patch tells where it was cut."""
    return (offset + np.arange(np.prod(shape), dtype=np.float32)).reshape(shape)


@pytest.fixture(scope="module")
def cache(tmp_path_factory, plan):
    cache = Cache(tmp_path_factory.mktemp("cached") / "cache", plan)
    for number, case in enumerate(CASES):
        shape = (20, 24, 16)
        classes = np.zeros(shape, np.uint8)
        classes[3:5, 20:22, 1:4] = 1
        classes[15, 10, 12] = 2
        cache.put(case, coded(shape, 10_000 * number)[None], classes, np.random.default_rng(0), "")
    return cache


def batches(cache, plan, foreground=0.5, seed=0):
    return PatchBatches(cache, CASES, plan, foreground, seed)


def test_image_and_classes_are_cut_at_the_same_place(cache, plan):
    image, classes = batches(cache, plan)[0]
    assert image.shape == (2, 1, 16, 16, 8)
    assert classes.shape == (2, 16, 16, 8)
    for patch, truth in zip(image, classes, strict=True):
        code = patch[0] % 10_000
        i, j, k = np.unravel_index(int(code[0, 0, 0]), (20, 24, 16))
        stored = cache.get("a").classes[i : i + 16, j : j + 16, k : k + 8]
        np.testing.assert_array_equal(truth, stored)


def test_a_step_has_the_same_batch_whenever_and_wherever_it_is_drawn(cache, plan):
    first, again = batches(cache, plan), batches(cache, plan)
    _ = again[0], again[3]
    assert torch.equal(first[7][0], again[7][0])
    assert not torch.equal(first[7][0], first[8][0])
    assert not torch.equal(first[7][0], batches(cache, plan, seed=1)[7][0])


def test_cases_come_equally_often(cache, plan):
    drawn = batches(cache, plan)
    codes = torch.cat([drawn[step][0][:, 0, 0, 0, 0] // 10_000 for step in range(30)])
    assert torch.bincount(codes.long()).tolist() == [20, 20, 20]


def test_every_foreground_patch_holds_a_labelled_voxel_and_rare_labels_come_as_often(cache, plan):
    drawn = [batches(cache, plan, foreground=1.0)[step][1] for step in range(30)]
    patches = torch.cat(drawn)
    assert all((patch > 0).any() for patch in patches)
    rare = sum(bool((patch == 2).any()) for patch in patches)
    assert 0.3 <= rare / len(patches) <= 0.9, "one voxel of label 2 against twelve of label 1"


def test_without_foreground_patches_lie_anywhere(cache, plan):
    drawn = batches(cache, plan, foreground=0.0)
    starts = {int(code) % 10_000 for step in range(40) for code in drawn[step][0][:, 0, 0, 0, 0]}
    assert len(starts) > 40


@given(side=st.integers(1, 15))
@settings(max_examples=15, deadline=None)
def test_small_cases_are_padded_as_prediction_pads_them(tmp_path_factory, plan, side):
    cache = Cache(tmp_path_factory.mktemp("small") / "cache", plan)
    image = 1 + coded((side, side, min(side, 8)), 0)[None]
    cache.put("a", image, np.ones(image.shape[1:], np.uint8), np.random.default_rng(0), "")
    patch, classes = PatchBatches(cache, ["a"], plan, 0.5, 0)[0]
    np.testing.assert_array_equal(patch[0], pad_to(image, (16, 16, 8))[0])
    assert int((classes[0] == 1).sum()) == image[0].size


def test_a_flat_plan_draws_slices(tmp_path, plan, cache):
    network = plan.network.model_copy(update={"dimensions": 2, "kernels": ((3, 3),) * 2, "strides": ((1, 1), (2, 2))})
    flat = plan.model_copy(update={"dimensions": 2, "slice_axis": 1, "network": network, "patch": (16, 8)})
    image, classes = PatchBatches(cache, CASES, flat, 1.0, 0)[0]
    assert image.shape == (2, 1, 16, 8)
    assert all((patch > 0).any() for patch in classes)


def test_the_random_numbers_of_a_step_follow_from_seed_and_step():
    def draw(seed, step):
        return torch.rand(3, generator=step_generator(seed, step))

    assert torch.equal(draw(1, 5), draw(1, 5))
    assert not torch.equal(draw(1, 5), draw(1, 6))
    assert not torch.equal(draw(1, 5), draw(2, 5))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit of open files that a process could set")
def test_open_files_do_not_grow_with_the_cases(tmp_path, plan):
    """One batch of fifty cases, all of them held at once, and many batches under a limit that fifty would break."""
    import resource

    cache = Cache(tmp_path / "cache", plan)
    names = [f"case {number}" for number in range(50)]
    for name in names:
        cache.put(name, coded((4, 4, 4), 0)[None], np.ones((4, 4, 4), np.uint8), np.random.default_rng(0), "")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 12, hard))
    try:
        large = plan.model_copy(update={"batch": 50})
        drawn = [PatchBatches(cache, names, large, 0.5, 0)[step] for step in range(3)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all(image.shape[0] == 50 for image, _ in drawn)
