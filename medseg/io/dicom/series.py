"""A DICOM series of one file a slice → a volume: find, group, place, then decode slice by slice.

Only the regular case is read so far: one stack of evenly spaced grey slices at right angles. Everything else is refused
by the step that sees it. Values are those after the rescale of each slice (HU in CT), int16 where that loses nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.io.dicom.assemble import assemble
from medseg.io.dicom.find import Frame, find_images, text
from medseg.io.dicom.group import choose_stack
from medseg.io.dicom.pixels import check_grey
from medseg.io.dicom.place import PlacedSeries, place
from medseg.io.options import ReadOptions

__all__ = ["placed", "placed_series", "read", "read_geometry", "read_labels"]


def read(path: Path, options: ReadOptions) -> Volume:
    """The volume of the one series in a folder, a file or an archive, one channel."""
    series = placed_series(path, options)
    array, notes = assemble(series.files)
    header = {"modality": text(series.files[0].header, "Modality"), "frames": series.files}
    return Volume(array[None], series.grid, Meta("dicom", header=header, warnings=series.notes + notes))


def read_labels(path: Path, options: ReadOptions, image: Path | None = None) -> LabelMap:  # noqa: ARG001  the door's signature
    """Refused: a DICOM image series is no label map, and DICOM SEG and RTSTRUCT are not read yet.

    Raises:
        InputError: Always.
    """
    find_images(path)  # says what a SEG or RTSTRUCT is
    raise InputError(f"{path} is a DICOM image series; give the label map as NIfTI, NRRD, MetaImage or PNG.")


def read_geometry(path: Path, options: ReadOptions) -> tuple[Geometry, int]:
    """Grid and number of channels (always 1); pixels are read only to tell copies of a slice."""
    return placed_series(path, options).grid, 1


def placed_series(path: Path, options: ReadOptions) -> PlacedSeries:
    """The slices of the one series under a path, in order, with their grid; no pixels are decoded.

    Raises:
        InputError: There is none, more than one, or it cannot be placed without guessing.
    """
    found = find_images(path)
    return placed(found.images, path, options, found.notes)


def placed(images: Sequence[Frame], path: Path, options: ReadOptions, notes: tuple[str, ...] = ()) -> PlacedSeries:
    """The slices of the one series among images; `path` is where they are from, for the sentences."""
    stack, further = choose_stack(images, path, options.series)
    for file in stack.files:
        check_grey(file)
    series = place(stack)
    return replace(series, notes=notes + further + series.notes)
