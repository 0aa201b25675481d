"""Files ↔ volumes and label maps. The only room that knows headers, LPS, gzip streams and DICOM.

`read`, `read_labels`, `read_geometry` and `write` are the door; `write_dicom` writes what refers to a DICOM series;
`check_writable` and `check_dicom` refuse beforehand. `read_structures` makes one map of many masks; `catalogue` tells
which DICOM series and labels lie under a path, from headers alone. `kind_of`, `stem` and `suffix_for` answer from
names; `ReadOptions` says how a file is read that leaves a choice; `files` writes anything whole or not at all.
"""

from medseg.io import files
from medseg.io.dicom.entries import Catalogue, ObjectEntry, SeriesEntry
from medseg.io.dicom.producer import DICOM_FORMS, DicomForm, Producer, SegType
from medseg.io.door import (
    catalogue,
    check_dicom,
    check_writable,
    read,
    read_geometry,
    read_labels,
    write,
    write_dicom,
)
from medseg.io.kinds import kind_of, stem, suffix_for
from medseg.io.options import ReadOptions
from medseg.io.pairs import main_file
from medseg.io.structures import read_structures

__all__ = [
    "DICOM_FORMS",
    "Catalogue",
    "DicomForm",
    "ObjectEntry",
    "Producer",
    "ReadOptions",
    "SegType",
    "SeriesEntry",
    "catalogue",
    "check_dicom",
    "check_writable",
    "files",
    "kind_of",
    "main_file",
    "read",
    "read_geometry",
    "read_labels",
    "read_structures",
    "stem",
    "suffix_for",
    "write",
    "write_dicom",
]
