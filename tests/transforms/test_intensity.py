"""Normalisation: known answers by hand, float64 statistics, and channels without spread."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from medseg.core.errors import InputError
from medseg.transforms.intensity import normalise
from medseg.transforms.preprocessing import ChannelNormalisation as How

SCHEMES = {
    "zscore": How(scheme="zscore"),
    "zscore nonzero": How(scheme="zscore", nonzero=True),
    "ct": How(scheme="ct", low=-100, high=200, mean=40, sd=50),
    "percentile": How(scheme="percentile"),
    "percentile nonzero": How(scheme="percentile", nonzero=True),
    "rescale": How(scheme="rescale", low=0, high=255),
    "none": How(scheme="none"),
}


def one(values, how):
    return normalise(np.asarray(values).reshape(1, -1, 1, 1), [how]).ravel()


def test_zscore_by_hand():
    np.testing.assert_allclose(one([1, 2, 3], How(scheme="zscore")), [-(1.5**0.5), 0, 1.5**0.5], rtol=1e-6)


def test_zscore_of_what_is_not_zero_leaves_zeros_alone():
    result = one([0, 0, 1, 3, 0], How(scheme="zscore", nonzero=True))
    np.testing.assert_allclose(result, [0, 0, -1, 1, 0], rtol=1e-6)


def test_ct_is_clipped_and_then_standardised_by_the_numbers_of_the_data_set():
    result = one([-2000, -100, 40, 90, 3000], SCHEMES["ct"])
    np.testing.assert_allclose(result, [-2.8, -2.8, 0, 1, 3.2], rtol=1e-6)


def test_percentiles_go_to_zero_and_one():
    values = np.arange(1001)
    result = one(values, How(scheme="percentile"))
    np.testing.assert_allclose(result[[0, 5, 500, 995, 1000]], [0, 0, 0.5, 1, 1], atol=1e-6)


def test_percentiles_of_what_is_not_zero_ignore_the_background():
    values = np.concatenate([np.zeros(5000), np.arange(1000, 2001)])
    result = one(values, How(scheme="percentile", nonzero=True))
    assert not result[:5000].any()
    np.testing.assert_allclose(result[[5000, 5500, 6000]], [0, 0.5, 1], atol=1e-6)


def test_a_fixed_range_goes_to_zero_and_one():
    np.testing.assert_allclose(one([0, 51, 255], SCHEMES["rescale"]), [0, 0.2, 1], rtol=1e-6)


def test_none_changes_nothing_but_the_type():
    result = one(np.array([-5, 0, 30000], np.int16), SCHEMES["none"])
    assert result.dtype == np.float32
    assert result.tolist() == [-5, 0, 30000]


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("value", [0.0, 0.1, 1.7e6])
def test_a_channel_without_spread_has_no_nan_and_stays_flat(name, value):
    result = one(np.full(5000, value, np.float32), SCHEMES[name])
    assert np.isfinite(result).all()
    assert np.ptp(result) == 0
    if SCHEMES[name].scheme in ("zscore", "percentile"):
        assert not result.any()


def test_large_counts_keep_their_spread():
    # In float32 the mean of such counts is off by a tenth, which is a twentieth of their deviation.
    rng = np.random.default_rng(0)
    values = (1.7e6 + 2 * rng.standard_normal(2_200_000)).astype(np.float32)
    exact = values.astype(np.float64)
    exact = (exact - exact.mean()) / exact.std()
    np.testing.assert_allclose(one(values, How(scheme="zscore")), exact, atol=1e-5)


@given(npst.arrays(np.float32, (2, 3, 4, 2), elements=st.floats(-1e4, 1e4, width=32)), st.sampled_from(sorted(SCHEMES)))
def test_channels_do_not_know_of_each_other_and_the_source_is_left_alone(image, name):
    before = image.copy()
    result = normalise(image, [SCHEMES[name], SCHEMES["none"]])
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(result[1], image[1])
    np.testing.assert_array_equal(result[0], normalise(image[:1], [SCHEMES[name]])[0])
    assert np.isfinite(result).all()
    assert result.flags.c_contiguous
    assert not np.shares_memory(result, image)


@given(
    npst.arrays(np.float32, (1, 4, 4, 4), elements=st.integers(-1000, 1000)),
    st.floats(0.1, 30),
    st.integers(-500, 500),
)
def test_zscore_does_not_depend_on_scale_and_offset(image, scale, offset):
    if image.std() < 1:
        return
    result = normalise(image * np.float32(scale) + np.float32(offset), [SCHEMES["zscore"]])
    np.testing.assert_allclose(result, normalise(image, [SCHEMES["zscore"]]), atol=5e-3)


def test_memory_laid_out_otherwise_gives_the_same():
    image = np.random.default_rng(0).integers(0, 1000, (5, 4, 3, 2)).astype(np.int16)
    expected = normalise(np.ascontiguousarray(image.T), [SCHEMES["zscore"]] * 2)
    np.testing.assert_array_equal(normalise(image.T, [SCHEMES["zscore"]] * 2), expected)


def test_a_missing_channel_is_counted():
    with pytest.raises(InputError, match="The image has 1 channels, but 2 are planned for"):
        normalise(np.zeros((1, 2, 2, 2)), [SCHEMES["none"]] * 2)
