"""Cases whose structures have names reach the cache as `read_case` reads them, through MONAI's loader."""

import numpy as np
import pytest

from medseg import io
from medseg.core.volume import LabelMap
from medseg.data.cases import read_case
from medseg.data.dataset import Case, Dataset
from medseg.io.options import ReadOptions
from medseg.train.cache import Cache
from medseg.train.loaders import prepare, prepared


@pytest.fixture
def named(balls, tmp_path):
    """The balls with a mask of each structure, in an order that is not that of the values."""
    cases = []
    for number in range(2):
        image, label = balls / f"images/ball_{number}.nii.gz", balls / f"labels/ball_{number}.nii.gz"
        label_map = io.read_labels(label)
        masks = {}
        for name, value in (("label 7", 7), ("label 3", 3)):
            masks[name] = tmp_path / f"{number}_{value}.nii.gz"
            io.write(LabelMap((label_map.array == value).astype(np.uint8), label_map.geometry), masks[name])
        cases.append(Case(f"ball_{number}", (image,), masks, read={"volume": "0"}))
    return Dataset(tmp_path, "table", tuple(cases), None, ("image",))


def test_masks_of_structures_become_the_classes_of_the_plan(named, balls, plan, tmp_path):
    cache = Cache(tmp_path / "cache", plan)
    list(prepare(named, named.ids, plan, ReadOptions(), cache, 0))
    for case in named.cases:
        whole = Case(case.id, case.images, balls / f"labels/{case.id}.nii.gz")
        image, label_map, _ = read_case(whole, plan.label_names, ReadOptions())
        np.testing.assert_array_equal(cache.get(case.id).classes, prepared(image, label_map, plan)[1])
        named_map = read_case(case, plan.label_names, ReadOptions())[1]
        np.testing.assert_array_equal(named_map.array, label_map.array)
