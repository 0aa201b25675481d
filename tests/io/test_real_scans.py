"""The shared real scans are read as their READMEs say."""

import nibabel as nib
import numpy as np
import pytest

from medseg import io
from medseg.core.errors import InputError
from medseg.core.volume import LabelMap
from medseg.io import ReadOptions

pytestmark = pytest.mark.data


def some(folder, n=3):
    return sorted(folder.glob("*.nii.gz"))[:n]


def test_hippocampus(shared_data):
    for path in some(shared_data / "hippocampus" / "imagesTr"):
        image, labels = io.read(path), io.read_labels(shared_data / "hippocampus" / "labelsTr" / path.name)
        stored = nib.load(path)
        assert image.array.dtype == stored.get_data_dtype()
        np.testing.assert_array_equal(image.array[0], np.asanyarray(stored.dataobj))
        np.testing.assert_array_equal(image.geometry.affine, stored.affine)
        assert image.geometry.orientation == "RAS"
        assert image.geometry.same_as(labels.geometry)
        assert set(np.unique(labels.array)) == {0, 1, 2}
        assert labels.array.dtype == np.uint8
        assert image.meta.warnings == labels.meta.warnings == ()


def test_a_cord_with_only_a_qform(shared_data):
    folder = shared_data / "cord_gm"
    image = io.read(folder / "imagesTr" / "cord_9604.nii.gz")
    labels = io.read_labels(folder / "labelsTr" / "cord_9604.nii.gz")
    assert image.meta.header["sform_code"] == 0
    assert image.meta.placed
    assert image.geometry.orientation == "LPS"
    np.testing.assert_allclose(
        image.geometry.affine, nib.load(folder / "imagesTr" / "cord_9604.nii.gz").affine, atol=1e-6
    )
    assert image.geometry.distance_mm(labels.geometry) < 0.1
    assert set(np.unique(labels.array)) == {0, 1, 2}


def test_mice_have_float_labels_with_gaps_and_small_voxels(shared_data):
    for path in some(shared_data / "mouse_brain" / "labelsTr", 2):
        assert nib.load(path).get_data_dtype() == np.float32
        labels = io.read_labels(path)
        expected = {0, *range(1, 22), *range(23, 30), *range(31, 37), *range(38, 41)}
        assert {int(v) for v in np.unique(labels.array)} == expected
        assert labels.meta.warnings == ()
        assert labels.geometry.spacing_mm == pytest.approx((0.15, 0.15, 0.15), abs=1e-6)
        assert (labels.meta.header["sform_code"], labels.meta.header["qform_code"]) == (1, 2)


def test_pet_is_read_scaled_and_ct_as_it_is(shared_data):
    folder = shared_data / "sts_petct"
    pet = next(folder.rglob("sts_002_0001.nii.gz"))
    assert nib.load(pet).dataobj.slope == pytest.approx(0.01)
    image = io.read(pet)
    assert image.array.dtype == np.float32
    np.testing.assert_allclose(image.array[0], nib.load(pet).get_fdata(), rtol=1e-6)
    assert 4 < image.array.max() < 26.5
    assert io.read(next(folder.rglob("sts_002_0000.nii.gz"))).array.dtype == np.int16


def test_lesions_have_two_channels_if_the_data_set_says_so(shared_data):
    path = some(shared_data / "ms_lesions" / "imagesTr", 1)[0]
    with pytest.raises(InputError, match="has 2 volumes"):
        io.read_geometry(path)
    image = io.read(path, ReadOptions(channels="last"))
    assert image.n_channels == 2
    assert io.read_geometry(path, ReadOptions(channels="last")) == (image.geometry, 2)


def test_membranes_are_planes_of_grey_and_of_0_and_1(shared_data):
    folder = shared_data / "em_membranes"
    image = io.read(folder / "images" / "slice_00.png")
    labels = io.read_labels(folder / "labels" / "slice_00.png")
    assert image.array.shape == (1, 512, 512, 1)
    assert image.array.dtype == np.uint8
    assert not image.meta.placed
    assert set(np.unique(labels.array)) == {0, 1}
    assert 0.73 <= labels.array.mean() <= 0.82
    assert labels.meta.warnings == ()


def test_a_prediction_on_a_real_scan_gives_its_header_back(shared_data, tmp_path):
    for folder in ("hippocampus", "cord_gm", "mouse_brain", "sts_petct"):
        path = some(shared_data / folder / "imagesTr", 1)[0]
        image = io.read(path)
        io.write(
            LabelMap(np.zeros(image.geometry.shape, np.uint8), image.geometry, meta=image.meta), tmp_path / "a.nii.gz"
        )
        before, after = nib.load(path), nib.load(tmp_path / "a.nii.gz")
        assert after.shape == before.shape
        np.testing.assert_allclose(after.affine, before.affine, atol=1e-5)
        for key in ("sform_code", "qform_code"):
            assert after.header[key] == max(1, before.header[key])
        assert after.header["dim_info"] == before.header["dim_info"]
