"""dcmqi reads the segmentations that are written: the same voxels, at the same place in the world."""

import nibabel as nib
import numpy as np
import pytest

from medseg import io
from tests.oracles.conftest import LABELS, OVERLAPPING, blobs, run, series_called, write

pytestmark = pytest.mark.journey

SERIES = (
    *("sample", "ct/philips_axial_5mm", "ct/oblique_fractional_slope", "ct/enhanced_ct_reversed"),
    *("mr/siemens_enh_phase", "mr/hitachi_double_oblique", "seg/ibsi_legacy_mr/image", "seg/dcmqi_unaligned/image"),
    "rtstruct/sts/STS_002/CT/image",
)


def segments(program, path, folder):
    """Segment number → the image that dcmqi makes of it."""
    found = run(program, "--inputDICOM", path, "--outputDirectory", folder, "-t", "nii")
    assert found.returncode == 0, found.stdout + found.stderr
    return {int(file.name.split(".")[0]): nib.load(file) for file in folder.glob("*.nii.gz")}


def on_grid(image, grid):
    """The mask of an image on another grid of which it is a part: voxel by voxel, by their places in the world."""
    data = np.asarray(image.dataobj).reshape(image.shape[:3])
    where = np.argwhere(data != 0)
    voxels = grid.to_voxel(where @ image.affine[:3, :3].T + image.affine[:3, 3])
    nearest = np.rint(voxels).astype(int)
    assert np.abs(voxels - nearest).max(initial=0) < 0.01
    mask = np.zeros(grid.shape, bool)
    mask[tuple(nearest.T)] = True
    assert mask.sum() == len(where)
    return mask


@pytest.mark.parametrize("name", SERIES)
@pytest.mark.parametrize("labels", [LABELS, OVERLAPPING], ids=["apart", "overlapping"])
def test_dcmqi_reads_the_very_mask_of_each_segment_at_its_place(oracle, tmp_path, name, labels):
    program = oracle("segimage2itkimage")
    label_map = blobs(io.read(series_called(name)), labels)
    found = segments(program, write(label_map, tmp_path / "seg.dcm", "dicom-seg"), tmp_path)
    for number, label in enumerate(labels.names, start=1):
        mask = labels.mask(label_map.array, label)
        if mask.any():
            np.testing.assert_array_equal(on_grid(found[number], label_map.geometry), mask)
        elif number in found:
            assert not np.asarray(found[number].dataobj).any()


def test_dcmqi_reads_a_label_map_seg(oracle, tmp_path):
    program = oracle("segimage2itkimage")
    label_map = blobs(io.read(series_called("sample")))
    path = write(label_map, tmp_path / "seg.dcm", "dicom-seg", "labelmap")
    found = segments(program, path, tmp_path)
    together = np.zeros(label_map.geometry.shape, bool)
    for image in found.values():
        together |= on_grid(image, label_map.geometry)
    np.testing.assert_array_equal(together, label_map.array > 0)
