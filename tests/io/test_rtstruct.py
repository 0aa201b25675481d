"""RTSTRUCT → label map: masks come back from their contours on any grid; what lies nowhere is refused by name."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from medseg import io
from medseg.core.errors import InputError
from medseg.io import ReadOptions
from tests.io.dicom_files import AXES, write_series
from tests.io.label_files import rotation_axes, squares, write_rtstruct
from tests.strategies import ORIENTATIONS, rotations

SHAPE = (6, 5, 4)
"""Columns, rows, slices."""

LPS = np.array([-1.0, -1.0, 1.0])


def series_of(folder, *, axes=AXES, spacing=(0.8, 0.6), step=(0.0, 0.0, 2.5), n_slices=SHAPE[2], **more):
    stored = np.zeros((n_slices, SHAPE[1], SHAPE[0]), np.int16)
    return write_series(folder / "image", stored, axes=axes, spacing=spacing, step=step, **more)


def to_lps(grid, points):
    return grid.to_world(points) * LPS


def contours_of(grid, mask):
    """The mask (i, j, k) as a square around each of its voxels: by the even-odd rule exactly the mask."""
    return [to_lps(grid, square) for k in range(mask.shape[2]) for square in squares(mask[..., k], k)]


def box(grid, k, low=(1, 1), high=(3, 3)):
    """A rectangle around voxels low … high of slice k, in LPS mm."""
    (a, b), (c, d) = np.subtract(low, 0.5), np.add(high, 0.5)
    return to_lps(grid, [(a, b, k), (c, b, k), (c, d, k), (a, d, k)])


@settings(max_examples=12)
@given(
    rotations(),
    st.tuples(*[st.floats(0.3, 4)] * 3),
    st.lists(npst.arrays(bool, SHAPE), min_size=1, max_size=3),
    st.data(),
)
def test_masks_come_back_from_their_contours_on_any_grid(tmp_path_factory, rotation, spacing, masks, data):
    folder = tmp_path_factory.mktemp("rt")
    row, column, normal = rotation_axes(rotation)
    step = np.multiply(normal, round(spacing[2], 3))
    series = series_of(
        folder, axes=(row, column), spacing=np.round(spacing[:2], 3), step=step, reverse=data.draw(st.booleans())
    )
    grid = io.read_geometry(folder / "image")[0]
    rois = [(f"structure {n}", data.draw(st.permutations(contours_of(grid, mask)))) for n, mask in enumerate(masks)]
    label_map = io.read_labels(write_rtstruct(folder / "rt.dcm", series, rois))
    assert label_map.geometry == grid
    assert label_map.labels.names == tuple(name for name, _ in rois)
    for (name, _), mask in zip(rois, masks, strict=True):
        np.testing.assert_array_equal(label_map.labels.mask(label_map.array, name), mask)


def test_on_a_grid_alone_contours_find_their_planes_whatever_its_axes(tmp_path):
    series = series_of(tmp_path)
    grid = io.read_geometry(tmp_path / "image")[0]
    mask = np.random.default_rng(0).random(SHAPE) < 0.4
    path = write_rtstruct(tmp_path / "rt.dcm", series, [("a", contours_of(grid, mask))])
    for way in ORIENTATIONS[::5]:
        np.testing.assert_array_equal(io.read_labels(path, image=grid.reorient(way)).array, way.apply(mask))


def test_a_tilted_series_has_its_contours_in_its_slices(tmp_path):
    series = series_of(tmp_path, step=(0.0, 0.7, 2.5))
    grid = io.read_geometry(tmp_path / "image")[0]
    assert not grid.is_orthogonal
    mask = np.zeros(SHAPE, bool)
    mask[1:4, 2:4, 1:3] = True
    path = write_rtstruct(tmp_path / "rt.dcm", series, [("a", contours_of(grid, mask))])
    np.testing.assert_array_equal(io.read_labels(path).array, mask)


@pytest.fixture
def grid(tmp_path):
    """The grid of a series in `image/`."""
    series_of(tmp_path)
    return io.read_geometry(tmp_path / "image")[0]


def rtstruct_of(tmp_path, rois, **more):
    return write_rtstruct(tmp_path / "rt.dcm", sorted((tmp_path / "image").iterdir()), rois, **more)


def test_an_empty_structure_is_there_and_empty(tmp_path, grid):
    label_map = io.read_labels(rtstruct_of(tmp_path, [("liver", [box(grid, 1)]), ("tumour", [])]))
    assert label_map.labels.to_json() == {"liver": 1, "tumour": 2}
    assert not label_map.labels.mask(label_map.array, "tumour").any()
    assert np.count_nonzero(label_map.array) == 9


def test_structures_that_overlap_share_a_value_or_are_settled_by_order(tmp_path, grid):
    path = rtstruct_of(tmp_path, [("body", [box(grid, 1, (0, 0), (5, 4))]), ("liver", [box(grid, 1)])])
    label_map = io.read_labels(path)
    assert label_map.labels.to_json() == {"body": [1, 3], "liver": 3}
    ordered = io.read_labels(path, ReadOptions(overlaps="liver,body"))
    assert ordered.labels.to_json() == {"body": 1, "liver": 2}
    assert np.count_nonzero(ordered.array == 2) == 9
    with pytest.raises(InputError, match="'body' and 'liver' overlap in 9 voxels"):
        io.read_labels(path, ReadOptions(overlaps="refuse"))


@pytest.mark.parametrize("twin", ["liver", "Liver", " liver "])
def test_two_structures_of_one_name_are_refused(tmp_path, grid, twin):
    with pytest.raises(InputError, match="has two structures called"):
        io.read_labels(rtstruct_of(tmp_path, [("liver", [box(grid, 1)]), (twin, [box(grid, 2)])]))


def test_an_empty_twin_of_a_structure_is_left_aside_with_a_note(tmp_path, grid):
    label_map = io.read_labels(rtstruct_of(tmp_path, [("liver", []), ("Liver", [box(grid, 2)])]))
    assert label_map.labels.names == ("Liver",)
    assert any("Empty structures of a name that another has" in note for note in label_map.meta.warnings)


def test_stale_images_do_not_matter_where_the_frame_of_reference_agrees(tmp_path, grid):
    path = rtstruct_of(tmp_path, [("liver", [box(grid, 1)])], instances=["1.2.3.4"])
    assert np.count_nonzero(io.read_labels(path).array) == 9


def test_a_stale_frame_of_reference_does_not_matter_where_the_images_agree(tmp_path, grid):
    label_map = io.read_labels(rtstruct_of(tmp_path, [("liver", [box(grid, 1)])], frame="1.2.3.4"))
    assert np.count_nonzero(label_map.array) == 9
    assert any("frame of reference differs" in note for note in label_map.meta.warnings)


def test_contours_of_other_images_are_refused(tmp_path, grid):
    def of_another_series(dataset):
        study = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        study.RTReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.5"

    path = rtstruct_of(
        tmp_path, [("liver", [box(grid, 1)])], frame="1.2.3.4", instances=["1.2.3.5"], change=of_another_series
    )
    with pytest.raises(InputError, match="The images that .* was drawn on are not there"):
        io.read_labels(path)
    with pytest.raises(InputError, match="belongs to another frame of reference than series 5"):
        io.read_labels(path, image=tmp_path / "image")


@pytest.mark.parametrize("k", [-1, 4])
def test_contours_beyond_the_slices_are_refused_with_both_places(tmp_path, grid, k):
    path = rtstruct_of(tmp_path, [("liver", [box(grid, k)])])
    at = 30 + 2.5 * k
    with pytest.raises(
        InputError, match=rf"ROI liver has contours at {at:.1f} mm, beyond the slices of series 5 \(30.0 to 37.5"
    ):
        io.read_labels(path)


def test_of_a_part_of_a_series_contours_may_reach_beyond(tmp_path, grid):
    path = rtstruct_of(tmp_path, [("liver", [box(grid, k) for k in range(4)])])
    sorted((tmp_path / "image").iterdir())[2].unlink()
    label_map = io.read_labels(path, ReadOptions(missing="largest-run"))
    assert label_map.array.sum() == 2 * 9
    assert "2 contours beyond the slices that were taken are left out." in label_map.meta.warnings


def test_contours_between_slices_are_refused_or_moved(tmp_path, grid):
    path = rtstruct_of(tmp_path, [("liver", [box(grid, 1.3)])])
    with pytest.raises(InputError, match=r"0\.75 mm off the slices of series 5.*--read contours=project"):
        io.read_labels(path)
    moved = io.read_labels(path, ReadOptions(contours="project"))
    assert np.count_nonzero(moved.array[..., 1]) == np.count_nonzero(moved.array) == 9
    assert "1 contours that lie between slices were moved to the nearest slice." in moved.meta.warnings


def test_of_contours_moved_into_one_slice_the_nearest_counts(tmp_path, grid):
    levels = [box(grid, 1.4, (0, 0), (4, 4)), box(grid, 1.2), box(grid, 0.9)]
    moved = io.read_labels(rtstruct_of(tmp_path, [("liver", levels)]), ReadOptions(contours="project"))
    assert np.count_nonzero(moved.array[..., 1]) == 9


def test_contours_across_slices_are_refused(tmp_path, grid):
    across = to_lps(grid, [(1, 2, 0), (3, 2, 0), (3, 2, 3), (1, 2, 3)])
    with pytest.raises(InputError, match="runs across 7.5 mm of slices"):
        io.read_labels(rtstruct_of(tmp_path, [("liver", [across])]), ReadOptions(contours="project"))


def test_what_is_no_closed_contour_is_left_aside_with_a_note(tmp_path, grid):
    square = box(grid, 1)
    contours = [
        ("CLOSED_PLANAR", square),
        ("POINT", square[:1]),
        ("OPEN_PLANAR", square),
        ("CLOSED_PLANAR", square[:2]),
    ]
    label_map = io.read_labels(rtstruct_of(tmp_path, [("liver", contours)]))
    assert np.count_nonzero(label_map.array) == 9
    notes = " ".join(label_map.meta.warnings)
    assert "1 contours of type OPEN_PLANAR were left aside" in notes
    assert "1 contours of type POINT of fewer than 3 points were left aside" in notes


def test_a_contour_that_is_there_twice_is_no_hole(tmp_path, grid):
    label_map = io.read_labels(rtstruct_of(tmp_path, [("liver", [box(grid, 1), box(grid, 1)])]))
    assert np.count_nonzero(label_map.array) == 9
    assert "1 exact copies of contours were left aside." in label_map.meta.warnings


def test_slices_without_a_contour_stay_empty_and_are_told(tmp_path, grid):
    label_map = io.read_labels(rtstruct_of(tmp_path, [("liver", [box(grid, 0), box(grid, 3)])]))
    assert not label_map.array[..., 1:3].any()
    assert "Slices between contours have none and stay empty: liver (2)." in label_map.meta.warnings


def test_a_contour_without_a_voxel_centre_is_counted(tmp_path, grid):
    speck = to_lps(grid, [(1.2, 1.2, 1), (1.8, 1.2, 1), (1.5, 1.8, 1)])
    label_map = io.read_labels(rtstruct_of(tmp_path, [("liver", [speck])]))
    assert not label_map.array.any()
    assert "1 contours hold no voxel centre: they are smaller than a voxel." in label_map.meta.warnings


def test_a_contour_lies_where_it_lies_whatever_image_it_names(tmp_path, grid):
    def name_the_first(dataset):
        images = (
            dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
        )
        dataset.ROIContourSequence[0].ContourSequence[0].ContourImageSequence = [images.ContourImageSequence[0]]

    label_map = io.read_labels(rtstruct_of(tmp_path, [("liver", [box(grid, 2)])], change=name_the_first))
    assert label_map.array[..., 2].any()
    assert any("another slice than the one they name" in note for note in label_map.meta.warnings)


def test_numbers_that_are_no_points_are_refused(tmp_path, grid):
    def cut(dataset):
        contour = dataset.ROIContourSequence[0].ContourSequence[0]
        contour.ContourData = contour.ContourData[:-1]

    with pytest.raises(InputError, match="11 numbers that are not points of three"):
        io.read_labels(rtstruct_of(tmp_path, [("liver", [box(grid, 2)])], change=cut))


def test_the_series_is_found_two_folders_away(tmp_path):
    series = series_of(tmp_path / "patient" / "study 1")
    grid = io.read_geometry(tmp_path / "patient" / "study 1" / "image")[0]
    (tmp_path / "patient" / "study 2").mkdir()
    path = write_rtstruct(tmp_path / "patient" / "study 2" / "rt.dcm", series, [("liver", [box(grid, 1)])])
    assert np.count_nonzero(io.read_labels(path).array) == 9


def test_of_several_series_beside_it_the_one_that_it_names_is_taken(tmp_path):
    series = series_of(tmp_path / "a")
    series_of(tmp_path / "b", origin=(5.0, 5.0, 5.0))
    grid = io.read_geometry(tmp_path / "a")[0]
    path = write_rtstruct(tmp_path / "rt.dcm", series, [("liver", [box(grid, 1)])])
    assert io.read_labels(path).geometry == grid
    assert io.read_geometry(path) == (grid, 1)


def test_a_folder_of_one_label_is_that_label(tmp_path):
    series = series_of(tmp_path)
    grid = io.read_geometry(tmp_path / "image")[0]
    (tmp_path / "labels").mkdir()
    write_rtstruct(tmp_path / "labels" / "a.dcm", series, [("liver", [box(grid, 1)])])
    assert np.count_nonzero(io.read_labels(tmp_path / "labels", image=tmp_path / "image").array) == 9
    write_rtstruct(tmp_path / "labels" / "b.dcm", series, [("liver", [box(grid, 1)])])
    with pytest.raises(InputError, match=r"holds 2 DICOM label objects \(a.dcm, b.dcm\)"):
        io.read_labels(tmp_path / "labels", image=tmp_path / "image")


def test_what_is_no_label_is_refused_as_such(tmp_path):
    series_of(tmp_path)
    with pytest.raises(InputError, match="is a DICOM image series"):
        io.read_labels(tmp_path / "image")


def test_nothing_of_the_patient_is_kept(tmp_path, grid):
    label_map = io.read_labels(rtstruct_of(tmp_path, [("liver", [box(grid, 0), box(grid, 3)])], frame="1.2.9"))
    assert "Doe" not in repr(label_map.meta)
    assert "4711" not in repr(label_map.meta)


def rows_of(shared_data, kind):
    with (shared_data / "dicom" / "index.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["modality"] == kind]


def test_real_structure_sets_give_their_published_masks_voxel_for_voxel(shared_data):
    rows = [row for row in rows_of(shared_data, "RTSTRUCT") if row["reference"]]
    assert len(rows) == 7
    for row in rows:
        found = io.read_labels(shared_data / "dicom" / row["path"])
        published = io.read_labels(shared_data / "dicom" / row["reference"])
        # Both in world order: a file's axes may run the other way.
        ours, theirs = (
            (grid.geometry.to_canonical.apply(grid.array), grid.geometry.reorient(grid.geometry.to_canonical))
            for grid in (found, published)
        )
        assert ours[1].same_as(theirs[1]), row["path"]
        assert np.count_nonzero((ours[0] > 0) != (theirs[0] > 0)) == 0, row["path"]


def test_a_real_structure_set_of_another_series_is_refused(shared_data):
    with pytest.raises(InputError, match="beyond the slices of series 3"):
        io.read_labels(shared_data / "dicom/rtstruct/rtutils_two_slices/rtstruct_foreign.dcm")


def test_a_real_nested_contour_is_a_hole_of_the_stated_size(shared_data):
    label_map = io.read_labels(shared_data / "dicom/rtstruct/rtutils_two_slices/rtstruct.dcm")
    assert np.count_nonzero(label_map.array) == 1443
