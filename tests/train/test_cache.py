import pickle

import numpy as np
import pytest

from medseg.train.cache import PLACES, Cache


@pytest.fixture
def case():
    image = np.arange(2 * 4 * 5 * 6, dtype=np.float32).reshape(2, 4, 5, 6)
    classes = np.zeros((4, 5, 6), np.uint8)
    classes[1:3, 2, 3] = 2
    classes[0, 0, 0] = 255
    return image, classes


def put(cache, name, case, stamp="as it was"):
    cache.put(name, *case, np.random.default_rng(0), stamp)


def stamps(*names):
    return dict.fromkeys(names, "as it was")


def test_a_case_comes_back_voxel_by_voxel_with_the_places_of_its_classes(tmp_path, plan, case):
    cache = Cache(tmp_path / "cache", plan)
    put(cache, "a", case)
    back = cache.get("a")
    np.testing.assert_array_equal(back.image, case[0])
    np.testing.assert_array_equal(back.classes, case[1])
    assert {label: sorted(map(tuple, places)) for label, places in back.places.items()} == {2: [(1, 2, 3), (2, 2, 3)]}


def test_places_are_a_sample_where_a_class_is_large(tmp_path, plan):
    classes = np.ones((40, 40, 40), np.uint8)
    cache = Cache(tmp_path / "cache", plan)
    put(cache, "a", (np.zeros((1, 40, 40, 40), np.float32), classes))
    places = cache.get("a").places[1]
    assert len(places) == PLACES
    assert len(np.unique(places, axis=0)) == PLACES
    assert places.mean(axis=0) == pytest.approx([19.5] * 3, abs=1)


@pytest.mark.parametrize("value", [0, 255], ids=["empty", "ignored"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 4, 1), (6, 5, 4)])
def test_a_case_without_a_class_has_no_places_and_is_whole(tmp_path, plan, value, shape):
    """A scan without lesions, or one of which nothing is annotated, is a training case like any other."""
    cache = Cache(tmp_path / "cache", plan)
    put(cache, "a", (np.ones((1, *shape), np.float32), np.full(shape, value, np.uint8)))
    assert cache.missing(stamps("a")) == []
    assert cache.get("a").places == {}


def test_a_class_of_one_voxel_has_one_place(tmp_path, plan):
    classes = np.full((3, 4, 5), 255, np.uint8)
    classes[2, 3, 4] = 1
    cache = Cache(tmp_path / "cache", plan)
    put(cache, "a", (np.ones((1, 3, 4, 5), np.float32), classes))
    assert {label: places.tolist() for label, places in cache.get("a").places.items()} == {1: [[2, 3, 4]]}


def test_only_missing_cases_are_asked_for_again(tmp_path, plan, case):
    cache = Cache(tmp_path / "cache", plan)
    put(cache, "a", case)
    assert Cache(tmp_path / "cache", plan).missing(stamps("a", "b")) == ["b"]


def test_a_cache_of_another_preprocessing_is_emptied(tmp_path, plan, case):
    put(Cache(tmp_path / "cache", plan), "a", case)
    how = plan.preprocessing.model_copy(update={"spacing_mm": (2.0, 2.0, 2.0)})
    other = plan.model_copy(update={"preprocessing": how})
    assert Cache(tmp_path / "cache", other).missing(stamps("a")) == ["a"]


def test_a_case_of_files_that_have_changed_is_asked_for_again(tmp_path, plan, case):
    cache = Cache(tmp_path / "cache", plan)
    put(cache, "a", case)
    put(cache, "b", case)
    assert cache.missing({"a": "as it was", "b": "redrawn"}) == ["b"]
    put(cache, "b", (case[0] + 1, case[1]), "redrawn")
    assert cache.missing({"a": "as it was", "b": "redrawn"}) == []
    np.testing.assert_array_equal(cache.get("b").image, case[0] + 1)


def test_a_case_may_be_called_like_the_index(tmp_path, plan, case):
    cache = Cache(tmp_path / "cache", plan)
    put(cache, "cache", case)
    assert Cache(tmp_path / "cache", plan).missing(stamps("cache")) == []


def test_a_cache_of_an_older_form_is_emptied(tmp_path, plan, case):
    cache = Cache(tmp_path / "cache", plan)
    put(cache, "a", case)
    index = tmp_path / "cache" / "cache.json"
    index.write_text(index.read_text().replace("cache/2", "cache/1"))
    assert Cache(tmp_path / "cache", plan).missing(stamps("a")) == ["a"]


def test_places_of_many_classes_come_back_each_with_its_own(tmp_path, plan):
    classes = np.random.default_rng(1).permutation(np.arange(254, dtype=np.uint8).repeat(3)).reshape(6, 127, 1)
    cache = Cache(tmp_path / "cache", plan)
    put(cache, "a", (np.zeros((1, 6, 127, 1), np.float32), classes))
    places = cache.get("a").places
    assert sorted(places) == list(range(1, 254))
    for label, found in places.items():
        assert {tuple(voxel) for voxel in found.tolist()} == {tuple(v) for v in np.argwhere(classes == label).tolist()}


def test_a_case_that_was_half_written_is_missing(tmp_path, plan, case):
    cache = Cache(tmp_path / "cache", plan)
    put(cache, "a", case)
    (tmp_path / "cache" / "cases" / "a.json").unlink()
    assert cache.missing(stamps("a")) == ["a"]


def test_a_cache_can_be_sent_to_another_process(tmp_path, plan, case):
    cache = Cache(tmp_path / "cache", plan)
    put(cache, "a", case)
    cache.get("a")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(cache)).get("a").image, case[0])


def test_removing_leaves_nothing(tmp_path, plan, case):
    cache = Cache(tmp_path / "cache", plan)
    put(cache, "a", case)
    cache.remove()
    assert not (tmp_path / "cache").exists()
