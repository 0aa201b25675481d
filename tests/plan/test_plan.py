import pytest
from pydantic import ValidationError

from medseg.core.labels import Labels
from medseg.plan.plan import Correction, Plan, Schedule
from tests.plan.test_rules import fingerprint, plan


def changed(**values):
    return Plan.model_validate({**plan().to_json(), **values})


def schedule(**values):
    given = {"steps": 100, "arithmetic": "float32", "memory_format": "channels_last", "device": "cpu"}
    return Schedule(**{**given, "seconds_per_step": 0.5, "step_gflop": 10.0, **values})


def test_a_plan_survives_json_with_its_schedule():
    whole = plan().model_copy(update={"schedule": schedule(), "budget_s": 60.0})
    assert Plan.model_validate(whole.to_json()) == whole


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"patch": [32, 32]}, "as many axes"),
        ({"slice_axis": 1}, "a 3-D plan has none"),
        ({"channels": ["T1", "T2"]}, "each channel needs its normalisation"),
        ({"schema": "medseg/plan/2"}, "medseg/plan/1"),
        ({"patches": 3}, "patches"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(values, says):
    with pytest.raises(ValidationError, match=says):
        changed(**values)


def test_labels_have_the_values_of_the_files():
    assert plan(labels=Labels({"a": (3,), "b": (1, 3)}, ignore=9)).label_names == Labels({"a": (3,), "b": (1, 3)}, 9)


def test_the_steps_of_a_schedule_are_the_last_that_were_announced():
    assert schedule().final_steps == 100
    assert schedule(corrections=(Correction(at=50, steps=80), Correction(at=70, steps=75))).final_steps == 75


def test_the_network_sees_all_axes_but_the_one_it_slices():
    assert plan().network_axes == (0, 1, 2)
    flat = plan(fingerprint((40, 256, 256), (3.0, 0.9, 0.9)), plan={"dimensions": 2})
    assert flat.network_axes == (1, 2)
