"""Which cases are of one patient, as far as DICOM headers tell: by a digest, never by a name or a number.

One header a case is read. A case without DICOM images is of nobody known. Digests stay in memory.
"""

from collections.abc import Iterable
from pathlib import Path

from medseg import io
from medseg.core.errors import InputError
from medseg.data.dataset import Case
from medseg.data.series import catalogued, in_question
from medseg.io.listing import is_regular

__all__ = ["patients_of"]


def patients_of(cases: Iterable[Case]) -> dict[str, str]:
    """Case id → digest of its patient, for the cases whose first image is DICOM."""
    found = {}
    for case in cases:
        path = case.images[0]
        if io.kind_of(path) == "dicom":
            try:
                patients = {entry.patient for entry in _series(path, case.read.get("series"))}
            except InputError:  # whoever reads the case says what is wrong with it
                continue
            if len(patients) == 1:
                found[case.id] = patients.pop()
    return found


def _series(path: Path, uid: str | None) -> tuple[io.SeriesEntry, ...]:
    """The series that a case reads; a single file of a folder speaks for all where no series is chosen."""
    if path.is_dir() and uid is None:
        files = (file for file in sorted(path.rglob("*")) if file.name[0] != "." and is_regular(file))
        return io.catalogue(next((file for file in files if io.kind_of(file) == "dicom"), path)).series
    return in_question(catalogued(path, io.ReadOptions()).series, io.ReadOptions(series=uid))
