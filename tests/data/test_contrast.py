"""A few values far away flatten an image; what images usually hold does not."""

import numpy as np
import pytest

from medseg.data.contrast import flattened
from medseg.transforms.intensity import normalise
from medseg.transforms.preprocessing import ChannelNormalisation

RNG = np.random.default_rng(0)
TISSUE = RNG.normal(300, 60, 20_000).astype(np.float32)


def judged(image, nonzero=False, n_samples=10_000):
    flat = np.asarray(image, np.float32).ravel()
    sample = np.random.default_rng(1).choice(flat, min(n_samples, flat.size), replace=False)
    return flattened(sample, float(flat.min()), float(flat.max()), flat.size, nonzero)


def with_values(value, n):
    image = TISSUE.copy()
    image[:n] = value
    return image


@pytest.mark.parametrize(
    ("value", "n"),
    [(1e30, 1), (-3.4e38, 5000), (3.4e38, 15_000), (1e9, 40), (-32767 * 100, 3000)],
    ids=["one hot voxel", "padding", "mostly padding", "a few hot voxels", "a wrong code for air"],
)
def test_values_far_away_flatten_and_the_figures_say_how(value, n):
    found = judged(with_values(value, n))
    assert found is not None
    assert (value > 0) == (found.largest == np.float32(value))
    assert 0 < found.low < 150
    assert 450 < found.high < 700
    assert found.contrast_sd < 0.2


@pytest.mark.parametrize(("value", "n", "helps"), [(1e30, 1, True), (1e9, 40, True), (-3.4e38, 5000, False)])
def test_scaling_by_percentiles_is_offered_where_it_helps(value, n, helps):
    """Tried: what the scheme makes of the image itself has a contrast, or has none."""
    image = with_values(value, n)
    found = judged(image)
    assert found.by_percentiles is not helps
    assert ("plan.normalisation=percentile" in found.remedy) is helps
    scaled = normalise(image.reshape(1, 20, 100, 10), (ChannelNormalisation(scheme="percentile"),))
    assert bool(scaled.ravel()[n:].std() > 0.1) is helps


def test_two_kinds_of_padding_flatten_as_one_does():
    image = with_values(-3.4e38, 4000)
    image[4000:8000] = 0
    assert judged(image) is not None


def test_a_voxel_that_no_sample_hit_counts():
    assert judged(with_values(1e30, 1), n_samples=100) is not None


@pytest.mark.parametrize(
    "image",
    [
        TISSUE,
        with_values(0, 16_000),  # skull-stripped
        with_values(-3024, 8000),  # padding of CT
        with_values(4000, 60),  # metal, contrast agent, a bright vessel
        RNG.gamma(0.3, 2.0, 20_000),  # PET
        np.concatenate([RNG.normal(0, 1e-3, 16_000), TISSUE[:4000]]),  # ringing around a stripped brain
        RNG.integers(0, 4, 20_000),  # an image of labels
        RNG.integers(0, 256, 20_000),
        np.full(20_000, 7.0),
        np.zeros(20_000),
    ],
    ids=["noise", "stripped", "air", "metal", "pet", "ringing", "labels", "bytes", "constant", "blank"],
)
@pytest.mark.parametrize("nonzero", [False, True])
def test_what_images_usually_hold_is_no_finding(image, nonzero):
    assert judged(image, nonzero) is None


def test_the_sentence_has_the_figures_in_few_digits():
    text = str(judged(with_values(-3.4e38, 5000)))
    assert text.startswith("values run from -3.4e+38 to 5")
    assert "standard deviations apart" in text
    assert max(map(len, text.split())) < 12
