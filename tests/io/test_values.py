"""Numbers of a file as images and as labels: native types, noise, interpolation, what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from medseg.core.errors import InputError
from medseg.io.values import Scaling, as_image, as_labels, label_dtype

any_labels = npst.arrays(np.int64, (3, 2, 4), elements=st.integers(0, 65_535))


@given(any_labels, st.sampled_from([np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64]))
def test_whole_numbers_come_back_from_any_type(labels, dtype):
    found, warnings = as_labels(labels.astype(dtype), "a.nii")
    np.testing.assert_array_equal(found, labels)
    assert found.dtype == (np.uint8 if labels.max() <= 255 else np.uint16)
    assert warnings == ()


@given(any_labels, st.sampled_from([0.0, 1.0, float("nan"), float("inf")]))
def test_a_slope_that_means_none_leaves_integers_alone(labels, slope):
    found, _ = as_labels(labels.astype(np.int32), "a.nii", Scaling(slope, 0.0))
    np.testing.assert_array_equal(found, labels)


@pytest.mark.parametrize("largest", [7, 104, 200])
def test_float_labels_that_were_written_into_a_byte_header_are_rounded_never_truncated(largest):
    """nibabel writes such files with a slope of max/255; half of the values come back below the whole number."""
    labels = np.arange(largest + 1, dtype=np.float64)
    slope = largest / 255
    stored = np.rint(labels / slope).astype(np.uint8)
    values = stored * slope
    assert (values.astype(int) != labels).any()
    found, warnings = as_labels(stored, "a.nii", Scaling(slope, 0.0))
    np.testing.assert_array_equal(found, labels)
    assert "rounded" in warnings[0]


def test_noise_of_floats_needs_no_word():
    found, warnings = as_labels(np.array([0.0, 1.0004, 1.9996], np.float32), "a.nii")
    np.testing.assert_array_equal(found, [0, 1, 2])
    assert warnings == ()


def test_an_interpolated_map_is_refused_with_its_share_and_an_example():
    with pytest.raises(InputError, match=r"a\.nii is not a label map: 25 % .* \(e\.g\. 0\.4\); it looks resampled"):
        as_labels(np.array([0, 0, 0.4, 1.0]), "a.nii")


@given(
    largest=st.integers(2, 250),
    dtype=st.sampled_from([np.uint8, np.int16, np.uint16]),
    slope_dtype=st.sampled_from([np.float32, np.float64]),
    write=st.sampled_from([np.rint, np.floor, np.trunc, lambda x: np.floor(x + 0.5)]),
)
def test_labels_that_were_scaled_to_the_range_of_a_type_come_back_whoever_rounded_them(
    largest, dtype, slope_dtype, write
):
    """The middle label of an even number of them lies exactly half a slope off, and the slope is rounded too."""
    labels = np.arange(largest + 1, dtype=np.float64)
    slope = slope_dtype(largest / np.iinfo(dtype).max)
    stored = np.clip(write(labels / slope), 0, np.iinfo(dtype).max).astype(dtype)
    if abs(stored * float(slope) - labels).max() >= 0.49:
        return  # so near to the next label that nobody can tell
    found, _ = as_labels(stored, "a.nii", Scaling(float(slope), 0.0))
    np.testing.assert_array_equal(found, labels)


@pytest.mark.parametrize("largest", [2, 4, 12, 16, 20, 100])
def test_the_middle_label_half_a_slope_off_is_no_matter(largest):
    slope = float(np.float32(largest / 255))
    stored = np.rint(np.arange(largest + 1) * 255 / largest).astype(np.uint8)
    found, warnings = as_labels(stored, "a.nii", Scaling(slope, 0.0))
    np.testing.assert_array_equal(found, np.arange(largest + 1))
    assert warnings == () or "rounded" in warnings[0]


def test_a_probability_in_bytes_is_no_label_map_and_the_sentence_names_the_scale():
    with pytest.raises(InputError, match=r"scales the stored numbers by 0\.00392157 .* integers without a scale"):
        as_labels(np.arange(256, dtype=np.uint8), "a.nii", Scaling(1 / 255, 0.0))


def test_values_that_would_fall_on_one_label_are_refused():
    """A slope below one half of a label: two stored values round to one."""
    with pytest.raises(InputError, match="not whole"):
        as_labels(np.array([0, 2, 3], np.uint8), "a.nii", Scaling(0.4, 0.0))


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        (np.array([-1, 2], np.int16), "value -1; labels lie in"),
        (np.array([0, 70_000], np.int32), "value 70000; labels lie in"),
        (np.array([0.0, -3.0]), "value -3"),
        (np.array([0.0, np.nan]), "1 of its voxels are not finite"),
        (np.array([0j, 1j]), "complex"),
        (np.zeros(2, [("r", "u1"), ("g", "u1"), ("b", "u1")]), "colours"),
    ],
)
def test_what_is_no_label_map_is_refused(stored, sentence):
    with pytest.raises(InputError, match=sentence):
        as_labels(stored, "a.nii")


@given(st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64]))
def test_an_unscaled_image_keeps_its_type_and_is_not_copied(dtype):
    stored = np.arange(24).reshape(2, 3, 4).astype(dtype)
    array, warnings = as_image(stored, "a.nii")
    assert array is stored
    assert warnings == ()


def test_a_scaled_image_is_float32_and_scaled_in_double():
    stored = np.array([[[-3, 2_000_000_001]]], np.int32)
    array, _ = as_image(stored, "a.nii", Scaling(0.01, 5.0))
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, (stored * 0.01 + 5.0).astype(np.float32))


def test_voxels_that_are_not_finite_become_the_minimum_and_are_counted():
    array, warnings = as_image(np.array([np.nan, -2.0, np.inf, 7.0], np.float32), "a.nii")
    np.testing.assert_array_equal(array, [-2, -2, -2, 7])
    assert "2 of 4 voxels are not finite" in warnings[0]
    with pytest.raises(InputError, match="no finite value"):
        as_image(np.full(3, np.nan), "a.nii")


def test_a_slope_that_leaves_float32_is_told_without_a_word_of_numpys():
    array, warnings = as_image(np.array([[-1, 0, 2]], np.int16), "a.nii", Scaling(3e38, 0.0))
    np.testing.assert_array_equal(array, np.array([[-3e38, 0, -3e38]], np.float32))
    assert "1 of 3 voxels are not finite" in warnings[0]


@pytest.mark.parametrize(
    ("largest", "dtype"), [(255, np.uint8), (256, np.uint16), (65_535, np.uint16), (65_536, np.int32)]
)
def test_a_label_map_is_written_in_the_smallest_type(largest, dtype):
    assert label_dtype(np.array([0, largest])) == dtype


def test_negative_labels_cannot_be_written():
    with pytest.raises(InputError, match="-1 to 3"):
        label_dtype(np.array([-1, 3]))
