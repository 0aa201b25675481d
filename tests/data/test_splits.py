"""Folds: everyone is validated once, groups stay whole, sizes balance, and a file of the data set decides."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.errors import InputError, UsageError
from medseg.data.dataset import BadCase, Case, Dataset
from medseg.data.splits import Fold, Splits, fold, load_splits, make_splits, save_splits, split_by_group


@st.composite
def grouped_cases(draw, least_groups=1):
    sizes = draw(st.lists(st.integers(1, 6), min_size=least_groups, max_size=25))
    return [
        Case(f"c{group}_{n}", (Path("x"),), Path("y"), group=f"g{group}")
        for group, size in enumerate(sizes)
        for n in range(size)
    ]


def dataset(ids="abcdef", root=Path("d"), splits=None, groups=None):
    cases = tuple(Case(name, (Path("x"),), Path("y"), group=(groups or {}).get(name, "")) for name in ids)
    path = None
    if splits is not None:
        path = root / "splits_final.json"
        path.write_text(json.dumps(splits))
    return Dataset(root, "nnunet", cases, None, ("image",), splits_path=path)


@given(grouped_cases(least_groups=2), st.integers(2, 8), st.integers(0, 99))
def test_every_case_is_validated_once_and_trains_in_all_other_folds(cases, folds, seed):
    splits = split_by_group(cases, folds, seed)
    everyone = {case.id for case in cases}
    assert Counter(name for part in splits.folds for name in part.validation) == Counter(everyone)
    for part in splits.folds:
        assert set(part.train) == everyone - set(part.validation)


@given(grouped_cases(least_groups=2), st.integers(2, 8), st.integers(0, 99))
def test_groups_never_straddle_and_folds_differ_by_at_most_the_largest_group(cases, folds, seed):
    group_of = {case.id: case.group for case in cases}
    splits = split_by_group(cases, folds, seed)
    for part in splits.folds:
        assert not {group_of[name] for name in part.train} & {group_of[name] for name in part.validation}
    sizes = [len(part.validation) for part in splits.folds]
    assert min(sizes) > 0
    assert max(sizes) - min(sizes) <= max(Counter(group_of.values()).values())


@given(grouped_cases(), st.integers(2, 8), st.integers(0, 99), st.randoms())
def test_the_same_cases_and_seed_give_the_same_folds_in_any_order(cases, folds, seed, random):
    shuffled = list(cases)
    random.shuffle(shuffled)
    assert split_by_group(cases, folds, seed) == split_by_group(shuffled, folds, seed)


@given(st.integers(0, 1000))
def test_a_large_group_is_placed_first_so_that_small_ones_can_fill_up(seed):
    groups = {"a": "large", "b": "large", "c": "large", "d": "large"}
    splits = make_splits(dataset("abcdefgh", groups=groups), 2, seed)
    assert sorted(part.validation for part in splits.folds) == [tuple("abcd"), tuple("efgh")]


def test_another_seed_gives_other_folds():
    cases = [Case(f"c{n}", (Path("x"),)) for n in range(20)]
    assert split_by_group(cases, 5, 0).folds != split_by_group(cases, 5, 1).folds


def test_a_known_split_stays_what_it_was():
    """Folds of seed 0 are a promise to everyone who reports a result on them."""
    cases = [Case(f"c{n}", (Path("x"),)) for n in range(6)]
    # By hand: sha256 of "0\nc2" is the smallest, then those of c5, c4, c3, c1, c0; dealt out one by one.
    assert [part.validation for part in split_by_group(cases, 3, 0).folds] == [("c2", "c3"), ("c1", "c5"), ("c0", "c4")]


def test_fewer_groups_than_folds_give_as_many_folds_as_groups_and_say_so():
    splits = make_splits(dataset("abcd", groups={"a": "p", "b": "p", "c": "q", "d": "q"}), folds=5, seed=0)
    assert sorted(part.validation for part in splits.folds) == [("a", "b"), ("c", "d")]
    assert "2 groups for 5 folds" in splits.notes[0]


def test_a_single_group_has_no_validation_and_says_so_loudly():
    splits = make_splits(dataset("ab", groups={"a": "p", "b": "p"}), folds=5, seed=0)
    assert splits.folds == (Fold(("a", "b"), ()),)
    assert "NO validation" in splits.notes[0]


def test_no_case_is_no_split():
    with pytest.raises(InputError, match="nothing to train on"):
        make_splits(dataset(""), 5, 0)


def test_fold_all_trains_on_everyone():
    splits = make_splits(dataset("abcdef"), 3, 0)
    assert fold(splits, "all") == Fold(tuple("abcdef"), ())
    assert fold(splits, 2) == fold(splits, "2") == splits.folds[2]


@pytest.mark.parametrize("which", [3, -1, "7", "first", ""])
def test_a_fold_that_is_not_there_is_named_with_those_that_are(which):
    with pytest.raises(UsageError, match=r"have the folds 0…2, or take all"):
        fold(make_splits(dataset("abcdef"), 3, 0), which)


def test_leaving_out_a_bad_case_moves_nobody_else():
    splits = make_splits(dataset("abcdef"), 3, 0)
    for before, after in zip(splits.folds, splits.without({"c"}).folds, strict=True):
        assert after.train == tuple(name for name in before.train if name != "c")
        assert after.validation == tuple(name for name in before.validation if name != "c")


@given(grouped_cases(), st.integers(2, 5))
def test_splits_come_back_from_their_file(tmp_path_factory, cases, folds):
    path = tmp_path_factory.mktemp("splits") / "splits.json"
    splits = split_by_group(cases, folds, 3)
    save_splits(splits, path)
    assert load_splits(path) == splits
    assert json.loads(path.read_text())["schema"] == "medseg/splits/1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"schema": "medseg/splits/9"}', "its schema is 'medseg/splits/9'"),
        ('{"schema": "medseg/splits/1", "folds": []}', "holds no list of folds"),
        ('{"schema": "medseg/splits/1", "folds": [{"train": ["a"]}]}', "fold 0 must have two lists"),
        (
            '{"schema": "medseg/splits/1", "folds": [{"train": ["a"], "validation": ["a"]}]}',
            "1 cases are in training and",
        ),
        ('{"schema": ', "line 1"),
        ("[]", "its schema is None"),
    ],
)
def test_a_damaged_file_of_splits_is_refused_with_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "splits.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        load_splits(path)


def test_nnunets_file_decides(tmp_path):
    given_folds = [{"train": ["a", "b"], "val": ["c"]}, {"train": ["c"], "val": ["a", "b"]}]
    splits = make_splits(dataset("abc", tmp_path, given_folds), 5, 0)
    assert splits.folds == (Fold(("a", "b"), ("c",)), Fold(("c",), ("a", "b")))
    assert (splits.source, splits.seed) == ("splits_final.json", None)


def test_names_that_do_not_fit_nnunets_file_are_told(tmp_path):
    given_folds = [{"train": ["a", "b", "gone"], "val": ["c", "lost"]}]
    splits = make_splits(dataset("abcd", tmp_path, given_folds), 5, 0)
    assert splits.folds == (Fold(("a", "b"), ("c",)),)
    told = " ".join(splits.notes)
    assert "2 cases that are not in the data set: gone, lost" in told
    assert "1 case is in no fold of splits_final.json and not used: d" in told
    assert "2 cases are validated in no fold of splits_final.json: a, b" in told


@pytest.mark.parametrize(
    ("given_folds", "message"),
    [
        ([{"train": ["a", "b"], "val": ["b", "c"]}], r"in fold 0, 1 cases are in training and in validation: b"),
        ([{"train": ["x", "y"], "val": ["a"]}], r"fold 0 trains on 2 cases, none of which is in the data set"),
        ({"fold": 1}, "holds no list of folds"),
        ([{"train": "a", "val": []}], "fold 0 must have two lists"),
    ],
)
def test_folds_that_cannot_be_used_are_refused(tmp_path, given_folds, message):
    with pytest.raises(InputError, match=message):
        make_splits(dataset("abc", tmp_path, given_folds), 5, 0)


def test_groups_that_straddle_nnunets_folds_are_refused(tmp_path):
    straddling = dataset("abc", tmp_path, [{"train": ["a", "b"], "val": ["c"]}], groups={"b": "p7", "c": "p7"})
    with pytest.raises(
        InputError, match=r"fold 0 of splits_final\.json, 1 groups are in training and in validation: p7"
    ):
        make_splits(straddling, 5, 0)


def test_folds_that_the_cases_carry_are_honoured():
    whole = dataset("abcd")
    carrying = replace(whole, cases=tuple(replace(case, fold=n % 2) for n, case in enumerate(whole.cases)))
    splits = make_splits(carrying, 5, 0)
    assert splits.folds == (Fold(("b", "d"), ("a", "c")), Fold(("a", "c"), ("b", "d")))
    assert splits.source == "data set"


def test_splits_compare_by_their_folds_not_by_what_was_said():
    assert Splits((Fold(("a",), ()),), 0, "seeded", ("note",)) == Splits((Fold(("a",), ()),), 0, "seeded")


def test_a_data_set_of_nothing_but_incomplete_cases_says_what_they_lack(tmp_path):
    bad = (BadCase("a", "Case a lacks image_PET (line 2)."), BadCase("b", "Case b lacks image_PET (line 3)."))
    empty = Dataset(tmp_path, "table", (), None, ("CT", "PET"), problems=bad)
    with pytest.raises(InputError, match=r"None of its 2 cases can be used; the first is a: Case a lacks image_PET"):
        make_splits(empty, 5, 0)
