"""Damaged files end in a sentence, in the same grid, or in a change that is told: a sample, and whether the judge sees.

The whole is `benchmarks/dicom_damage.py`: every file of the corpus, 20 cuts and 1,000 changed bytes each.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medseg.core.geometry import Geometry
from tests.io.damage import Damage, Seen, damages, dicom_files, header_length, judge, patient_of

GRID = Geometry.from_spacing((4, 5, 6), (1, 1, 2))
MOVED = Geometry.from_spacing((4, 5, 6), (1, 1, 2), (0, 0, 1))


def test_the_judge_allows_sentences_sameness_and_told_changes_only():
    before = Seen(GRID, ("one note",))
    assert judge(before, Seen(refusal="It is cut off.")) == "refused"
    assert judge(before, Seen(GRID)) == "same"
    assert judge(before, Seen(MOVED, ("one note", "another"))) == "said"
    assert judge(before, Seen(MOVED, ("one note",))) == "silent"
    assert judge(before, Seen(Geometry.from_spacing((4, 5, 5), (1, 1, 2)), ("one note",))) == "silent"
    assert judge(before, Seen(defect="ValueError")) == "defect"
    assert judge(Seen(refusal="There are two."), Seen(GRID)) == "silent"


def test_damages_are_drawn_by_the_seed_half_of_them_before_the_pixels():
    whole = bytes(1000) + b"\xe0\x7f\x10\x00" + bytes(20_000)
    assert header_length(whole) == 1000
    drawn = list(damages(whole, 20, 200, seed=3))
    assert drawn == list(damages(whole, 20, 200, seed=3)) != list(damages(whole, 20, 200, seed=4))
    assert sum(damage.value is None for damage in drawn) == 20
    assert len(drawn) == 220
    before = np.mean([damage.at < 1000 for damage in drawn])
    assert 0.4 < before < 0.65
    for damage in drawn:
        broken = damage.of(whole)
        assert broken != whole
        assert len(broken) == (damage.at if damage.value is None else len(whole))
    # Every beginning is a fair sample, so that a run may end early.
    assert sum(damage.value is None for damage in drawn[:55]) == 5


@pytest.mark.data
@pytest.mark.parametrize(
    "series",
    [
        "ct/ibsi_orientation_phantom", "mr/hitachi_double_oblique", "mr/per_slice_slope_nonsquare",
        "mr/fragments_jpegll", "rtstruct/sts/STS_002/PET/image", "derived/missing_end_slices",
    ],
)  # fmt: skip
def test_a_changed_digit_of_geometry_does_not_pass_in_silence_where_other_slices_contradict(
    shared_data, tmp_path, series
):
    data = shared_data / "dicom"
    file = next(path for path in dicom_files(data) if path.parent == data / series)
    patient = patient_of(file, data, tmp_path)
    assert 4 <= len(list(tmp_path.iterdir())) <= 5
    before, whole = patient.read(), patient.file.read_bytes()
    for tag in (b"\x20\x00\x32\x00", b"\x20\x00\x37\x00", b"\x28\x00\x30\x00"):
        value = whole.index(tag) + 8
        for at in [at for at in range(value, value + 30) if chr(whole[at]).isdigit()][:20]:
            patient.file.write_bytes(Damage(at, ord("7") if whole[at] != ord("7") else ord("2")).of(whole))
            assert judge(before, patient.read()) in ("refused", "said", "same"), Damage(at)


@pytest.mark.data
@pytest.mark.journey
def test_a_sample_of_damaged_files_is_borne(shared_data, tmp_path):
    """One file of seven, two cuts and six changed bytes each, read in a process that is watched."""
    counts = ["--every", "7", "--cuts", "2", "--bytes", "6", "--minutes", "10"]
    script = [sys.executable, "-m", "benchmarks.dicom_damage", str(shared_data / "dicom"), str(tmp_path), *counts]
    done = subprocess.run(script, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "864 damages of 108 files" in done.stdout
