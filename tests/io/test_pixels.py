"""Real-world values: what the header says is applied exactly, in the smallest type; padding never passes for tissue."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medseg import io
from medseg.core.errors import InputError
from medseg.io.dicom.assemble import assemble
from medseg.io.dicom.find import find_images
from medseg.io.dicom.pixels import check_grey, keeps_integers, rescale_of, slice_values
from tests.io.dicom_files import write_series


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pixels")


def frames_of(folder, stored, **attributes):
    for old in (folder / "s").glob("*") if (folder / "s").exists() else ():
        old.unlink()
    write_series(folder / "s", stored, **attributes)
    return find_images(folder / "s").images


def expected_of(stored, slope, intercept, is_padding, modality):
    """The definition, in float64."""
    values = stored.astype(np.float64) * slope + intercept
    if is_padding.all() or not is_padding.any():
        return values
    fill = min(-1024.0, values[is_padding].min()) if modality == "CT" else values[~is_padding].min()
    return np.where(is_padding, fill, values)


def stacks(dtype):
    info = np.iinfo(dtype)
    shapes = npst.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=4)
    # Few values, so that padding is met; extreme ones, so that types overflow.
    values = st.sampled_from([info.min, info.min + 1, 0, 1, 7, 2000, info.max - 1, info.max])
    return npst.arrays(dtype, shapes, elements=values)


@settings(max_examples=60)
@given(
    st.sampled_from([np.uint16, np.int16]).flatmap(stacks),
    st.sampled_from(["1", "2.5", "0.001"]),
    st.sampled_from(["0", "-1024", "-32768", "40000", "0.5"]),
    st.sampled_from([None, 0, 2000, (0, 7), (7, 0)]),
    st.sampled_from(["CT", "MR"]),
)
def test_values_are_those_of_the_definition_in_a_type_that_holds_them(
    folder, stored, slope, intercept, padding, modality
):
    attributes = {}
    low, high = (padding, padding) if np.isscalar(padding) else sorted(padding or (1, 0))
    is_padding = (stored >= low) & (stored <= high) if padding is not None else np.zeros(stored.shape, bool)
    if padding is not None:
        attributes["PixelPaddingValue"] = padding if np.isscalar(padding) else padding[0]
        if not np.isscalar(padding):
            attributes["PixelPaddingRangeLimit"] = padding[1]
    frames = frames_of(folder, stored, Modality=modality, RescaleSlope=slope, RescaleIntercept=intercept, **attributes)
    array, notes = assemble(frames)
    expected = expected_of(stored, float(slope), float(intercept), is_padding, modality).transpose(2, 1, 0)
    if not is_padding.all():
        np.testing.assert_allclose(array, expected, rtol=1e-6, atol=1e-6)
    assert any("padd" in note for note in notes) == is_padding.any()
    if float(slope) == 1 and float(intercept).is_integer():
        fits = np.iinfo(np.int16).min <= expected.min() and expected.max() <= np.iinfo(np.int16).max
        assert array.dtype == (np.int16 if fits else np.int32) or is_padding.all()
    else:
        assert array.dtype == np.float32
    assert array.flags.f_contiguous


def test_a_slice_that_is_all_padding_takes_the_fill_and_none_leaves_zeros(tmp_path):
    stored = np.full((3, 2, 2), 500, np.uint16)
    stored[1], stored[2, 0, 0] = 63_536, 63_536
    frames = frames_of(tmp_path, stored, PixelPaddingValue=63_536)
    array, notes = assemble((*frames, None))
    assert array.dtype == np.int16
    assert array.transpose(2, 1, 0).tolist() == [
        [[-524, -524], [-524, -524]],
        [[-1024, -1024], [-1024, -1024]],
        [[-1024, -524], [-524, -524]],
        [[0, 0], [0, 0]],
    ]
    assert notes == ("5 padded voxels were set to -1024.",)


@pytest.mark.parametrize(("padding", "fill"), [(0, -3024), (2500, -1024)])
def test_the_fill_of_ct_is_air_or_the_rescaled_padding_if_that_is_lower(tmp_path, padding, fill):
    stored = np.array([[[padding, 3000]]], np.uint16)
    array, _ = assemble(frames_of(tmp_path, stored, RescaleIntercept="-3024", PixelPaddingValue=padding))
    assert array[:, 0, 0].tolist() == [fill, -24]


def test_the_fill_of_mr_is_the_smallest_real_value_of_the_whole_volume(tmp_path):
    stored = np.array([[[9, 50]], [[30, 9]]], np.uint16)
    array, _ = assemble(frames_of(tmp_path, stored, Modality="MR", RescaleIntercept="0", PixelPaddingValue=9))
    assert array[:, 0].T.tolist() == [[30, 50], [30, 30]]


def test_each_slice_has_its_own_slope(tmp_path):
    def own(k, slice_):
        slice_.RescaleSlope, slice_.RescaleIntercept = str(k + 0.5), str(k)

    stored = np.full((3, 1, 2), 10, np.uint16)
    array, _ = assemble(frames_of(tmp_path, stored, change=own))
    assert array[0, 0].tolist() == [5, 16, 27]


def test_a_modality_lut_is_looked_up(tmp_path):
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4, 0, 16], np.array([100, 7, 0, 42], "<u2").tobytes()
    stored = np.array([[[0, 1, 2, 3]]], np.uint16)
    frames = frames_of(tmp_path, stored, ModalityLUTSequence=Sequence([table]))
    assert not keeps_integers(frames[0])
    assert slice_values(frames[0]).values.tolist() == [[100, 7, 0, 42]]


def test_a_slope_of_zero_or_none_is_one_and_an_unreadable_one_is_refused(tmp_path):
    stored = np.ones((1, 2, 2), np.uint16)
    for absent in ("0", ""):
        assert rescale_of(frames_of(tmp_path, stored, RescaleSlope=absent)[0]).slope == 1
    path = tmp_path / "s" / "001.dcm"
    frames_of(tmp_path, stored, RescaleSlope="1.25")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"1.25", b"1,25"))  # a decimal comma, as some exports have it
    assert rescale_of(find_images(path).images[0]).slope == 1.25
    path.write_bytes(whole.replace(b"1.25", b"1;25"))
    with pytest.raises(InputError, match="has a RescaleSlope that is not a number; its values are unknown"):
        slice_values(find_images(path).images[0])
    with pytest.raises(InputError, match=r"RescaleSlope of 1e\+30"):
        slice_values(frames_of(tmp_path, stored, RescaleSlope="1e30")[0])


def test_a_real_world_value_map_is_not_applied(tmp_path):
    mapping = Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 3.0, 1.0
    frames = frames_of(tmp_path, np.ones((1, 2, 2), np.uint16), RealWorldValueMappingSequence=Sequence([mapping]))
    assert assemble(frames)[0].max() == -1023


def test_palettes_are_refused_by_the_header(tmp_path):
    frames = frames_of(tmp_path, np.ones((1, 2, 2), np.uint16), PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(InputError, match=r"is in colour \(PALETTE COLOR\)"):
        check_grey(frames[0])


def test_monochrome1_turns_only_what_has_no_scale_of_its_own(tmp_path):
    stored = np.array([[[1, 5, 65_000]]], np.uint16)
    turned = {"PhotometricInterpretation": "MONOCHROME1", "RescaleIntercept": "0"}
    array, notes = assemble(frames_of(tmp_path, stored, Modality="DX", **turned))
    assert array[:, 0, 0].tolist() == [65_000, 64_996, 1]
    assert notes == ("MONOCHROME1: the values were turned, so that bright is high.",)
    array, notes = assemble(frames_of(tmp_path, stored, Modality="CT", **turned))
    assert array[:, 0, 0].tolist() == [1, 5, 65_000]
    assert "display only" in notes[0]


def test_what_a_reader_of_the_values_should_know_is_noted(tmp_path):
    stored = np.ones((2, 2, 2), np.uint16)
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": [10, 12.5]}
    _, notes = assemble(frames_of(tmp_path, stored, BurnedInAnnotation="YES", **lossy))
    assert notes == (
        "2 slices were compressed with loss (ratio 12.5).",
        "2 slices have text burnt in (BurnedInAnnotation), which may name someone.",
    )
    _, notes = assemble(frames_of(tmp_path, stored, PhotometricInterpretation="YBR_FULL"))
    assert notes == ("The pixels are declared as colour (YBR_FULL) and hold greys only; one channel was read.",)


def test_memory_is_the_volume_and_a_slice(tmp_path):
    stored = np.zeros((40, 256, 256), np.uint16)
    stored[:, :9] = 63_536
    frames = frames_of(tmp_path, stored, PixelPaddingValue=63_536)
    assemble(frames[:1])
    tracemalloc.start()
    array, _ = assemble(frames)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert array.dtype == np.int16
    assert peak <= 1.3 * array.nbytes


@pytest.mark.data
def test_a_compressed_series_from_the_door_has_the_values_of_the_plain_one(shared_data):
    syntax = shared_data / "dicom" / "syntax"
    plain = io.read(syntax / "ct_implicit_le").array
    for name in ("ct_explicit_be", "ct_deflated", "ct_j2k_lossless", "ct_jpegls_lossless", "ct_jpeg_lossless_sv1"):
        np.testing.assert_array_equal(io.read(syntax / name).array, plain, err_msg=name)
