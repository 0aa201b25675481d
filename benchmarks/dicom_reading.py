"""How fast a CT of 140 files of 512 × 512 is read, beside SimpleITK's series reader, and how much memory that takes.

    python benchmarks/dicom_reading.py [--slices 140] [--rounds 7]

The series is computed (a body with noise, so that nothing is easy to compress) and written to a temporary folder in no
order of names. Both readers run in turn, round by round, on files that the system has in memory; medians are compared.
Peak memory is that of a process of its own for each reader, above its peak after the imports. Prints a Markdown table.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SIDE, SPACING_MM, STEP_MM = 512, 0.78125, 1.25


def write_ct(folder, n_slices):
    """A CT as scanners write it: signed 16 bits, HU by an intercept, some 60 attributes a file."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    body = (rows / 190) ** 2 + (columns / 230) ** 2 < 1
    common = header()
    for k, name in enumerate(rng.permutation(n_slices)):
        hu = np.where(body, 40 + 60 * np.sin(rows / 30 + k / 9) * np.cos(columns / 25), -1000.0)
        stored = np.rint(hu + rng.normal(0, 15, hu.shape) + 1024).clip(0, 4095).astype("<i2")
        slice_ = Dataset(common)
        slice_.SOPInstanceUID = generate_uid(entropy_srcs=["benchmark", str(k)])
        slice_.InstanceNumber = int(name) + 1
        slice_.ImagePositionPatient = [
            f"{-SIDE / 2 * SPACING_MM}",
            f"{-SIDE / 2 * SPACING_MM}",
            f"{k * STEP_MM - 90:.3f}",
        ]
        slice_.SliceLocation = f"{k * STEP_MM - 90:.3f}"
        slice_.PixelData = stored.tobytes()
        slice_.file_meta = FileMetaDataset()
        slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_.file_meta.MediaStorageSOPClassUID = CTImageStorage
        slice_.file_meta.MediaStorageSOPInstanceUID = slice_.SOPInstanceUID
        slice_.save_as(folder / f"{name:04d}.dcm", enforce_file_format=True)


def header():
    common = Dataset()
    uids = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    values = {
        **{name: generate_uid(entropy_srcs=["benchmark", name]) for name in uids},
        "SOPClassUID": CTImageStorage,
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        **dict.fromkeys(("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"), "20200101"),
        **dict.fromkeys(("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"), "120000.000"),
        **dict.fromkeys(("AccessionNumber", "ReferringPhysicianName", "PatientBirthDate", "StudyID"), ""),
        "SpecificCharacterSet": "ISO_IR 100",
        "Manufacturer": "medseg",
        "ManufacturerModelName": "benchmark",
        "PatientName": "Phantom",
        "PatientID": "0",
        "PatientSex": "O",
        "PatientPosition": "HFS",
        "SeriesNumber": 2,
        "StudyDescription": "ABDOMEN",
        "SeriesDescription": "1.25 mm",
        "ProtocolName": "abdomen",
        "KVP": "120",
        "SliceThickness": "1.25",
        "DataCollectionDiameter": "500",
        "ReconstructionDiameter": "400",
        "GantryDetectorTilt": "0",
        "TableHeight": "150",
        "RotationDirection": "CW",
        "ExposureTime": 800,
        "XRayTubeCurrent": 300,
        "Exposure": 240,
        "FilterType": "BODY",
        "FocalSpots": "1.2",
        "ConvolutionKernel": "STANDARD",
        "AcquisitionNumber": 1,
        "PositionReferenceIndicator": "XY",
        "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
        "PixelSpacing": [str(SPACING_MM)] * 2,
        "Rows": SIDE,
        "Columns": SIDE,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "WindowCenter": "40",
        "WindowWidth": "400",
        "RescaleSlope": "1",
        "RescaleIntercept": "-1024",
        "RescaleType": "HU",
    }
    for name, value in values.items():
        setattr(common, name, value)
    return common


def read_by_medseg(folder):
    from medseg import io

    return io.read(folder).array[0]


def read_by_itk(folder):
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    view = sitk.GetArrayViewFromImage(image)
    return Held(view, image)


class Held:
    """A view and what it is a view of: without the image it would show memory that is gone."""

    def __init__(self, view, image):
        self.view, self.image = view, image
        self.nbytes = view.nbytes

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.view, dtype)


READERS = {"medseg": read_by_medseg, "SimpleITK": read_by_itk}


def measured(folder, rounds):
    """Median seconds of each reader, taken in turn."""
    seconds = {name: [] for name in READERS}
    for _ in range(rounds + 1):
        for name, read in READERS.items():
            begin = time.perf_counter()
            read(folder)
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(taken[1:]) for name, taken in seconds.items()}  # the first one warms up


def peak_mib():
    """Of this program alone: ru_maxrss goes on with the peak of the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def memory(name, folder):
    """Peak of a fresh process above its imports, as a share of the array, printed for the parent."""
    import SimpleITK  # noqa: F401

    import medseg.io.dicom.series  # noqa: F401

    before = peak_mib()
    array = READERS[name](folder)
    print((peak_mib() - before) / (array.nbytes / 2**20))


def memory_of(name, folder):
    command = [sys.executable, __file__, "--memory-of", name, str(folder)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=140)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        memory(arguments.memory_of[0], Path(arguments.memory_of[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_ct(folder, arguments.slices)
        mine, other = (read(folder) for read in READERS.values())
        same = np.array_equal(mine.T, other)
        del mine, other
        seconds = measured(folder, arguments.rounds)
        peaks = {reader: memory_of(reader, folder) for reader in READERS}
    print(f"| {SIDE} × {SIDE} × {arguments.slices}, {arguments.rounds} rounds | medseg | SimpleITK | ratio |")
    print("| --- | --- | --- | --- |")
    ratio = seconds["medseg"] / seconds["SimpleITK"]
    print(f"| seconds, median | {seconds['medseg']:.2f} | {seconds['SimpleITK']:.2f} | **{ratio:.2f}** |")
    print(f"| peak memory above the imports / array | **{peaks['medseg']:.2f}** | {peaks['SimpleITK']:.2f} | |")
    print(f"| same values | {'yes' if same else 'NO'} | | |")


if __name__ == "__main__":
    main()
