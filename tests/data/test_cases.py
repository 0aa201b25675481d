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
from medseg.core.volume import LabelMap, Volume
from medseg.data.alignment import brought_to
from medseg.data.cases import read_case, read_image, together
from medseg.data.dataset import Case
from tests.data.folders import GRID, image, label_map, put_image, put_labels

OPTIONS = io.ReadOptions()
LABELS = Labels({"front": (1,), "back": (2,)})


def shifted(mm):
    affine = GRID.affine.copy()
    affine[:3, 3] += mm
    return Geometry(GRID.shape, affine)


def offset(voxels):
    matrix = np.eye(4)
    matrix[:3, 3] = voxels
    return matrix


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


def test_a_channel_off_by_noise_is_told_and_one_that_lies_elsewhere_refused(tmp_path):
    first = put_image(tmp_path / "a.nii.gz")
    near, far = (put_image(tmp_path / f"{mm}.nii.gz", shifted(mm)) for mm in (0.2, 50))
    volume = read_image(Case("c", (first, near)), OPTIONS)
    assert any("Channel 1 (0.2.nii.gz) lies up to 0.35 mm" in text for text in volume.meta.warnings)
    with pytest.raises(
        InputError, match=r"Channel 0 \(a\.nii\.gz\) and Channel 1 \(50\.nii\.gz\) of case c overlap by 0 %"
    ):
        read_image(Case("c", (first, far)), OPTIONS)
    with pytest.raises(InputError, match=r"^CT and PET of case c overlap by 0 %"):
        read_image(Case("c", (first, far)), OPTIONS, ("CT", "PET"))


def test_channels_of_other_grids_come_on_that_of_the_first(tmp_path):
    """Shapes, spacings and axes may all differ; each channel keeps its place in the order."""
    coarse = Geometry((3, 3, 2), GRID.affine @ np.diag((2, 2, 2, 1)) @ offset((0.25, 0.25, 0.25)))
    turned = GRID.to_canonical
    io.write(Volume(turned.apply(image(seed=2).array), GRID.reorient(turned)), tmp_path / "turned.nii.gz")
    files = (
        put_image(tmp_path / "ct.nii.gz"),
        put_image(tmp_path / "pet.nii.gz", coarse, seed=1),
        tmp_path / "turned.nii.gz",
    )
    volume = read_image(Case("c", files), OPTIONS, ("CT", "PET", "MR"))
    assert (volume.n_channels, volume.geometry, volume.array.dtype) == (3, io.read(files[0]).geometry, np.float32)
    np.testing.assert_array_equal(volume.array[0], image().array[0])
    np.testing.assert_allclose(volume.array[1], brought_to(GRID, image(coarse, seed=1).array, coarse)[0], rtol=1e-4)
    np.testing.assert_array_equal(volume.array[2], image(seed=2).array[0])
    assert list(volume.meta.own_grids) == [1]
    assert volume.meta.own_grids[1].same_as(coarse)
    assert not any("PET" in text for text in volume.meta.warnings)


def test_large_whole_numbers_beside_an_interpolated_channel_stay_in_float32(tmp_path):
    wide = Volume(np.full((1, *GRID.shape), 70_000, np.int32), GRID)
    io.write(wide, tmp_path / "a.nii.gz")
    finer = put_image(tmp_path / "b.nii.gz", GRID.resampled((0.5, 1, 1.5)))
    volume = read_image(Case("c", (tmp_path / "a.nii.gz", finer)), OPTIONS)
    assert volume.array.dtype == np.float32
    assert (volume.array[0] == 70_000).all()


def test_folders_that_are_called_alike_are_told_apart_in_a_refusal(tmp_path):
    first, far = put_image(tmp_path / "CT/scan.nii"), put_image(tmp_path / "PET/scan.nii", shifted(50))
    with pytest.raises(InputError, match=r"Channel 0 \(CT/scan\.nii\) and Channel 1 \(PET/scan\.nii\)"):
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
