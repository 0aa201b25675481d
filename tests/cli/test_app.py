"""Every way to end: the exit code, one sentence on standard error, no traceback."""

import errno
import json
import os
import subprocess
import sys

import pytest

from medseg.cli import app
from medseg.core.errors import InputError, MachineError, PlanError, UsageError
from medseg.model import ModelInfo, save_model
from medseg.nn.networks import build
from tests.data.folders import nnunet
from tests.predict.plans import small_plan


def run(capsys, *arguments):
    code = app.run([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


def raising(monkeypatch, error):
    def work(*_, **__):
        raise error

    monkeypatch.setattr("medseg.sample.make_sample", work)


def test_help_does_not_load_torch_nor_anything_else_heavy():
    code = (
        "import sys\nfrom medseg.cli.app import run\nassert run(['--help']) == 0\n"
        "heavy = {'torch', 'monai', 'numpy', 'scipy', 'nibabel', 'SimpleITK', 'pydicom', 'matplotlib', 'pydantic'}\n"
        "heavy |= {'rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_import_medseg_loads_neither_torch_nor_monai():
    code = "import sys, medseg\nmedseg.Geometry, medseg.MedsegError\nassert not {'torch', 'monai'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_is_public_is_there():
    import medseg

    for name in medseg.__all__:
        assert getattr(medseg, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = medseg.nonsense


def test_the_verbs_are_those_of_the_contract(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(verb in out for verb in ("inspect", "train", "predict", "evaluate", "sample"))


def test_version(capsys):
    code, out, _ = run(capsys, "--version")
    assert (code, out.split()[0]) == (0, "medseg")


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError("Wrong."), 2), (InputError("Bad."), 3), (PlanError("No."), 3), (MachineError("Full."), 4)],
)
def test_each_branch_of_errors_has_its_exit_code(capsys, monkeypatch, tmp_path, error, code):
    raising(monkeypatch, error)
    assert run(capsys, "sample", tmp_path / "s")[::2] == (code, f"{error}\n")


def test_a_full_disk_is_one_sentence(capsys, monkeypatch, tmp_path):
    raising(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "mask.nii.gz"))
    code, _, err = run(capsys, "sample", tmp_path / "s")
    assert code == 4
    assert err == "mask.nii.gz: the disk is full. Free some space and run the command again.\n"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ESTALE, errno.ENOMEM])
def test_what_the_machine_cannot_is_one_sentence_wherever_it_happens(capsys, monkeypatch, tmp_path, number):
    raising(monkeypatch, OSError(number, "words of the system"))
    code, _, err = run(capsys, "sample", tmp_path / "s")
    assert code == 4
    assert err.count("\n") == 1


def test_no_memory_is_one_sentence(capsys, monkeypatch, tmp_path):
    raising(monkeypatch, MemoryError())
    code, _, err = run(capsys, "sample", tmp_path / "s")
    assert code == 4
    assert "memory" in err


@pytest.mark.parametrize(
    ("verb", "remedy"), [("train", "plan.patch"), ("predict", "crop"), ("evaluate", "--jobs"), ("inspect", "--jobs")]
)
def test_no_memory_is_answered_with_what_the_verb_can_do_about_it(verb, remedy):
    assert remedy in app._way_out(["-q", verb, "x"])
    assert ("plan.patch" in app._way_out([verb])) == (verb == "train")


def test_ctrl_c_and_sigterm_have_their_codes(capsys, monkeypatch, tmp_path):
    raising(monkeypatch, KeyboardInterrupt())
    assert run(capsys, "sample", tmp_path / "s")[0] == 130
    raising(monkeypatch, app.Terminated())
    assert run(capsys, "sample", tmp_path / "s")[0] == 143


def test_a_defect_is_one_line_and_a_file_with_the_traceback(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    raising(monkeypatch, ZeroDivisionError("division by zero"))
    code, _, err = run(capsys, "sample", tmp_path / "s")
    assert code == 70
    assert err.count("\n") == 1
    (report,) = tmp_path.glob("medseg-defect-*.txt")
    assert str(report) in err
    assert "ZeroDivisionError: division by zero" in report.read_text()


def test_a_defect_is_a_line_where_no_file_can_be_written(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    raising(monkeypatch, ZeroDivisionError("division by zero"))
    code, _, err = run(capsys, "sample", tmp_path / "s")
    assert code == 70
    assert err.count("\n") == 1
    assert "(ZeroDivisionError in test_app.py, line" in err
    assert app.run(["sample", str(tmp_path / "s"), "-vv"]) == 70
    assert "ZeroDivisionError: division by zero" in capsys.readouterr().err


def test_an_error_cannot_steer_the_terminal(capsys, tmp_path):
    code, _, err = run(capsys, "inspect", tmp_path / "x\x1b]0;OWNED\x07\x1b[31m")
    assert code == 2
    assert r"x\x1b]0;OWNED\x07\x1b[31m does not exist" in err


def test_verbose_twice_shows_the_traceback(capsys, monkeypatch, tmp_path):
    raising(monkeypatch, InputError("Bad."))
    assert app.run(["sample", str(tmp_path / "s"), "-vv"]) == 3
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train"], "Missing argument 'DATA'"),
        (["train", "nowhere", "-o", "run"], "nowhere"),
        (["train", "nowhere"], "give -o RUN"),
        (["train", "nowhere", "-o", "run", "--budget", "soon"], "is no duration"),
        (["train", "nowhere", "-o", "run", "--fold", "first"], "is no fold"),
        (["train", "nowhere", "-o", "run", "-c", "unet3"], "unet3d"),
        (["train", "nowhere", "-o", "run", "--set", "training.learnig_rate=1"], "training.learning_rate"),
        (["train", "nowhere", "-o", "run", "--set", "training.ema=2"], "training.ema"),
        (["train", "nowhere", "-o", "run", "--bogus"], "--bogus"),
        (["train", "nowhere", "-o", "run", "--name", "x" * 65], "training.name"),
        (["train", "nowhere", "-o", "run", "--name", "x", "--resume"], "--name"),
        (["predict", "x", "-m", "m", "-o", "o", "--label", "GTV"], "LABEL=NAME"),
        (["predict", "x", "-m", "m", "-o", "o", "--label", "GTV={cod: 1}"], "Did you mean code"),
        (["predict", "nowhere.nii.gz", "-m", "model", "-o", "out"], "nowhere.nii.gz does not exist"),
        (["evaluate", "nowhere", "neither"], "neither does not exist"),
        (["evaluate", "nowhere"], "--pairs"),
        (["evaluate", "a", "b", "--metrics", "dise"], "dice"),
        (["evaluate", "a", "b", "--fail-under", "dice"], "METRIC=NUMBER"),
        (["nonsense"], "nonsense"),
        (["predict", "x", "-m", "m", "-o", "o", "--read", "geometri=sform"], "geometry"),
        (["predict", "x", "-m", "m", "-o", "o", "-m", "n"], "--model was given twice"),
        (["predict", "x", "--model=m", "-mn", "-o", "o"], "--model was given twice"),
        (["predict", "x", "-m", "m", "-o", "o", "--out", "p"], "--out was given twice"),
        (["train", "x", "-o", "r", "-c", "unet2d", "-c", "unet3d"], "--config was given twice"),
        (["evaluate", "a", "b", "--seed", "1", "--seed", "1"], "--seed was given twice"),
        (["evaluate", "a", "b", "-o", "c", "-o", "d"], "--out was given twice"),
    ],
)
def test_wrong_use_ends_with_2_and_names_the_thing(capsys, monkeypatch, tmp_path, arguments, says):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *arguments)
    assert code == 2, err
    assert says in err
    assert list(tmp_path.iterdir()) == [], "wrong use leaves nothing behind"


def test_options_that_are_repeatable_may_be_repeated(capsys, tmp_path):
    given = [word for pair in ("-f nifti", "-f nrrd", "--read a=1", "--read b=2", "-q", "-q") for word in pair.split()]
    code, _, err = run(capsys, "predict", tmp_path / "x", "-m", "m", "-o", tmp_path / "o", *given)
    assert code == 2
    assert "twice" not in err


def test_presets_are_listed_with_their_purpose(capsys):
    code, out, _ = run(capsys, "train", "--list-presets")
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} >= {"unet2d", "unet3d", "unet-classic"}


def test_json_is_one_object_a_line_and_the_screen_is_elsewhere(capsys, tmp_path):
    code, out, _ = run(capsys, "sample", tmp_path / "s", "--json")
    assert code == 0
    events = [json.loads(line) for line in out.splitlines()]
    assert events[-1]["event"] == "finished"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["predict", "nowhere", "-m", "m", "-o", "o", "--json"], 2),
        (["predict", "nowhere", "--json"], 2),
        (["train", "nowhere", "-o", "run", "--json"], 2),
        (["evaluate", "nowhere", "neither", "--json"], 2),
        (["inspect", ".", "-o", "page.txt", "--json"], 2),
        (["train", ".", "-o", "run", "--json"], 3),
    ],
)
def test_with_json_an_error_is_the_last_object(capsys, monkeypatch, tmp_path, arguments, code):
    monkeypatch.chdir(tmp_path)
    found, out, err = run(capsys, *arguments)
    assert found == code
    last = json.loads(out.splitlines()[-1])
    assert last == {"event": "error", "text": err.splitlines()[-1], "exit_code": code}


def test_a_variable_asks_for_json_too_and_without_it_standard_output_stays_empty(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "predict", "nowhere", "-m", "m", "-o", "o")[1] == ""
    monkeypatch.setenv("MEDSEG_JSON", "1")
    assert json.loads(run(capsys, "predict", "nowhere", "-m", "m", "-o", "o")[1])["event"] == "error"


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("0"), MemoryError(), OSError(errno.ENOSPC, "full"), KeyboardInterrupt()]
)
def test_with_json_every_end_is_an_object(capsys, monkeypatch, tmp_path, error):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    raising(monkeypatch, error)
    code, out, _ = run(capsys, "sample", tmp_path / "s", "--json")
    assert json.loads(out)["exit_code"] == code > 3


def test_quiet_says_nothing(capsys, tmp_path):
    assert run(capsys, "sample", tmp_path / "s", "-q") == (0, "", "")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit of open files that a process could set")
def test_a_low_limit_of_open_files_is_raised_to_what_the_system_allows(tmp_path):
    """The soft limit is the shell's habit, the hard one the system's rule: it stays."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 300))\n"
        "import atexit; atexit.register(lambda: print(resource.getrlimit(resource.RLIMIT_NOFILE)))\n"
        "from medseg.cli.app import main; main(['--version'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.splitlines()[-1] == "(300, 300)"


@pytest.fixture
def out_of_handles():
    """A switch: from then on this process may open no more files than it has."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    def switch():
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))

    yield switch
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("verb", ["inspect", "evaluate", "predict"])
def test_a_process_without_file_handles_is_the_machines_fault_and_no_case_is_blamed(
    capsys, tmp_path, out_of_handles, verb
):
    root = nnunet(tmp_path / "data", n=3, channels=("CT",))
    plan = small_plan(channels=("CT",))
    save_model(tmp_path / "m", ModelInfo(plan), {0: build(plan.network).state_dict()})
    call = {
        "inspect": [verb, root, "--jobs", 1],
        "evaluate": [verb, root / "labelsTr", root / "labelsTr", "--jobs", 1],
        "predict": [verb, root / "imagesTr", "-m", tmp_path / "m", "-o", tmp_path / "out"],
    }[verb]
    assert run(capsys, *call)[0] == 0, "what is imported late is there from now on"
    out_of_handles()
    code, out, err = run(capsys, *call)
    assert code == 4, out + err
    assert "too many files are open at once" in err
    assert "Failed" not in out


@pytest.mark.parametrize("verb", ["inspect", "train", "predict", "evaluate", "sample"])
def test_help_lists_the_options_of_a_verb_before_those_of_all(capsys, verb):
    _, shown, _ = run(capsys, verb, "--help")
    own, shared = shown.split("Options of all verbs:")
    assert "Arguments:" in own
    assert all(f"--{name}" in shared and f"--{name} " not in own for name in ("json", "device", "seed", "read", "jobs"))
    assert verb == "sample" or "\nOptions:" in own
    assert max(map(len, shown.splitlines())) <= 80
