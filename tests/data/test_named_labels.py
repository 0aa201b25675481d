"""Label maps whose structures have names agree by names, whatever each file numbers them."""

import numpy as np
import pytest

from medseg import io
from medseg.core.errors import InputError
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap
from medseg.data.cases import read_case, together
from medseg.data.dataset import Case, Dataset
from medseg.data.fingerprint import measure
from tests.data.folders import GRID, image, put_image, put_labels


def put_mask(path, rows):
    array = np.zeros(GRID.shape, np.uint8)
    array[list(rows)] = 1
    io.write(LabelMap(array, GRID), path)
    return path


def named_case(root, name, **rows):
    """A case with a mask of each structure, which fills these planes of the first axis."""
    masks = {structure: put_mask(root / f"{name}_{structure}.nii.gz", each) for structure, each in rows.items()}
    return Case(name, (put_image(root / f"{name}.nii.gz"),), masks)


def measured(root, *cases, labels=None):
    events = []
    generator = measure(Dataset(root, "table", cases, labels, ("image",)), io.ReadOptions())
    while True:
        try:
            events.append(next(generator))
        except StopIteration as stop:
            return [event.text for event in events if hasattr(event, "text")], stop.value


def test_values_of_two_cases_agree_by_name(tmp_path):
    first = named_case(tmp_path, "a", liver=[0], spleen=[1])
    second = named_case(tmp_path, "b", spleen=[2, 3], liver=[4])
    _, result = measured(tmp_path, first, second)
    voxels = {fact.name: round(fact.largest_ml * 1000 / 6) for fact in result.fingerprint.labels}
    assert set(result.labels.names) == {"liver", "spleen"}
    assert voxels == {"liver": 20, "spleen": 40}
    _, found, _ = read_case(second, result.labels, io.ReadOptions())
    assert result.labels.mask(found.array, "spleen")[2:4].all()
    assert found.labels == result.labels


def test_overlapping_structures_become_regions_of_the_data_set(tmp_path):
    first = named_case(tmp_path, "a", liver=[0, 1, 2], tumour=[1])
    second = named_case(tmp_path, "b", liver=[3], tumour=[5])
    _, result = measured(tmp_path, first, second)
    assert result.labels.has_regions
    _, found, _ = read_case(first, result.labels, io.ReadOptions())
    assert result.labels.mask(found.array, "liver").sum() == 60
    assert result.labels.mask(found.array, "tumour").sum() == 20


def test_a_structure_that_some_files_do_not_name_is_told(tmp_path):
    cases = named_case(tmp_path, "a", liver=[0], tumour=[1]), named_case(tmp_path, "b", liver=[3])
    told, _ = measured(tmp_path, *cases)
    assert any("Of 2 label maps, not all name the same structures: tumour (1)" in text for text in told)


def test_names_and_bare_numbers_do_not_mix_without_a_word(tmp_path):
    numbers = Case("n", (put_image(tmp_path / "n.nii.gz"),), put_labels(tmp_path / "n_seg.nii.gz", values=(1,)))
    with pytest.raises(InputError, match=r"1 label maps name their structures \(liver\) and 1 hold numbers only \(n\)"):
        measured(tmp_path, named_case(tmp_path, "a", liver=[0]), numbers)
    _, result = measured(tmp_path, named_case(tmp_path, "a", liver=[0]), numbers, labels=Labels({"liver": (1,)}))
    assert result.labels == Labels({"liver": (1,)})


def test_undeclared_structures_are_left_out_aloud_and_a_case_without_any_known_one_is_refused(tmp_path):
    case = named_case(tmp_path, "a", Liver=[0], couch=[1])
    _, found, notes = read_case(case, Labels({"liver": (7,), "cord": (8,)}), io.ReadOptions())
    assert set(np.unique(found.array)) == {0, 7}
    assert "The label map names no cord; it counts as absent." in notes
    assert "Structures that were not asked for are left out: couch." in notes
    with pytest.raises(InputError, match=r"holds Liver, couch, and the data set declares spleen: no name agrees"):
        read_case(case, Labels({"spleen": (1,)}), io.ReadOptions())


def test_a_cases_own_read_options_go_before_those_of_the_call(tmp_path):
    case = Case("a", (put_image(tmp_path / "a.nii.gz", n_channels=2),), read={"channels": "last"})
    from medseg.data.cases import read_image

    assert read_image(case, io.ReadOptions()).n_channels == 2


def test_names_do_not_reach_a_map_that_has_none():
    values = LabelMap(np.ones(GRID.shape, np.uint8), GRID)
    _, found, _ = together(image(), values, Labels({"x": (1,)}), "c")
    np.testing.assert_array_equal(found.array, values.array)
