"""dcm2niix and we make the same volume of a regular series: same voxels, same place in the world."""

import nibabel as nib
import numpy as np
import pytest

from medseg import io
from medseg.core.geometry import Geometry
from tests.oracles.conftest import run, series_called

pytestmark = pytest.mark.journey

REGULAR = (
    *("sample", "ct/philips_axial_5mm", "ct/ibsi_orientation_phantom", "ct/oblique_fractional_slope"),
    *("ct/enhanced_ct_reversed", "mr/siemens_enh_anat", "mr/philips_enh_anat", "mr/ge_sag_oblique_signed"),
    *("mr/hitachi_double_oblique", "mr/siemens_enh_phase", "syntax/mr_none", "rtstruct/sts/STS_002/CT/image"),
)


@pytest.mark.parametrize("name", REGULAR)
def test_voxels_and_affine_are_those_of_dcm2niix(oracle, tmp_path, name):
    program, folder = oracle("dcm2niix"), series_called(name)
    # -p n: values as the standard's rescale gives them, not as Philips' private scale does.
    said = run(program, "-p", "n", "-z", "n", "-b", "n", "-f", "made", "-o", tmp_path, folder)
    made = sorted(tmp_path.glob("*.nii"))
    assert len(made) == 1, said.stdout + said.stderr
    theirs = nib.load(made[0])
    ours = io.read(folder)
    their_grid = Geometry(theirs.shape[:3], theirs.affine)
    # Each in its own order of axes: both are laid along the axes of the world.
    turned, grid = their_grid.to_canonical, ours.geometry.to_canonical
    assert their_grid.reorient(turned).same_as(ours.geometry.reorient(grid), 0.02)
    values = turned.apply(np.asarray(theirs.get_fdata()).reshape(theirs.shape[:3]))
    scale = max(1.0, float(np.abs(values).max()))
    np.testing.assert_allclose(grid.apply(ours.array[0]), values, atol=1e-5 * scale)
