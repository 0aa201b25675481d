"""The one door for images and label maps: a path in, a `Volume` or `LabelMap` out, and the way back.

The kind of a file picks the module that knows it; each is imported when first needed, so that reading a PNG does not
load SimpleITK. Every failure to read is a sentence with the path in it.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from medseg.core.errors import InputError, MachineError, UsageError, is_shortage, machine_error
from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.io.archive import archive_of, members
from medseg.io.dicom.entries import Catalogue
from medseg.io.dicom.producer import DicomForm, Producer, SegType
from medseg.io.files import replacing
from medseg.io.foreign import why_unread
from medseg.io.kinds import WRITABLE, kind_of, suffix_of
from medseg.io.options import ReadOptions
from medseg.io.pairs import main_file

__all__ = [
    "catalogue",
    "check_dicom",
    "check_writable",
    "read",
    "read_geometry",
    "read_labels",
    "write",
    "write_dicom",
]

_MODULES = {
    "nifti": "medseg.io.nifti",
    "mgh": "medseg.io.mgh",
    "mha": "medseg.io.metaimage",
    "nrrd": "medseg.io.nrrd",
    "png": "medseg.io.raster",
    "tiff": "medseg.io.raster",
    "jpeg": "medseg.io.raster",
    "bmp": "medseg.io.raster",
    "gif": "medseg.io.raster",
    "dicom": "medseg.io.dicom.series",
}
"""Kind → the module with `read`, `read_geometry` and, but for DICOM, `read_labels` and `write`."""

_DICOM_LABELS = "medseg.io.dicom.labels"
"""A DICOM label is no image: SEG and RTSTRUCT are read by a module of their own."""

_DICOM_WRITER = "medseg.io.dicom.write"


def read(path: Path | str, options: ReadOptions | None = None) -> Volume:
    """The image in a file, or of the DICOM series in a folder.

    `array` is (c, i, j, k): stored integers and floats keep their type, scaled ones are float32.

    Raises:
        UsageError: There is no such path.
        InputError: It is no image, damaged, or cannot be placed in space without guessing.
    """
    path = main_file(Path(path))
    with _reading(path):
        volume: Volume = _module(path).read(path, options or ReadOptions())
    return volume


def read_labels(
    path: Path | str,
    options: ReadOptions | None = None,
    image: Path | str | Geometry | None = None,
    wanted: Collection[str] | None = None,
) -> LabelMap:
    """The label map in a file: values as they are there (uint8 or uint16), with names where the file has them.

    Args:
        path: The file; or a folder that holds one DICOM SEG or RTSTRUCT.
        options: How files are read.
        image: The image that it was drawn on, or its grid: a DICOM SEG or RTSTRUCT is placed on that, and where none is
            given on the series beside it. Other kinds have a grid of their own and do not ask.
        wanted: Names of the structures that are asked for, where a file holds several by name: the others are neither
            read nor judged. None: all. A file with none of them is read whole.

    Raises:
        UsageError: There is no such path.
        InputError: It is no label map (not whole numbers, several channels, lossy), damaged, or without a place.
    """
    path = main_file(Path(path))
    with _reading(path):
        module, options = _module(path), options or ReadOptions()
        label_map: LabelMap
        if module.__name__ == _MODULES["dicom"]:
            image = Path(image) if isinstance(image, str) else image
            if isinstance(image, Path) and _module(image) is not module:
                image = read_geometry(image, options)[0]
            label_map = import_module(_DICOM_LABELS).read_labels(path, options, image, wanted)
        elif module.__name__ == _MODULES["nrrd"]:
            label_map = module.read_labels(path, options, wanted)
        else:
            label_map = module.read_labels(path, options)
    return label_map


def read_geometry(path: Path | str, options: ReadOptions | None = None) -> tuple[Geometry, int]:
    """The grid of an image and its number of channels, or the grid of a label map and 1; no voxels are read.

    Raises:
        UsageError: There is no such path.
        InputError: It is no image, or cannot be placed in space without guessing.
    """
    path = main_file(Path(path))
    with _reading(path):
        module = _module(path)
        if module.__name__ == _MODULES["dicom"] and path.is_file():
            labels = import_module(_DICOM_LABELS)
            module = labels if labels.is_label_object(path) else module
        found: tuple[Geometry, int] = module.read_geometry(path, options or ReadOptions())
    return found


def catalogue(path: Path | str, options: ReadOptions | None = None) -> Catalogue:
    """The DICOM series, segmentations and structure sets under a path; headers are read, pixels are not.

    Raises:
        UsageError: There is no such path.
        InputError: It is an archive that is damaged.
    """
    path = Path(path)
    if not _exists(path):
        raise UsageError(f"{path} does not exist.")
    with _reading(path):
        found: Catalogue = import_module("medseg.io.dicom.catalogue").catalogue(path, options or ReadOptions())
    return found


def write(thing: Volume | LabelMap, path: Path | str, *, like: Meta | None = None) -> None:
    """Write an image or label map in the format of the path's suffix, whole or not at all.

    Args:
        thing: What to write; label maps get the smallest integer type that holds them.
        path: Where to; an existing file is replaced, missing folders are made.
        like: Whose header conventions to give back (codes, units, dimensions); `thing.meta` by default.

    Raises:
        UsageError: The suffix is none that medseg writes.
        InputError: The format cannot hold the thing (a sheared grid in MetaImage, a volume in PNG).
        MachineError: The disk is full or the folder cannot be written to.
    """
    path = Path(path)
    module = _writer(path)
    with replacing(path) as partial:
        module.write(thing, partial, like or thing.meta, path)


def check_writable(grid: Geometry, path: Path | str) -> None:
    """Refuse a grid that the format of a file name cannot hold, before there is anything to write.

    Raises:
        UsageError: The suffix is none that medseg writes.
        InputError: The format cannot hold it (a sheared grid in MetaImage, several slices in a PNG).
    """
    path = Path(path)
    _writer(path).check_grid(grid, path)


def write_dicom(
    label_map: LabelMap,
    path: Path | str,
    form: DicomForm,
    *,
    source: Meta,
    producer: Producer,
    seg_type: SegType = "binary",
) -> tuple[str, ...]:
    """Write a label map on the grid of a DICOM series as a SEG or an RTSTRUCT, whole or not at all.

    The file is read back and compared before it gets its name.

    Args:
        label_map: On the grid of the series; its names become segments or structures, regions too.
        path: Where to; an existing file is replaced, missing folders are made.
        form: Which kind of object.
        source: The `meta` of the volume that the series was read to: it knows the images.
        producer: What made the label map.
        seg_type: Of a SEG.

    Returns:
        What the object cannot say, a sentence each.

    Raises:
        InputError: The map was not made from a DICOM series, is not on its grid, or cannot be said in this form.
        MachineError: The disk is full, or the file does not read back as it was written; then nothing is left of it.
    """
    module = import_module(_DICOM_WRITER)
    notes: tuple[str, ...] = module.write_dicom(
        label_map, Path(path), form, source=source, producer=producer, seg_type=seg_type
    )
    return notes


def check_dicom(
    grid: Geometry, labels: Labels | None, form: DicomForm, *, source: Meta, seg_type: SegType = "binary"
) -> None:
    """Refuse what `write_dicom` would refuse, before there is a label map.

    Raises:
        InputError: The grid is not that of a DICOM series, or labels overlap where they must not.
    """
    import_module(_DICOM_WRITER).check_dicom(grid, labels, form, source, seg_type)


def _writer(path: Path) -> Any:  # noqa: ANN401  a module
    kind = WRITABLE.get(suffix_of(path))
    if kind is None:
        raise UsageError(f"{path} has no suffix that medseg writes; use one of {', '.join(WRITABLE)}.")
    return import_module(_MODULES[kind])


def _module(path: Path) -> Any:  # noqa: ANN401  a module
    if not _exists(path):
        raise UsageError(f"{path} does not exist.")
    kind = kind_of(path)
    if kind is None and path.is_dir():
        raise InputError(f"{path} is a folder without a DICOM image; give a file or the folder of one DICOM series.")
    if kind is None and path.suffix.lower() == ".zip":
        raise InputError(f"{path} is a zip archive without a DICOM file, of {len(members(path))} in all.")
    if kind is None:
        raise InputError(f"{path} {why_unread(path)}.")
    if path.is_dir() and kind != "dicom":
        raise InputError(f"{path} is a folder; give a file.")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes). Copy it again.")
    return import_module(_MODULES[kind])


def _exists(path: Path) -> bool:
    archive = archive_of(path)
    return path.exists() if archive is None else path in members(archive)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What the system refuses (permissions, a broken disk, memory) as a sentence about the path."""
    try:
        yield
    except MemoryError as error:
        raise MachineError(f"{path} does not fit into the memory of this machine.") from error
    except OSError as error:
        if is_shortage(error) and (refused := machine_error(error)) is not None:
            raise refused from error
        raise InputError(f"{error.filename or path} cannot be read: {error.strerror or error}.") from error
