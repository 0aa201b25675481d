"""Masks of structures become one label map in which every combination can be told apart again."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg import io
from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap

GRID = Geometry.from_spacing((4, 3, 2), (1, 2, 3), (5, 6, 7))


def write_masks(folder, masks, grid=GRID):
    for name, array in masks.items():
        io.write(LabelMap(np.asarray(array), grid), folder / f"{name}.nii.gz")
    return {name: folder / f"{name}.nii.gz" for name in masks}


@given(st.lists(st.lists(st.booleans(), min_size=24, max_size=24), min_size=1, max_size=4))
def test_each_structure_is_found_again_voxel_for_voxel(tmp_path_factory, flags):
    masks = {f"s{n}": np.array(each, np.uint8).reshape(GRID.shape) for n, each in enumerate(flags)}
    found = io.read_structures(write_masks(tmp_path_factory.mktemp("masks"), masks))
    assert found.labels.names == tuple(masks)
    for name, mask in masks.items():
        np.testing.assert_array_equal(found.labels.mask(found.array, name), mask.astype(bool))
    assert found.geometry.same_as(GRID)


def test_structures_that_do_not_overlap_have_the_values_of_their_order(tmp_path):
    left, right = np.zeros(GRID.shape, np.uint8), np.zeros(GRID.shape, np.uint8)
    left[0], right[3] = 1, 255
    found = io.read_structures(write_masks(tmp_path, {"left": left, "right": right}))
    assert found.labels.to_json() == {"left": 1, "right": 2}
    np.testing.assert_array_equal(found.array, left + 2 * (right > 0))
    assert found.array.dtype == np.uint8


def test_an_empty_mask_is_a_structure_that_is_not_there(tmp_path):
    found = io.read_structures(write_masks(tmp_path, {"gone": np.zeros(GRID.shape, np.uint8)}))
    assert found.labels.to_json() == {"gone": 1}
    assert not found.array.any()


def test_more_than_255_combinations_need_two_bytes(tmp_path):
    masks = {f"s{n}": (np.arange(1024).reshape(16, 16, 4) >> n & 1).astype(np.uint8) for n in range(10)}
    found = io.read_structures(write_masks(tmp_path, masks, Geometry.from_spacing((16, 16, 4))))
    assert found.array.dtype == np.uint16
    assert len(np.unique(found.array)) == 1024


def test_a_label_map_is_no_mask_of_one_structure(tmp_path):
    array = np.zeros(GRID.shape, np.uint8)
    array[0], array[1] = 1, 2
    with pytest.raises(InputError, match=r"mask of 'liver' .* holds 2 \(1, 2\)"):
        io.read_structures(write_masks(tmp_path, {"liver": array}))


def test_masks_on_different_grids_are_refused_with_both_names(tmp_path):
    masks = write_masks(tmp_path, {"a": np.ones(GRID.shape, np.uint8)})
    shifted = Geometry.from_spacing(GRID.shape, (1, 2, 3), (5, 6, 27))
    masks |= write_masks(tmp_path, {"b": np.ones(GRID.shape, np.uint8)}, shifted)
    with pytest.raises(InputError, match=r"b\.nii\.gz and .*a\.nii\.gz are 20 mm apart"):
        io.read_structures(masks)
    masks |= write_masks(tmp_path, {"b": np.ones((2, 3, 2), np.uint8)}, Geometry.from_spacing((2, 3, 2)))
    with pytest.raises(InputError, match=r"has 2 × 3 × 2 voxels and .* has 4 × 3 × 2"):
        io.read_structures(masks)


def test_no_structure_is_no_label_map():
    with pytest.raises(InputError, match="at least one"):
        io.read_structures({})


def test_thirty_masks_need_the_memory_of_three(tmp_path):
    grid = Geometry.from_spacing((64, 64, 48))
    masks = {f"s{n}": np.arange(64 * 64 * 48).reshape(grid.shape) % 31 == n for n in range(30)}
    files = write_masks(tmp_path, {name: mask.astype(np.uint8) for name, mask in masks.items()}, grid)

    def peak_bytes(names):
        tracemalloc.start()
        io.read_structures({name: files[name] for name in names})
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(list(files)[:1])
    assert peak_bytes(list(files)) < 1.2 * peak_bytes(list(files)[:3])
