"""Positions that are rounded in the header: even within their digits, and no further."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from medseg import io
from medseg.core.errors import InputError
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap
from medseg.io import ReadOptions
from medseg.io.dicom.digits import half_digit, line_through, n_decimals
from medseg.io.dicom.find import Frame
from medseg.io.dicom.group import Stack
from medseg.io.dicom.place import place
from tests.io.dicom_files import write_series
from tests.io.label_files import write_seg
from tests.strategies import rotations

SIZE = 20
PIXEL_MM = 0.8


def frames(points, cosines=(1, 0, 0, 0, 1, 0), cosine_decimals=6, decimals=1, point="."):
    """Headers of slices at these places (LPS mm), positions written with so many decimals and no zeros at the end."""
    made = []
    for n, place_mm in enumerate(points):
        header = Dataset()
        header.SeriesInstanceUID, header.SeriesNumber, header.SOPInstanceUID = "1.2.3", 5, f"1.2.3.{n}"
        header.ImagePositionPatient = [written(x, decimals) for x in place_mm]
        header.ImageOrientationPatient = [written(x, cosine_decimals) for x in cosines]
        header.PixelSpacing, header.Rows, header.Columns = [PIXEL_MM, PIXEL_MM], SIZE, SIZE
        made.append(Frame(Path(f"{n}.dcm"), header))
    return made


def written(value, decimals):
    return f"{round(float(value), decimals):.{decimals}f}".rstrip("0").rstrip(".")


def corners(points, rotation):
    """Where the corner pixels of slices are (RAS mm), by the truth."""
    ends = np.array([(i, j) for i in (0, SIZE - 1) for j in (0, SIZE - 1)]) * PIXEL_MM
    return (points[:, None] + ends @ rotation.T[:2]) * (-1, -1, 1)


def oblique(angle_deg):
    t = np.deg2rad(angle_deg)
    return np.array([[1, 0, 0], [0, np.cos(t), np.sin(t)], [0, -np.sin(t), np.cos(t)]]).T


@pytest.mark.parametrize("step_mm", [0.625, 1.0, 1.25, 2.0, 3.3, 5.0])
@pytest.mark.parametrize("angle_deg", [0, 7.7, 8, 25, 41])
@pytest.mark.parametrize("n", [2, 3, 20])
def test_an_oblique_series_to_a_tenth_of_a_millimetre_is_even(angle_deg, step_mm, n):
    rotation = oblique(angle_deg)
    points = np.array([-16.03, -12.2, 5.17]) + np.outer(np.arange(n) * step_mm, rotation[:, 2])
    placed = place(Stack(frames(points, rotation.T[:2].ravel())), ReadOptions())
    assert placed.interpolation is None
    given_mm = np.stack([placed.grid.to_world([(i, j, k) for i in (0, 19) for j in (0, 19)]) for k in range(n)])
    assert np.linalg.norm(given_mm - corners(points, rotation), axis=-1).max() < 0.2
    assert not any("tilted" in note for note in placed.notes)


@settings(max_examples=60, deadline=None)
@given(
    rotations(90.0),
    st.floats(0.6, 6),
    st.integers(3, 40),
    st.sampled_from([1, 2, 3]),
    st.tuples(*[st.floats(-500, 500)] * 3),
)
def test_an_even_series_is_even_however_it_is_turned_and_rounded(rotation, step_mm, n, decimals, origin):
    points = np.array(origin) + np.outer(np.arange(n) * step_mm, rotation[:, 2])
    placed = place(Stack(frames(points, rotation.T[:2].ravel(), 8, decimals)), ReadOptions())
    assert placed.grid.shape == (SIZE, SIZE, n)
    given_mm = np.stack([placed.grid.to_world([(i, j, k) for i in (0, 19) for j in (0, 19)]) for k in range(n)])
    # Half a digit in each coordinate, once for the file and once for the line that was found.
    assert np.linalg.norm(given_mm - corners(points, rotation), axis=-1).max() < 2 * 0.9 * 10.0**-decimals + 1e-4


@settings(max_examples=60, deadline=None)
@given(rotations(90.0), st.floats(0.6, 6), st.integers(4, 40), st.sampled_from([1, 2, 3]), st.data())
def test_a_missing_slice_is_found_however_positions_are_rounded(rotation, step_mm, n, decimals, data):
    gone = data.draw(st.integers(1, n - 2))
    points = np.array([3.14, -2.72, 141.4]) + np.outer(np.delete(np.arange(n), gone) * step_mm, rotation[:, 2])
    stack = Stack(frames(points, rotation.T[:2].ravel(), 8, decimals))
    with pytest.raises(InputError, match=r"lacks 1 slice .*missing=fill"):
        place(stack, ReadOptions())
    placed = place(stack, ReadOptions(missing="fill"))
    assert [k for k, frame in enumerate(placed.frames) if frame is None] == [gone]
    run = place(stack, ReadOptions(missing="largest-run"))
    assert len(run.files) == max(gone, n - 1 - gone)


@settings(max_examples=60, deadline=None)
@given(rotations(90.0), st.floats(0.6, 6), st.integers(5, 40), st.sampled_from([1, 2, 3]), st.data())
def test_an_uneven_series_is_found_and_its_option_leads_to_a_volume(rotation, step_mm, n, decimals, data):
    """A slice that lies further from its place than digits and 1 % explain."""
    away = max(0.03 * step_mm, 4 * 0.9 * 10.0**-decimals)
    away_mm = data.draw(st.sampled_from([-1, 1])) * data.draw(st.floats(1, 1.5)) * away
    moved = np.arange(n) * step_mm
    moved[data.draw(st.integers(1, n - 2))] += away_mm
    stack = Stack(frames(np.outer(moved, rotation[:, 2]), rotation.T[:2].ravel(), 8, decimals))
    if away > 0.4 * step_mm:
        return  # it may be at the place of another
    with pytest.raises(InputError, match=r"uneven slice distances .*--read uneven=resample|lacks"):
        place(stack, ReadOptions())
    placed = place(stack, ReadOptions(uneven="resample", missing="fill"))
    assert placed.interpolation is not None


@pytest.mark.parametrize("first", [0.0, 5.0, -731.37, 0.01, 1200.0])
def test_two_decimals_of_five_eighths_are_even_at_any_origin(first):
    points = [(-16, -12, first + round(0.625 * k, 2)) for k in range(8)]
    placed = place(Stack(frames(points, decimals=2)), ReadOptions())
    assert placed.grid.spacing_mm[2] == pytest.approx(0.625, abs=0.001)
    assert placed.interpolation is None


def test_rounding_is_told_with_the_digits_and_the_distance():
    points = [(0, 0, round(0.625 * k, 1)) for k in range(12)]
    (note,) = place(Stack(frames(points)), ReadOptions()).notes
    assert note.startswith("The positions of the slices are rounded to 0.1 mm and even within that; by their headers,")


def test_whole_numbers_are_taken_at_their_word():
    with pytest.raises(InputError, match="uneven slice distances"):
        place(Stack(frames([(0, 0, z) for z in (0, 5, 11, 15, 20)])), ReadOptions())


def test_slices_that_lie_on_no_line_are_offered_no_option():
    points = [(0.37 * (k % 3), 0, z) for k, z in enumerate((0, 2.5, 5, 8.25, 10))]
    for options in (ReadOptions(), ReadOptions(uneven="resample", missing="fill")):
        with pytest.raises(InputError, match=r"do not lie on one straight line .* this cannot be a volume\.$"):
            place(Stack(frames(points, decimals=3)), options)


def test_what_cannot_be_interpolated_is_not_offered():
    for heights in ((0, 0.31, 0.74, 90.2, 91.1), (0, 2.5, 5, 90, 92.5), (0, 1, 3, 5, 8)):
        stack = Stack(frames([(0, 0, z) for z in heights], decimals=2))
        with pytest.raises(InputError) as refusal:
            place(stack, ReadOptions())
        offered = [word.split("=") for word in str(refusal.value).split() if "=" in word]
        assert ("--read" in str(refusal.value)) == bool(offered)
        for key, value in offered:
            assert len(place(stack, ReadOptions.parse({key: value.rstrip(".")})).files) > 1


@pytest.mark.parametrize("decimals", [2, 3, 4])
def test_rounded_cosines_are_at_right_angles_within_their_digits(decimals):
    rotation = oblique(25)
    points = np.outer(np.arange(5) * 3.0, rotation[:, 2])
    place(Stack(frames(points, rotation.T[:2].ravel(), decimals, 3)), ReadOptions())


def test_cosines_that_are_off_by_more_than_their_digits_are_refused():
    for cosines, decimals in (
        ((1, 0, 0, 0, 0.87, 0.41), 2),
        ((1, 0, 0, 0, 0.9, 0.4), 1),
        ((1, 0, 0, 0, 0.9, 0.430001), 6),
    ):
        with pytest.raises(InputError, match="direction cosines"):
            place(Stack(frames([(0, 0, 0), (0, 0, 1)], cosines, decimals)), ReadOptions())


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30), st.floats(-5, 5))
def test_the_nearest_line_is_as_near_as_any(values, slope):
    places = np.arange(len(values), dtype=float)
    line = line_through(np.array(values), places)
    assert np.abs(np.array(values) - line.offset - line.slope * places).max() <= line.off + 1e-9
    other = np.array(values) - slope * places
    assert line.off <= np.ptp(other) / 2 + 1e-9


def test_the_finest_number_tells_the_digits():
    assert half_digit([frame.header for frame in frames([(0, 0, 0), (0, 0.5, 1)])], "ImagePositionPatient") == 0.05
    assert (
        half_digit(
            [frame.header for frame in frames([(0, 0, 1), (10, 0.5, 0.125)], decimals=3)], "ImagePositionPatient"
        )
        == 0.0005
    )
    assert half_digit([frame.header for frame in frames([(0, 0, 1), (10, 5, 2)])], "ImagePositionPatient") == 0
    assert [n_decimals(word) for word in ("1.50", "-3", "1e-3", "2.5e2", " 1.25 ", "", "abc")] == [2, 0, 3, 0, 2, 0, 0]


@pytest.mark.parametrize("angle_deg", [8, 25])
def test_labels_of_a_rounded_series_come_back_voxel_for_voxel(tmp_path, angle_deg):
    rotation, step_mm = oblique(angle_deg), 0.625

    def change(k, slice_):
        at = np.array([-16.03, -12.2, 5.17]) + rotation[:, 2] * step_mm * k
        slice_.ImagePositionPatient = [written(x, 1) for x in at]

    stored = np.zeros((12, 9, 10), np.int16)
    series = write_series(tmp_path / "s", stored, axes=rotation.T[:2], spacing=(1, 1), change=change)
    mask = np.random.default_rng(1).random(stored.shape) < 0.3
    theirs = io.read_labels(write_seg(tmp_path / "theirs.dcm", series, mask[..., None].astype(np.uint8)))
    np.testing.assert_array_equal(theirs.array > 0, mask.transpose(2, 1, 0))
    for file in series:
        file.rename(tmp_path / file.name)
    orphan = tmp_path / "alone"
    orphan.mkdir()
    shutil.copy(tmp_path / "theirs.dcm", orphan)
    alone = io.read_labels(orphan / "theirs.dcm", ReadOptions(orphan="own-grid"), None)
    np.testing.assert_array_equal(alone.array, theirs.array)
    for file in series:
        (tmp_path / file.name).rename(file)
    image = io.read(tmp_path / "s")
    ours = LabelMap(theirs.array, image.geometry, Labels({"liver": (1,)}))
    for form in io.DICOM_FORMS:
        path = tmp_path / f"{form}.dcm"
        assert io.write_dicom(ours, path, form, source=image.meta, producer=io.Producer("x", "sha256:0123")) == ()
        np.testing.assert_array_equal(io.read_labels(path, image=tmp_path / "s").array, theirs.array)
