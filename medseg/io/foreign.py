"""Formats that medseg does not read, by the suffix of a file: what each is called, and what makes it readable.

A folder of scans holds images of other formats, which somebody must be told of, and files that nobody takes for images:
notes, tables, code, transforms. The first are named where they are met; what is in neither list is named by its suffix.
"""

from collections.abc import Mapping
from pathlib import Path

from medseg.io.kinds import READABLE, kind_of
from medseg.io.listing import kind_of_special

__all__ = ["foreign_stem", "foreign_suffix", "format_name", "is_image_format", "is_sidecar", "remedy", "why_unread"]

_FORMATS: Mapping[str, str] = {
    ".mnc": "MINC",
    ".mnc.gz": "MINC",
    ".mnc2": "MINC",
    ".par": "Philips PAR/REC",
    ".rec": "Philips PAR/REC",
    ".xmlrec": "Philips XML/REC",
    ".head": "AFNI",
    ".brik": "AFNI",
    ".brik.gz": "AFNI",
    ".mgh.gz": "FreeSurfer MGH",
    ".hdr.gz": "a packed header of a pair",
    ".img": "the voxels of a pair whose .hdr is not beside it",
    ".img.gz": "the voxels of a pair whose .hdr is not beside it",
    ".mif": "MRtrix",
    ".mif.gz": "MRtrix",
    ".mih": "MRtrix",
    ".gipl": "GIPL",
    ".gipl.gz": "GIPL",
    ".vtk": "VTK",
    ".vti": "VTK",
    ".v": "ECAT",
    ".ima": "Siemens IMA",
    ".lsm": "Zeiss LSM",
    ".czi": "Zeiss CZI",
    ".lif": "Leica LIF",
    ".nd2": "Nikon ND2",
    ".oib": "Olympus OIB",
    ".oif": "Olympus OIF",
    ".vsi": "Olympus VSI",
    ".svs": "Aperio SVS",
    ".ndpi": "Hamamatsu NDPI",
    ".mrxs": "3DHISTECH MRXS",
    ".scn": "Leica SCN",
    ".ims": "Imaris",
    ".dv": "DeltaVision",
    ".mrc": "MRC",
    ".am": "Amira",
    ".npy": "NumPy",
    ".npz": "NumPy",
    ".h5": "HDF5",
    ".hdf5": "HDF5",
    ".hdf": "HDF",
    ".zarr": "Zarr",
    ".mat": "MATLAB",
    ".pkl": "Python pickle",
    ".pt": "PyTorch",
    ".raw": "raw voxels without a header",
    ".webp": "WebP",
    ".jp2": "JPEG 2000",
    ".j2k": "JPEG 2000",
    ".ppm": "PPM",
    ".pgm": "PGM",
    ".pbm": "PBM",
    ".pnm": "PNM",
    ".heic": "HEIC",
    ".avif": "AVIF",
    ".svg": "SVG",
    ".psd": "Photoshop",
    ".avi": "video (AVI)",
    ".mp4": "video (MP4)",
    ".mov": "video (QuickTime)",
    ".dcm.gz": "packed DICOM",
    ".dcm.bz2": "packed DICOM",
    ".nii.bz2": "packed NIfTI",
    ".nii.xz": "packed NIfTI",
    ".nii.zst": "packed NIfTI",
    ".tar": "an archive (tar)",
    ".tar.gz": "an archive (tar)",
    ".tgz": "an archive (tar)",
    ".7z": "an archive (7z)",
    ".rar": "an archive (RAR)",
}
"""Suffix → name, in lower case. What `kind_of` knows in the meantime is not asked for here."""

_REMEDIES: Mapping[str, str] = {
    "PyTorch": "save its array as NIfTI",
    "Python pickle": "save its array as NIfTI",
    "raw voxels without a header": "write a MetaImage (.mhd) or NRRD (.nhdr) header for it",
    **dict.fromkeys(("WebP", "PPM", "PGM", "PBM", "PNM", "JPEG 2000", "HEIC", "AVIF"), "convert it to PNG"),
    **dict.fromkeys(("SVG", "Photoshop"), "convert it to PNG"),
    **{name: "convert it to TIFF" for suffix, name in _FORMATS.items() if suffix in (".lsm", ".czi", ".lif", ".nd2")},
    **{name: "convert it to TIFF" for suffix, name in _FORMATS.items() if suffix in (".oib", ".oif", ".vsi", ".svs")},
    **{name: "convert it to TIFF" for suffix, name in _FORMATS.items() if suffix in (".ndpi", ".mrxs", ".scn", ".ims")},
    **{name: "unpack it" for name in _FORMATS.values() if name.startswith(("packed", "an archive"))},
    **{name: "save its frames as PNG" for name in _FORMATS.values() if name.startswith("video")},
}
"""Name → what makes it readable, where that is not NIfTI."""

_CONTAINERS = frozenset(
    ("VTK", "MRC", "Amira", "NumPy", "HDF5", "HDF", "Zarr", "MATLAB", "Python pickle", "PyTorch", "SVG", "Photoshop")
)
"""Formats that hold transforms, features or drawings as often as images."""

_SIDECARS = frozenset(
    (
        *(".json", ".jsonl", ".txt", ".csv", ".tsv", ".md", ".rst", ".xml", ".yaml", ".yml", ".toml", ".ini"),
        *(".cfg", ".log", ".html", ".htm", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ods", ".odt", ".ppt"),
        *(".pptx", ".bval", ".bvec", ".bvals", ".bvecs", ".py", ".ipynb", ".m", ".r", ".sh", ".bat", ".ps1", ".c"),
        *(".cpp", ".js", ".css", ".xfm", ".tfm", ".lta", ".dat", ".trk", ".tck", ".trx", ".stl", ".obj", ".ply"),
        *(".vtp", ".gii", ".annot", ".label", ".mrk", ".fcsv", ".mrml", ".mrb", ".db", ".sqlite", ".lock", ".bak"),
        *(".tmp", ".part", ".md5", ".sha256", ".sha512", ".sig", ".asc", ".bib", ".cff", ".tex", ".lnk", ".url"),
        *(".ctbl", ".ckpt", ".safetensors", ".pth", ".onnx", ".1d", ".eprime", ".edat2", ".license"),
    )
)
"""Suffixes of files that nobody takes for images: notes, tables, code, transforms, surfaces, weights."""

_SIDECAR_NAMES = frozenset(
    (
        *("readme", "license", "licence", "changes", "changelog", "notice", "authors", "citation", "contributing"),
        *("makefile", "dockerfile", "dicomdir", "thumbs.db", "desktop.ini", "md5sum", "md5sums", "sha256sums"),
        *("checksums", "version", "lockfile"),
    )
)


def foreign_suffix(path: Path | str) -> str:
    """The suffix of a file that medseg does not read, as it is written; the doubled one where it is packed."""
    path = Path(path)
    double = "".join(path.suffixes[-2:])
    return double if double.lower() in _FORMATS or double.lower().endswith((".gz", ".bz2", ".xz")) else path.suffix


def format_name(path: Path | str) -> str | None:
    """What the format of a file is called that medseg does not read; None where its suffix says nothing.

    >>> format_name("t1.MNC"), format_name("t1.brik.gz"), format_name("t1.xyz")
    ('MINC', 'AFNI', None)
    """
    return _FORMATS.get(foreign_suffix(path).lower())


def foreign_stem(path: Path | str) -> str:
    """The name of a file that medseg does not read, without its suffix.

    >>> foreign_stem("c0_flair.mnc"), foreign_stem("t1+orig.BRIK.gz")
    ('c0_flair', 't1+orig')
    """
    return Path(path).name.removesuffix(foreign_suffix(path))


def is_image_format(path: Path | str) -> bool:
    """Whether a file's suffix is that of a format that holds nothing but images (NumPy's may hold anything).

    >>> is_image_format("t1.mnc"), is_image_format("t1.npz"), is_image_format("t1.xyz")
    (True, False, False)
    """
    name = format_name(path)
    return name is not None and name not in _CONTAINERS and not name.startswith(("an archive", "video"))


def is_sidecar(path: Path | str) -> bool:
    """Whether a file is one that nobody takes for an image: a note, a table, code, a transform.

    >>> is_sidecar("README"), is_sidecar("dataset.json"), is_sidecar("t1.mnc"), is_sidecar("t1.xyz")
    (True, True, False, False)
    """
    path = Path(path)
    return path.suffix.lower() in _SIDECARS or path.name.lower() in _SIDECAR_NAMES


def why_unread(path: Path | str, *, with_kinds: bool = True) -> str:
    """Why a path is no scan to medseg and what to do: a clause that follows its name, without a full stop.

    `with_kinds`: whether it lists what medseg reads where the format has no name.
    """
    path = Path(path)
    special = kind_of_special(path)
    if special is not None:
        return f"is {special}, and medseg reads files"
    name = format_name(path)
    if name is None or kind_of(path.name) is not None:
        return f"is no scan that medseg reads{f' ({READABLE})' if with_kinds else ''}"
    return f"is {name}, which medseg does not read; {remedy(path)}"


def remedy(path: Path | str) -> str:
    """What makes a file of a format with a name readable: a clause."""
    return _REMEDIES.get(format_name(path) or "", "convert it to NIfTI")
