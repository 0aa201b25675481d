"""A case, read once and summarised: what a worker process does.

Whatever is wrong with the case becomes findings of its report, so one bad case never stops the others. The room `data`
knows how a case is read; here is only what else is asked of its voxels while they are in memory.
"""

import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg import io
from medseg.core.errors import InputError, MachineError, MedsegError, is_shortage
from medseg.core.geometry import Voxels
from medseg.core.labels import Labels
from medseg.core.memory import allowed_bytes, in_words
from medseg.core.views import plane_of
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.data.cases import read_image, read_label_map, with_meaning
from medseg.data.checks import (
    UNPLACED_IMAGES,
    UNPLACED_LABELS,
    OtherGridError,
    constant_channels,
    on_grid_of,
    refuse_images,
)
from medseg.data.dataset import Case, listed
from medseg.data.fingerprint import CaseFacts, flattened_channels, measure_case
from medseg.inspect.findings import Finding, Kind, Severity
from medseg.inspect.likeness import digest_of, likeness_of
from medseg.inspect.remedies import remedy_for
from medseg.inspect.report import CaseReport, Gap, Mark, Role, Slice
from medseg.inspect.shapes import gaps_of, marks_of, parts_of, reach_of
from medseg.inspect.slices import Upright, at_gap, at_voxel, glance
from medseg.io.values import NOT_FINITE, NotALabelMapError

__all__ = ["Job", "inspect_case", "lost_case"]

BYTES_A_VOXEL = 24
"""Reckoned for a case: image and label map, a copy in float32, the numbers of its pieces."""

_LEAST_FILE_BYTES = 2**16
"""A smaller file holds no volume that matters: nothing but zeros is packed a thousandfold."""

MOST_VALUES_SHOWN = 64
"""A map that declares nothing and has more values than this is looked at as a whole: it may be an image by mistake."""


@dataclass(frozen=True)
class Job:
    """A case and all that is needed to look at it in another process.

    Attributes:
        case: The case.
        role: Whether it has labels, lacks them, or is kept for testing.
        labels: What the data set declares; None where it declares nothing.
        channels: Names of the channels; empty where no number of them is expected.
        options: How files are read.
        n_samples: Voxels to sample for the fingerprint.
        seed: Which voxels.
        max_memory_bytes: What may be taken; what is free by default.
    """

    case: Case
    role: Role
    labels: Labels | None
    channels: tuple[str, ...]
    options: io.ReadOptions
    n_samples: int
    seed: int
    max_memory_bytes: int | None = None

    def __post_init__(self) -> None:
        # Read-only views of mappings, as cases have them, cannot go to another process.
        case = self.case
        label = dict(case.label) if isinstance(case.label, Mapping) else case.label
        plain = replace(case, label=label, attributes=dict(case.attributes), read=dict(case.read))
        object.__setattr__(self, "case", plain)


def inspect_case(job: Job) -> CaseReport:
    """Read a case and say what it is like and what is wrong with it; nothing that is wrong with it raises."""
    try:
        return _inspected(job)
    except MedsegError as error:
        if is_shortage(error.__cause__):
            raise  # the next case would fare no better
        return _failed(job, "unreadable", str(error), _remedy(error))
    except MemoryError:
        return _failed(job, "unreadable", "The case does not fit into the memory of this machine.", "Use fewer --jobs.")
    except Exception as error:  # noqa: BLE001  # the boundary of a case: the others go on, and the trace is kept
        report = _failed(
            job, "defect", f"medseg failed on this case ({type(error).__name__}).", "Please report it; -vv shows more."
        )
        return replace(report, trace=traceback.format_exc())


def lost_case(job: Job, reason: str) -> CaseReport:
    """What is to be said of a case that cost its process its life."""
    return _failed(job, "unreadable", reason, "Look at it by itself, with --jobs 1, or crop it.")


_COPY_AGAIN = "Copy or export the file again, or take the case out of the data set."
_CROP = "Crop the case, or look at it where there is more memory."
_CHANNELS = "Check that the files are of one case; register channels that were taken on different days."
_PLACE = "Check that image and label map come from one series, or resample the label map to the image."
_DECLARE = "Declare what the values mean in dataset.json (or --set data.labels), or correct the label map."
_REDRAW = "Export the labels as whole numbers without interpolation."


def _remedy(error: MedsegError) -> str:
    """What to do about a file that cannot be read: what its sentence offers goes before a copy of it."""
    if isinstance(error, MachineError):
        return _CROP
    return remedy_for(str(error), _COPY_AGAIN)


def bytes_to_look_at(job: Job) -> int:
    """What looking at a case takes, by the header of its first image; by the size of its files where that is a folder.

    To read the headers of a DICOM series takes as long as to look at it.
    """
    path, n_images = job.case.images[0], len(job.case.images)
    try:
        if path.is_dir():
            return sum(file.stat().st_size for file in path.iterdir()) // 2 * n_images * BYTES_A_VOXEL
        options = replace(job.options.updated(job.case.read).of_channel(0), channels="last")
        grid, n_channels = io.read_geometry(path, options)
    except (MedsegError, OSError):  # it will be a finding
        return 0
    return prod(grid.shape) * max(n_channels, n_images) * BYTES_A_VOXEL


def _refuse_too_large(job: Job) -> None:
    """Refuse a case that would not fit, by its header.

    Raises:
        MachineError: With both amounts.
    """
    path = job.case.images[0]
    if not path.is_file() or path.stat().st_size < _LEAST_FILE_BYTES:
        return
    needed, limit = bytes_to_look_at(job), allowed_bytes(job.max_memory_bytes)
    if limit is not None and needed > limit:
        whose = "allowed (--max-memory)" if limit == job.max_memory_bytes else "free"
        raise MachineError(
            f"Looking at the case takes about {in_words(needed)} of memory, by the header of {path.name}, but only "
            f"{in_words(limit)} are {whose}."
        )


def _failed(job: Job, kind: Kind, text: str, remedy: str) -> CaseReport:
    return CaseReport(job.case.id, job.role, findings=(_finding(job, kind, "error", text, remedy),))


def _finding(job: Job, kind: Kind, severity: Severity, text: str, remedy: str) -> Finding:
    # Sentences of a batch begin with the case, which a finding names anyway.
    told = text.removeprefix(f"Case {job.case.id}: ")
    told = told if told == text else told[:1].upper() + told[1:]
    return Finding(kind, severity, told.replace(f" of case {job.case.id}", ""), remedy, (job.case.id,))


def _inspected(job: Job) -> CaseReport:
    _refuse_too_large(job)
    try:
        image = read_image(job.case, job.options, job.channels)
    except OtherGridError as error:
        return _failed(job, "other_grid", str(error), _CHANNELS)
    findings = [*_image_findings(job, image)]
    label_map: LabelMap | None = None
    if job.case.label is not None:
        label_map, about_labels = _labels_of(job, image)
        findings += about_labels
    usable = job.role == "labelled" and label_map is not None and all(f.severity != "error" for f in findings)
    report = _measured(job, image, label_map)
    return replace(report, findings=tuple(findings), usable=usable)


def _image_findings(job: Job, image: Volume) -> Iterator[Finding]:
    if job.channels and image.n_channels != len(job.channels):
        text = f"The image has {image.n_channels} channels, but the data set has {len(job.channels)} " + (
            f"({', '.join(job.channels)})."
        )
        yield _finding(job, "channels", "error", text, "Correct the case, or the names of the channels.")
    for note in image.meta.warnings:
        yield _told(job, note)
    blank = constant_channels(image)
    if blank:
        names = [job.channels[n] if n < len(job.channels) else f"channel {n}" for n in blank]
        text = f"{listed(names)}: one value everywhere; nothing can be seen in it."
        yield _finding(job, "blank", "warning", text, "Export the image again, or take the case out.")


def _told(job: Job, note: str) -> Finding:
    """A reader's warning as a finding."""
    if NOT_FINITE in note:
        return _finding(job, "not_finite", "warning", note, "Find out what wrote them; export the image again.")
    if note in (UNPLACED_IMAGES, UNPLACED_LABELS) or note.startswith("The file has no place in space"):
        return _finding(
            job, "placement", "note", note, "Nothing, if voxels are what counts; else export with geometry."
        )
    return _finding(job, "mended", "warning", note, "Check that this is what was meant.")


def _placed(job: Job, note: str) -> Finding:
    """What was said when the label map was laid on its image, as a finding."""
    told = _told(job, note)
    return replace(told, kind="offset") if told.kind == "mended" else told


def _labels_of(job: Job, image: Volume) -> tuple[LabelMap | None, list[Finding]]:
    """The label map on the image's grid, as far as it can be had, and everything that is wrong with it."""
    case = job.case
    if case.label is None:
        return None, []
    try:
        wanted = None if job.labels is None else job.labels.names
        read = read_label_map(case.label, job.options.updated(case.read), case.images[0], wanted)
        refuse_images(read, job.labels, "The label map")
    except NotALabelMapError as error:
        return None, [_finding(job, "not_a_label_map", "error", str(error), _REDRAW)]
    except InputError as error:
        return None, [_finding(job, "unreadable", "error", str(error), _remedy(error))]
    findings: list[Finding] = [_told(job, note) for note in read.meta.warnings]
    on_grid: LabelMap | None = None
    try:
        on_grid, notes = on_grid_of(image, read, case.id, job.channels)
        findings += [_placed(job, note) for note in notes]
    except OtherGridError as error:
        findings.append(_finding(job, "other_grid", "error", str(error), _PLACE))
    if job.labels is None:
        return on_grid, findings
    try:
        # Values are judged even where the grid is wrong: all that is wrong is said at once.
        meant, notes = with_meaning(read if on_grid is None else on_grid, job.labels, case.id)
    except InputError as error:
        findings.append(_finding(job, "unknown_labels", "error", str(error), _DECLARE))
        return on_grid, findings
    findings += [_told(job, note) for note in notes]
    return None if on_grid is None else meant, findings


def _measured(job: Job, image: Volume, label_map: LabelMap | None) -> CaseReport:
    """All that is kept of a case whose image could be read."""
    grid, turn = image.geometry, image.geometry.to_canonical
    absent = LabelMap(np.broadcast_to(np.uint8(0), grid.shape), grid) if label_map is None else label_map
    ignore = job.labels.ignore if job.labels else None
    facts = measure_case(job.case.id, image, absent, ignore, job.n_samples, job.seed)
    labels = _labels_for(label_map, tuple(facts.counts), ignore)
    upright = turn.apply(image.array)
    report = CaseReport(
        case=job.case.id,
        role=job.role,
        facts=facts,
        dtype=str(image.array.dtype),
        placed_by=_placed_by(image.meta),
        likeness=likeness_of(upright, thumbnail=not _is_flattened(facts)),
        blank_planes=tuple(_blank_planes(channel) for channel in upright),
    )
    case = Upright(
        image=upright[0],
        array=None if label_map is None else _without(turn.apply(label_map.array), ignore),
        grid=grid.reorient(turn),
        labels=labels,
        placed=image.meta.placed,
        turn=turn,
    )
    if label_map is not None and case.array is not None:
        ignored = None if ignore is None else turn.apply(label_map.array) == ignore
        stored = str(label_map.meta.header.get("dtype", ""))
        report = replace(
            _with_shapes(report, case, case.array, ignored),
            label_dtype=stored,
            label_digest=digest_of(turn.apply(label_map.array), np.uint16),
        )
    return replace(report, glance=glance(case))


def _with_shapes(
    report: CaseReport, case: Upright, array: NDArray[Any], ignored: NDArray[np.bool_] | None
) -> CaseReport:
    """The report with what the shape of the labels says, and with close-ups of what may be worth one."""
    parts = parts_of(array, case.labels)
    marks, gaps = marks_of(parts, case.grid), gaps_of(array, case.image, case.grid, parts, ignored)
    close_ups: dict[str, tuple[Slice, ...]] = {}
    place = _first_island(marks)
    if place is not None:
        close_ups["island"] = (at_voxel(case, place),)
    if gaps:
        close_ups["unlabelled_slices"] = at_gap(case, gaps[0])
    return replace(
        report,
        marks={name: _mark_in_file(mark, case) for name, mark in marks.items()},
        gaps=tuple(_gap_in_file(gap, case) for gap in gaps),
        reach=reach_of(array, case.grid, ignored),
        ignored_share=0.0 if ignored is None else float(ignored.mean()),
        close_ups=close_ups,
    )


def _mark_in_file(mark: Mark, case: Upright) -> Mark:
    return replace(mark, islands=tuple(replace(each, voxel=case.in_file(each.voxel)) for each in mark.islands))


def _gap_in_file(gap: Gap, case: Upright) -> Gap:
    first, last = sorted(case.number(gap.axis, index) for index in (gap.first, gap.last))
    return replace(gap, axis=case.turn.order[gap.axis], first=first, last=last)


def _labels_for(label_map: LabelMap | None, values: tuple[int, ...], ignore: int | None) -> Labels:
    """The names to go by: the map's own, else one a value."""
    if label_map is not None and label_map.labels is not None:
        return label_map.labels
    return Labels.from_values(value for value in values[: MOST_VALUES_SHOWN + 1] if value != ignore)


def _is_flattened(facts: CaseFacts) -> bool:
    """Whether a few values of the first channel are so far away that a picture of it shows nothing else."""
    return bool(flattened_channels([facts], ("first channel",)))


def _without(array: NDArray[Any], ignore: int | None) -> NDArray[Any]:
    return array if ignore is None else np.where(array == ignore, array.dtype.type(0), array)


def _first_island(marks: Mapping[str, Mark]) -> Voxels | None:
    return next((mark.islands[0].voxel for mark in marks.values() if mark.islands), None)


def _placed_by(meta: Meta) -> str:
    if not meta.placed:
        return "nothing"
    if "sform_code" not in meta.header:
        return "header"
    return "sform" if meta.header["sform_code"] else "qform"


def _blank_planes(channel: NDArray[Any]) -> int:
    """How many planes at the border have one value throughout, counted from each of the six faces inwards."""
    n = 0
    for axis in range(3):
        side = channel.shape[axis]
        for order in (range(side), range(side - 1, -1, -1)) if side > 1 else ():
            for index in order:
                plane = plane_of(channel, axis, index)
                if plane.min() != plane.max():
                    break
                n += 1
    return n
