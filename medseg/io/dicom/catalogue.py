"""Which image series, segmentations and structure sets lie under a path: by their headers, no pixels are read.

A series is judged as reading it would judge it (but for its pixels), so a catalogue says beforehand what can be read
and why the rest cannot. Nothing here matches labels to images; it says what they refer to.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medseg.core.errors import InputError
from medseg.io.dicom.entries import Catalogue, SeriesEntry
from medseg.io.dicom.find import Frame, look, silently, text
from medseg.io.dicom.frames import split
from medseg.io.dicom.group import is_scout, stacks_of
from medseg.io.dicom.joined import joined
from medseg.io.dicom.objects import is_label, object_entry, patient_of
from medseg.io.dicom.series import placed
from medseg.io.options import ReadOptions

__all__ = ["catalogue"]


@silently()
def catalogue(path: Path, options: ReadOptions) -> Catalogue:
    """All DICOM series and labels in a file, a folder at any depth, or a zip archive; there may be none."""
    found = look(path)
    by_series: dict[tuple[str, str], list[Frame]] = defaultdict(list)
    for image in joined(found.images, options):
        by_series[image.series or str(image.path.parent), patient_of(image.header)].append(image)
    series = tuple(_series(images, path, options) for images in by_series.values())
    objects = tuple(object_entry(other) for other in found.objects if is_label(other))
    return Catalogue(series, objects, found.notes)


def _series(images: Sequence[Frame], path: Path, options: ReadOptions) -> SeriesEntry:
    header = images[0].header
    problem, frames = None, images
    try:
        frames = [frame for image in images for frame in split(image, options)]
        placed(images, path, replace(options, series=None, modality=None))
    except InputError as error:
        problem = str(error)
    return SeriesEntry(
        uid=images[0].series,
        members=frozenset(text(image.header, "SeriesInstanceUID") for image in images if image.joined),
        number=text(header, "SeriesNumber"),
        modality=text(header, "Modality"),
        description=text(header, "SeriesDescription"),
        n_images=len(frames),
        n_stacks=len(stacks_of(frames)),
        frame_of_reference=text(header, "FrameOfReferenceUID"),
        patient=patient_of(header),
        study=text(header, "StudyInstanceUID"),
        paths=tuple(dict.fromkeys(image.path for image in images)),
        problem=problem,
        is_scout=problem is not None and is_scout(frames),
    )
