"""What to predict: the cases in any mix of files, folders of scans, DICOM series, archives, tables and data sets.

A folder (or a zip archive) of several DICOM series is as many cases. Ids are those of `data.case_ids`, never text
inside a scan (DICOM holds patient names).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medseg import io
from medseg.core.errors import InputError
from medseg.data.case_ids import place_name
from medseg.data.dataset import Case, Dataset, natural_key, refuse_twins, safe_id
from medseg.data.layouts import existing, recognised
from medseg.data.layouts.ambiguity import refuse
from medseg.data.layouts.table import is_table, open_table
from medseg.data.leftovers import left_aside
from medseg.data.scans import (
    IMAGE_FOLDERS,
    NAMED,
    NUMBERED,
    TEST_FOLDER,
    Scans,
    by_channel,
    folders_named,
    scans_in,
)
from medseg.data.series import SeriesCase, catalogued, in_question, series_cases
from medseg.io.foreign import why_unread
from medseg.io.kinds import READABLE
from medseg.io.listing import listing

__all__ = ["Inputs", "find_cases", "find_inputs"]

_FEWEST_OF_A_VOLUME = 4
"""A DICOM series that cannot be read and has fewer images than this is a scout or a report, not a case that failed."""


@dataclass
class Inputs:
    """The cases to predict, and what was left out: a sentence each."""

    cases: list[Case] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_cases(
    paths: Sequence[Path], channels: int | None = None, options: io.ReadOptions | None = None
) -> tuple[Case, ...]:
    """The cases of `find_inputs`."""
    return tuple(find_inputs(paths, channels, options).cases)


def find_inputs(paths: Sequence[Path], channels: int | None = None, options: io.ReadOptions | None = None) -> Inputs:
    """The cases in `paths`, in the order of the paths and of natural names within each.

    Args:
        paths: Files, folders of scans (a file or a DICOM series each), DICOM series, archives of them, tables, data
            sets (all their images).
        channels: How many channels a case has for the model; files named case_0000, case_0001 (or case-t1, case-t2) are
            then one case. None where it is not known: files are grouped if every case has the same numbers.
        options: How files are read; `series` and `modality` choose among DICOM series.

    Raises:
        UsageError: A path does not exist.
        InputError: A path holds no scan, a case has another number of channels, or two cases have one id.
        AmbiguousError: DICOM series could be the channels of a case in several ways.
    """
    found, options = Inputs(), options or io.ReadOptions()
    loose: dict[Path, dict[str, Path]] = {}
    for path in map(Path, paths):
        if existing(path).is_dir():
            _add_folder(path, channels, options, found)
        elif is_table(path):
            found.cases += _without_labels(open_table(path, options), channels)
        elif io.kind_of(path) is None:
            raise InputError(f"{path} {why_unread(path)}.")
        elif _is_zip(path):
            _add_dicom(path, channels, options, found)
        else:
            _add(path, loose.setdefault(path.parent, {}))
    for folder, files in loose.items():
        found.cases += _as_cases(Scans(folder, files), channels)
    refuse_twins(found.cases)
    stacked = channels is not None and channels > 1
    found.cases = [replace(case, stacked=stacked and len(case.images) == 1) for case in found.cases]
    return found


def _add(path: Path, files: dict[str, Path]) -> None:
    twin = files.setdefault(io.stem(path), path)
    if twin != path:
        raise InputError(f"{twin} and {path} would have one name for their results; predict them one after the other.")


def _add_folder(folder: Path, channels: int | None, options: io.ReadOptions, found: Inputs) -> None:
    found.notes += left_aside(folder)
    if _is_series(folder):
        _add_dicom(folder, channels, options, found)
        return
    layout = recognised(folder, but=("dicom",))
    if layout is not None:
        found.cases += _without_labels(layout[0].open(folder, options), channels)
        return
    scans = scans_in(folder)
    if not scans.paths:
        deeper = folders_named(folder, (TEST_FOLDER, *IMAGE_FOLDERS))
        scans = scans_in(deeper[0]) if deeper else scans
    if not scans.paths:
        looked_for = f"{folder} holds no scan: looked for {READABLE}, also as a series or a data set."
        raise InputError(" ".join((looked_for, *left_aside(folder))))
    folders = {stem: path for stem, path in scans.paths.items() if path.is_dir() or _is_zip(path)}
    files = {stem: path for stem, path in scans.paths.items() if stem not in folders}
    series = {stem: path for stem, path in folders.items() if not _holds_labels_alone(path, options)}
    if series and channels is not None and channels > 1:
        every = catalogued(folder, options).series
        _refuse_channels(folder, series_cases(in_question(every, options), every, folder), channels)
    inner = Inputs(_as_cases(replace(scans, paths=files), channels))
    for path in series.values():
        _add_dicom(path, channels, options, inner)
    if not inner.cases:
        raise InputError(f"{folder} holds SEG or RTSTRUCT alone, and no image to predict.")
    found.cases += sorted(inner.cases, key=lambda case: natural_key(case.id))
    found.notes += inner.notes


def _is_series(folder: Path) -> bool:
    """Whether a folder holds DICOM files itself, or nothing but one folder that does."""
    inside = listing(folder)
    holds_one = len(inside.folders) == 1 and not inside.files and io.kind_of(inside.folders[0]) == "dicom"
    return holds_one or any(io.kind_of(path) == "dicom" for path in inside.files if not _is_zip(path))


def _holds_labels_alone(path: Path, options: io.ReadOptions) -> bool:
    """Whether a DICOM folder holds SEG or RTSTRUCT and no image: nothing to predict, and no case that failed."""
    found = catalogued(path, options)
    return bool(found.objects) and not found.series


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _add_dicom(path: Path, channels: int | None, options: io.ReadOptions, found: Inputs) -> None:
    """The series in a folder or an archive.

    Of several, those that cannot be read are left out with a note where they are a few images (scouts, reports); else
    they stay, and fail with the reason.
    """
    every = catalogued(path, options).series
    chosen = in_question(every, options)
    aside = [s for s in chosen if s.problem is not None and (s.is_scout or s.n_images < _FEWEST_OF_A_VOLUME)]
    kept = [entry for entry in chosen if entry not in aside]
    if len(chosen) == 1 or not kept:
        name = series_cases(chosen, every, path)[0].id if len(chosen) == 1 else safe_id(place_name(path))
        found.cases.append(Case(name, (path,)))
        return
    series = series_cases(kept, every, path)
    if channels is not None and channels > 1:
        _refuse_channels(path, series, channels)
    found.cases += [Case(each.id, (each.image,), group=each.group, read=each.read) for each in series]
    if aside:
        n_images = sum(entry.n_images for entry in aside)
        found.notes.append(f"{path}: {len(aside)} series of {n_images} images in all are no volumes and were left out.")


def _refuse_channels(path: Path, series: Sequence[SeriesCase], channels: int) -> None:
    """Refuse several series for a model of several channels: which is which is not said anywhere."""
    if len(series) < 2:
        return
    of_patient: dict[str, list[SeriesCase]] = {}
    for each in series:
        of_patient.setdefault(each.group, []).append(each)
    rows = [Case(name, tuple(each.image for each in mine[:channels])) for name, mine in of_patient.items()]
    others = [Case(each.group, (each.image,)) for mine in of_patient.values() for each in mine[channels:]]
    names = [f"channel {number}" for number in range(channels)]
    refuse(
        f"{path} holds {len(series)} DICOM series, and the model wants {channels} channels in their order: say which "
        "series is which (each in a folder of its own).",
        path if path.is_dir() else path.parent,
        rows,
        others,
        names,
    )


def _without_labels(dataset: Dataset, channels: int | None) -> list[Case]:
    """All images of a data set, labelled or not, under the ids that it has for training."""
    incomplete = [problem for problem in dataset.problems if problem.images]
    if incomplete:
        n = len(incomplete)
        raise InputError(" ".join(problem.reason for problem in incomplete[:5]) + f" ({n} in {dataset.root})")
    cases = [replace(case, label=None) for case in (*dataset.cases, *dataset.unlabelled)]
    for case in cases:
        if channels is not None and len(case.images) not in (1, channels):
            raise InputError(_wrong_count(case.id, len(case.images), channels))
    return cases


def _as_cases(scans: Scans, channels: int | None) -> list[Case]:
    """The cases of one folder's scans: a file each, or the files of its channels."""
    grouped = _channel_files(scans, channels)
    members = {stem for stems in grouped.values() for stem in stems}
    cases = [Case(safe_id(base), tuple(scans.paths[stem] for stem in stems)) for base, stems in grouped.items()]
    cases += [Case(safe_id(stem), (path,)) for stem, path in scans.paths.items() if stem not in members]
    return sorted(cases, key=lambda case: natural_key(case.id))


def _channel_files(scans: Scans, channels: int | None) -> dict[str, list[str]]:
    """By base, its stems in channel order, for the files that are channels of one case.

    Raises:
        InputError: Files are numbered like channels, but in another number than the model has.
    """
    numbered = {base: [of[c] for c in sorted(of)] for base, of in by_channel(scans.paths, NUMBERED).items()}
    # One file called case_0000 is case; several are channels only for a model of several, else frames.
    single = {base: stems for base, stems in numbered.items() if stems == [f"{base}_0000"]}
    several = {base: stems for base, stems in numbered.items() if len(stems) > 1}
    if channels is None:
        counts = {len(stems) for stems in numbered.values()}
        return {**single, **several} if len(counts) == 1 else single
    if channels == 1:
        return single
    for base, stems in several.items():
        if len(stems) != channels:
            raise InputError(_wrong_count(base, len(stems), channels))
    if several:
        return {**single, **several}
    named = {base: [of[c] for c in sorted(of, key=natural_key)] for base, of in by_channel(scans.paths, NAMED).items()}
    complete = {base: stems for base, stems in named.items() if len(stems) == channels}
    # patient-a and patient-b may as well be two cases that hold all channels in one file: their headers tell.
    return {b: stems for b, stems in complete.items() if _n_channels(scans.paths[stems[0]]) != channels} | single


def _n_channels(path: Path) -> int | None:
    try:
        return io.read_geometry(path, io.ReadOptions(channels="last"))[1]
    except InputError:
        return None


def _wrong_count(case_id: str, n_files: int, channels: int) -> str:
    return f"Case {case_id} has {n_files} files of channels, but the model has {channels} channels."
