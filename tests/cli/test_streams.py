"""Standard streams as they come: of few characters, closed, full, left by their reader."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medseg import io as files
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap, Volume

GRID = Geometry((9, 9, 9), np.eye(4))
OURS = "…→×–−≥≤±·µ°²³’“”"


def command(*arguments, **options):
    """The command in a process of its own, with streams and surroundings as given."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "0", **options.pop("environment", {})}
    options = {"capture_output": True, "timeout": 120, **options}
    return subprocess.run([sys.executable, "-m", "medseg", *map(str, arguments)], env=environment, **options)


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    """Two folders of masks that differ; one case's name has characters of other languages."""
    root = tmp_path_factory.mktemp("masks")
    for number, side in enumerate(("predicted", "reference")):
        (root / side).mkdir()
        for case in ("a", "Müller→脑"):
            labels = np.zeros(GRID.shape, np.uint8)
            labels[2 : 6 + number, 2:6, 2:6] = 1
            files.write(LabelMap(labels, GRID), root / side / f"{case}.nii.gz")
    return root


@pytest.mark.parametrize("verb", [(), ("train",), ("predict",), ("evaluate",), ("inspect",), ("sample",)])
def test_help_is_ascii_and_so_right_on_every_screen(verb, capsys):
    from medseg.cli import app

    assert app.run([*verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Usage" in shown
    assert shown.isascii()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "latin-1", "cp932", "utf-8"])
def test_every_text_can_be_written_in_every_encoding(encoding, monkeypatch):
    from medseg.cli import streams

    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    streams.prepare()
    out.write(f"M\udcfcller 脑 {OURS}\n")
    out.flush()
    shown = out.buffer.getvalue().decode(encoding)
    assert r"M\udcfcller" in shown
    if encoding == "ascii":
        assert shown == 'M\\udcfcller \\u8111 ...->x-->=<=+/-*u degrees^2^3\'""\n'


def test_a_finding_is_said_where_the_screen_has_few_characters(tmp_path):
    files.write(Volume(np.full((1, *GRID.shape), 7, np.int16), GRID), tmp_path / "blank→.nii.gz")
    done = command("inspect", tmp_path, "--jobs", 1, environment={"PYTHONIOENCODING": "cp1252"})
    assert done.returncode == 0, done.stderr
    assert b"  -> " in done.stdout, "the arrow before a remedy"


def test_json_is_ascii_and_so_the_same_in_all_encodings(masks):
    call = ("evaluate", masks / "predicted", masks / "reference", "--jobs", 1, "--json")
    done = command(*call, environment={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert r"M\u00fcller\u2192\u8111" in done.stdout.decode("ascii")


needs_posix = pytest.mark.skipif(os.name != "posix", reason="closes streams as a POSIX shell does")


@needs_posix
@pytest.mark.parametrize("closed", [(1,), (0, 1, 2)])
def test_closed_streams_change_no_exit_code_and_no_file(masks, tmp_path, closed):
    def close():
        for number in closed:
            os.close(number)

    call = ("evaluate", masks / "predicted", masks / "reference", "-o", tmp_path / "out", "--jobs", 1)
    done = command(*call, capture_output=False, stdin=subprocess.DEVNULL, preexec_fn=close)
    assert done.returncode == 0
    assert (tmp_path / "out/metrics.csv").read_text(encoding="utf-8").startswith("case,label,metric")


@needs_posix
def test_an_error_without_standard_error_keeps_its_code(tmp_path):
    done = command("inspect", tmp_path / "nowhere", capture_output=False, preexec_fn=lambda: os.close(2))
    assert done.returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's always full device")
def test_a_full_standard_output_is_the_machines_fault(masks):
    with Path("/dev/full").open("w") as full:
        done = command("--version", capture_output=False, stdout=full, stderr=subprocess.PIPE)
        assert (done.returncode, done.stderr.count(b"\n")) == (4, 1)
        assert command("nonsense", capture_output=False, stderr=full).returncode == 2


@needs_posix
def test_a_reader_that_has_had_enough_is_141():
    reading, writing = os.pipe()
    os.close(reading)
    done = command("--help", capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@needs_posix
def test_a_defect_is_70_and_a_line_where_nothing_can_be_written(tmp_path):
    code = (
        "import sys, medseg.sample\nfrom medseg.cli import app\n"
        "def broken(*_):\n    raise ZeroDivisionError\n"
        "medseg.sample.make_sample = broken\napp.main(['sample', sys.argv[1]])"
    )

    def no_files():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s")], capture_output=True, timeout=120, preexec_fn=no_files
    )
    assert done.returncode == 70
    assert done.stderr.count(b"\n") == 1
    assert b"ZeroDivisionError in <string>, line 4" in done.stderr
