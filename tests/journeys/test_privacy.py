"""A patient's name goes nowhere: planted in every text that comes in, and searched for in every byte that goes out."""

import base64
import gzip
import json
import zipfile

import numpy as np
import pytest
from pydicom import dcmread

from medseg import io
from medseg.core.volume import LabelMap, Volume
from tests.data.dicom_trees import SHAPE, put_series, put_structures
from tests.io.label_files import write_seg
from tests.journeys.canary import CANARY, plant_in_dicom, plant_in_nifti, sightings, sings
from tests.journeys.conftest import Shell

pytestmark = pytest.mark.journey

SMALL = (
    *("--epochs", "1", "--device", "cpu", "--set", "plan.patch=[16,16,8]", "--set", "plan.batch=2"),
    *("--set", "network.features=[8,16]", "--set", "training.steps_an_epoch=6"),
    *("--set", "training.arithmetic=float32", "--set", "training.validations=1"),
)


def box(number):
    return slice(1, 4), slice(1 + number % 3, 6 + number % 3), slice(2 + number % 4, 8 + number % 4)


@pytest.fixture(params=["where the command runs", "as an absolute path"])
def hospital(request, tmp_path):
    """A folder named after the patient with DICOM below: where medseg runs, what stands before `data`, the folder."""
    above = tmp_path / f"{CANARY}^Maria" / "exports"
    root = above / "data"
    for number in range(4):
        series = put_series(root / f"P{number}/ct", f"id{number}", number, bright=box(number))
        if number % 2:
            mask = np.zeros(SHAPE, np.uint8)
            mask[box(number)] = 1
            (root / f"P{number}/rt").mkdir()
            write_seg(root / f"P{number}/rt/1.dcm", series, mask[..., None], labels=["lesion"])
        else:
            put_structures(root / f"P{number}/rt/1.dcm", series, lesion=box(number))
    for path in root.rglob("*.dcm"):
        plant_in_dicom(path)
    outside = tmp_path / "outside"
    outside.mkdir()
    if request.param == "where the command runs":
        return Shell(above), "", above
    return Shell(outside), f"{above}/", above


class Ears:
    """Runs medseg, tracebacks of -vv included, and keeps every line in which the canary sings."""

    def __init__(self, shell):
        self.shell = shell
        self.heard = []

    def __call__(self, *arguments, code=0):
        process = self.shell.start(*arguments)
        said = "\n".join(process.communicate(timeout=300))
        assert process.returncode == code, said
        self.heard += [f"medseg {' '.join(map(str, arguments))}: {line}" for line in said.splitlines() if sings(line)]
        return said


def test_the_canary_is_found_wherever_it_hides(tmp_path):
    """The search must find what it is to find."""
    (tmp_path / "a.txt").write_text(f"x{CANARY.upper()}y")
    (tmp_path / "b.bin").write_bytes(b"\0\0\0" + CANARY.encode("utf-16-le"))
    for lead in range(4):
        (tmp_path / f"c{lead}.txt").write_bytes(base64.b64encode(b"x" * lead + CANARY.encode() + b"rest"))
    (tmp_path / "d.gz").write_bytes(gzip.compress(b"abc" * 99 + CANARY.encode()))
    with zipfile.ZipFile(tmp_path / "e.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.json", json.dumps({"name": "name " * 20 + CANARY}))
    (tmp_path / f"{CANARY}.txt").write_text("")
    (tmp_path / "innocent.txt").write_text("a canary bird")
    found = " ".join(sightings(tmp_path))
    for name in ("a.txt", "b.bin", "c0.txt", "c1.txt", "c2.txt", "c3.txt", "d.gz", "e.zip", f"{CANARY}.txt"):
        assert name in found
    assert "innocent" not in found


def test_the_canary_is_planted(hospital):
    _, _, above = hospital
    for path in above.rglob("*.dcm"):
        assert sum(CANARY in str(element.value) for element in dcmread(path)) > 40


def test_no_name_of_a_dicom_patient_is_left_anywhere(hospital):
    shell, before, above = hospital
    medseg = Ears(shell)
    data = f"{before}data"
    medseg("inspect", data, "-o", "page.html", "-o", "all.json", "-vv")
    medseg("inspect", data, "--json")
    medseg("train", data, "-o", "run", *SMALL, "-vv", "--json")
    everything = [
        word for kind in ("nifti", "nrrd", "seg.nrrd", "mha", "dicom-seg", "rtstruct") for word in ("-f", kind)
    ]
    medseg("predict", data, "-m", "run", "-o", "many", *everything, "--preview", "--device", "cpu", "-vv")
    medseg("predict", f"{data}/P1/ct", "-m", "run", "-o", "one", "--device", "cpu", "--json")
    medseg("predict", data, "-m", "run", "-o", "out", "--device", "cpu", "--json", "-vv")
    said = medseg("evaluate", "out", data, "--labels", "lesion=1", "-o", "scores", "-vv", "--json")
    assert "dice" in said.lower()
    # What fails says so without the folders above.
    (broken, *_) = sorted((above / "data/P2/ct").iterdir())
    broken.write_bytes(broken.read_bytes()[:700])
    (above / "data/P3/rt/1.dcm").write_bytes((above / "data/P3/rt/1.dcm").read_bytes()[:600])
    medseg("inspect", data, "-o", "bad.html", "-o", "bad.json", "--json", code=3)
    medseg("train", data, "-o", "bad", *SMALL, "-vv", "--json", code=3)
    medseg("train", data, "-o", "bad", *SMALL, "-vv", "--skip-bad", "--json")
    medseg("predict", data, "-m", "run", "-o", "worse", "--device", "cpu", "--json", "-vv", code=1)
    medseg("predict", f"{data}/P2/ct", "-m", "run", "-o", "worst", "--device", "cpu", "-vv", code=3)
    medseg("evaluate", "out", data, "--labels", "lesion=1", "-o", "bad_scores", "-vv", "--json", code=1)
    assert medseg.heard == []
    assert [where for path in shell.folder.iterdir() if path.name != "data" for where in sightings(path)] == []


def test_no_name_in_a_nifti_header_is_left_anywhere(hospital):
    shell, before, above = hospital
    folder = above / "nifti"
    for number in range(4):
        scan = io.read(above / f"data/P{number}/ct")
        mask = io.read_labels(above / f"data/P{number}/rt/1.dcm", image=above / f"data/P{number}/ct")
        for kind, thing in (
            ("images", Volume(scan.array, scan.geometry)),
            ("labels", LabelMap(mask.array.astype(np.uint8), mask.geometry)),
        ):
            path = folder / kind / f"case_{number}.nii.gz"
            io.write(thing, path)
            plant_in_nifti(path)
    assert len(sightings(folder)) == 8
    medseg = Ears(shell)
    data = f"{before}nifti"
    medseg("inspect", data, "-o", "page.html", "-o", "all.json", "--json", "-vv")
    medseg("train", data, "-o", "run", *SMALL, "-vv", "--json")
    medseg("predict", f"{data}/images", "-m", "run", "-o", "out", "--preview", "--device", "cpu", "-vv", "--json")
    medseg("evaluate", "out", f"{data}/labels", "-o", "scores", "-vv", "--json")
    (broken, *_) = sorted((folder / "images").iterdir())
    broken.write_bytes(broken.read_bytes()[:400])
    medseg("train", data, "-o", "bad", *SMALL, "-vv", "--json", code=3)
    medseg("predict", f"{data}/images", "-m", "run", "-o", "worse", "--device", "cpu", "-vv", "--json", code=1)
    medseg("evaluate", f"{data}/images", f"{data}/labels", "-o", "bad_scores", "-vv", "--json", code=3)
    assert medseg.heard == []
    outputs = [path for path in shell.folder.iterdir() if path.name not in ("data", "nifti")]
    assert [where for path in outputs for where in sightings(path)] == []
