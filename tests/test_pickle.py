"""Whatever the public names give can be sent to another process and comes back the same (process pools, caches)."""

import dataclasses
import importlib
import pickle
import pkgutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import medseg
from medseg import io
from medseg.config.schema import DataConfig
from medseg.core import errors, events
from medseg.core.frozen import FrozenMapping
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Volume
from medseg.data.layouts import open_dataset
from medseg.evaluate import EvaluateOptions
from medseg.predict import Predictor
from medseg.predict.arithmetic import Arithmetic
from tests.data.folders import nnunet, put_image
from tests.io.dicom_files import write_series
from tests.predict.plans import looking_around, small_plan
from tests.strategies import geometries, label_maps, named_labels


def sent(value):
    return pickle.loads(pickle.dumps(value))


def assert_same(one, other):
    """Equal in all that they hold, arrays included."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other)
    elif dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, tuple | list):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    elif isinstance(one, dict | FrozenMapping):
        assert list(one) == list(other)
        assert_same(list(one.values()), list(other.values()))
    elif hasattr(one, "__dict__") and type(one).__eq__ is object.__eq__:
        assert_same(vars(one), vars(other))
    else:
        assert one == other or (one != one and other != other)


@given(geometries(), label_maps(), named_labels())
def test_grids_label_maps_and_names(grid, label_map, names):
    assert sent(grid) == grid
    assert_same(sent(label_map), label_map)
    assert sent(names) == names
    volume = Volume(label_map.array[np.newaxis].astype(np.float32), label_map.geometry)
    assert_same(sent(volume), volume)


@given(st.dictionaries(st.text(), st.integers() | st.text()))
def test_a_frozen_mapping_is_what_its_items_are(items):
    frozen = FrozenMapping(items)
    assert sent(frozen) == frozen == items == dict(frozen)
    assert list(frozen) == list(items)
    with pytest.raises(TypeError):
        frozen["new"] = 1


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd", ".nii"])
def test_a_volume_of_a_file(tmp_path, suffix):
    put_image(tmp_path / f"a{suffix}")
    volume = medseg.read(tmp_path / f"a{suffix}")
    assert_same(sent(volume), volume)


def test_a_volume_of_a_dicom_series_can_still_be_written_as_one(tmp_path):
    write_series(tmp_path / "ct", np.zeros((4, 6, 5), np.int16))
    volume = sent(medseg.read(tmp_path / "ct"))
    labels = LabelMap(np.ones(volume.geometry.shape, np.uint8), volume.geometry, Labels({"organ": (1,)}), volume.meta)
    producer = io.Producer("organ", "sha256:0123456789abcdef0123")
    io.write_dicom(labels, tmp_path / "seg.dcm", "dicom-seg", source=volume.meta, producer=producer)
    assert (medseg.read_labels(tmp_path / "seg.dcm").array == 1).all()


def test_a_prediction_and_the_predictor_that_made_it():
    predictor = Predictor(small_plan(labels={"a": 1, "b": 2}), [looking_around()], "cpu", arithmetic=Arithmetic())
    volume = Volume(
        np.random.default_rng(0).normal(size=(1, 8, 7, 6)).astype(np.float32), Geometry((8, 7, 6), np.eye(4))
    )
    prediction = predictor(volume)
    assert_same(sent(prediction), prediction)
    np.testing.assert_array_equal(sent(predictor)(volume).labels.array, prediction.labels.array)


def test_an_evaluation_and_an_inspection(tmp_path):
    root = nnunet(tmp_path / "data", n=3, channels=("CT",))
    evaluation = medseg.evaluate(root / "labelsTr", root / "labelsTr")
    assert sent(evaluation).to_json() == evaluation.to_json()
    assert sent(evaluation).to_csv() == evaluation.to_csv()
    inspection = medseg.inspect(root)
    assert sent(inspection).to_json() == inspection.to_json()
    assert sent(open_dataset(root, DataConfig())) == open_dataset(root, DataConfig())


def test_options():
    for value in (medseg.ReadOptions.parse({"geometry": "sform"}), EvaluateOptions(tolerances_mm={"a": 2.0})):
        assert sent(value) == value


def test_events():
    values = {"float": 0.5, "int": 1, "str": "a", "bool": True, "str | None": None, "float | None": None}
    kinds = [each for each in vars(events).values() if isinstance(each, type) and issubclass(each, events.Event)]
    for kind in kinds:
        fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
        event = kind(**{field.name: values.get(str(field.type), ()) for field in fields}) if fields else None
        assert sent(event) == event
    assert len(kinds) > 8


def exceptions():
    """Every exception of the package."""
    for module in pkgutil.walk_packages(medseg.__path__, "medseg."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, waiting = [], [Exception, errors.MedsegError]
    while waiting:
        waiting += (more := waiting.pop().__subclasses__())
        found += [each for each in more if each.__module__.startswith("medseg.")]
    return sorted(set(found), key=lambda each: each.__qualname__)


def test_every_error_comes_back_with_its_sentence_or_a_process_pool_would_break():
    from medseg.io.dicom.decode import DecodeError
    from medseg.io.dicom.encoded import CutOff

    arguments = {errors.AmbiguousError: ("said", "case,image\n"), DecodeError: ("time", ""), CutOff: (1, 2)}
    for kind in exceptions():
        error = kind(*arguments.get(kind, ("said",)))
        assert str(sent(error)) == str(error), kind
        assert vars(sent(error)) == vars(error), kind
        assert sent(error).args == error.args
