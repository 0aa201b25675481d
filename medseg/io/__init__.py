"""Files ↔ volumes and label maps. The only room that knows headers, LPS, gzip streams and DICOM.

`read`, `read_labels`, `read_geometry` and `write` are the door; `kind_of`, `stem` and `suffix_for` answer from names;
`ReadOptions` says how a file is read that leaves a choice; `files` writes anything whole or not at all.
"""

from medseg.io import files
from medseg.io.door import read, read_geometry, read_labels, write
from medseg.io.kinds import kind_of, stem, suffix_for
from medseg.io.options import ReadOptions

__all__ = [
    "ReadOptions",
    "files",
    "kind_of",
    "read",
    "read_geometry",
    "read_labels",
    "stem",
    "suffix_for",
    "write",
]
