"""Other people's programs as judges: found on the path (or beside this Python), else the test is skipped and says why.

Nothing is sent beyond loopback. A server is given free ports, a configuration and a store of its own, and is stopped.
"""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from medseg import io
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap
from tests.conftest import shared_data_dir

SAMPLE = Path(__file__).resolve().parents[2] / "sample_data" / "dicom"

PACKAGES = {
    "dciodvfy": "Debian's dicom3tools",
    "storescu": "Debian's dcmtk",
    "dcmdump": "Debian's dcmtk",
    "Orthanc": "Debian's orthanc",
    "segimage2itkimage": "dcmqi, of the extra 'oracles'",
    "dcm2niix": "dcm2niix, of the extra 'oracles'",
}
"""Program → what installs it."""

PRODUCER = io.Producer("a model", "sha256:0123456789abcdef0123")
LABELS = Labels({"liver": (1,), "left kidney": (2,), "tumour": (3,), "spleen": (9,)})
OVERLAPPING = Labels({"organ": (1, 2), "tumour": (2, 3)})


@pytest.fixture(scope="session")
def oracle():
    """Name of a program → its path."""

    def find(name):
        beside = Path(sys.executable).with_name(name)
        found = (
            str(beside) if beside.is_file() else shutil.which(name, path=None) or shutil.which(name, path="/usr/sbin")
        )
        if found is None:
            pytest.skip(f"{name} is not here ({PACKAGES[name]} brings it)")
        return found

    return find


def run(*command, timeout=120):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, errors="replace", timeout=timeout)


def series_called(name):
    """The folder of a series: "sample" is computed and always here, others are of the corpus of real scans."""
    if name == "sample":
        (folder,) = (path for path in SAMPLE.iterdir() if path.is_dir())
        return folder
    if shared_data_dir() is None:
        pytest.skip("the shared real scans are not here (set MEDSEG_SHARED_DATA)")
    return shared_data_dir() / "dicom" / name


def blobs(volume, labels=LABELS, seed=0):
    """A label map with round and ragged parts, holes and single voxels on the grid of a volume."""
    shape = volume.geometry.shape
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = ndimage.gaussian_filter(noise, [min(8.0, n / 6) for n in shape[:2]] + [0.7])
    array = np.digitize(smooth / smooth.std(), [0.7, 1.3, 1.9]).astype(np.uint8)
    array[noise > 4.2] = 1
    return LabelMap(array, volume.geometry, labels, volume.meta)


def write(label_map, path, form, seg_type="binary"):
    io.write_dicom(label_map, path, form, source=label_map.meta, producer=PRODUCER, seg_type=seg_type)
    return path


@dataclass(frozen=True)
class Server:
    """An Orthanc on loopback."""

    http: str
    dicom_port: int

    def get(self, path):
        with urllib.request.urlopen(f"{self.http}{path}", timeout=20) as answer:
            return answer.read()

    def post(self, path, content):
        request = urllib.request.Request(f"{self.http}{path}", data=content, method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())


@pytest.fixture(scope="session")
def orthanc(oracle, tmp_path_factory):
    """A running, empty Orthanc of this session's own."""
    folder, program = tmp_path_factory.mktemp("orthanc"), oracle("Orthanc")
    for _ in range(3):  # a port that was free may be taken before the server has it
        server, process = _start(program, folder)
        if process.poll() is None:
            break
    else:
        pytest.fail((folder / "log").read_text()[-2000:])
    yield server
    process.terminate()
    process.wait(timeout=30)


def _start(program, folder):
    http, dicom = _free_port(), _free_port()
    settings = {
        "Name": "medseg tests",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "Plugins": [],
        "HttpPort": http,
        "DicomPort": dicom,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "DicomCheckCalledAet": False,
        "OverwriteInstances": True,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    server = Server(f"http://127.0.0.1:{http}", dicom)
    for _ in range(150):
        try:
            server.get("/system")
            break
        except (urllib.error.URLError, OSError):
            if process.poll() is not None:
                break
            time.sleep(0.2)
    return server, process


def _free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
