"""Events: frozen values that become one line of JSON each."""

import json
from dataclasses import FrozenInstanceError

import pytest

from medseg.core import events


def test_a_record_names_its_kind_in_snake_case_and_holds_every_field():
    record = events.record(events.CaseFailed("liver_012", "the file is cut", 3, 9))
    assert record == {"event": "case_failed", "case": "liver_012", "reason": "the file is cut", "done": 3, "total": 9}


def test_a_record_survives_json():
    event = events.CasePredicted("a", "predicted", ("a.nii.gz",), 1.5, {"liver": 1490.0}, 1, 2)
    record = json.loads(json.dumps(events.record(event), allow_nan=False))
    assert record["event"] == "case_predicted"
    assert record["volumes_ml"] == {"liver": 1490.0}
    assert record["outputs"] == ["a.nii.gz"]


def test_events_are_frozen():
    event = events.Noted("ready")
    with pytest.raises(FrozenInstanceError):
        event.text = "changed"


def test_every_kind_of_event_is_public_and_has_its_own_name():
    kinds = [thing for thing in vars(events).values() if isinstance(thing, type) and issubclass(thing, events.Event)]
    assert {kind.__name__ for kind in kinds} | {"record"} == set(events.__all__)
