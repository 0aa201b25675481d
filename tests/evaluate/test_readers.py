"""What several readers agree on: votes counted by hand, STAPLE where a reader is unreliable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import medseg.evaluate
from medseg.core.errors import InputError, UsageError
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap
from medseg.evaluate import EvaluateOptions, evaluate, run
from medseg.evaluate.readers import agreement, consensus, in_one_numbering

GRID = Geometry.from_spacing((12, 10, 8))
LABELS = Labels({"one": (1,), "two": (2,), "both": (1, 2)})


def readers(*arrays):
    return {f"reader {n}": LabelMap(np.asarray(array, np.uint8), GRID) for n, array in enumerate(arrays, start=1)}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 3, 4]))
def test_the_majority_is_that_of_votes_counted_voxel_by_voxel(seed, n):
    arrays = np.random.default_rng(seed).integers(0, 3, (n, *GRID.shape))
    votes = np.stack([(arrays == value).sum(axis=0) for value in range(3)])
    wins = votes == votes.max(axis=0)
    expected = np.where(wins.sum(axis=0) == 1, votes.argmax(axis=0), 0)
    found, notes = consensus(readers(*arrays), "majority")
    assert np.array_equal(found.array, expected)
    n_undecided = int((wins.sum(axis=0) > 1).sum())
    assert notes == () if not n_undecided else str(n_undecided) in notes[0]


def test_staple_trusts_two_that_agree_more_than_a_third():
    truth = np.zeros(GRID.shape, int)
    truth[2:9, 2:8, 2:6] = 1
    wild = np.random.default_rng(1).integers(0, 2, GRID.shape)
    found, _ = consensus(readers(truth, truth, wild), "staple")
    assert np.array_equal(found.array, truth)


def test_readers_of_one_mind_agree_on_it_and_empty_maps_on_nothing():
    truth = np.random.default_rng(2).integers(0, 3, GRID.shape)
    for how in ("staple", "majority"):
        assert np.array_equal(consensus(readers(truth, truth), how)[0].array, truth)
        assert not consensus(readers(truth * 0, truth * 0), how)[0].array.any()


def test_agreement_is_the_dice_of_every_pair():
    a, b = np.random.default_rng(3).integers(0, 3, (2, *GRID.shape))
    found = agreement(readers(a, b, a), LABELS)
    assert found["reader 1", "reader 3"] == {"one": 1, "two": 1, "both": 1}
    dice = 2 * ((a == 2) & (b == 2)).sum() / ((a == 2).sum() + (b == 2).sum())
    assert found["reader 1", "reader 2"]["two"] == pytest.approx(dice)
    assert list(found) == [("reader 1", "reader 2"), ("reader 1", "reader 3"), ("reader 2", "reader 3")]
    assert agreement(readers(a * 0, a * 0), LABELS)["reader 1", "reader 2"] == {}


def test_what_cannot_agree_is_refused():
    with pytest.raises(UsageError, match="at least two"):
        consensus(readers(np.zeros(GRID.shape)), "staple")
    with pytest.raises(UsageError, match="staple or majority"):
        EvaluateOptions(consensus="mean")
    moved = GRID.crop((1, 0, 0), (13, 10, 8))
    maps = readers(np.zeros(GRID.shape)) | {"B": LabelMap(np.zeros(GRID.shape, np.uint8), moved)}
    with pytest.raises(InputError, match="reader 1 and B lie on different grids"):
        consensus(maps, "majority")


def test_names_make_one_numbering():
    a = LabelMap(np.full(GRID.shape, 1, np.uint8), GRID, Labels({"liver": (1,)}))
    b = LabelMap(np.full(GRID.shape, 7, np.uint8), GRID, Labels({"spleen": (1,), "liver": (7,)}))
    found = in_one_numbering({"a": a, "b": b})
    assert np.array_equal(found["a"].array, found["b"].array)
    with pytest.raises(InputError, match="b have only values"):
        in_one_numbering({"a": a, "b": LabelMap(b.array, GRID)})


def box(low, high):
    array = np.zeros(GRID.shape, np.uint8)
    array[low:high, 2:8, 2:6] = 1
    return LabelMap(array, GRID)


def test_a_prediction_is_judged_by_what_three_readers_agree_on():
    readings = [{"case": box(2, 8)}, {"case": box(2, 9)}, {"case": box(2, 9)}]
    options = EvaluateOptions(consensus="majority", metrics=("dice",))
    *_, found = run({"case": box(2, 9)}, readings[0], options, readers={"B": readings[1], "C": readings[2]})
    assert found.headline["dice"] == 1
    agreed = found.facts[0].agreement
    assert agreed["B", "C"] == {"label 1": 1}
    assert agreed["reference", "prediction"]["label 1"] == pytest.approx(2 * 6 / 13)
    assert found.to_json()["readers"]["B, prediction"]["label 1"]["mean"] == 1
    called = medseg.evaluate({"case": box(2, 9)}, readings[0], options, readers={"B": readings[1], "C": readings[2]})
    assert called.rows == found.rows


def test_a_case_that_one_reader_has_is_judged_by_that_one():
    both = {"a": box(2, 8), "b": box(2, 8)}
    *_, found = run(both, both, EvaluateOptions(metrics=("dice",)), readers={"B": {"a": box(2, 8)}})
    assert [facts.outcome for facts in found.facts] == ["compared", "compared"]
    assert found.facts[1].agreement == {}
    assert found.headline == evaluate(both, both, EvaluateOptions(metrics=("dice",))).headline


def test_what_one_of_two_readers_leaves_open_counts_for_neither():
    a = np.random.default_rng(4).integers(0, 3, GRID.shape)
    left_open = np.where(np.random.default_rng(5).random(GRID.shape) < 0.3, 9, a)
    labels = Labels({"one": (1,), "two": (2,)}, ignore=9)
    found = agreement(readers(a, left_open, a), labels)
    assert found["reader 1", "reader 2"] == found["reader 2", "reader 3"] == {"one": 1, "two": 1}
