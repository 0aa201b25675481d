"""The real scans of the shared folder: counts, labels, grids and oddities as their notes describe them."""

import time

import pytest

from medseg import io
from medseg.config.schema import DataConfig
from medseg.core.events import CaseRead, Warned
from medseg.data.cases import read_case
from medseg.data.checks import count_values
from medseg.data.fingerprint import measure
from medseg.data.inputs import find_cases
from medseg.data.layouts import open_dataset
from medseg.data.splits import make_splits

pytestmark = pytest.mark.data


def measured(dataset):
    events = []
    generator = measure(dataset, io.ReadOptions())
    while True:
        try:
            events.append(next(generator))
        except StopIteration as stop:
            return events, stop.value


def test_hippocampus_is_nnunets_own_split_and_is_measured_fast(shared_data):
    dataset = open_dataset(shared_data / "hippocampus", DataConfig())
    assert (dataset.layout, len(dataset.cases), dataset.channels) == ("msd", 208, ("MRI",))
    assert dataset.labels.to_json() == {"Anterior": 1, "Posterior": 2}
    splits = make_splits(dataset, 5, 0)
    assert splits.source == "splits_final.json"
    assert (len(splits.folds[0].train), len(splits.folds[0].validation)) == (165, 43)
    started = time.process_time()
    events, result = measured(dataset)
    elapsed_s = time.process_time() - started
    fingerprint = result.fingerprint
    assert sum(isinstance(event, CaseRead) for event in events) == fingerprint.n_cases == 208
    assert result.bad == ()
    assert fingerprint.median_shape == (35, 50, 36)
    assert fingerprint.median_spacing_mm == (1, 1, 1)
    frequencies = {label.name: round(100 * label.frequency, 2) for label in fingerprint.labels}
    assert frequencies == {"Anterior": 2.72, "Posterior": 2.51}
    assert [label.n_cases for label in fingerprint.labels] == [208, 208]
    assert elapsed_s <= 12


def test_em_membranes_are_pictures_with_undeclared_labels(shared_data):
    dataset = open_dataset(shared_data / "em_membranes", DataConfig(group="block:5"))
    assert (dataset.layout, len(dataset.cases), dataset.channels) == ("paired", 25, ("image",))
    splits = make_splits(dataset, 5, 0)
    for part in splits.folds:
        first, *_, last = (int(name.removeprefix("slice_")) for name in part.validation)
        assert (first % 5, last - first) == (0, 4)
    _, result = measured(dataset)
    assert result.labels.to_json() == {"label 1": 1}
    assert result.fingerprint.median_shape == (512, 512, 1)
    assert not result.fingerprint.placed
    assert result.fingerprint.labels[0].frequency == pytest.approx(0.776, abs=0.001)


def test_ms_lesions_hold_two_channels_in_one_file_and_three_patients(shared_data):
    dataset = open_dataset(shared_data / "ms_lesions", DataConfig(group=r"^(ms\d+)"))
    assert (dataset.channels, len(dataset.cases)) == (("FLAIR", "T1"), 24)
    splits = make_splits(dataset, 5, 0)
    assert [len(part.validation) for part in splits.folds] == [8, 8, 8]
    _, result = measured(dataset)
    (lesion,) = result.fingerprint.labels
    assert lesion.n_cases == 18
    assert (lesion.smallest_ml, lesion.largest_ml) == pytest.approx((0.012, 17.301))
    assert all(channel.zero_share > 0.5 and not channel.is_ct for channel in result.fingerprint.channels)


def test_mouse_brain_has_gaps_in_its_label_values_and_tiny_voxels(shared_data):
    dataset = open_dataset(shared_data / "mouse_brain", DataConfig())
    assert (dataset.layout, len(dataset.cases)) == ("nnunet", 17)
    assert len(dataset.labels.names) == 37
    assert not {22, 30, 37} & set(dataset.labels.classes)
    image, label_map, _ = read_case(dataset.cases[0], dataset.labels, io.ReadOptions())
    assert label_map.array.dtype.kind == "u"
    assert image.geometry.spacing_mm == pytest.approx((0.15, 0.15, 0.15))
    assert set(count_values(label_map.array)) == set(dataset.labels.classes)


def test_sts_petct_has_two_files_a_case_and_one_of_them_is_ct(shared_data):
    dataset = open_dataset(shared_data / "sts_petct", DataConfig())
    assert (dataset.channels, len(dataset.cases)) == (("CT", "PET"), 14)
    _, result = measured(dataset)
    ct, pet = result.fingerprint.channels
    assert (ct.is_ct, pet.is_ct) == (True, False)
    # SUV: the scale factor of the file was applied (raw integers would be a hundred times as large).
    assert 10 < pet.high < 30
    assert result.fingerprint.labels[0].frequency == pytest.approx(0.03, abs=0.001)


def test_cord_9604_is_mended_and_told_and_no_other_case_needs_it(shared_data):
    dataset = open_dataset(shared_data / "cord_gm", DataConfig(group=r"^(cord_\d+)"))
    assert len({case.group for case in dataset.cases}) == 6
    events, result = measured(dataset)
    assert result.bad == ()
    assert {event.case for event in events if isinstance(event, Warned)} == {"cord_9604"}
    assert result.fingerprint.anisotropy > 3
    assert {grid.case for grid in result.fingerprint.cases if grid.orientation != "LAS"} == {"cord_9604"}


def test_fullsize_is_ct_and_its_liver_has_its_volume(shared_data):
    dataset = open_dataset(shared_data / "fullsize", DataConfig())
    _, result = measured(dataset)
    assert result.fingerprint.channels[0].is_ct
    assert result.fingerprint.labels[1].n_cases == 1
    assert sorted(grid.shape for grid in result.fingerprint.cases) == [(512, 512, 78), (512, 512, 140)]


def test_predicting_a_data_set_takes_its_images_under_their_ids(shared_data):
    assert len(find_cases([shared_data / "hippocampus"], 1)) == 208
    assert [len(case.images) for case in find_cases([shared_data / "sts_petct"], 2)] == [2] * 14
    cases = find_cases([shared_data / "sts_petct/imagesTr"], 2)
    assert [case.id for case in cases] == list(open_dataset(shared_data / "sts_petct", DataConfig()).ids)
