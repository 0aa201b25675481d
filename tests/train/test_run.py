"""The verb as a generator: what it writes, what it refuses, and that it can die at any moment."""

import csv
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from medseg import io
from medseg.config.schema import Config
from medseg.core.errors import InputError, MachineError, UsageError
from medseg.core.events import CaseFailed, CaseRead, EpochEnded, Finished, Noted, Planned, StepEnded, Validated, Warned
from medseg.model import load_model
from medseg.plan.plan import Plan
from medseg.predict import Predictor
from medseg.train.dry_run import DryRun, dry_run
from medseg.train.run import run
from medseg.train.setup import TrainOptions
from tests.train.conftest import SMALL, write_balls

TWO_EPOCHS = SMALL.model_copy(
    update={
        "training": SMALL.training.model_copy(
            update={"epochs": 2, "arithmetic": "float32", "memory_format": "channels_last"}
        )
    }
)
OPTIONS = TrainOptions(config=TWO_EPOCHS, device="cpu")


def weights(folder):
    return load_model(folder).network(0).state_dict()


def history(folder):
    return list(csv.DictReader((folder / "fold_0/history.csv").read_text().splitlines()))


def same_bits(left, right):
    ours, theirs = weights(left), weights(right)
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.fixture(scope="module")
def trained(balls, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    return folder, list(run(balls, folder, OPTIONS))


def test_a_model_that_nobody_named_is_not_called_after_the_folder_of_its_data(trained, balls):
    folder, _ = trained
    text = (folder / "model" / "model.json").read_text()
    assert json.loads(text)["name"] == "medseg model"
    assert balls.name not in text
    assert load_model(folder).title.startswith("model ")


def test_a_run_leaves_the_files_of_the_contract(trained):
    folder, _ = trained
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names >= {
        "config.yaml",
        "plan.json",
        "fingerprint.json",
        "splits.json",
        "files.json",
        "model/model.json",
        "model/fold_0.safetensors",
        "model/README.md",
        "fold_0/history.csv",
        "fold_0/curves.png",
        "fold_0/events.jsonl",
        "fold_0/last.pt",
        "fold_0/validation/metrics.csv",
        "fold_0/validation/summary.json",
    }
    assert not (folder / "cache").exists(), "prepared cases go when the fold has ended"


def test_a_run_says_what_it_does_in_order(trained):
    _, events = trained
    kinds = [type(event) for event in events]
    assert kinds.index(Planned) < kinds.index(StepEnded) < kinds.index(EpochEnded)
    assert [kind for kind in kinds[-3:] if kind is not Warned][-2:] == [Validated, Finished]
    assert [e.step for e in events if isinstance(e, StepEnded)] == list(range(1, 11))


def test_the_last_validation_is_of_every_held_out_case_and_in_the_summary(trained):
    folder, events = trained
    (final,) = [e for e in events if isinstance(e, Validated) and e.final]
    summary = json.loads((folder / "fold_0/validation/summary.json").read_text())
    assert summary["headline"]["dice"] == pytest.approx(final.dice)
    assert summary["n_cases"] == final.n_cases == len(list((folder / "fold_0/validation").glob("*.nii.gz")))
    rows = history(folder)
    assert float(rows[-1]["validation_dice"]) == pytest.approx(final.dice, abs=1e-5)
    assert load_model(folder).plan.label_names.names == ("label 3", "label 7")


def test_events_are_lines_of_json_without_the_steps(trained):
    folder, _ = trained
    lines = [json.loads(line) for line in (folder / "fold_0/events.jsonl").read_text().splitlines()]
    assert {"planned", "epoch_ended", "validated", "finished"} <= {line["event"] for line in lines}
    assert "step_ended" not in {line["event"] for line in lines}
    assert lines[-1]["output"] == "..", "from the folder of the file on: none holds an absolute path"
    assert str(folder) not in (folder / "fold_0/events.jsonl").read_text()


def test_the_model_predicts_with_the_labels_and_the_grid_of_the_files(trained, balls):
    folder, _ = trained
    volume = io.read(balls / "images" / "ball_0.nii.gz")
    result = Predictor.load(folder, device="cpu")(volume)
    assert result.labels.geometry == volume.geometry
    assert set(result.labels.array.ravel().tolist()) <= {0, 3, 7}


def test_the_same_seed_gives_the_same_bits_and_another_one_others(trained, balls, tmp_path):
    folder, _ = trained
    list(run(balls, tmp_path / "again", OPTIONS))
    assert same_bits(folder, tmp_path / "again")
    other = replace(OPTIONS, config=TWO_EPOCHS.model_copy(update={"seed": 1}))
    list(run(balls, tmp_path / "other", other))
    assert not same_bits(folder, tmp_path / "other")


@pytest.mark.parametrize("at", [1, 5, 7])
def test_a_run_that_was_stopped_goes_on_to_the_very_same_model(trained, balls, tmp_path, at):
    folder, _ = trained
    seen = []

    def stop():
        return len(seen) >= at

    for event in run(balls, tmp_path / "run", OPTIONS, stop):
        seen += [event] if isinstance(event, StepEnded) else []
    assert event.summary["interrupted"]
    assert not (tmp_path / "run" / "model").exists()
    rest = [e for e in run(balls, tmp_path / "run", replace(OPTIONS, resume=True)) if isinstance(e, StepEnded)]
    assert [e.step for e in (*seen, *rest)] == list(range(1, 11))
    assert same_bits(folder, tmp_path / "run")
    assert [row["step"] for row in history(tmp_path / "run")] == ["5", "10"]


def test_a_run_that_died_without_a_word_goes_on_from_its_last_checkpoint(trained, balls, tmp_path):
    """A generator that is dropped is a process that was killed: nothing after its last event happens."""
    folder, _ = trained
    training = TWO_EPOCHS.training.model_copy(update={"checkpoint_every_s": 1e-6})
    options = replace(OPTIONS, config=TWO_EPOCHS.model_copy(update={"training": training}))
    work = run(balls, tmp_path / "run", options)
    for event in work:
        if isinstance(event, StepEnded) and event.step == 4:
            break
    del work
    resumed = [e.step for e in run(balls, tmp_path / "run", replace(OPTIONS, resume=True)) if isinstance(e, StepEnded)]
    assert resumed[0] in (4, 5)
    assert same_bits(folder, tmp_path / "run")


def test_a_run_that_died_before_its_first_checkpoint_starts_again(trained, balls, tmp_path):
    folder, _ = trained
    for event in run(balls, tmp_path / "run", OPTIONS):
        if isinstance(event, Planned):
            break
    list(run(balls, tmp_path / "run", replace(OPTIONS, resume=True)))
    assert same_bits(folder, tmp_path / "run")


def test_a_run_that_died_before_its_steps_were_counted_keeps_its_budget(balls, tmp_path):
    config = SMALL.model_copy(update={"training": SMALL.training.model_copy(update={"steps_an_epoch": 10})})
    options = TrainOptions(config=config, device="cpu", budget_s=10.0)
    for event in run(balls, tmp_path / "run", options):
        if isinstance(event, CaseRead) and event.phase == "preparing":
            break
    assert Plan.model_validate_json((tmp_path / "run/plan.json").read_text()).schedule is None
    list(run(balls, tmp_path / "run", TrainOptions(resume=True, device="cpu")))
    plan = Plan.model_validate_json((tmp_path / "run/plan.json").read_text())
    assert plan.budget_s == 10
    assert plan.schedule.steps >= 20


def test_stopping_while_cases_are_read_leaves_nothing_behind(balls, tmp_path):
    events = list(run(balls, tmp_path / "run", OPTIONS, stop=lambda: True))
    assert events[-1].summary == {"interrupted": True, "resumable": False}
    assert not (tmp_path / "run").exists()


def test_a_fold_that_joins_does_the_steps_that_the_first_ended_with(trained, balls, tmp_path):
    folder, _ = trained
    shutil.copytree(folder, tmp_path / "run")
    plan = json.loads((tmp_path / "run/plan.json").read_text())
    plan["budget_s"] = 1.0
    plan["schedule"]["corrections"] = [{"at": 5, "steps": 8}, {"at": 7, "steps": 7}]
    (tmp_path / "run/plan.json").write_text(json.dumps(plan))
    events = list(run(balls, tmp_path / "run", replace(OPTIONS, resume=True, fold=1)))
    assert [e.step for e in events if isinstance(e, StepEnded)] == list(range(1, 8))
    assert json.loads((tmp_path / "run/plan.json").read_text()) == plan


def test_dropout_is_drawn_alike_by_a_run_that_was_resumed(balls, tmp_path):
    network = TWO_EPOCHS.network.model_copy(update={"dropout": 0.3})
    options = replace(OPTIONS, config=TWO_EPOCHS.model_copy(update={"network": network}))
    list(run(balls, tmp_path / "whole", options))
    seen = []

    def stop():
        return len(seen) >= 4

    for event in run(balls, tmp_path / "parts", options, stop):
        seen += [event] if isinstance(event, StepEnded) else []
    list(run(balls, tmp_path / "parts", replace(options, resume=True)))
    assert same_bits(tmp_path / "whole", tmp_path / "parts")


def test_the_events_before_there_was_a_folder_are_kept(trained):
    folder, _ = trained
    lines = [json.loads(line) for line in (folder / "fold_0/events.jsonl").read_text().splitlines()]
    assert lines[0]["event"] == "noted"
    assert sum(line["event"] == "case_read" and line["phase"] == "checking" for line in lines) == 6


def test_a_disk_that_cannot_hold_the_prepared_cases_is_said_at_once(balls, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(MachineError, match=r"need about [\d.]+ [KM]iB in .*cache, but the disk has 1,000 bytes left"):
        list(run(balls, tmp_path / "run", OPTIONS))
    monkeypatch.undo()
    assert not (tmp_path / "run" / "plan.json").exists()
    assert isinstance(next(run(balls, tmp_path / "run", OPTIONS)), Noted), "the same command begins anew"


def test_a_fold_that_there_is_not_is_refused_before_any_case_is_read(balls, tmp_path):
    seen = []
    with pytest.raises(UsageError, match="9"):
        seen += run(balls, tmp_path / "run", replace(OPTIONS, fold=9))
    assert not any(isinstance(e, CaseRead) for e in seen)


def test_a_model_that_finds_little_is_called_what_it_is(trained):
    folder, events = trained
    (validated,) = [e for e in events if isinstance(e, Validated) and e.final]
    assert validated.dice < 0.3, "ten steps teach little"
    assert any("is not one to use" in e.text for e in events if isinstance(e, Warned))
    assert "not one to use as it is" in (folder / "model/README.md").read_text()


def test_another_fold_joins_the_run_and_its_model(trained, balls, tmp_path):
    folder, _ = trained
    shutil.copytree(folder, tmp_path / "run")
    list(run(balls, tmp_path / "run", replace(OPTIONS, resume=True, fold=1)))
    model = load_model(tmp_path / "run")
    assert model.folds == ("fold_0", "fold_1")
    assert (tmp_path / "run/fold_1/validation/summary.json").is_file()


def test_another_fold_joins_without_being_asked_to_resume_and_keeps_the_options_of_the_run(trained, balls, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "run")
    events = list(run(balls, folder, TrainOptions(device="cpu", fold=1)))
    assert any("fold 1 joins it" in e.text for e in events if isinstance(e, Noted))
    assert [e.step for e in events if isinstance(e, StepEnded)] == list(range(1, 11))
    assert load_model(folder).folds == ("fold_0", "fold_1")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"config": Config(training={"epochs": 7})}, "training.epochs"),
        ({"config": Config(seed=5)}, "seed"),
        ({"config": TWO_EPOCHS, "budget_s": 60.0}, "--budget"),
    ],
)
def test_a_fold_that_joins_cannot_bring_other_options(trained, balls, options, named):
    with pytest.raises(UsageError, match=f"begun with another {named}"):
        list(run(balls, trained[0], TrainOptions(device="cpu", fold=1, **options)))
    assert not (trained[0] / "fold_1").exists()


def test_folds_that_are_begun_side_by_side_share_a_plan_and_a_model(balls, tmp_path):
    """Each reads the data before the other has written anything."""
    works = [run(balls, tmp_path / "run", replace(OPTIONS, fold=fold)) for fold in (0, 1)]
    left = list(works)
    while left:
        left = [work for work in left if next(work, None) is not None]
    assert load_model(tmp_path / "run").folds == ("fold_0", "fold_1")
    assert not list((tmp_path / "run").glob(".*"))


def test_a_fold_that_is_being_trained_is_refused_with_who_is_there(balls, tmp_path):
    work = run(balls, tmp_path / "run", OPTIONS)
    next(work)
    for options in (OPTIONS, replace(OPTIONS, resume=True)):
        with pytest.raises(UsageError, match="is being trained by process|holds no run to resume"):
            list(run(balls, tmp_path / "run", options))
    work.close()
    assert not (tmp_path / "run").exists()


def test_a_finished_run_has_nothing_left_to_do(trained, balls, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "run")
    before = (folder / "model/fold_0.safetensors").stat().st_mtime_ns
    events = list(run(balls, folder, replace(OPTIONS, resume=True)))
    assert not [e for e in events if isinstance(e, CaseRead | StepEnded)]
    assert any("nothing is left to do" in e.text for e in events if isinstance(e, Noted))
    assert events[-1].summary["steps"] == 10
    assert (folder / "model/fold_0.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("missing", ["model", "model/fold_0.safetensors", "fold_0/validation"])
def test_what_a_finished_run_has_lost_is_made_again_and_no_more(trained, balls, tmp_path, missing):
    folder = shutil.copytree(trained[0], tmp_path / "run")
    lost = folder / missing
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    events = list(run(balls, folder, replace(OPTIONS, resume=True)))
    assert {e.phase for e in events if isinstance(e, CaseRead)} == {"validating"}
    assert lost.exists()
    assert same_bits(trained[0], folder)


def test_cases_that_changed_are_refused_by_name_and_added_ones_are_told(stopped, balls, tmp_path):
    data = shutil.copytree(balls, tmp_path / "data")
    folder = shutil.copytree(stopped, tmp_path / "run")
    shutil.copy(data / "images/ball_1.nii.gz", data / "images/ball_9.nii.gz")
    shutil.copy(data / "labels/ball_1.nii.gz", data / "labels/ball_9.nii.gz")
    events = run(data, folder, replace(OPTIONS, resume=True))
    assert any("1 case was added since this run began (ball_9)" in e.text for e in events if isinstance(e, Noted))
    events.close()
    shutil.copy(data / "labels/ball_1.nii.gz", data / "labels/ball_2.nii.gz")
    shutil.copy(data / "images/ball_1.nii.gz", data / "images/ball_4.nii.gz")
    changed = r"2 cases of this run have changed .*: ball_2 \(label map\), ball_4 \(channel 0\)"
    with pytest.raises(InputError, match=changed):
        list(run(data, folder, replace(OPTIONS, resume=True)))


def test_a_held_out_case_that_cannot_be_read_on_resuming_fails_at_the_end_and_not_before(stopped, balls, tmp_path):
    data = shutil.copytree(balls, tmp_path / "data")
    folder = shutil.copytree(stopped, tmp_path / "run")
    held_out = json.loads((folder / "splits.json").read_text())["folds"][0]["validation"][0]
    (data / f"images/{held_out}.nii.gz").write_bytes(b"spoilt")
    events = list(run(data, folder, replace(OPTIONS, resume=True)))
    assert any(f"Held-out case {held_out} cannot be read now" in e.text for e in events if isinstance(e, Warned))
    assert [e.case for e in events if isinstance(e, CaseFailed)] == [held_out]
    assert (folder / "model/model.json").is_file()


def test_a_run_of_an_older_medseg_goes_on_with_a_word_and_is_recorded_then(trained, stopped, balls, tmp_path):
    folder = shutil.copytree(stopped, tmp_path / "run")
    (folder / "files.json").unlink()
    events = list(run(balls, folder, replace(OPTIONS, resume=True)))
    assert any("kept no record of its files" in e.text for e in events if isinstance(e, Warned))
    assert same_bits(trained[0], folder)
    assert (folder / "files.json").is_file()


def test_volumes_are_learnt_slice_by_slice_by_a_flat_network(balls, tmp_path):
    flat = {"patch": (16, 16), "batch": 2, "dimensions": 2}
    network = {"features": (4, 8), "kernels": ((3, 3),) * 2, "strides": ((1, 1), (2, 2))}
    config = Config(plan=flat, network=network, training={"epochs": 1, "steps_an_epoch": 4})
    list(run(balls, tmp_path / "run", TrainOptions(config=config, device="cpu")))
    model = load_model(tmp_path / "run")
    assert (model.plan.dimensions, model.plan.slice_axis) == (2, 2)
    volume = io.read(balls / "images" / "ball_0.nii.gz")
    assert Predictor.load(tmp_path / "run", device="cpu")(volume).labels.geometry == volume.geometry


def test_what_is_to_be_ignored_and_regions_go_the_whole_way(tmp_path):
    """nnU-Net's layout with overlapping regions and an ignore value, as BraTS-like data have them."""
    folder = write_balls(tmp_path / "balls", n=4)
    raw = tmp_path / "raw"
    (raw / "imagesTr").mkdir(parents=True)
    (raw / "labelsTr").mkdir()
    for number in range(4):
        shutil.copy(folder / "images" / f"ball_{number}.nii.gz", raw / "imagesTr" / f"ball_{number}_0000.nii.gz")
        label_map = io.read_labels(folder / "labels" / f"ball_{number}.nii.gz")
        label_map.array[0] = 9
        io.write(label_map, raw / "labelsTr" / f"ball_{number}.nii.gz")
    labels = {"background": 0, "whole": [3, 7], "core": 3, "ignore": 9}
    description = {"channel_names": {"0": "MRI"}, "labels": labels, "numTraining": 4, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps(description))
    list(run(raw, tmp_path / "run", OPTIONS))
    summary = json.loads((tmp_path / "run/fold_0/validation/summary.json").read_text())
    assert set(summary["labels"]) == {"whole", "core"}
    plan = load_model(tmp_path / "run").plan
    assert (plan.network.n_classes, plan.ignore) == (3, 9)


def test_training_on_all_cases_says_loudly_that_nothing_is_held_out(balls, tmp_path):
    events = list(run(balls, tmp_path / "run", replace(OPTIONS, fold="all")))
    assert any("held out" in e.text for e in events if isinstance(e, Warned))
    assert not any(isinstance(e, Validated) for e in events)
    assert load_model(tmp_path / "run").folds == ("fold_all",)


def test_a_budget_becomes_steps_that_end_with_it(balls, tmp_path):
    config = SMALL.model_copy(update={"training": SMALL.training.model_copy(update={"steps_an_epoch": 10})})
    events = list(run(balls, tmp_path / "run", TrainOptions(config=config, device="cpu", budget_s=12.0)))
    plan = Plan.model_validate_json((tmp_path / "run/plan.json").read_text())
    assert plan.budget_s == 12
    assert plan.schedule.steps >= 20
    assert events[-1].summary["steps"] == plan.schedule.final_steps


def test_a_dry_run_measures_and_writes_nothing(balls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (found,) = [e for e in dry_run(balls, OPTIONS) if isinstance(e, DryRun)]
    assert found.steps == 10
    assert found.network.parameters > 0
    assert found.plan["patch"] == [16, 16, 8]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_a_run_is_only_continued_when_asked_to(trained, balls):
    folder, _ = trained
    with pytest.raises(UsageError, match="already holds fold 0 of a run. Add --resume"):
        list(run(balls, folder, OPTIONS))


def test_resuming_where_there_is_no_run_is_refused(balls, tmp_path):
    with pytest.raises(UsageError, match="holds no run to resume"):
        list(run(balls, tmp_path / "nothing", replace(OPTIONS, resume=True)))


def test_a_folder_with_other_things_in_it_is_left_alone(balls, tmp_path):
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(UsageError, match="is not empty and holds no run"):
        list(run(balls, tmp_path, OPTIONS))


def test_a_start_that_failed_does_not_stand_in_the_way_of_the_next(balls, tmp_path):
    (tmp_path / "run/fold_0").mkdir(parents=True)
    (tmp_path / "run/config.yaml").write_text("seed: 0")
    assert isinstance(list(run(balls, tmp_path / "run", OPTIONS))[-1], Finished)


def damaged(tmp_path):
    folder = write_balls(tmp_path / "data", n=5)
    path = folder / "images" / "ball_2.nii.gz"
    path.write_bytes(path.read_bytes()[:200])
    return folder


def test_bad_cases_are_all_listed_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"(?s)1 of 5 cases cannot be used:.*ball_2: .*--skip-bad"):
        list(run(damaged(tmp_path), tmp_path / "run", OPTIONS))
    assert not (tmp_path / "run").exists()


def test_bad_cases_are_left_out_when_asked_to(tmp_path):
    events = list(run(damaged(tmp_path), tmp_path / "run", replace(OPTIONS, skip_bad=True)))
    assert [e.case for e in events if isinstance(e, CaseFailed)] == ["ball_2"]
    splits = json.loads((tmp_path / "run/splits.json").read_text())
    assert "ball_2" not in {case for part in splits["folds"] for cases in part.values() for case in cases}


def test_cases_that_are_gone_stop_a_resume_by_name(trained, tmp_path):
    folder, _ = trained
    fewer = write_balls(tmp_path / "fewer", n=3)
    with pytest.raises(InputError, match="3 cases of this run are no longer in"):
        list(run(fewer, folder, replace(OPTIONS, resume=True, fold=1)))


def test_python_trains_with_one_call(balls, tmp_path):
    import medseg

    heard = []
    overrides = [
        "plan.patch=[16,16,8]",
        "plan.batch=2",
        "network.features=[4,8]",
        "training.epochs=1",
        "training.steps_an_epoch=3",
    ]
    done = medseg.train(balls, tmp_path / "run", overrides=overrides, device="cpu", listener=heard.append)
    assert done.summary["steps"] == 3
    assert isinstance(heard[-1], Finished)
    assert medseg.Predictor.load(done.model, device="cpu").plan.patch == (16, 16, 8)


def held_out_of(folder):
    return json.loads((folder / "splits.json").read_text())["folds"][0]["validation"]


def break_after(events, data, names):
    """Pass events on; before the second epoch the scans of some cases are spoilt."""
    for event in events:
        yield event
        if isinstance(event, StepEnded) and event.step == 2:
            for name in names:
                (data / "images" / f"{name}.nii.gz").write_bytes(b"spoilt")


@pytest.mark.parametrize("how_many", [1, 2])
def test_held_out_scans_that_break_are_warnings_on_the_way_and_failed_rows_at_the_end(balls, tmp_path, how_many):
    data = shutil.copytree(balls, tmp_path / "data")
    held_out = held_out_of(next_to_setup(data, tmp_path / "first"))
    config = TWO_EPOCHS.model_copy(update={"training": TWO_EPOCHS.training.model_copy(update={"validations": 2})})
    work = run(data, tmp_path / "run", replace(OPTIONS, config=config))
    events = list(break_after(work, data, held_out[:how_many]))
    assert {e.case for e in events if isinstance(e, Warned) and e.case} == set(held_out[:how_many])
    assert [e.case for e in events if isinstance(e, CaseFailed)] == held_out[:how_many]
    assert events[-1].summary["failed"] == how_many
    rows = csv.DictReader((tmp_path / "run/fold_0/validation/metrics.csv").read_text().splitlines())
    assert {row["case"] for row in rows if row["status"] == "failed"} == set(held_out[:how_many])
    summary = json.loads((tmp_path / "run/fold_0/validation/summary.json").read_text())
    assert summary["n_failed"] == how_many
    assert load_model(tmp_path / "run").folds == ("fold_0",)


def next_to_setup(data, folder):
    """A run that was stopped before its first case was prepared."""
    for event in run(data, folder, OPTIONS):
        if isinstance(event, CaseRead) and event.phase == "preparing":
            return folder
    raise AssertionError("no case was prepared")


def test_what_only_people_look_at_is_a_warning_where_it_cannot_be_written(trained, balls, tmp_path):
    folder, _ = trained
    for name in ("curves.png", "history.csv"):
        (tmp_path / "run/fold_0" / name / "in_the_way").mkdir(parents=True)
    shutil.copytree(next_to_setup(balls, tmp_path / "first"), tmp_path / "run", dirs_exist_ok=True)
    events = list(run(balls, tmp_path / "run", replace(OPTIONS, resume=True)))
    warned = {e.text.split()[0] for e in events if isinstance(e, Warned)}
    assert warned >= {"curves.png", "history.csv"}
    assert same_bits(folder, tmp_path / "run")


def test_a_run_that_nobody_listens_to_any_more_is_saved(trained, balls, tmp_path):
    folder, _ = trained
    work = run(balls, tmp_path / "run", OPTIONS)
    for event in work:
        if isinstance(event, StepEnded) and event.step == 3:
            break
    work.close()
    rest = [e for e in run(balls, tmp_path / "run", replace(OPTIONS, resume=True)) if isinstance(e, StepEnded)]
    assert [e.step for e in rest] == list(range(4, 11))
    assert same_bits(folder, tmp_path / "run")


def edited(name, old, new):
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new, 1))


def overwritten(name, text):
    return lambda folder: (folder / name).write_text(text)


def of_another_network(folder):
    content = torch.load(folder / "fold_0/last.pt", weights_only=True)
    content["ema"] = {name: torch.zeros(7) for name in content["ema"]}
    torch.save(content, folder / "fold_0/last.pt")


def of_other_moments(folder):
    content = torch.load(folder / "fold_0/last.pt", weights_only=True)
    for state in content["optimizer"]["state"].values():
        state["exp_avg"] = torch.zeros(7)
    torch.save(content, folder / "fold_0/last.pt")


@pytest.fixture(scope="module")
def stopped(balls, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped") / "run"
    work = run(balls, folder, OPTIONS)
    for event in work:
        if isinstance(event, StepEnded) and event.step == 6:
            break
    work.close()
    return folder


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (edited("plan.json", '"batch": 2', '"batch": "x"'), "plan.json"),
        (edited("plan.json", '"batch": 2', '"batch": 1e400'), "plan.json"),
        (overwritten("plan.json", "[]"), "plan.json"),
        (overwritten("plan.json", "[" * 200_000), "plan.json"),
        (overwritten("fingerprint.json", '"text"'), "fingerprint.json"),
        (edited("fingerprint.json", '"cases"', '"case"'), "fingerprint.json"),
        (overwritten("splits.json", "[1, 2]"), "splits.json"),
        (overwritten("splits.json", '{"schema": "medseg/splits/1", "folds": 7}'), "splits.json"),
        (overwritten("config.yaml", "[" * 3000), "config.yaml"),
        (edited("config.yaml", "seed: 0", "seed: " + "9" * 6000), "config.yaml"),
        (of_another_network, "last.pt"),
        (of_other_moments, "last.pt"),
    ],
)
def test_a_run_whose_files_were_edited_is_refused_by_the_name_of_the_file(stopped, balls, tmp_path, damage, named):
    folder = shutil.copytree(stopped, tmp_path / "run")
    damage(folder)
    with pytest.raises((InputError, UsageError), match=named):
        list(run(balls, folder, replace(OPTIONS, resume=True)))


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("epoch\nx\n")])
def test_a_history_that_is_gone_or_damaged_begins_anew(trained, stopped, balls, tmp_path, damage):
    folder = shutil.copytree(stopped, tmp_path / "run")
    damage(folder / "fold_0/history.csv")
    list(run(balls, folder, replace(OPTIONS, resume=True)))
    assert same_bits(trained[0], folder)
    assert [row["step"] for row in history(folder)] == ["10"]
