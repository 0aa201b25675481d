"""113 real DICOM cases with a stated outcome, variants of them, and whether their judge is strict."""

from dataclasses import replace

import numpy as np
import pytest

from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Volume
from tests.conftest import shared_data_dir
from tests.io.corpus import Crashed, Refused, choices, judge, outcome_of, rows, unlike_files
from tests.io.object_variants import FRAME_VARIANTS, LABEL_VARIANTS, load_frames, try_frames, try_label
from tests.io.variants import VARIANTS, load_series, plain, try_variant

_HERE = shared_data_dir()
ROWS = {row.path: row for row in rows(_HERE / "dicom")} if _HERE else {}

SMALL = (
    "mr/hitachi_double_oblique",
    "mr/per_slice_slope_nonsquare",
    "mr/fragments_jpegll",
    "derived/missing_end_slices",
    "rtstruct/sts/STS_003/PET/image",
)
"""Regular series of files of a few kilobytes, from four slices on."""

pytestmark = pytest.mark.data


@pytest.fixture
def row(shared_data):
    def of(path):
        return ROWS[path]

    return of


@pytest.mark.skipif(not ROWS, reason="the shared real scans are not here (set MEDSEG_SHARED_DATA)")
@pytest.mark.parametrize("path", ROWS)
def test_a_real_case_ends_as_it_should(path):
    outcome = outcome_of(ROWS[path])
    verdict = judge(ROWS[path], outcome)
    assert verdict.is_good, verdict
    # What a refusal offers must lead somewhere right. UIH's tiles have no position that the judge could read.
    if isinstance(outcome, Refused) and path != "mr/uih_vframe":
        for choice, found in choices(ROWS[path], outcome.sentence):
            assert found.is_good, (choice, found)


@pytest.mark.skipif(not ROWS, reason="the shared real scans are not here (set MEDSEG_SHARED_DATA)")
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.__name__)
def test_a_variant_of_a_real_series_is_read_or_refused_as_its_change_demands(variant, tmp_path):
    """Two series each, drawn by the variant's name, so that all series are met."""
    seed = sum(map(ord, variant.__name__))
    for n in range(2):
        path = SMALL[(seed + 2 * n) % len(SMALL)]
        series = [plain(file) for file in load_series(_HERE / "dicom" / path)[:8]]
        folder = tmp_path / str(n)
        folder.mkdir()
        verdict = try_variant(variant, series, folder, seed)
        assert verdict.kind == "right", (path, verdict)


@pytest.mark.skipif(not ROWS, reason="the shared real scans are not here (set MEDSEG_SHARED_DATA)")
@pytest.mark.parametrize("change", FRAME_VARIANTS, ids=lambda change: change.__name__)
@pytest.mark.parametrize("path", ["mr/philips_enh_anat", "mr/siemens_enh_anat", "seg/ibsi_legacy_mr/image"])
def test_a_variant_of_a_real_multi_frame_file_too(path, change, tmp_path):
    verdict = try_frames(change, load_frames(_HERE / "dicom" / path), tmp_path, 0)
    assert verdict.kind == "right", verdict


@pytest.mark.skipif(not ROWS, reason="the shared real scans are not here (set MEDSEG_SHARED_DATA)")
@pytest.mark.parametrize(
    ("path", "change"),
    [
        (path, change)
        for path in (
            "rtstruct/sts/STS_002/PET/rtstruct.dcm",
            "rtstruct/rtutils_two_slices/rtstruct.dcm",
            "seg/dcmqi_ct3/partial_overlaps.dcm",
            "seg/dcmqi_unaligned/label.dcm",
            "seg/highdicom_ct2/binary.dcm",
        )
        for change in LABEL_VARIANTS["RTSTRUCT" if "rtstruct" in path else "SEG"]
    ],
)
def test_a_variant_of_a_real_segmentation_or_structure_set_too(path, change):
    verdict = try_label(change, ROWS[path], 0)
    assert verdict.kind == "right", verdict


class TestTheJudge:
    """Deliberately wrong results must be called wrong."""

    @pytest.fixture
    def oblique(self, row):
        path = row("mr/hitachi_double_oblique")
        return path, outcome_of(path)

    def wrong(self, row, array, grid):
        return judge(row, Volume(array[None], grid)).kind == "silently wrong"

    def test_the_right_volume_is_right_however_it_is_stored(self, oblique):
        row, volume = oblique
        for axis in range(3):
            flipped = Volume(np.flip(volume.array, axis + 1), volume.geometry.flip(axis), volume.meta)
            assert judge(row, flipped).kind == "right"
        turned = Volume(volume.array.transpose(0, 3, 1, 2), volume.geometry.permute((2, 0, 1)), volume.meta)
        assert judge(row, turned).kind == "right"

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_a_flip_of_voxels_or_of_the_grid_alone_is_wrong(self, oblique, axis):
        row, volume = oblique
        assert self.wrong(row, np.flip(volume.array[0], axis), volume.geometry)
        assert self.wrong(row, volume.array[0], volume.geometry.flip(axis))

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_a_shift_by_half_a_voxel_is_wrong(self, oblique, axis):
        row, volume = oblique
        affine = volume.geometry.affine.copy()
        affine[:3, 3] += affine[:3, axis] / 2
        assert self.wrong(row, volume.array[0], Geometry(volume.geometry.shape, affine))

    def test_swapped_spacings_are_wrong(self, row):
        row = row("mr/per_slice_slope_nonsquare")
        volume = outcome_of(row)
        affine = volume.geometry.affine.copy()
        lengths = np.linalg.norm(affine[:3, :2], axis=0)
        affine[:3, :2] *= (lengths[::-1] / lengths)[None]
        assert judge(row, volume).kind == "right"
        assert self.wrong(row, volume.array[0], Geometry(volume.geometry.shape, affine))

    def test_a_slice_distance_off_by_two_percent_is_wrong(self, oblique):
        row, volume = oblique
        affine = volume.geometry.affine.copy()
        affine[:3, 2] *= 1.02
        assert self.wrong(row, volume.array[0], Geometry(volume.geometry.shape, affine))

    def test_a_dropped_or_exchanged_slice_is_wrong(self, oblique):
        row, volume = oblique
        i, j, k = volume.geometry.shape
        assert self.wrong(row, volume.array[0, ..., :-1], Geometry((i, j, k - 1), volume.geometry.affine))
        exchanged = volume.array[0][..., [1, 0, *range(2, k)]]
        assert self.wrong(row, exchanged, volume.geometry)

    def test_one_slope_for_all_slices_is_wrong(self, row):
        row = row("mr/per_slice_slope_nonsquare")
        volume = outcome_of(row)
        assert self.wrong(row, volume.array[0] * 1.01, volume.geometry)
        array = volume.array[0].copy()
        array[..., 2] *= 1.001
        assert self.wrong(row, array, volume.geometry)

    def test_a_single_wrong_voxel_is_wrong(self, oblique):
        row, volume = oblique
        array = volume.array[0].copy()
        array[5, 6, 2] += 1
        assert self.wrong(row, array, volume.geometry)

    def test_a_dropped_shear_is_wrong(self, row):
        row = row("ct/philips_tilt_plus16")
        volume = outcome_of(row)
        affine = volume.geometry.affine.copy()
        along = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = along / np.linalg.norm(along) * np.linalg.norm(affine[:3, 2])
        assert judge(row, volume).kind == "also accepted"
        assert self.wrong(row, volume.array[0], Geometry(volume.geometry.shape, affine))

    def test_pet_in_counts_is_wrong_where_suv_is_due(self, row):
        row = row("pet/bqml_single_a")
        assert judge(row, outcome_of(row)).kind == "right"
        raw = outcome_of(row, pet="raw")
        assert judge(row, raw).kind == "silently wrong"

    def test_a_volume_where_a_refusal_is_due_is_wrong(self, row):
        volume = outcome_of(row("mr/hitachi_double_oblique"))
        assert judge(row("derived/missing_slice"), volume).kind == "silently wrong"
        assert judge(row("mr/ge_fmri_4d"), volume).kind == "silently wrong"

    def test_a_refusal_must_give_the_reason_and_be_due(self, row):
        assert judge(row("derived/missing_slice"), Refused("Series 1 lacks 1 slice.")).kind == "right"
        assert judge(row("derived/missing_slice"), Refused("It is in colour.")).kind == "other reason"
        assert judge(row("mr/hitachi_double_oblique"), Refused("Series 1 lacks 1 slice.")).kind == "refused wrongly"
        assert judge(row("derived/two_series"), Refused("There are several.")).kind == "other reason"
        assert judge(row("derived/missing_slice"), Crashed("ValueError")).kind == "crashed"

    def test_a_mask_with_one_voxel_too_many_another_name_or_a_flip_is_wrong(self, row):
        row = row("seg/dcmqi_ct3/liver.dcm")
        found = outcome_of(row)
        assert judge(row, found).kind == "right"
        array = found.array.copy()
        array[0, 0, 0] = 1
        assert judge(row, replace(found, array=array)).kind == "silently wrong"
        assert judge(row, replace(found, labels=Labels({"Spleen": (1,)}))).kind == "silently wrong"
        assert judge(row, replace(found, array=np.flip(found.array, 0))).kind == "silently wrong"
        assert judge(row, LabelMap(found.array, found.geometry)).kind == "silently wrong"

    def test_overlapping_structures_are_compared_each(self, row):
        row = row("seg/dcmqi_ct3/partial_overlaps.dcm")
        found = outcome_of(row)
        assert judge(row, found).kind == "right"
        names = dict(found.labels.values)
        first, second, *_ = names
        names[first], names[second] = names[second], names[first]
        assert judge(row, replace(found, labels=Labels(names))).kind == "silently wrong"

    def test_without_a_reference_the_files_themselves_are_the_judge(self, row):
        place = row("seg/highdicom_ct2/image").place
        volume = outcome_of(row("seg/highdicom_ct2/image"))
        assert unlike_files(place, volume) == ""
        assert unlike_files(place, replace(volume, geometry=volume.geometry.flip(2))) != ""
        assert unlike_files(place, replace(volume, array=volume.array + 1)) != ""
        longer = Geometry((*volume.geometry.shape[:2], volume.geometry.shape[2] + 1), volume.geometry.affine)
        padded = np.pad(volume.array, [(0, 0), (0, 0), (0, 0), (0, 1)])
        assert "come from no file" in unlike_files(place, Volume(padded, longer, volume.meta))
