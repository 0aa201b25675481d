"""Files ↔ volumes and label maps. The only room that knows headers, LPS, gzip streams and DICOM.

`read`, `read_labels`, `read_geometry` and `write` are the door; `read_structures` makes one map of many masks; `kind_of`, `stem` and `suffix_for` answer from names;
`catalogue` tells which DICOM series and labels lie under a path, from headers alone;
`ReadOptions` says how a file is read that leaves a choice; `files` writes anything whole or not at all.
"""

from medseg.io import files
from medseg.io.dicom.entries import Catalogue, ObjectEntry, SeriesEntry
from medseg.io.door import catalogue, read, read_geometry, read_labels, write
from medseg.io.kinds import kind_of, stem, suffix_for
from medseg.io.options import ReadOptions
from medseg.io.structures import read_structures

__all__ = [
    "Catalogue",
    "ObjectEntry",
    "ReadOptions",
    "SeriesEntry",
    "catalogue",
    "files",
    "kind_of",
    "read",
    "read_geometry",
    "read_labels",
    "read_structures",
    "stem",
    "suffix_for",
    "write",
]
