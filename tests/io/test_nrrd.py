"""NRRD by the definition of its format: axes of space and others, units, scales; ITK is the oracle where it reads."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  as everybody calls it
from hypothesis import given
from hypothesis import strategies as st

from medseg import io
from medseg.core.errors import InputError
from medseg.io import ReadOptions

HEAD = "NRRD0005\ntype: short\nendian: little\nencoding: raw\n"
VOXELS = np.arange(5 * 6 * 7, dtype="<i2")
LPS = "space: left-posterior-superior\nspace origin: (1,2,3)\n"


def nrrd(path, text, voxels=VOXELS):
    path.write_bytes(f"{HEAD}{text}\n".encode() + voxels.tobytes())
    return path


UNITS = [
    ('"microns" "microns" "microns"', (0.001, 0.001, 0.001)),
    ('"um" "um" "µm"', (0.001, 0.001, 0.001)),
    ('"nm" "nm" "nm"', (1e-6, 1e-6, 1e-6)),
    ('"cm" "cm" "cm"', (10, 10, 10)),
    ('"mm" "mm" "cm"', (1, 1, 10)),
    ('"m" "m" "m"', (1000, 1000, 1000)),
    ('"inch" "inch" "inch"', (25.4, 25.4, 25.4)),
    ('"" "" ""', (1, 1, 1)),
    ("mm mm mm", (1, 1, 1)),
]


@pytest.mark.parametrize(("units", "mm"), UNITS)
def test_units_of_space_are_converted_axis_and_origin(tmp_path, units, mm):
    directions = "dimension: 3\nsizes: 5 6 7\nspace directions: (2,0,0) (0,3,0) (0,0,4)\n"
    image = io.read(nrrd(tmp_path / "a.nrrd", f"{LPS}{directions}space units: {units}\n"))
    np.testing.assert_allclose(image.geometry.spacing_mm, np.multiply((2, 3, 4), mm))
    np.testing.assert_allclose(image.geometry.to_world([0, 0, 0]), np.multiply((-1, -2, 3), mm))
    assert io.read_geometry(tmp_path / "a.nrrd")[0] == image.geometry


@pytest.mark.parametrize(("units", "mm"), UNITS)
def test_units_of_spacings_are_converted(tmp_path, units, mm):
    image = io.read(nrrd(tmp_path / "a.nrrd", f"dimension: 3\nsizes: 5 6 7\nspacings: 2 3 4\nunits: {units}\n"))
    np.testing.assert_allclose(image.geometry.spacing_mm, np.multiply((2, 3, 4), mm))


@pytest.mark.parametrize(("unit", "mm"), [("um", 0.001), ("mm", 1), ("cm", 10), ("?", 1)])
def test_units_of_a_metaimage_are_converted(tmp_path, unit, mm):
    (tmp_path / "a.mha").write_bytes(
        b"NDims = 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 1 2 3\n"
        + f"DistanceUnits = {unit}\n".encode()
        + b"ElementSpacing = 2 3 4\nDimSize = 5 6 7\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
        + VOXELS.tobytes()
    )
    image = io.read(tmp_path / "a.mha")
    np.testing.assert_allclose(image.geometry.spacing_mm, np.multiply((2, 3, 4), mm))
    np.testing.assert_allclose(image.geometry.to_world([0, 0, 0]), np.multiply((-1, -2, 3), mm))


def test_a_unit_that_is_no_length_is_refused_by_name(tmp_path):
    text = f'{LPS}dimension: 3\nsizes: 5 6 7\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nspace units: "s" "mm" "mm"\n'
    with pytest.raises(InputError, match=r"gives its lengths in 's' \(space units\)"):
        io.read(nrrd(tmp_path / "a.nrrd", text))


def test_a_mask_of_a_file_in_microns_comes_back_at_its_place(tmp_path):
    text = (
        f'{LPS}dimension: 3\nsizes: 5 6 7\nspace directions: (25,0,0) (0,25,0) (0,0,25)\nspace units: "um" "um" "um"\n'
    )
    image = io.read(nrrd(tmp_path / "a.nrrd", text))
    io.write(image, tmp_path / "b.nrrd")
    back = io.read(tmp_path / "b.nrrd")
    np.testing.assert_allclose(back.geometry.affine, image.geometry.affine, atol=1e-9)


@pytest.mark.parametrize(("low", "high"), [(-66560.0, 64510.0), (0.0, 1.0)])
def test_the_range_that_integers_stand_for_is_applied(tmp_path, low, high):
    text = f"{LPS}dimension: 3\nsizes: 5 6 7\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
    image = io.read(nrrd(tmp_path / "a.nrrd", f"{text}old min: {low}\noldmax: {high}\n"))
    expected = low + (VOXELS.astype(float) + 32768) / 65535 * (high - low)
    np.testing.assert_allclose(image.array[0].ravel("F"), expected, rtol=1e-6, atol=1e-3)
    assert image.array.dtype == np.float32


def test_the_range_says_nothing_where_it_is_not_known_and_nothing_of_real_numbers(tmp_path):
    text = f"{LPS}dimension: 3\nsizes: 5 6 7\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nold min: nan\nold max: nan\n"
    np.testing.assert_array_equal(io.read(nrrd(tmp_path / "a.nrrd", text)).array[0].ravel("F"), VOXELS)
    reals = HEAD.replace("short", "float") + text.replace("nan", "5", 1).replace("nan", "9") + "\n"
    (tmp_path / "b.nrrd").write_bytes(reals.encode() + VOXELS.astype("<f4").tobytes())
    np.testing.assert_array_equal(io.read(tmp_path / "b.nrrd").array[0].ravel("F"), VOXELS)
    with pytest.raises(InputError, match="scales its numbers by 0"):
        io.read(nrrd(tmp_path / "c.nrrd", text.replace("nan", "5")))


@pytest.mark.parametrize(("slope", "offset"), [(2.0, -1024.0), (1.0, -1000.0), (0.5, 0.0), (-1.0, 0.0)])
def test_the_intensity_function_of_a_metaimage_is_applied(tmp_path, slope, offset):
    (tmp_path / "a.mha").write_bytes(
        f"NDims = 3\nElementToIntensityFunctionSlope = {slope}\nElementToIntensityFunctionOffset = {offset}\n".encode()
        + b"DimSize = 5 6 7\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
        + VOXELS.tobytes()
    )
    np.testing.assert_allclose(io.read(tmp_path / "a.mha").array[0].ravel("F"), VOXELS * slope + offset)


FOUR = np.arange(5 * 6 * 7 * 3, dtype="<i2")
LAST = "dimension: 4\nsizes: 5 6 7 3\nspace directions: (1,0,0) (0,2,0) (0,0,3) none\n"
FIRST = "dimension: 4\nsizes: 3 5 6 7\nspace directions: none (1,0,0) (0,2,0) (0,0,3)\n"
MIDDLE = "dimension: 4\nsizes: 5 3 6 7\nspace directions: (1,0,0) none (0,2,0) (0,0,3)\n"


@pytest.mark.parametrize(("axes", "place"), [(LAST, 3), (FIRST, 0), (MIDDLE, 1)])
@pytest.mark.parametrize("kind", ["list", "vector", "3-vector", "RGB-color", "covariant-vector"])
def test_an_axis_of_channels_is_found_by_its_kind_wherever_it_stands(tmp_path, axes, place, kind):
    kinds = ["domain"] * 4
    kinds[place] = kind
    image = io.read(nrrd(tmp_path / "a.nrrd", f"{LPS}{axes}kinds: {' '.join(kinds)}\n", FOUR))
    assert image.array.shape == (3, 5, 6, 7)
    shape = (5, 6, 7, 3) if place == 3 else (3, 5, 6, 7) if place == 0 else (5, 3, 6, 7)
    np.testing.assert_array_equal(image.array, np.moveaxis(FOUR.reshape(shape, order="F"), place, 0))
    np.testing.assert_allclose(image.geometry.spacing_mm, (1, 2, 3))


@pytest.mark.parametrize("kinds", ["", "kinds: domain domain domain time\n", "kinds: space space space ???\n"])
def test_an_axis_without_direction_asks_what_its_volumes_are_as_nifti_does(tmp_path, kinds):
    path = nrrd(tmp_path / "a.nrrd", f"{LPS}{LAST}{kinds}", FOUR)
    for look in (io.read, io.read_geometry):
        with pytest.raises(InputError, match="has 3 volumes; say --read channels=last") as refused:
            look(path)
        assert "0x" not in str(refused.value)
    assert io.read(path, ReadOptions(channels="last")).n_channels == 3
    assert io.read_geometry(path, ReadOptions(channels="last"))[1] == 3
    one = io.read(path, ReadOptions(volume=1))
    np.testing.assert_array_equal(one.array[0], FOUR.reshape((5, 6, 7, 3), order="F")[..., 1])


def test_four_axes_that_say_nothing_ask_which_one_it_is(tmp_path):
    path = nrrd(tmp_path / "a.nrrd", "dimension: 4\nsizes: 3 5 6 7\nspacings: nan 1 2 3\n", FOUR)
    with pytest.raises(InputError, match=r"has four axes \(3 × 5 × 6 × 7\).*channels=first or --read channels=last"):
        io.read(path)
    image = io.read(path, ReadOptions(channels="first"))
    np.testing.assert_array_equal(image.array, FOUR.reshape((3, 5, 6, 7), order="F"))
    np.testing.assert_allclose(image.geometry.spacing_mm, (1, 2, 3))
    assert io.read(path, ReadOptions(channels="last")).array.shape == (7, 3, 5, 6)


def test_a_further_axis_of_one_thing_needs_no_question(tmp_path):
    text = f"{LPS}dimension: 4\nsizes: 5 6 7 1\nspace directions: (1,0,0) (0,2,0) (0,0,3) none\n"
    image = io.read(nrrd(tmp_path / "a.nrrd", text))
    np.testing.assert_array_equal(image.array[0].ravel("F"), VOXELS)


def test_five_axes_are_refused_with_their_lengths(tmp_path):
    text = "dimension: 5\nsizes: 2 3 5 6 7\nkinds: vector time domain domain domain\n"
    with pytest.raises(InputError, match="has the axes 2 × 3 × 5 × 6 × 7; medseg reads two or three of space"):
        io.read(nrrd(tmp_path / "a.nrrd", text, np.zeros(2 * 3 * 210, "<i2")))


@pytest.mark.parametrize(
    "directions", ["(1,0,0) (0,1,0)", "(1,0,0) (2,0,0) (0,0,1)", "(0,0,0) (0,1,0) (0,0,1)", "(1,0,x) (0,1,0) (0,0,1)"]
)
def test_directions_that_span_no_space_are_refused(tmp_path, directions):
    text = f"{LPS}dimension: 3\nsizes: 5 6 7\nspace directions: {directions}\n"
    with pytest.raises(InputError, match="has a damaged header"):
        io.read(nrrd(tmp_path / "a.nrrd", text))


def test_a_leaning_grid_is_read_as_it_is(tmp_path):
    text = f"{LPS}dimension: 3\nsizes: 5 6 7\nspace directions: (1,0,0) (0,1,0) (0,0.5,2)\n"
    image = io.read(nrrd(tmp_path / "a.nrrd", text))
    np.testing.assert_allclose(image.geometry.to_world([0, 0, 2]), (-1, -3, 7))


@given(
    spacings=st.lists(st.floats(0.1, 9), min_size=3, max_size=3),
    lowest=st.lists(st.floats(-99, 99), min_size=3, max_size=3),
    center=st.sampled_from(["cell", "node", "none"]),
)
def test_spacings_and_least_positions_are_read_as_itk_reads_them(tmp_path_factory, spacings, lowest, center):
    path = tmp_path_factory.mktemp("a") / "a.nrrd"
    words = [" ".join(map(repr, numbers)) for numbers in (spacings, lowest)]
    centers = "" if center == "none" else f"centers: {center} {center} {center}\n"
    nrrd(path, f"dimension: 3\nsizes: 5 6 7\nspacings: {words[0]}\naxis mins: {words[1]}\n{centers}")
    image, oracle = io.read(path), sitk.ReadImage(str(path))
    np.testing.assert_allclose(image.geometry.spacing_mm, oracle.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(image.geometry.to_world([0, 0, 0]) * (-1, -1, 1), oracle.GetOrigin(), rtol=1e-6)


def test_a_type_or_order_of_bytes_that_is_not_known_is_refused(tmp_path):
    path = tmp_path / "a.nrrd"
    for old, new, reason in (
        ("type: short", "type: block", "unknown type"),
        ("endian: little\n", "", "order of bytes"),
        ("encoding: raw", "encoding: lzma", "medseg reads raw, gzip, bzip2, ascii and hex"),
    ):
        text = HEAD.replace(old, new) + "dimension: 3\nsizes: 5 6 7\n\n"
        path.write_bytes(text.encode() + VOXELS.tobytes())
        with pytest.raises(InputError, match=reason):
            io.read(path)
