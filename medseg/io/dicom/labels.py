"""A DICOM SEG or RTSTRUCT → label map on the grid of its images: which of the two it is, and where it belongs.

The reader of each kind is a module of its own (`seg`, `rtstruct`), and so is the search for the images (`onto`).
"""

from collections.abc import Collection
from pathlib import Path

from medseg.core.errors import InputError, OrphanError
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap
from medseg.io.dicom.entries import ObjectEntry
from medseg.io.dicom.find import Frame, look, silently
from medseg.io.dicom.objects import is_label, object_entry
from medseg.io.dicom.onto import Target, target_of
from medseg.io.dicom.rtstruct import read_rtstruct
from medseg.io.dicom.seg import own_grid, read_seg
from medseg.io.options import ReadOptions

__all__ = ["is_label_object", "read_geometry", "read_labels"]


@silently()
def read_labels(
    path: Path, options: ReadOptions, image: Path | Geometry | None = None, wanted: Collection[str] | None = None
) -> LabelMap:
    """The structures of a SEG or RTSTRUCT, by name, on the grid of the images that it was drawn on.

    Args:
        path: The file, or a folder or archive that holds exactly one of them.
        options: How it and its images are read.
        image: The images, or their grid; else they are looked for beside the label.
        wanted: Names of the structures that are asked for; None: all.

    Raises:
        OrphanError: The images are not there.
        InputError: There is no label or more than one, it is damaged, or it does not fit.
    """
    file = _label_in(path)
    entry = object_entry(file)
    target = _target(file, entry, options, image)
    reader = read_seg if entry.kind == "seg" else read_rtstruct
    return reader(file, target, options, wanted)


@silently()
def read_geometry(path: Path, options: ReadOptions) -> tuple[Geometry, int]:
    """The grid that a label would be read on, and 1; no voxels and no contours are read."""
    file = _label_in(path)
    return _target(file, object_entry(file), options, None).grid, 1


@silently()
def is_label_object(path: Path) -> bool:
    """Whether a path holds no image and exactly one SEG or RTSTRUCT."""
    found = look(path)
    return not found.images and sum(map(is_label, found.objects)) == 1


def _label_in(path: Path) -> Frame:
    """The one label under a path.

    Raises:
        InputError: There is none, or more than one.
    """
    found = look(path)
    labels = [file for file in found.objects if is_label(file)]
    if len(labels) == 1:
        return labels[0]
    if labels:
        names = ", ".join(file.path.name for file in labels[:5])
        raise InputError(f"{path} holds {len(labels)} DICOM label objects ({names}); give the file of one.")
    if found.images:
        raise InputError(
            f"{path} is a DICOM image series; give the label map as DICOM SEG, RTSTRUCT, NIfTI, NRRD, MetaImage or PNG."
        )
    if path.is_file() and found.objects:
        raise InputError(f"{path} is a {found.objects[0].class_name}, which is no label map.")
    raise InputError(f"{path} holds no DICOM SEG or RTSTRUCT, or it is damaged at its beginning.")


def _target(file: Frame, entry: ObjectEntry, options: ReadOptions, image: Path | Geometry | None) -> Target:
    if entry.kind == "seg" and options.orphan == "own-grid" and image is None:
        target = target_of(entry, options, image)
        return target or own_grid(file)
    target = target_of(entry, options, image)
    if target is not None:
        return target
    advice = "; or --read orphan=own-grid reads it on a grid of its own" if entry.kind == "seg" else ""
    raise OrphanError(
        f"The images that {file.path} was drawn on are not there: put their series beside it, or name it as the "
        f"image of its case{advice}."
    )
