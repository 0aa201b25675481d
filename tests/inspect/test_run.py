"""Each defect is found in the case that has it, and nothing else; one bad case never stops the others."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

import medseg
from medseg import io
from medseg.config.schema import DataConfig
from medseg.core.errors import UsageError
from medseg.core.events import CaseRead
from medseg.core.geometry import Geometry
from medseg.core.volume import Volume
from medseg.inspect import Finding, Inspection, InspectOptions, run
from tests.inspect.sets import GRID, LABELS, case_name, declare, image_of, labels_of, make_set, only, write_case

VICTIM = 4
NAME = case_name(VICTIM)


def kinds(inspection, severity=None):
    return {finding.kind for finding in inspection.findings if severity in (None, finding.severity)}


def the(inspection, kind):
    (finding,) = (finding for finding in inspection.findings if finding.kind == kind)
    return finding


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("clean"))


@pytest.fixture
def data(clean, tmp_path):
    return shutil.copytree(clean, tmp_path / "data")


def test_nothing_is_found_in_a_clean_set(clean):
    inspection = medseg.inspect(clean)
    assert inspection.findings == ()
    assert inspection.is_clean
    assert inspection.verdict == "Nothing found in 10 cases."
    assert inspection.layout == "nnunet"
    assert [report.case for report in inspection.reports] == [case_name(n) for n in range(10)]
    assert "10 cases: 10 with a label map." in inspection.words


def test_the_fingerprint_is_the_one_of_training(clean):
    from medseg.data import measure, open_dataset
    from medseg.io import ReadOptions

    work = measure(open_dataset(clean, DataConfig()), ReadOptions())
    while True:
        try:
            next(work)
        except StopIteration as end:
            measured = end.value
            break
    assert medseg.inspect(clean).fingerprint == measured.fingerprint


def test_processes_find_the_same_as_one(data):
    path = data / "imagesTr" / f"{NAME}_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    for number in range(10, 16):  # enough cases that processes are worth it
        labels = labels_of(number)
        write_case(data, number, image_of(labels, number), labels)
    one, two = (medseg.inspect(data, InspectOptions(jobs=jobs)).to_json() for jobs in (1, 2))
    assert one == two


def test_every_case_is_told_as_it_is_read(clean):
    *events, inspection = run(clean)
    assert [(event.done, event.total, event.phase) for event in events] == [(n, 10, "inspecting") for n in range(1, 11)]
    assert all(isinstance(event, CaseRead) for event in events)
    assert isinstance(inspection, Inspection)


def test_all_that_is_wrong_is_said_at_once(data):
    cut, empty, text = (data / "imagesTr" / f"{case_name(n)}_0000.nii.gz" for n in (0, 1, 2))
    cut.write_bytes(cut.read_bytes()[:3000])
    empty.write_bytes(b"")
    text.write_text("hello")
    (data / "labelsTr" / f"{case_name(3)}.nii.gz").unlink()
    shutil.copy(data / "labelsTr" / f"{NAME}.nii.gz", data / "labelsTr" / "orphan.nii.gz")
    inspection = medseg.inspect(data)
    wrong = {finding.case: finding.kind for finding in inspection.findings if finding.severity == "error"}
    assert wrong == {
        case_name(0): "unreadable",
        case_name(1): "unreadable",
        case_name(2): "unreadable",
        "orphan": "incomplete",
    }
    assert not inspection.is_clean
    assert inspection.fingerprint is not None
    assert inspection.fingerprint.n_cases == 6
    roles = {report.case: report.role for report in inspection.reports}
    assert roles[case_name(3)] == "unlabelled"


def test_the_grid_and_the_values_of_one_label_map_are_both_told(tmp_path):
    @only(VICTIM)
    def edit(image, labels):
        labels[0, 0, 0] = 9
        return image, labels, {"label_grid": Geometry.from_spacing(GRID.shape, (1.5, 1.5, 3.0), (5, 5, 5))}

    inspection = medseg.inspect(make_set(tmp_path / "data", 6, edit))
    assert kinds(inspection, "error") == {"other_grid", "unknown_labels"}
    assert {finding.case for finding in inspection.findings} == {NAME}
    assert "9 (1 voxels)" in the(inspection, "unknown_labels").text
    assert "apart at a corner" in the(inspection, "other_grid").text


def test_labels_that_were_interpolated_are_no_label_map(data):
    path = data / "labelsTr" / f"{NAME}.nii.gz"
    image = nib.load(path)
    array = np.asarray(image.dataobj).astype(np.float32)
    array[8, 12, 10] = 0.4
    nib.save(nib.Nifti1Image(array, image.affine), path)
    finding = the(medseg.inspect(data), "not_a_label_map")
    assert (finding.severity, finding.case) == ("error", NAME)
    assert "nearest neighbour" in finding.text


@pytest.mark.parametrize("one", [1.0, 0.9999])
def test_labels_stored_as_floats_are_a_note_and_are_not_called_more_whole_than_they_are(data, one):
    path = data / "labelsTr" / f"{NAME}.nii.gz"
    image = nib.load(path)
    array = np.asarray(image.dataobj).astype(np.float32)
    nib.save(nib.Nifti1Image(np.where(array == 1, np.float32(one), array), image.affine), path)
    finding = the(medseg.inspect(data), "label_types")
    assert (finding.severity, finding.cases) == ("note", (NAME,))
    assert finding.text.endswith("their values are whole, to a thousandth.")


def test_nan_and_another_type_are_told(data):
    path = data / "imagesTr" / f"{NAME}_0000.nii.gz"
    image = nib.load(path)
    array = np.asarray(image.dataobj).astype(np.float32)
    array[3, 3, 3] = np.nan
    nib.save(nib.Nifti1Image(array, image.affine), path)
    inspection = medseg.inspect(data)
    assert (the(inspection, "not_finite").severity, the(inspection, "not_finite").case) == ("warning", NAME)
    assert the(inspection, "types").cases == (NAME,)
    assert kinds(inspection) == {"not_finite", "types"}


def test_a_blank_image_is_told(tmp_path):
    edit = only(VICTIM)(lambda image, labels: (np.zeros_like(image), labels))
    assert the(medseg.inspect(make_set(tmp_path / "data", 6, edit)), "blank").case == NAME


def test_slices_without_labels_in_between_are_found(tmp_path):
    @only(VICTIM)
    def edit(image, labels):
        labels[:, :, 8:11] = 0
        return image, labels

    finding = the(medseg.inspect(make_set(tmp_path / "data", 10, edit)), "unlabelled_slices")
    assert finding.case == NAME
    assert finding.text.startswith("Slices 8…10 of 0…19 have no label")


def test_labels_that_stop_while_the_object_goes_on_are_found(tmp_path):
    @only(VICTIM)
    def edit(image, labels):
        labels[:, :, 15:] = 0
        return image, labels

    finding = the(medseg.inspect(make_set(tmp_path / "data", 10, edit)), "unlabelled_slices")
    assert finding.case == NAME
    assert finding.text.startswith("Slices 15…19 of 0…19 have no label")
    assert "In 9 of 9 other cases labels reach the upper end" in finding.text


def test_slices_and_voxels_are_counted_as_in_the_file(tmp_path):
    """The scan is turned (LPI) and so are its labels: the same defect has other indices."""
    turned = Geometry(GRID.shape, np.diag((-1.5, -1.5, -3.0, 1.0)))

    @only(VICTIM)
    def edit(image, labels):
        labels[:, :, 15:] = 0
        labels[2, 20, 3] = 1
        return image[::-1, ::-1, ::-1].copy(), labels[::-1, ::-1, ::-1].copy(), {"grid": turned}

    inspection = medseg.inspect(make_set(tmp_path / "data", 10, edit))
    assert "Slices 0…4 of 0…19" in the(inspection, "unlabelled_slices").text
    assert str((31 - 2, 23 - 20, 19 - 3)) in the(inspection, "island").text
    assert kinds(inspection) == {"unlabelled_slices", "island", "placement"}


def test_a_stray_voxel_is_found_with_its_place(tmp_path):
    @only(VICTIM)
    def edit(image, labels):
        labels[30, 20, 17] = 1
        return image, labels

    finding = the(medseg.inspect(make_set(tmp_path / "data", 10, edit)), "island")
    assert (finding.case, finding.severity) == (NAME, "warning")
    assert "1 voxel " in finding.text
    assert "(30, 20, 17)" in finding.text


def test_what_all_cases_have_is_one_note(tmp_path):
    def edit(number, image, labels):
        labels[30, 20, 17] = 1
        return image, labels, {}

    finding = the(medseg.inspect(make_set(tmp_path / "data", 10, edit)), "island")
    assert (finding.severity, len(finding.cases)) == ("note", 10)


def test_sides_swapped_in_one_case_are_an_error(tmp_path):
    @only(VICTIM)
    def edit(image, labels):
        return image, np.array((0, 2, 1, 3), np.uint8)[labels]

    finding = the(medseg.inspect(make_set(tmp_path / "data", 6, edit)), "swapped_sides")
    assert (finding.severity, finding.case) == ("error", NAME)
    assert "5 other cases" in finding.text


def test_sides_mirrored_in_all_cases_are_a_warning(tmp_path):
    def edit(number, image, labels):
        return image, np.array((0, 2, 1, 3), np.uint8)[labels], {}

    inspection = medseg.inspect(make_set(tmp_path / "data", 6, edit))
    assert (the(inspection, "mirrored_sides").severity, len(the(inspection, "mirrored_sides").cases)) == ("warning", 6)
    assert inspection.is_clean


def test_an_empty_map_a_missing_label_and_a_large_one_are_told(tmp_path):
    def edit(number, image, labels):
        if number == 1:
            labels[:] = 0
        if number == 2:
            labels[labels == 1] = 0
        if number == 3:
            labels[12:20, :, :] = 3
        return image, labels, {}

    inspection = medseg.inspect(make_set(tmp_path / "data", 12, edit))
    assert the(inspection, "empty").cases == (case_name(1),)
    assert the(inspection, "absent_label").cases == (case_name(2),)
    assert "kidney left is in 10 of 11 cases" in the(inspection, "absent_label").text
    assert (case_name(3), "warning") in {(f.case, f.severity) for f in inspection.findings if f.kind == "volume"}


def test_an_outlying_scale_spacing_and_size_are_found(tmp_path):
    def edit(number, image, labels):
        if number == 1:
            return (image.astype(np.int32) * 6).astype(np.int16), labels, {}
        if number == 2:
            return image, labels, {"grid": Geometry.from_spacing(GRID.shape, (1.5, 1.5, 9.0))}
        return image, labels, {}

    inspection = medseg.inspect(make_set(tmp_path / "data", 12, edit))
    assert the(inspection, "intensity").case == case_name(1)
    assert the(inspection, "spacing").case == case_name(2)
    assert the(inspection, "size").case == case_name(2)


def test_scales_that_differ_wildly_are_one_finding(tmp_path):
    def edit(number, image, labels):
        return image.astype(np.float32) * (1 if number % 3 else 1000), labels, {}

    inspection = medseg.inspect(make_set(tmp_path / "data", 9, edit))
    finding = the(inspection, "intensity_scales")
    assert finding.severity == "warning"
    assert finding.cases == tuple(case_name(n) for n in (0, 3, 6))
    assert "intensity" not in kinds(inspection)


def test_one_image_twice_is_found_whatever_type_and_axes_it_is_stored_in(tmp_path):
    flipped = Geometry(GRID.shape, GRID.flip(0).affine)

    @only(VICTIM)
    def edit(image, labels):
        labels = labels_of(0)
        return image_of(labels, 0).astype(np.float32)[::-1].copy(), labels[::-1].copy(), {"grid": flipped}

    finding = the(medseg.inspect(make_set(tmp_path / "data", 6, edit)), "duplicate")
    assert finding.cases == (case_name(0), NAME)
    assert "the same label map" in finding.text


def test_an_altered_copy_is_found(tmp_path):
    @only(VICTIM)
    def edit(image, labels):
        labels = labels_of(0)
        noise = np.random.default_rng(0).normal(0, 30, image.shape)
        return (image_of(labels, 0) * 0.5 + 70 + noise).astype(np.int16), labels

    finding = the(medseg.inspect(make_set(tmp_path / "data", 10, edit)), "near_duplicate")
    assert (finding.cases, finding.severity) == ((case_name(0), NAME), "warning")


def test_a_test_image_that_is_trained_on_is_an_error(data):
    write_case(data, 77, image_of(labels_of(VICTIM), VICTIM), None, folder="Ts")
    finding = the(medseg.inspect(data), "two_splits")
    assert (finding.severity, finding.cases) == ("error", (NAME, case_name(77)))


def test_names_that_share_a_beginning_hint_at_patients(tmp_path):
    for number in range(6):
        labels = labels_of(number)
        write_case(tmp_path, number, image_of(labels, number), labels)
        for folder, suffix in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
            old = tmp_path / folder / f"{case_name(number)}{suffix}"
            old.rename(tmp_path / folder / f"pat{number // 2}_visit{number % 2}{suffix}")
    declare(tmp_path)
    finding = the(medseg.inspect(tmp_path), "groups")
    assert "--set 'data.group=^(pat[0-9]+)'" in finding.remedy
    grouped = medseg.inspect(tmp_path, InspectOptions(DataConfig(group="^(pat[0-9]+)")))
    assert "groups" not in kinds(grouped)


def test_gaps_in_label_values_are_a_note(tmp_path):
    edit = only(-1)(None)
    root = make_set(tmp_path / "data", 5, edit)
    declare(root, {**{name: value for name, value in LABELS.items() if value != 2}, "kidney right": 4})
    for path in (root / "labelsTr").iterdir():
        image = nib.load(path)
        array = np.asarray(image.dataobj)
        nib.save(nib.Nifti1Image(np.where(array == 2, 4, array).astype(np.uint8), image.affine), path)
    assert "2 is no label" in the(medseg.inspect(root), "value_gaps").text


def test_scans_without_labels_are_looked_at_too(clean, tmp_path):
    shutil.copytree(clean / "imagesTr", tmp_path / "scans")
    path = tmp_path / "scans" / f"{NAME}_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    inspection = medseg.inspect(tmp_path / "scans")
    assert inspection.layout == "scans"
    assert inspection.fingerprint is None
    assert {(finding.kind, finding.case) for finding in inspection.findings} == {("unreadable", NAME)}


def test_a_single_scan_is_looked_at(clean):
    inspection = medseg.inspect(clean / "imagesTr" / f"{NAME}_0000.nii.gz")
    assert (inspection.layout, len(inspection.reports)) == ("scans", 1)
    assert inspection.findings == ()


@pytest.mark.parametrize("name", ["empty", "text.txt"])
def test_what_cannot_be_opened_is_the_one_finding(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    inspection = medseg.inspect(tmp_path / name)
    assert [(finding.kind, finding.severity) for finding in inspection.findings] == [("layout", "error")]
    assert str(tmp_path) not in inspection.findings[0].text


def test_a_path_that_does_not_exist_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        medseg.inspect(tmp_path / "nowhere")


def test_a_defect_of_ours_is_one_failed_case(clean, monkeypatch):
    from medseg.inspect import reading

    measure = reading.measure_case

    def failing(case, *arguments):
        if case == NAME:
            raise ZeroDivisionError("division by zero")
        return measure(case, *arguments)

    monkeypatch.setattr(reading, "measure_case", failing)
    inspection = medseg.inspect(clean)
    assert [(finding.kind, finding.case) for finding in inspection.findings] == [("defect", NAME)]
    assert "division by zero" in next(report.trace for report in inspection.reports if report.case == NAME)


def test_no_path_of_the_machine_gets_into_json_or_page(data):
    path = data / "imagesTr" / f"{NAME}_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    inspection = medseg.inspect(data)
    text = json.dumps(inspection.to_json(), allow_nan=False) + inspection.to_html()
    assert f"imagesTr/{path.name}" in text
    assert str(data) not in text
    assert data.parent.name not in text


def test_findings_are_values_that_programs_can_read():
    finding = Finding("island", "warning", "One voxel lies apart.", "Remove it.", ("a",))
    assert finding.to_json() == {
        "case": "a",
        "cases": ["a"],
        "kind": "island",
        "severity": "warning",
        "text": "One voxel lies apart.",
        "remedy": "Remove it.",
    }


def test_what_is_wrong_is_told_even_where_a_folder_has_a_short_name(data, monkeypatch):
    monkeypatch.chdir(data.parent)
    path = data / "labelsTr" / f"{NAME}.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + np.float32(0.5), image.affine), path)
    finding = the(medseg.inspect("data"), "not_a_label_map")
    assert finding.text.startswith(f"labelsTr/{path.name} is not a label map: 100 % of its voxels")


def two_channels(root, n=4):
    """Scans with a second channel of half as many voxels along each axis."""
    make_set(root, n)
    for number in range(n):
        coarse = GRID.resampled([2 * mm for mm in GRID.spacing_mm])
        values = np.random.default_rng(number).integers(0, 900, (1, *coarse.shape)).astype(np.int16)
        io.write(Volume(values, coarse), root / f"imagesTr/{case_name(number)}_0001.nii.gz")
    content = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**content, "channel_names": {"0": "T1", "1": "T2"}}))
    return root


def test_channels_on_grids_of_their_own_are_named_with_figures(tmp_path):
    inspection = medseg.inspect(two_channels(tmp_path))
    (found,) = [finding for finding in inspection.findings if finding.kind == "own_grid"]
    assert (found.severity, len(found.cases)) == ("note", 4)
    assert found.text.startswith(
        "T2 has a grid of its own in 4 of 4 cases (in case_00 voxels of 3 × 3 × 6 mm, where T1"
    )
    assert [channel.n_own_grid for channel in inspection.fingerprint.channels] == [0, 4]
    assert inspection.reports[0].facts.grid.shape == GRID.shape


def test_channels_of_scans_without_names_are_told_too(tmp_path):
    folder = two_channels(tmp_path, n=1) / "imagesTr"
    (found,) = [finding for finding in medseg.inspect(folder).findings if finding.kind == "own_grid"]
    assert found.text.startswith("channel 1 has a grid of its own in 1 of 1 cases")


def test_a_channel_that_lies_elsewhere_is_an_error_of_its_case_alone(tmp_path):
    root = two_channels(tmp_path)
    away = Geometry.from_spacing((8, 8, 8), origin_mm=(900, 0, 0))
    io.write(Volume(np.zeros((1, 8, 8, 8), np.int16), away), root / "imagesTr/case_01_0001.nii.gz")
    (found,) = [finding for finding in medseg.inspect(root).findings if finding.kind == "other_grid"]
    assert found.case == "case_01"
    assert found.text.startswith("T1 and T2 overlap by 0 % of the smaller one's field of view")


def ignoring(data, changes):
    """The set with 9 declared to be ignored, and label maps changed: number → what becomes of its array."""
    declare(data, {**LABELS, "ignore": 9})
    for number, change in changes.items():
        array = labels_of(number)
        write_case(data, number, image_of(array, number), change(array))
    return medseg.inspect(data)


def test_maps_that_are_ignored_as_a_whole_are_no_empty_maps(data):
    everything = {number: lambda array: np.full_like(array, 9) for number in (2, 5)}
    inspection = ignoring(data, everything)
    assert kinds(inspection) == {"ignored", "value_gaps"} - {"value_gaps"}
    finding = the(inspection, "ignored")
    assert finding.severity == "warning"
    assert "2 of 10 label maps are to be ignored as a whole: case_02, case_05." in finding.text


def test_slices_that_are_to_be_ignored_are_not_slices_without_labels(data):
    """The custom of sparse annotation: some slices drawn, all others ignored, none of them background."""

    def sparse(array):
        kept = np.full_like(array, 9)
        kept[..., ::4] = array[..., ::4]
        return kept

    inspection = ignoring(data, dict.fromkeys(range(10), sparse))
    assert kinds(inspection) == {"ignored"}
    finding = the(inspection, "ignored")
    assert (finding.severity, finding.text) == (
        "note",
        "In 10 of 10 label maps 75 % of the voxels are to be ignored.",
    )
    assert all("annotated voxels" in word for word in inspection.words if word.startswith("Label "))
    cord = next(label for label in inspection.fingerprint.labels if label.name == "cord")
    assert cord.frequency == pytest.approx(np.mean(labels_of(0)[..., ::4] == 3), rel=0.01)


def test_a_label_that_may_lie_in_the_ignored_part_is_not_said_to_be_missing(data):
    def without_left(array):
        return np.where((array == 1) | (np.arange(array.shape[0]) < 12)[:, None, None], 9, array).astype(np.uint8)

    assert kinds(ignoring(data, {VICTIM: without_left})) == {"ignored"}


def test_a_label_of_one_case_is_told_with_the_folds_that_cannot_learn_it(data):
    declare(data, {**LABELS, "rare": 4})
    array = labels_of(VICTIM)
    array[1:3, 1:3, 1:3] = 4
    write_case(data, VICTIM, image_of(array, VICTIM), array)
    finding = the(medseg.inspect(data), "rare_label")
    assert finding.cases == (NAME,)
    assert finding.text.startswith(f"rare is in 1 of 10 cases only: {NAME}. In fold ")
    assert "such a model will not find it" in finding.text


def test_a_label_of_two_cases_in_one_fold_is_told_and_in_two_folds_is_not(data):
    declare(data, {**LABELS, "rare": 4})
    for number in (1, 2):
        array = labels_of(number)
        array[1:3, 1:3, 1:3] = 4
        write_case(data, number, image_of(array, number), array)
    names = [case_name(number) for number in range(10)]

    def split(*validation):
        folds = [{"train": [n for n in names if n not in held], "val": list(held)} for held in validation]
        (data / "splits_final.json").write_text(json.dumps(folds))
        return medseg.inspect(data)

    together = the(split(names[:3], names[3:]), "rare_label")
    assert "rare is in 2 of 10 cases only: case_01, case_02. In fold 0 of 2 no training case has it" in together.text
    assert "rare_label" not in kinds(split(names[:2], names[2:]))


def test_a_label_of_less_than_half_a_voxel_of_the_usual_grid_is_told_with_its_size(data):
    """A finely sampled case whose label is one voxel of it: on the median grid nothing is left."""
    fine = Geometry.from_spacing(GRID.shape, (0.5, 0.5, 1.0), (-20, -15, 4))
    array = labels_of(VICTIM)
    array[array == 1] = 0
    array[7, 12, 10] = 1
    write_case(data, VICTIM, image_of(array, VICTIM), array, grid=fine)
    finding = the(medseg.inspect(data), "vanishing")
    assert finding.cases == (NAME,)
    assert (
        f"kidney left is less than half a voxel of the median spacing (1.5 × 1.5 × 3 mm) in {NAME} (1 voxel, 0.037"
        in (finding.text)
    )


@pytest.mark.parametrize(("value", "where"), [(1e30, (3, 3, 3)), (-3.4e38, (slice(0, 8),))], ids=["voxel", "padding"])
def test_values_that_hide_all_others_are_told_in_each_case_and_nothing_looks_alike(data, value, where):
    for number in range(10):
        array = labels_of(number)
        image = image_of(array, number).astype(np.float32)
        image[where] = value
        write_case(data, number, image, array)
    inspection = medseg.inspect(data)
    assert kinds(inspection) == {"flattened"}
    finding = the(inspection, "flattened")
    assert finding.cases == tuple(case_name(n) for n in range(10))
    assert "(in case_00; 9 other cases likewise)" in finding.text
    assert all(max(map(len, finding.text.split())) < 15 for finding in inspection.findings)


def test_a_label_that_fills_the_image_is_told_and_its_share_is_in_plain_digits(data):
    declare(data, {"background": 0, "all": 1})
    for number in range(10):
        array = np.ones_like(labels_of(number))
        write_case(data, number, image_of(labels_of(number), number), array)
    inspection = medseg.inspect(data)
    assert "all fills the whole image in 10 of 10 cases" in the(inspection, "volume").text
    assert any("100 % of all voxels" in word for word in inspection.words)


def test_scales_that_differ_at_their_lower_ends_are_told_by_both_ends(data):
    for number in range(10):
        array = labels_of(number)
        image = image_of(array, number).astype(np.float32)
        image[:4] = -32767 if number == VICTIM else image[:4]
        write_case(data, number, image, array)
    text = the(medseg.inspect(data), "intensity_scales").text
    assert "between the 0.5th and the 99.5th percentile they go from" in text
    assert "1 of 10 cases is more than tenfold off the median" in text
    assert "and from -32,770 to" in text
    assert NAME in text


def test_one_case_is_a_case(tmp_path):
    inspection = medseg.inspect(make_set(tmp_path / "data", n=1))
    assert "1 case: 1 with a label map." in inspection.words
    assert inspection.verdict.endswith("in 1 case.")


def test_a_scan_that_would_not_fit_is_an_error_with_both_amounts_and_the_others_go_on(tmp_path):
    """The header counts: 96 million voxels of zeros are 100 kB on disk."""
    root = make_set(tmp_path, n=3)
    huge = nib.Nifti1Image(np.zeros((800, 600, 200), np.int8), np.diag([0.5, 0.5, 1, 1]))
    nib.save(huge, root / "imagesTr/case_01_0000.nii.gz")
    inspection = medseg.inspect(root, InspectOptions(max_memory_bytes=2**30))
    (found,) = [finding for finding in inspection.findings if finding.severity == "error"]
    assert (found.case, found.kind) == ("case_01", "unreadable")
    assert (
        "takes about 2.15 GiB of memory, by the header of case_01_0000.nii.gz, but only 1 GiB are allowed" in found.text
    )
    assert found.remedy.startswith("Crop the case")
    assert [report.facts is None for report in inspection.reports] == [False, True, False]
