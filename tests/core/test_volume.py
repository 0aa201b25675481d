"""Volumes and label maps: the array fits the grid, label maps hold whole numbers."""

import numpy as np
import pytest
from hypothesis import given

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Volume
from tests.strategies import label_maps

GRID = Geometry.from_spacing((2, 3, 4), (1, 2, 5))


def test_a_volume_has_its_channels_first():
    volume = Volume(np.zeros((2, 2, 3, 4), np.float32), GRID)
    assert volume.n_channels == 2
    assert not volume.meta.header


def test_an_array_that_does_not_fit_its_grid_is_refused():
    with pytest.raises(InputError, match="does not fit a grid"):
        Volume(np.zeros((1, 4, 3, 2)), GRID)
    with pytest.raises(InputError, match="channels, i, j, k"):
        Volume(np.zeros((2, 3, 4)), GRID)
    with pytest.raises(InputError, match="does not fit a grid"):
        LabelMap(np.zeros((2, 3, 5), np.uint8), GRID)


def test_a_label_map_of_floats_is_refused_and_one_of_bools_is_taken():
    with pytest.raises(InputError, match="whole numbers"):
        LabelMap(np.zeros((2, 3, 4)), GRID)
    mask = LabelMap(np.ones((2, 3, 4), bool), GRID)
    assert mask.array.dtype == np.uint8
    assert mask.array.sum() == 24


def test_arrays_are_held_not_copied():
    array = np.zeros((2, 3, 4), np.uint8)
    assert LabelMap(array, GRID).array is array


def test_volumes_are_in_ml_and_follow_the_names():
    array = np.zeros((2, 3, 4), np.uint8)
    array[0] = 1
    array[1, 0] = 4
    named = LabelMap(array, GRID, Labels({"core": (4,), "whole": (1, 4), "cyst": (2,)}))
    assert named.volumes_ml() == pytest.approx({"core": 0.04, "whole": 0.16, "cyst": 0.0})


@given(label_maps(sheared=True))
def test_volumes_of_all_values_add_up_to_the_foreground(label_map):
    total_ml = np.count_nonzero(label_map.array) * label_map.geometry.voxel_volume_ml
    assert sum(label_map.volumes_ml().values()) == pytest.approx(total_ml)
