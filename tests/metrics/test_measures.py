"""The plain functions: what they take, what they refuse, and that they give the engine's numbers."""

import subprocess
import sys
from math import isnan

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from medseg import metrics
from medseg.core.errors import InputError, UsageError
from tests.metrics import brute
from tests.strategies import affines, label_arrays, shapes, spacings_mm

DISTANCES = (metrics.hausdorff, metrics.hausdorff95, metrics.assd, metrics.masd)


@st.composite
def masks(draw, n_axes=3):
    shape = draw(shapes(1, 4))[:n_axes]
    pair = [draw(label_arrays(shape, (0, 1))).astype(bool) for _ in range(2)]
    assume(all(mask.any() for mask in pair))
    return pair


@given(masks(), affines(sheared=True))
def test_all_functions_give_the_numbers_of_brute_force(pair, affine):
    a, b = pair
    wanted = brute.distances(b, a, affine, 2.0)
    assert metrics.dice(a, b) == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert metrics.iou(a, b) == pytest.approx((a & b).sum() / (a | b).sum())
    assert metrics.precision(a, b) == pytest.approx((a & b).sum() / a.sum())
    assert metrics.recall(a, b) == pytest.approx((a & b).sum() / b.sum())
    assert metrics.hausdorff(a, b, affine=affine) == pytest.approx(wanted["hd"], abs=1e-9)
    assert metrics.hausdorff95(a, b, affine=affine) == pytest.approx(wanted["hd95"], abs=1e-9)
    assert metrics.hausdorff95(a, b, affine=affine, pooled=True) == pytest.approx(wanted["pooled"], abs=1e-9)
    assert metrics.assd(a, b, affine=affine) == pytest.approx(wanted["assd"], abs=1e-9)
    assert metrics.masd(a, b, affine=affine) == pytest.approx(wanted["masd"], abs=1e-9)
    assert metrics.nsd(a, b, tolerance_mm=2.0, affine=affine) == pytest.approx(wanted["nsd"], abs=1e-9)


@given(masks(n_axes=2), spacings_mm())
def test_a_picture_is_a_volume_of_one_slice(pair, spacing):
    a, b = pair
    for measure in DISTANCES:
        flat = measure(a, b, spacing[:2])
        assert flat == measure(a[..., None], b[..., None], (*spacing[:2], 9.0))
        assert flat == pytest.approx(measure(b.T, a.T, spacing[1::-1]), abs=1e-9)


@given(shapes(1, 4).flatmap(lambda shape: st.tuples(*[label_arrays(shape, (0, 1, 2, 5))] * 2)))
def test_renumbering_the_labels_changes_nothing(pair):
    renumbered = [np.array([0, 7, 300, 0, 0, 40])[array] for array in pair]
    for old, new in ((1, 7), (2, 300), (5, 40), ((1, 5), (7, 40))):
        assert metrics.dice(*pair, label=old) == pytest.approx(metrics.dice(*renumbered, label=new), nan_ok=True)
        assert metrics.assd(*pair, label=old) == pytest.approx(metrics.assd(*renumbered, label=new), nan_ok=True)


def test_the_call_of_the_contract_works():
    a, b = np.zeros((2, 8, 8, 8), np.uint8)
    a[2:5, 2:5, 2:4], b[2:5, 2:5, 3:5] = 1, 1
    assert metrics.hausdorff95(a, b, spacing=(1, 1, 3)) == 3.0
    assert metrics.hausdorff95(a, b, spacing=(1, 1, 3)) == metrics.hausdorff95(a, b, affine=np.diag([1, 1, 3, 1]))


def test_masks_of_0_and_255_are_masks():
    a = np.array([[0, 255, 255]], np.uint8)
    assert metrics.dice(a, a > 0) == 1.0


def test_empty_masks_give_nan_where_a_measure_is_undefined():
    empty, full = np.zeros((3, 3), bool), np.ones((3, 3), bool)
    for measure in (metrics.dice, metrics.iou, metrics.precision, metrics.recall, metrics.nsd, *DISTANCES):
        assert isnan(measure(empty, empty))
    assert all(isnan(measure(full, empty)) and isnan(measure(empty, full)) for measure in DISTANCES)
    assert metrics.dice(full, empty) == metrics.nsd(full, empty) == metrics.recall(empty, full) == 0.0
    assert isnan(metrics.recall(full, empty))
    assert isnan(metrics.precision(empty, full))


def test_several_labels_without_a_choice_are_refused():
    a = np.array([[0, 1, 2]])
    with pytest.raises(UsageError, match=r"several labels \(1 to 2\).*label=1"):
        metrics.dice(a, a)
    assert metrics.dice(a, a, label=2) == 1.0


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((np.zeros((2, 2)), np.zeros((2, 2))), InputError, "not float64.*threshold"),
        ((np.zeros((2, 2), bool), np.zeros((2, 3), bool)), InputError, "one grid"),
        ((np.zeros(2, bool), np.zeros(2, bool)), InputError, "2-D or 3-D"),
        ((np.ones((2, 2), bool), np.ones((2, 2), bool), (1, 1, 1)), UsageError, "must be 2 numbers"),
        ((np.ones((2, 2), bool), np.ones((2, 2), bool), (1, 0)), UsageError, "above 0"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_words(arguments, error, words):
    with pytest.raises(error, match=words):
        metrics.assd(*arguments)


def test_a_spacing_beside_an_affine_is_refused():
    mask = np.ones((2, 2, 2), bool)
    with pytest.raises(UsageError, match="give one of them"):
        metrics.assd(mask, mask, (1, 1, 3), affine=np.eye(4))


def test_the_metrics_load_neither_torch_nor_readers():
    loaded = "import sys, medseg.metrics; print(sorted({'torch', 'monai', 'nibabel', 'SimpleITK'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_everything_public_is_listed():
    assert sorted(metrics.__all__) == sorted(set(metrics.__all__))
    assert all(hasattr(metrics, name) for name in metrics.__all__)
