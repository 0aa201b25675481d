"""A DICOM series of one file a slice → a volume: find, group, place, then decode slice by slice.

Only the regular case is read so far: one stack of evenly spaced grey slices at right angles. Everything else is refused
by the step that sees it. Values are those after the rescale of each slice (HU in CT), int16 where that loses nothing.
"""

from pathlib import Path

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.io.dicom.assemble import assemble
from medseg.io.dicom.find import find_images, text
from medseg.io.dicom.group import choose_stack
from medseg.io.dicom.pixels import check_grey
from medseg.io.dicom.place import PlacedSeries, place
from medseg.io.options import ReadOptions

__all__ = ["read", "read_geometry", "read_labels"]


def read(path: Path, options: ReadOptions) -> Volume:
    """The volume of the one series in a folder (or a file), one channel."""
    series, notes = _placed(path, options)
    array, further = assemble(series.files)
    header = {"modality": text(series.files[0].header, "Modality")}
    meta = Meta("dicom", header=header, warnings=notes + series.notes + further)
    return Volume(array[None], series.grid, meta)


def read_labels(path: Path, options: ReadOptions, image: Path | None = None) -> LabelMap:  # noqa: ARG001  the door's signature
    """Refused: a DICOM image series is no label map, and DICOM SEG and RTSTRUCT are not read yet.

    Raises:
        InputError: Always.
    """
    find_images(path)  # says what a SEG or RTSTRUCT is
    raise InputError(f"{path} is a DICOM image series; give the label map as NIfTI, NRRD, MetaImage or PNG.")


def read_geometry(path: Path, options: ReadOptions) -> tuple[Geometry, int]:
    """Grid and number of channels (always 1); pixels are read only to tell copies of a slice."""
    return _placed(path, options)[0].grid, 1


def _placed(path: Path, options: ReadOptions) -> tuple[PlacedSeries, tuple[str, ...]]:
    found = find_images(path)
    stack, notes = choose_stack(found.images, path, options.series)
    for file in stack.files:
        check_grey(file)
    return place(stack), found.notes + notes
