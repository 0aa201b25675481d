"""Copies are found whatever was done to them; strangers and blank images are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from medseg.inspect.likeness import digest_of, likeness_of, near_pairs, neighbourhood


def scan(seed, shape=(40, 36, 30), sigma=3.0):
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)


def thumbnail(image):
    return likeness_of(np.asarray(image)[None]).thumbnail


STRANGERS = [thumbnail(scan(seed)) for seed in range(12)]

COPIES = {
    "scaled": lambda image: 700 * image + 30,
    "noisy": lambda image: image + np.random.default_rng(9).normal(0, 0.3 * image.std(), image.shape),
    "cropped": lambda image: image[1:-1, 1:-1, 1:-1],
    "coarser": lambda image: ndimage.zoom(image, 1 / 1.3, order=1),
    "brighter": lambda image: np.sqrt(image - image.min()),
}


@pytest.mark.parametrize("way", COPIES)
def test_an_altered_copy_is_found(way):
    pairs = near_pairs([*STRANGERS, thumbnail(COPIES[way](scan(3)))])
    assert [(pair.first, pair.second) for pair in pairs] == [(3, 12)]


def test_strangers_are_no_pairs():
    assert near_pairs(STRANGERS) == ()


def test_images_that_are_all_alike_are_no_pairs():
    """Phantoms of one kind: what is usual is no finding."""
    common = scan(0)
    alike = [thumbnail(common + 0.15 * scan(seed)) for seed in range(1, 12)]
    assert np.median((np.stack(alike) @ np.stack(alike).T)[np.triu_indices(11, 1)]) > 0.9
    assert near_pairs(alike) == ()


def test_blank_images_have_no_thumbnail_and_no_pair():
    assert thumbnail(np.full((20, 20, 20), 7.0)) is None
    assert near_pairs([None, None, STRANGERS[0]]) == ()


def test_neighbours_in_a_stack_are_counted():
    block = scan(0, (64, 64, 24), sigma=(2, 2, 1.5))
    stack = [thumbnail(block[:, :, k : k + 1]) for k in range(24)]
    found = neighbourhood(stack)
    assert found.n == 24
    assert found.share > 0.9
    assert neighbourhood(STRANGERS).share < 0.5


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.int16, np.int32, np.float32, np.float64]), st.booleans())
def test_a_digest_is_of_values_and_not_of_how_they_are_stored(seed, dtype, fortran):
    array = np.random.default_rng(seed).integers(-3000, 3000, (2, 4, 3, 5)).astype(np.int16)
    other = np.array(array, dtype, order="F" if fortran else "C")
    assert digest_of(array, np.float32) == digest_of(other, np.float32)
    array[1, 2, 1, 3] += 1
    assert digest_of(array, np.float32) != digest_of(other, np.float32)


def test_a_digest_knows_the_shape_and_takes_both_zeros_for_one():
    ones = np.ones((1, 2, 3, 4), np.float32)
    assert digest_of(ones, np.float32) != digest_of(ones.reshape(1, 3, 2, 4), np.float32)
    assert digest_of(0 * ones, np.float32) == digest_of(-0.0 * ones, np.float32)
