"""Whether image and label map belong together: what passes, what is mended, what is refused, by figures."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.data.checks import (
    UNPLACED_IMAGES,
    UNPLACED_LABELS,
    channel_on_grid_of,
    constant_channels,
    count_values,
    like_a_label_map,
    on_grid_of,
    refuse_images,
    refuse_undeclared,
)
from medseg.data.dataset import MOST_VALUES
from medseg.io.values import NotALabelMapError
from tests.strategies import ORIENTATIONS, geometries

DTYPES = st.sampled_from([np.uint8, np.uint16, np.int32])


def volume(grid, placed=True):
    return Volume(np.zeros((1, *grid.shape), np.float32), grid, Meta(placed=placed))


def numbered(grid, placed=True):
    """A label map in which every voxel has a value of its own."""
    return LabelMap(np.arange(np.prod(grid.shape), dtype=np.uint16).reshape(grid.shape), grid, meta=Meta(placed=placed))


def moved(grid, voxels):
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world(voxels)
    return Geometry(grid.shape, affine)


@given(geometries(largest=6))
def test_one_grid_passes_without_a_word(grid):
    label_map = numbered(grid)
    result, notes = on_grid_of(volume(grid), label_map, "c")
    assert notes == ()
    assert result.geometry == grid
    assert result.array is label_map.array


@given(geometries(largest=6), st.floats(0.002, 0.49), st.integers(0, 2))
def test_noise_up_to_half_a_voxel_is_mended_with_its_figures(grid, share, axis):
    """Half a voxel along the axis of the offset, however thick the slices are."""
    offset = [share if a == axis else 0 for a in range(3)]
    result, (note,) = on_grid_of(volume(grid), numbered(moved(grid, offset)), "c")
    assert result.geometry == grid
    mm, voxels = re.search(r"up to (\S+) mm \((\S+) voxels\) off the image", note).groups()
    assert float(mm) == pytest.approx(share * grid.spacing_mm[axis], rel=0.06)
    assert float(voxels) == pytest.approx(share, rel=0.06)


@given(geometries(smallest=2, largest=6, oblique=True), st.sampled_from(ORIENTATIONS))
def test_a_label_map_along_other_axes_is_turned_voxel_for_voxel(grid, turn):
    label_map = numbered(grid)
    other = LabelMap(turn.apply(label_map.array), grid.reorient(turn))
    result, notes = on_grid_of(volume(grid), other, "c")
    np.testing.assert_array_equal(result.array, label_map.array)
    assert result.geometry == grid
    assert len(notes) == (other.geometry != grid)
    assert all("runs along other axes" in note for note in notes)


@settings(max_examples=20)  # each tries all 48 turns
@given(geometries(smallest=2, largest=6), st.floats(0.51, 30), st.integers(0, 2))
def test_a_real_difference_is_refused_with_the_distance(grid, share, axis):
    other = moved(grid, [share if a == axis else 0 for a in range(3)])
    with pytest.raises(InputError, match=r"of case c_7 are .* mm apart at a corner; they do not belong together"):
        on_grid_of(volume(grid), numbered(other), "c_7")


def test_other_shapes_are_refused_with_both():
    image, other = Geometry.from_spacing((6, 5, 4), origin_mm=(9, 9, 9)), Geometry.from_spacing((6, 5, 3))
    with pytest.raises(InputError, match=r"have 6 × 5 × 4 and 6 × 5 × 3 voxels and are 16\.2 mm apart"):
        on_grid_of(volume(image), numbered(other), "c")


@pytest.mark.parametrize("affine", [np.eye(4), np.diag((-1.0, -1.0, 1.0, 1.0))], ids=["RAS", "as ITK writes it"])
def test_a_label_map_without_a_place_takes_the_images_if_shapes_are_equal(affine):
    grid = Geometry.from_spacing((6, 5, 4), (0.5, 0.5, 3), (-80, 20, 7))
    result, notes = on_grid_of(volume(grid), numbered(Geometry(grid.shape, affine)), "c")
    assert (result.geometry, notes) == (grid, (UNPLACED_LABELS,))
    with pytest.raises(InputError, match="they do not belong together"):
        on_grid_of(volume(grid), numbered(Geometry((6, 5, 5), affine)), "c")


def test_what_a_file_says_about_its_place_counts_not_only_the_identity():
    grid = Geometry.from_spacing((6, 5, 4), (0.5, 0.5, 3), (-80, 20, 7))
    away = Geometry.from_spacing((6, 5, 4), (2, 2, 2), (500, 0, 0))
    assert on_grid_of(volume(grid), numbered(away, placed=False), "c")[1] == (UNPLACED_LABELS,)
    assert on_grid_of(volume(grid, placed=False), numbered(away), "c")[1] == (UNPLACED_IMAGES,)
    with pytest.raises(InputError):
        on_grid_of(volume(grid), numbered(away), "c")


def test_an_image_that_lies_at_the_identity_by_its_own_word_is_no_excuse_for_the_label():
    image, away = Geometry.from_spacing((6, 5, 4)), Geometry.from_spacing((6, 5, 4), origin_mm=(500, 0, 0))
    with pytest.raises(InputError, match="500 mm apart"):
        on_grid_of(volume(image), numbered(away), "c")


NAMES = ("CT", "PET")


def filled(grid, frame_of_reference="", placed=True, seed=0):
    """An image of noise."""
    array = np.random.default_rng(seed).uniform(1, 2, (1, *grid.shape)).astype(np.float32)
    return Volume(array, grid, Meta(placed=placed, header={"frame_of_reference": frame_of_reference}))


def test_channels_off_by_noise_are_taken_as_one_grid():
    grid = Geometry.from_spacing((6, 5, 4), (1, 1, 3))
    image = filled(grid)
    array, own, notes = channel_on_grid_of(image, image, NAMES, "c")
    assert (array is image.array, own, notes) == (True, None, ())
    identity = filled(Geometry(grid.shape, np.eye(4)))
    array, own, (note,) = channel_on_grid_of(image, identity, NAMES, "c")
    assert (array is identity.array, own) == (True, None)
    assert note == "PET is taken to lie on CT (equal shapes): one of them does not say where it lies."
    near = filled(moved(grid, (0, 0, 0.4)))
    array, own, (note,) = channel_on_grid_of(image, near, NAMES, "c")
    assert (array is near.array, own) == (True, None)
    assert note == "PET lies up to 1.2 mm (0.4 voxels) off the image; taken as one grid."


@given(geometries(smallest=2, largest=6, oblique=True), st.sampled_from(ORIENTATIONS))
def test_a_channel_along_other_axes_is_turned_voxel_for_voxel(grid, turn):
    image = filled(grid)
    other = Volume(turn.apply(image.array), grid.reorient(turn))
    array, own, notes = channel_on_grid_of(image, other, NAMES, "c")
    np.testing.assert_array_equal(array, image.array)
    assert own is None
    assert len(notes) == (other.geometry != grid)


def test_a_channel_on_a_grid_of_its_own_is_brought_to_the_first_ones():
    first = filled(Geometry.from_spacing((8, 8, 8)))
    coarse = Geometry.from_spacing((2, 2, 2), (4, 4, 4), (1.5, 1.5, 1.5))
    array, own, notes = channel_on_grid_of(first, Volume(np.arange(8.0).reshape(1, 2, 2, 2), coarse), NAMES, "c")
    assert (array.shape, own, notes) == ((1, 8, 8, 8), coarse, ())
    np.testing.assert_allclose(array[0, :, 1, 1], [0, 0, 0.5, 1.5, 2.5, 3.5, 4, 4])


def test_a_small_overlap_is_told_with_its_figures():
    first, other = filled(Geometry.from_spacing((10, 10, 10))), Geometry.from_spacing((10, 10, 10), origin_mm=(7, 0, 0))
    array, own, (note,) = channel_on_grid_of(first, filled(other), NAMES, "c")
    assert own == other
    assert (
        "PET covers only 30 % of CT (CT lies at x -0.5 to 9.5, y -0.5 to 9.5, z -0.5 to 9.5 mm, PET at x 6.5 to 16.5,"
        in note
    )
    assert len(np.unique(array[0, :6])) == 1


@pytest.mark.parametrize("turned", [False, True])
def test_channels_that_do_not_overlap_are_refused_with_the_places_of_both(turned):
    first, other = (
        filled(Geometry.from_spacing((10, 10, 10))),
        Geometry.from_spacing((10, 10, 9), origin_mm=(200, 0, 0)),
    )
    other = other.permute((2, 0, 1)) if turned else other
    with pytest.raises(InputError) as refusal:
        channel_on_grid_of(first, filled(other), NAMES, "c_7")
    said = str(refusal.value)
    assert said.startswith(
        "CT and PET of case c_7 overlap by 0 % of the smaller one's field of view: CT lies at x -0.5"
    )
    assert "PET at x 199.5 to 209.5, y -0.5 to 9.5, z -0.5 to 8.5 mm" in said


def test_a_hairs_breadth_of_overlap_is_none():
    first = filled(Geometry.from_spacing((100, 10, 10)))
    touching = filled(Geometry.from_spacing((100, 10, 11), origin_mm=(98, 0, 0)))
    with pytest.raises(InputError, match="overlap by 2 % of the smaller"):
        channel_on_grid_of(first, touching, NAMES, "c")


def test_a_small_channel_within_a_large_one_is_told_and_not_refused():
    first, spot = filled(Geometry.from_spacing((40, 40, 40))), Geometry.from_spacing((4, 4, 4), origin_mm=(9, 9, 9))
    _, own, (note,) = channel_on_grid_of(first, filled(spot), NAMES, "c")
    assert own == spot
    assert "PET covers only less than 1 % of CT" in note


def test_other_frames_of_reference_are_told_where_a_channel_is_brought_over():
    grid, coarse = Geometry.from_spacing((8, 8, 8)), Geometry.from_spacing((4, 4, 4), (2, 2, 2), (0.5, 0.5, 0.5))
    assert channel_on_grid_of(filled(grid, "1.2"), filled(coarse, "1.2"), NAMES, "c")[2] == ()
    assert channel_on_grid_of(filled(grid, "1.2"), filled(coarse, ""), NAMES, "c")[2] == ()
    (note,) = channel_on_grid_of(filled(grid, "1.2"), filled(coarse, "1.3"), NAMES, "c")[2]
    assert note.startswith("CT and PET have different frames of reference")


def test_pictures_of_other_sizes_cannot_be_brought_together():
    first, other = Geometry.from_spacing((8, 8, 1)), Geometry.from_spacing((4, 4, 1))
    with pytest.raises(InputError, match=r"have 8 × 8 × 1 and 4 × 4 × 1 voxels, and PET does not say where it lies"):
        channel_on_grid_of(filled(first), filled(other, placed=False), NAMES, "c")
    with pytest.raises(InputError, match=r"and CT does not say where it lies"):
        channel_on_grid_of(filled(first, placed=False), filled(other), NAMES, "c")


def test_a_label_map_drawn_on_another_channel_is_refused_with_its_name():
    grid, coarse = Geometry.from_spacing((8, 8, 8)), Geometry.from_spacing((4, 4, 4), (2, 2, 2), (0.5, 0.5, 0.5))
    image = Volume(np.zeros((2, 8, 8, 8)), grid, Meta(own_grids={1: coarse}))
    with pytest.raises(InputError, match="case c lies on the grid of PET.* Make PET the first channel"):
        on_grid_of(image, numbered(coarse), "c", NAMES)


@given(npst.arrays(DTYPES, npst.array_shapes(min_dims=3, max_dims=3), elements=st.integers(0, 255)))
def test_counting_values_is_what_numpy_finds(array):
    values, counts = np.unique(array, return_counts=True)
    assert count_values(array) == dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert count_values(np.asfortranarray(array)) == count_values(array)


def test_counting_goes_beyond_one_chunk():
    array = np.zeros((300, 300, 30), np.uint16)
    array[-1, -1, -5:] = 65_535
    assert count_values(array) == {0: array.size - 5, 65_535: 5}


def test_an_undeclared_value_is_refused_with_its_count():
    labels = Labels({"liver": (1,), "spleen": (4,)}, ignore=9)
    refuse_undeclared({0: 10, 1: 5, 4: 2, 9: 1}, labels, "c")
    with pytest.raises(
        InputError, match=r"Case c: .* values 2 \(7 voxels\), 3 \(1 voxels\), but .* declares 0, 1, 4\."
    ):
        refuse_undeclared({0: 10, 2: 7, 3: 1}, labels, "c")


def test_a_channel_of_one_value_is_found():
    grid = Geometry.from_spacing((2, 2, 1))
    array = np.stack([np.full(grid.shape, 7.0), np.arange(4.0).reshape(grid.shape)])
    assert constant_channels(Volume(array, grid)) == (0,)


def many(n, dtype=np.uint16):
    """A map of the values 0 to n."""
    array = np.arange(n + 1).astype(dtype).reshape(-1, 1, 1)
    return LabelMap(array, Geometry.from_spacing(array.shape))


@pytest.mark.parametrize(
    ("n", "labels", "refused"),
    [
        (MOST_VALUES, None, False),
        (MOST_VALUES + 1, None, True),
        (60_000, None, True),
        (900, Labels.from_values(range(1, 901)), False),
        (60_000, Labels({"a": (1,)}), True),
    ],
)
def test_a_map_of_too_many_values_is_an_image(n, labels, refused):
    if not refused:
        refuse_images(many(n), labels, "The map")
        return
    with pytest.raises(NotALabelMapError, match=rf"The map holds {n} different values \(from 1 to {n}\)"):
        refuse_images(many(n), labels, "The map")


def test_a_map_that_names_its_structures_may_have_many():
    array = np.arange(1000, dtype=np.uint16).reshape(-1, 1, 1)
    names = Labels({f"s{value}": (value,) for value in range(1, 1000)})
    refuse_images(LabelMap(array, Geometry.from_spacing(array.shape), names), None, "The map")


@pytest.mark.parametrize("value", [-1, 70_000, 2**40])
def test_values_that_no_file_holds_are_counted_too(value):
    assert count_values(np.array([0, value, value])) == dict(sorted({0: 1, value: 2}.items()))


@pytest.mark.parametrize(
    ("values", "is_one"),
    [
        ([0, 1, 2], True),
        ([0, 2], True),
        ([0.0, 1.0], True),
        ([0, 1, 3], False),
        ([0, 0.5, 1], False),
        ([0], False),
        ([-1, 0, 1], False),
        ([0, 1, float("nan")], False),
        ([0, 7], True),
    ],
)
def test_an_image_of_nothing_but_values_of_labels_looks_like_a_label_map(values, is_one):
    array = np.resize(np.array(values), (1, 3, 3, 3))
    warning = like_a_label_map(
        Volume(array, Geometry((3, 3, 3), np.eye(4))), Labels({"a": (1,), "b": (1, 2), "c": (7,)})
    )
    assert (warning is not None) == is_one
    if is_one:
        assert "those of the model's labels" in warning
