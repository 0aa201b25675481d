"""A case from its files: channels stacked on one grid, the label map on it too, its values declared."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg import io
from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap
from medseg.data.cases import read_case, read_image, together
from medseg.data.dataset import Case
from tests.data.folders import GRID, image, label_map, put_image, put_labels

OPTIONS = io.ReadOptions()
LABELS = Labels({"front": (1,), "back": (2,)})


def shifted(mm):
    affine = GRID.affine.copy()
    affine[:3, 3] += mm
    return Geometry(GRID.shape, affine)


def test_channels_of_several_files_are_stacked_in_order(tmp_path):
    files = tuple(put_image(tmp_path / f"c_000{n}.nii.gz", seed=n) for n in range(3))
    volume = read_image(Case("c", files), OPTIONS)
    np.testing.assert_array_equal(volume.array, np.concatenate([image(seed=n).array for n in range(3)]))
    assert volume.geometry.same_as(GRID)


def test_a_stacked_file_holds_its_channels_along_the_fourth_axis(tmp_path):
    path = tmp_path / "c.nii.gz"
    nib.save(nib.Nifti1Image(np.moveaxis(image(n_channels=2).array, 0, -1), GRID.affine), path)
    np.testing.assert_array_equal(
        read_image(Case("c", (path,), stacked=True), OPTIONS).array, image(n_channels=2).array
    )
    with pytest.raises(InputError, match="2 volumes"):
        read_image(Case("c", (path,)), OPTIONS)


def test_a_channel_off_by_noise_is_told_and_one_on_another_grid_refused(tmp_path):
    first = put_image(tmp_path / "a.nii.gz")
    near, far = (put_image(tmp_path / f"{mm}.nii.gz", shifted(mm)) for mm in (0.2, 5))
    volume = read_image(Case("c", (first, near)), OPTIONS)
    assert any("Channel 1 (0.2.nii.gz) lies up to 0.35 mm" in text for text in volume.meta.warnings)
    with pytest.raises(InputError, match=r"channel 1 \(5\.nii\.gz\) of case c are 8\.66 mm apart at a corner"):
        read_image(Case("c", (first, far)), OPTIONS)


def test_image_and_label_map_come_on_one_grid_with_their_labels(tmp_path):
    case = Case("c", (put_image(tmp_path / "c.nii.gz"),), put_labels(tmp_path / "l.nii.gz", shifted(0.2)))
    volume, labels, notes = read_case(case, LABELS, OPTIONS)
    assert labels.geometry == volume.geometry
    assert labels.labels == LABELS
    np.testing.assert_array_equal(labels.array, label_map().array)
    assert [note for note in notes if "0.35 mm (0.2 voxels) off the image" in note]


def test_a_label_map_stored_along_other_axes_is_turned(tmp_path):
    turn = GRID.to_canonical
    io.write(LabelMap(turn.apply(label_map().array), GRID.reorient(turn)), tmp_path / "l.nii.gz")
    case = Case("c", (put_image(tmp_path / "c.nii.gz"),), tmp_path / "l.nii.gz")
    _, labels, notes = read_case(case, LABELS, OPTIONS)
    np.testing.assert_array_equal(labels.array, label_map().array)
    assert any("(RAS) than the image (LAS); it was turned" in note for note in notes)


def test_an_undeclared_value_is_refused_and_without_labels_any_value_passes(tmp_path):
    case = Case("c", (put_image(tmp_path / "c.nii.gz"),), put_labels(tmp_path / "l.nii.gz", values=(1, 7)))
    with pytest.raises(InputError, match=r"the value 7 \(2 voxels\), but the data set declares 0, 1, 2"):
        read_case(case, LABELS, OPTIONS)
    assert read_case(case, None, OPTIONS)[1].labels is None


def test_a_black_and_white_mask_takes_the_one_labels_value(tmp_path):
    case = Case("c", (put_image(tmp_path / "c.nii.gz"),), put_labels(tmp_path / "l.nii.gz", values=(255,)))
    _, labels, notes = read_case(case, Labels({"cell": (3,)}), OPTIONS)
    assert np.unique(labels.array).tolist() == [0, 3]
    assert any("255 is taken for cell" in note for note in notes)
    assert np.unique(read_case(case, Labels({"cell": (300,)}), OPTIONS)[1].array).tolist() == [0, 300]
    with pytest.raises(InputError, match="the value 255"):
        read_case(case, LABELS, OPTIONS)


def test_a_case_without_a_label_map_cannot_be_read_as_a_pair(tmp_path):
    case = Case("c", (Path("c.nii.gz"),))
    with pytest.raises(InputError, match="Case c has no label map"):
        read_case(case, LABELS, OPTIONS)


def test_a_missing_or_damaged_file_is_named(tmp_path):
    path = put_image(tmp_path / "c.nii.gz")
    case = Case("c", (path,), put_labels(tmp_path / "l.nii.gz"))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"c\.nii\.gz"):
        read_case(case, LABELS, OPTIONS)
    (tmp_path / "l.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"l\.nii\.gz"):
        read_case(replace(case, images=(put_image(path),)), LABELS, OPTIONS)


def test_what_was_read_apart_comes_together_as_if_read_as_a_case(tmp_path):
    case = Case("c", (put_image(tmp_path / "c.nii.gz"),), put_labels(tmp_path / "l.nii.gz", shifted(0.2)))
    whole = read_case(case, LABELS, OPTIONS)
    apart = together(io.read(case.images[0]), io.read_labels(case.label), LABELS, "c")
    assert (apart[1].geometry, apart[1].labels, apart[2]) == (whole[1].geometry, LABELS, whole[2])
    np.testing.assert_array_equal(apart[1].array, whole[1].array)
