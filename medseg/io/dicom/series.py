"""A DICOM series → a volume: find, split into frames, group, place, decode and assemble; and labels, by their kind.

The story of the package in order; each step is a module and refuses what it cannot do without guessing. Values are
those after the rescale of each slice (HU in CT, SUVbw in PET), int16 where that loses nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.core.errors import InputError, MedsegError
from medseg.core.geometry import Geometry
from medseg.core.volume import Meta, Volume
from medseg.io.dicom.assemble import assemble
from medseg.io.dicom.find import Frame, find_images, silently, text
from medseg.io.dicom.frames import split_all
from medseg.io.dicom.group import Stack, choose_stack, of_series
from medseg.io.dicom.joined import about_joined, joined
from medseg.io.dicom.pixels import check_grey
from medseg.io.dicom.place import PlacedSeries, place
from medseg.io.dicom.suv import suvs_of_slices
from medseg.io.options import ReadOptions

__all__ = ["placed", "placed_series", "read", "read_geometry"]


@silently()
def read(path: Path, options: ReadOptions) -> Volume:
    """The volume of the one series in a folder, a file or an archive, one channel."""
    series = placed_series(path, options)
    factors, notes = _suv_factors(series, options)
    array, further = assemble(series.files, factors)
    if series.interpolation is not None:
        array = series.interpolation.apply(array)
    first = series.files[0].header
    header: dict[str, Any] = {
        "modality": text(first, "Modality"),
        "frame_of_reference": text(first, "FrameOfReferenceUID"),
        "frames": series.frames,
    }
    if series.rounding_mm:
        header["rounding_mm"] = series.rounding_mm
    return Volume(array[None], series.grid, Meta("dicom", header=header, warnings=series.notes + notes + further))


def _suv_factors(series: PlacedSeries, options: ReadOptions) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
    """What makes PET SUVbw, and a note on it; None where values are taken as they are."""
    if text(series.files[0].header, "Modality") != "PT":
        return None, ()
    if options.pet == "raw":
        return None, ("PET values were taken as they are, not as SUV.",)
    factors, note = suvs_of_slices(series.files, Stack(list(series.files)).number)
    return factors, (note,)


@silently()
def read_geometry(path: Path, options: ReadOptions) -> tuple[Geometry, int]:
    """Grid and number of channels (always 1); pixels are read only to tell copies of a slice."""
    return placed_series(path, options).grid, 1


def placed_series(path: Path, options: ReadOptions) -> PlacedSeries:
    """The slices of the one series under a path, in order, with their grid; no pixels are decoded.

    Raises:
        InputError: There is none, more than one, or it cannot be placed without guessing.
    """
    found = find_images(path)
    series = placed(found.images, path, options, found.damaged)
    return replace(series, notes=found.notes + series.notes)


def placed(images: Sequence[Frame], path: Path, options: ReadOptions, damaged: Sequence[Path] = ()) -> PlacedSeries:
    """The slices of the one series among images as `find` gives them; `path` is said in the sentences."""
    try:
        stack, notes = choose_stack(
            split_all(of_series(joined(images, options), path, options), options), path, options
        )
    except InputError as error:
        if not _would_be_one(images, path, options):
            raise
        raise InputError(
            f"{str(error).removesuffix('.')}, or, for slices of one volume, --read join=always."
        ) from error
    _check_beside(stack, damaged)
    for file in stack.files:
        check_grey(file)
    series = place(stack, options)
    return replace(series, notes=notes + about_joined(stack.files) + series.notes)


def _would_be_one(images: Sequence[Frame], path: Path, options: ReadOptions) -> bool:
    """Whether joining images that have a series each would lead to a volume."""
    if options.join != "auto":
        return False
    images = joined(images, replace(options, join="always"))
    if not any(image.joined for image in images):
        return False
    try:
        stack, _ = choose_stack(split_all(of_series(images, path, options), options), path, options)
        place(stack, options)
    except MedsegError:
        return False
    return bool(stack.first.joined)


def _check_beside(stack: Stack, damaged: Sequence[Path]) -> None:
    """A damaged file beside the slices may be one of them: at an end of the stack nobody would miss it."""
    folders = {file.path.parent for file in stack.files}
    lost = next((path for path in damaged if path.parent in folders), None)
    if lost is not None:
        raise InputError(
            f"{lost} is cut off or damaged: its header breaks off, and it may be a slice of the series beside it. "
            "Copy it again, or take it out of the folder."
        )
