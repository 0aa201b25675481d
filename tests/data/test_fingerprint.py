"""The fingerprint: each case read once, all bad ones named, numbers that can be checked by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg import io
from medseg.config.schema import DataConfig
from medseg.core.errors import InputError
from medseg.core.events import CaseFailed, CaseRead, Noted, Warned
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.data.fingerprint import Fingerprint, combine, measure, measure_case
from medseg.data.layouts import open_dataset
from tests.data.folders import GRID, image, label_map, msd, nnunet, paired, put_image, put_labels
from tests.strategies import ORIENTATIONS, geometries

ORGAN = Labels({"organ": (1,)})


def measured(root, **config):
    """The events of `measure` and what it returns."""
    events = []
    generator = measure(open_dataset(root, DataConfig(**config)), io.ReadOptions())
    while True:
        try:
            events.append(next(generator))
        except StopIteration as stop:
            return events, stop.value


def facts(name, array, labels, grid=None, **more):
    array, labels = np.asarray(array, float), np.asarray(labels, np.uint8)
    grid = grid or Geometry.from_spacing(labels.shape)
    return measure_case(name, Volume(array.reshape(-1, *labels.shape), grid), LabelMap(labels, grid), **more)


def test_numbers_of_a_tiny_case_are_those_worked_out_by_hand():
    """Voxels 1…8 of 2 × 2 × 2 mm; the organ is 5…8: mean 6.5, variance (2.25 + 0.25 + 0.25 + 2.25) / 4."""
    grid = Geometry.from_spacing((2, 2, 2), (2, 2, 2))
    values = np.arange(1, 9).reshape(2, 2, 2)
    fingerprint = combine([facts("a", values, values > 4, grid)], ORGAN, ("image",))
    (channel,), (label,) = fingerprint.channels, fingerprint.labels
    assert (channel.mean, channel.median) == (6.5, 6.5)
    assert channel.sd == pytest.approx(1.25**0.5)
    assert channel.low == pytest.approx(5.015)
    assert channel.high == pytest.approx(7.985)
    assert (channel.whole_mean, channel.whole_median, channel.zero_share) == (4.5, 4.5, 0)
    assert (label.n_cases, label.frequency) == (1, 0.5)
    assert label.median_ml == pytest.approx(4 * 0.008)
    assert fingerprint.cases[0].memory_mib == pytest.approx(8 * 5 / 2**20)


@given(geometries(smallest=2, largest=6, oblique=False), st.sampled_from(ORIENTATIONS))
def test_the_way_a_file_is_oriented_changes_no_shape_and_no_spacing(grid, turn):
    """Not for oblique grids near 45°, where the closest canonical order is a matter of rounding."""
    one = facts("a", np.zeros(grid.shape), np.ones(grid.shape), grid)
    turned = grid.reorient(turn)
    other = facts("a", np.zeros(turned.shape), np.ones(turned.shape), turned)
    assert one.grid.shape == other.grid.shape
    assert one.grid.spacing_mm == pytest.approx(other.grid.spacing_mm)
    assert other.voxel_ml == pytest.approx(one.voxel_ml)


def test_a_tilted_scan_is_measured_as_the_upright_grid_that_a_plan_is_for():
    """The slices are 5 mm apart along their normal, though 5.2 mm along the table."""
    affine = np.diag([1.0, 1.0, 5.0, 1.0])
    affine[1, 2] = 5 * np.tan(np.deg2rad(16.5))
    found = facts("a", np.zeros((8, 8, 5)), np.ones((8, 8, 5)), Geometry((8, 8, 5), affine))
    assert found.grid.spacing_mm == pytest.approx((1, 1, 5))
    assert found.grid.shape == (8, 8 + 6, 5)
    assert found.voxel_ml == pytest.approx(0.005)


def test_medians_and_anisotropy_are_over_cases():
    cases = [
        facts(str(n), np.arange(8 * n), np.ones((2, 4, n)), Geometry.from_spacing((2, 4, n), (1, 0.5, mm)))
        for n, mm in ((1, 2.0), (3, 3.0), (9, 6.0))
    ]
    fingerprint = combine(cases, ORGAN, ("image",))
    assert fingerprint.median_shape == (2, 4, 3)
    assert fingerprint.median_spacing_mm == (1, 0.5, 3)
    assert fingerprint.anisotropy == 6
    assert fingerprint.n_cases == 3
    assert fingerprint.placed


@given(st.permutations(range(5)))
def test_a_fingerprint_does_not_depend_on_the_order_of_its_cases(order):
    cases = [facts(f"c{n}", image(seed=n).array, label_map().array, GRID) for n in range(5)]
    labels = Labels({"front": (1,), "back": (2,)})
    assert combine([cases[n] for n in order], labels, ("image",)) == combine(cases, labels, ("image",))


def test_samples_are_seeded_bounded_and_taken_inside_the_foreground():
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(20, 20, 20)), rng.integers(0, 2, (20, 20, 20))
    one, same = (facts("a", values, labels, n_samples=500).channels[0] for _ in range(2))
    other = facts("a", values, labels, n_samples=500, seed=1).channels[0]
    np.testing.assert_array_equal(one.foreground, same.foreground)
    assert one.foreground.size == one.whole.size == 500
    assert not np.array_equal(one.foreground, other.foreground)
    assert set(one.foreground) <= set(values[labels == 1].astype(np.float32))
    assert len(set(one.foreground)) == 500


def test_the_ignored_value_is_no_foreground():
    labels = np.array([[[0, 1, 9]]])
    case = facts("a", [[[10, 20, 30]]], labels, ignore=9)
    assert case.channels[0].foreground.tolist() == [20]
    fingerprint = combine([case], Labels({"organ": (1,)}, ignore=9), ("image",))
    assert fingerprint.channels[0].mean == 20


def test_a_region_counts_all_its_values():
    case = facts("a", np.zeros((1, 1, 4)), np.array([[[0, 1, 2, 2]]]))
    whole, core = combine([case], Labels({"whole": (1, 2), "core": (2,)}), ("image",)).labels
    assert (whole.frequency, core.frequency) == (0.75, 0.5)


def test_a_label_that_never_occurs_has_no_volume_and_a_rare_one_that_of_its_cases():
    cases = [facts("a", np.zeros((1, 1, 4)), [[[0, 1, 1, 1]]]), facts("b", np.zeros((1, 1, 4)), [[[0, 0, 0, 2]]])]
    fingerprint = combine(cases, Labels({"one": (1,), "two": (2,), "none": (3,)}), ("image",))
    assert fingerprint.median_label_ml == pytest.approx({"one": 0.003, "two": 0.001})
    assert [label.n_cases for label in fingerprint.labels] == [1, 1, 0]


def test_the_share_of_exact_zeros_is_over_all_voxels():
    case = facts("a", [[[0, 0, 0, 5]]], [[[0, 0, 0, 1]]])
    assert combine([case], ORGAN, ("image",)).channels[0].zero_share == 0.75


@pytest.mark.parametrize(
    ("name", "values", "is_ct", "reason"),
    [
        ("CT", [0.5, 1], True, "the channel is called CT"),
        ("portal_CT", [0, 1], True, "the channel is called portal_CT"),
        ("image", [-1000, 40, 1200], True, "whole numbers from -1000 to 1200 in the median case are those of CT"),
        ("image", [-1024, 40, 3071], True, "are those of CT"),
        ("image", [-1000.5, 40, 1200], False, "numbers with fractions"),
        ("image", [0, 40, 1200], False, "are not those of CT"),
        ("image", [-1000, -500, 40], False, "are not those of CT"),
        ("T1", [-1000, 40, 1200], False, "the channel is called T1"),
        ("activity", [0, 40, 1200], False, "are not those of CT"),
    ],
)
def test_ct_is_known_by_its_name_else_by_its_numbers(name, values, is_ct, reason):
    array = np.resize(values, (1, 1, 6))
    channel = combine([facts("a", array, np.ones((1, 1, 6)))], ORGAN, (name,)).channels[0]
    assert channel.is_ct is is_ct
    assert reason in channel.ct_reason


def test_pictures_are_not_placed():
    grid = Geometry.from_spacing((4, 4, 1))
    volume = Volume(np.zeros((1, 4, 4, 1)), grid, Meta(kind="png", placed=False))
    case = measure_case("a", volume, LabelMap(np.ones((4, 4, 1), np.uint8), grid))
    assert not combine([case], ORGAN, ("image",)).placed


def test_maps_without_a_label_are_nothing_to_learn():
    with pytest.raises(InputError, match="None of the 1 label maps holds a voxel of organ"):
        combine([facts("a", np.zeros((1, 1, 2)), np.zeros((1, 1, 2)))], ORGAN, ("image",))


def test_a_fingerprint_comes_back_from_json(tmp_path):
    _, result = measured(nnunet(tmp_path / "d"))
    io.files.write_json(tmp_path / "fingerprint.json", result.fingerprint.to_json())
    stored = json.loads((tmp_path / "fingerprint.json").read_text())
    assert stored["schema"] == "medseg/fingerprint/1"
    assert Fingerprint.model_validate(stored) == result.fingerprint


def test_every_case_is_reported_once_and_counted(tmp_path):
    events, result = measured(nnunet(tmp_path))
    assert [(e.case, e.done, e.total, e.phase) for e in events if isinstance(e, CaseRead)] == [
        (f"c_{n}", n + 1, 3, "checking") for n in range(3)
    ]
    assert result.bad == ()
    assert [channel.name for channel in result.fingerprint.channels] == ["CT", "PET"]
    assert [grid.orientation for grid in result.fingerprint.cases] == ["LAS"] * 3


def test_measuring_twice_gives_the_same_fingerprint(tmp_path):
    root = nnunet(tmp_path)
    assert measured(root)[1] == measured(root)[1]


def test_all_bad_cases_are_listed_and_the_others_measured(tmp_path):
    root = msd(tmp_path, n=6)
    (root / "imagesTr/c_0.nii.gz").unlink()
    put_labels(root / "labelsTr/c_1.nii.gz", values=(1, 7))
    put_image(root / "imagesTr/c_2.nii.gz", GRID.crop((0, 0, 0), (6, 5, 3)))
    damaged = root / "imagesTr/c_3.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:-30])
    events, result = measured(root)
    assert [case.id for case in result.bad] == ["c_0", "c_1", "c_2", "c_3"]
    failed = {event.case: event.reason for event in events if isinstance(event, CaseFailed)}
    assert failed == {case.id: case.reason for case in result.bad}
    assert "no such file" in failed["c_0"]
    assert "the value 7 (2 voxels)" in failed["c_1"]
    assert "6 × 5 × 3 and 6 × 5 × 4 voxels" in failed["c_2"]
    assert "c_3.nii.gz" in failed["c_3"]
    assert [grid.case for grid in result.fingerprint.cases] == ["c_4", "c_5"]
    assert [(e.done, e.total) for e in events if isinstance(e, CaseRead | CaseFailed)] == [(n, 6) for n in range(1, 7)]


def test_a_case_with_another_number_of_channels_is_bad(tmp_path):
    root = paired(tmp_path)
    put_image(root / "images/c_1.nii.gz", n_channels=2)
    _, result = measured(root)
    assert [case.id for case in result.bad] == ["c_1"]
    assert result.bad[0].reason.startswith("Case c_1 has 2 channels, but the data set has 1 (image).")


def test_no_usable_case_is_refused_with_the_first_reason(tmp_path):
    root = msd(tmp_path, n=2, labels={"0": "background", "1": "organ"})
    with pytest.raises(InputError, match=r"None of the 2 cases of .* The first is c_0: .*the value 2"):
        measured(root)


def test_undeclared_labels_are_found_while_measuring(tmp_path):
    root = paired(tmp_path)
    put_labels(root / "labels/c_1.nii.gz", values=(5, 255))
    events, result = measured(root)
    assert result.labels.to_json() == {"label 1": 1, "label 2": 2, "label 5": 5, "label 255": 255}
    assert [label.n_cases for label in result.fingerprint.labels] == [2, 2, 1, 1]
    assert any("taken for a label" in event.text for event in events if isinstance(event, Warned))


def test_what_was_mended_is_told_once_a_case_and_the_same_sentence_once(tmp_path):
    root = msd(tmp_path)
    for n in range(2):
        put_labels(root / f"labelsTr/c_{n}.nii.gz", Geometry(GRID.shape, np.eye(4)))
    io.write(Volume(np.full((1, *GRID.shape), 3, np.int16), GRID), root / "imagesTr/c_2.nii.gz")
    events, _ = measured(root)
    assert [(e.case, e.text.split(":")[0]) for e in events if isinstance(e, Warned)] == [
        ("c_0", "Label maps do not say where they lie in space; they are taken to lie on their images (equal shapes)."),
        ("c_2", "Channel MRI has one value everywhere"),
    ]


def test_a_declared_label_that_occurs_nowhere_is_told(tmp_path):
    events, _ = measured(
        msd(tmp_path, labels={"0": "background", "1": "front", "2": "back", "3": "left", "4": "right"})
    )
    assert Warned("2 labels are declared but occur in no case: left, right.") in events


def test_channels_on_grids_of_their_own_are_told_once_with_figures_and_counted(tmp_path):
    root = nnunet(tmp_path, n=3)
    for number in (0, 2):
        put_image(root / f"imagesTr/c_{number}_0001.nii.gz", GRID.resampled((2, 4, 3)), seed=number)
    events, found = measured(root)
    notes = [event.text for event in events if isinstance(event, Noted)]
    assert len(notes) == 1
    assert notes[0].startswith(
        "PET has a grid of its own in 2 of 3 cases (in c_0 voxels of 2 × 5 × 3 mm, where CT has 1 × 2 × 3 mm). "
        "It is brought to the grid of CT by linear interpolation"
    )
    assert not any(isinstance(event, Warned) for event in events)
    assert [channel.n_own_grid for channel in found.fingerprint.channels] == [0, 2]
    assert Fingerprint.model_validate(found.fingerprint.to_json()) == found.fingerprint


def test_a_further_channel_that_is_finer_than_the_first_is_told_what_it_loses(tmp_path):
    root = nnunet(tmp_path, n=2)
    for number in range(2):
        put_image(root / f"imagesTr/c_{number}_0001.nii.gz", GRID.resampled((0.5, 1, 1.5)), seed=number)
    events, _ = measured(root)
    (note,) = [event.text for event in events if isinstance(event, Noted)]
    assert "Its voxels are 8 times smaller, and what is so fine is lost: make PET the first channel" in note


def test_a_fingerprint_from_before_channels_had_grids_of_their_own_is_read():
    old = combine([facts("a", np.arange(8).reshape(2, 2, 2), np.ones((2, 2, 2)))], ORGAN, ("image",)).to_json()
    del old["channels"][0]["n_own_grid"]
    assert Fingerprint.model_validate(old).channels[0].n_own_grid == 0
