"""What a case is called: the same from wherever in a tree it is looked at, and whatever else lies there."""

import os
import shutil
import string
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medseg.config.schema import DataConfig
from medseg.data.case_ids import file_name, has_digest, place_name, plain_name, series_id
from medseg.data.dataset import safe_id
from medseg.data.inputs import find_cases
from medseg.data.layouts import open_dataset
from tests.data.dicom_trees import put_series, put_structures
from tests.data.folders import put_image

BOX = slice(1, 4), slice(2, 5), slice(3, 9)

FOLDERS = st.lists(
    st.sampled_from(
        ["CT", "image", "STS_003", "1.2.840.113619.2.55.3", "SE000001", "study 2", "Ärzte", "01-02-2003-NA"]
    )
    | st.text(string.ascii_letters + string.digits + "-. ", min_size=1, max_size=8).filter(
        lambda n: n.strip(" .") == n
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """The files of one small series."""
    return put_series(tmp_path_factory.mktemp("series"), "A")


def ids_of(path):
    return {case.id for case in find_cases([path], 1)}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(folders=FOLDERS)
def test_a_series_has_one_id_from_wherever_in_its_tree_it_is_given(folders, series, tmp_path_factory, monkeypatch):
    root = tmp_path_factory.mktemp("tree")
    inner = root.joinpath(*folders)
    inner.mkdir(parents=True)
    for file in series:
        shutil.copy(file, inner)
    (expected,) = ids_of(inner)
    assert has_digest(expected)
    for folder in (root, *(root.joinpath(*folders[:n]) for n in range(1, len(folders)))):
        assert ids_of(folder) == {expected}
    monkeypatch.chdir(inner)
    assert ids_of(Path()) == ids_of(Path("..") / folders[-1]) == ids_of(Path(f"{inner}{os.sep}")) == {expected}
    monkeypatch.chdir(root)
    assert ids_of(Path(folders[0])) == {expected}


PATIENTS = st.from_regex(r"[a-zäA-Z][a-z0-9]{0,3}[-_ .]?[0-9]{1,3}x", fullmatch=True)
"""Names that say something."""

INNER = st.lists(st.sampled_from(["anat", "CT", "image", "visit_2", "2001-02-03", "raw", "T1"]), max_size=3)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    patients=st.lists(PATIENTS, min_size=2, max_size=3, unique_by=str.casefold),
    inner=INNER,
    channels=st.sampled_from([("ct",), ("image",), ("T2", "ADC")]),
    in_name=st.booleans(),
)
def test_a_file_has_one_id_from_wherever_in_its_tree_it_is_given(
    patients, inner, channels, in_name, tmp_path_factory, monkeypatch
):
    root = tmp_path_factory.mktemp("tree")
    first, *others = patients
    files = {"ct": ["ct"], "image": ["scan"], "T2": ["adc", "t2"]}[channels[0]]
    names = [f"{first}_{file}" if in_name and len(files) > 1 else file for file in files]
    folder = root.joinpath(first, *inner)
    paths = [put_image(folder / f"{name}.nii.gz") for name in names]
    (expected,) = (case.id for case in find_cases([root], channels))

    def ids(*given_paths):
        return [case.id for case in find_cases(given_paths, channels)]

    if in_name and len(files) > 1:
        assert ids(*paths) == [safe_id(first)]  # the files say it themselves
    else:
        for path in (root / first, folder, Path(f"{folder}{os.sep}")):
            assert ids(path) == [expected]
        assert ids(*paths) == [expected]
        monkeypatch.chdir(folder)
        assert ids(Path()) == [expected]
    for other in others:
        put_image(root / other / f"{names[0]}.nii.gz")
        for name in names:
            put_image(root / other / f"{name}.nii.gz")
    assert expected in ids(root)


def test_what_arrives_later_changes_no_id(tmp_path, series):
    put = [shutil.copytree(series[0].parent, tmp_path / "night/CT")]
    ids = {frozenset(ids_of(path)) for path in (tmp_path / "night", put[0])}
    (first,) = ids
    for file in put_series(tmp_path / "second", "A", 1):
        file.rename(tmp_path / "night/CT" / f"second_{file.name}")
    put_series(tmp_path / "night/PET", "A", 2, Modality="PT")
    put_series(tmp_path / "night/other/CT", "B", 3)
    later = ids_of(tmp_path / "night")
    assert len(later) == 4
    assert first < later
    assert {plain_name(each) for each in later} == {"night", "other"}


def test_another_series_in_the_place_of_the_first_has_another_id(tmp_path):
    put_series(tmp_path / "night/CT", "A", 1, SeriesInstanceUID="1.2.3")
    (yesterday,) = ids_of(tmp_path / "night")
    shutil.rmtree(tmp_path / "night/CT")
    put_series(tmp_path / "night/CT", "B", 2, SeriesInstanceUID="1.2.4")
    (today,) = ids_of(tmp_path / "night")
    assert plain_name(yesterday) == plain_name(today) == "night"
    assert yesterday != today


def test_training_and_prediction_call_a_series_alike(tmp_path):
    for number, patient in enumerate(("A", "B")):
        files = put_series(tmp_path / f"{patient}/CT/image", patient, number)
        put_structures(tmp_path / f"{patient}/CT/rt.dcm", files, GTV=BOX)
    trained = set(open_dataset(tmp_path, DataConfig()).ids)
    assert ids_of(tmp_path) == trained
    assert ids_of(tmp_path / "A/CT/image") | ids_of(tmp_path / "B") == trained


def test_a_series_in_an_archive_is_called_by_its_folders_else_by_the_archive(tmp_path, series):
    for name, inside in (("deep.zip", "p7/CT/"), ("p8.zip", "")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for file in series:
                archive.write(file, f"{inside}{file.name}")
    assert [plain_name(*ids_of(tmp_path / name)) for name in ("deep.zip", "p8.zip")] == ["p7", "p8"]


def test_the_folder_of_the_patient_names_what_every_patient_has(tmp_path):
    places = {
        "patients/STS_003/CT/image": "STS_003",
        "TCGA-17-Z058/05-21-1985-NA-CT-14916/4.000000-Thorax-12345": "TCGA-17-Z058",
        "cd_7/DICOM/PA000001/ST000000/SE000002": "cd_7",
        "p1/1.3.6.1.4.1.14519.5.2.1.1": "p1",
        "images/CT_001": "CT_001",
        "0007/T1": "0007",
        "a/b/000001.dcm": "b",
        "a/b/whole.dcm": "whole",
    }
    assert {place: place_name(Path("/") / place) for place in places} == places
    assert place_name(Path("/data/dicom/CT")) == "CT"
    assert place_name(Path("/")) == "scan"


@given(uid=st.text("0123456789.", min_size=1, max_size=64))
def test_a_digest_is_taken_for_no_channel(uid):
    name = series_id(Path("/p"), uid)
    assert plain_name(name) == "p"
    assert name[2].isdecimal()
    assert len(name) == 10


@pytest.mark.parametrize("folder", ["scans", "imagesTs", "images", "data", "volumes"])
def test_a_file_in_a_folder_of_many_cases_has_its_own_name(tmp_path, folder):
    assert file_name(tmp_path / folder / "scan.nii.gz") == "scan"
    assert file_name(tmp_path / "s0040" / "scan.nii.gz") == "s0040"
    assert file_name(tmp_path / "s0040" / "CT" / "image.nii.gz") == "s0040"
