"""The sample data set on disk: sixteen phantoms with labels, two new scans, one of them also as a DICOM series.

The layout is the Medical Segmentation Decathlon's. The references of the new scans lie apart, in `labelsTs`, so that
predictions can be scored. All is made in a hidden folder and moved out of it at the end, `dataset.json` last: so a data
set that can be opened is whole.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from medseg.core.errors import UsageError
from medseg.core.events import CaseRead, Event, Finished
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.io import files, write
from medseg.io.presence import alive, make_owned
from medseg.sample.anatomy import LABELS
from medseg.sample.phantom import N_PHANTOMS, N_TRAINING, SERIES_NUMBER, Phantom, make_phantom

__all__ = ["make_sample"]

_OWNER = ".owner"
"""Tells, in the hidden folder, which process is at work."""

_README = """# Sample data: computed CT phantoms

These scans are computed. Nobody was scanned, and the organs are not anatomy: they are smooth shapes, bent and blended,
that are called liver, spleen and kidneys because they lie about where those do. A model that was trained on them is
good for trying medseg out, and for nothing else.

| where | what |
| --- | --- |
| `dataset.json` | names and lists, in the layout of the Medical Segmentation Decathlon |
| `imagesTr`, `labelsTr` | {n_training} scans with labels (1 liver, 2 spleen, 3 kidneys), for training |
| `imagesTs` | {n_new} new scans, to predict |
| `labelsTs` | the true labels of the new scans, to score predictions with |
| `dicom/{series}` | the scan `imagesTs/{series}.nii.gz` as a DICOM CT series |

Intensities are Hounsfield units (int16, in steps of 5). Liver and spleen share their intensity; contrast phase, pose,
size, noise, voxel size (1.8 to 3 mm), axis order and tilt differ from scan to scan. So no threshold finds an organ:
the best one for each label, with the largest piece kept, has a mean Dice of at most 0.6, which a test holds.

Made by `medseg sample` with seed {seed}; the same command makes the same voxels again.

Licence: CC0 1.0 (public domain), https://creativecommons.org/publicdomain/zero/1.0/
"""


def make_sample(out: Path, seed: int = 0) -> Iterator[Event]:
    """Make the sample data set in the folder `out`, which must not exist or be empty; some ten seconds.

    Yields:
        `CaseRead` in the phase "making" for each phantom, `Finished` at the end.

    Raises:
        UsageError: `out` holds files, or is one.
        MachineError: The disk is full or cannot be written to.
    """
    start = time.monotonic()
    out = Path(out)
    partial = out / ".part"
    _refuse_used(out, partial)
    try:
        make_owned(partial / _OWNER)
        for number in range(1, N_PHANTOMS + 1):
            phantom = make_phantom(number, seed)
            _write_phantom(phantom, partial, number, seed)
            yield CaseRead(phantom.case, number, N_PHANTOMS, "making")
        files.write_json(partial / "dataset.json", _description(seed))
        files.write_text(
            partial / "README.md",
            _README.format(
                n_training=N_TRAINING, n_new=N_PHANTOMS - N_TRAINING, series=_case(SERIES_NUMBER), seed=seed
            ),
        )
        (partial / _OWNER).unlink()
        for entry in sorted(partial.iterdir(), key=lambda path: (path.suffix == ".json", path.name)):
            entry.replace(out / entry.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    summary = {"n_training": N_TRAINING, "n_new": N_PHANTOMS - N_TRAINING, "labels": list(LABELS.names)}
    yield Finished(str(out), time.monotonic() - start, summary)


def _refuse_used(out: Path, partial: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; the sample data need a folder of their own. Give another name.")
    # What a killed run left in its hidden folder is no reason to refuse.
    if out.is_dir() and any(entry != partial for entry in out.iterdir()):
        raise UsageError(
            f"{out} is not empty; the sample data need a folder of their own. Give a new name, or remove it."
        )
    if alive(partial / _OWNER):
        raise UsageError(f"Another process is making sample data in {out}. Wait for it, or give another name.")
    shutil.rmtree(partial, ignore_errors=True)


def _write_phantom(phantom: Phantom, root: Path, number: int, seed: int) -> None:
    part = "Tr" if number <= N_TRAINING else "Ts"
    meta = Meta(kind="nifti")
    write(Volume(phantom.hu[None], phantom.geometry, meta), root / f"images{part}" / f"{phantom.case}.nii.gz")
    labels = LabelMap(phantom.labels, phantom.geometry, LABELS, meta)
    write(labels, root / f"labels{part}" / f"{phantom.case}.nii.gz")
    if number == SERIES_NUMBER:
        # Here and not above: who only lists phantoms needs no pydicom.
        from medseg.sample.series import write_series

        write_series(phantom, root / "dicom" / phantom.case, seed)


def _description(seed: int) -> dict[str, object]:
    """The content of dataset.json."""
    cases = [_case(number) for number in range(1, N_PHANTOMS + 1)]
    return {
        "name": "Phantom",
        "description": "Computed CT phantoms of a trunk with three organ-like labels; nobody was scanned",
        "reference": f"medseg sample, seed {seed}",
        "licence": "CC0 1.0",
        "release": "1.0",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {"0": "background", **{str(value): name for name, value in LABELS.to_json().items()}},
        "numTraining": N_TRAINING,
        "numTest": N_PHANTOMS - N_TRAINING,
        "training": [
            {"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"} for case in cases[:N_TRAINING]
        ],
        "test": [f"./imagesTs/{case}.nii.gz" for case in cases[N_TRAINING:]],
    }


def _case(number: int) -> str:
    return f"phantom_{number:02}"
