"""What to predict: the cases in any mix of files, folders of scans, DICOM series and data sets.

Ids come from the names of files and folders, never from what is written inside a scan (DICOM holds patient names).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medseg import io
from medseg.core.errors import InputError
from medseg.data.dataset import Case, natural_key, refuse_twins, safe_id
from medseg.data.layouts import existing, recognised
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
from medseg.io.kinds import READABLE

__all__ = ["find_cases"]


def find_cases(
    paths: Sequence[Path], channels: int | None = None, options: io.ReadOptions | None = None
) -> tuple[Case, ...]:
    """The cases in `paths`, in the order of the paths and of natural names within each.

    Args:
        paths: Files, folders of scans (a file or a DICOM series each), DICOM series, data sets (all their images).
        channels: How many channels a case has for the model; files named case_0000, case_0001 (or case-t1, case-t2) are
            then one case. None where it is not known: files are grouped if every case has the same numbers.
        options: How files are read.

    Raises:
        UsageError: A path does not exist.
        InputError: A path holds no scan, a case has another number of channels, or two cases have one id.
    """
    cases: list[Case] = []
    loose: dict[Path, dict[str, Path]] = {}
    for path in map(Path, paths):
        if existing(path).is_dir():
            cases += _in_folder(path, channels, options or io.ReadOptions())
        elif io.kind_of(path) is None:
            raise InputError(f"{path} is no scan that medseg reads; it reads {READABLE}.")
        else:
            _add(path, loose.setdefault(path.parent, {}))
    for folder, files in loose.items():
        cases += _as_cases(Scans(folder, files), channels)
    refuse_twins(cases)
    stacked = channels is not None and channels > 1
    return tuple(replace(case, stacked=stacked and len(case.images) == 1) for case in cases)


def _add(path: Path, files: dict[str, Path]) -> None:
    twin = files.setdefault(io.stem(path), path)
    if twin != path:
        raise InputError(f"{twin} and {path} would have one name for their results; predict them one after the other.")


def _in_folder(folder: Path, channels: int | None, options: io.ReadOptions) -> list[Case]:
    found = _series(folder) or _in_dataset(folder, channels, options)
    if found:
        return found
    scans = scans_in(folder)
    if not scans.paths:
        inner = folders_named(folder, (TEST_FOLDER, *IMAGE_FOLDERS))
        scans = scans_in(inner[0]) if inner else scans
    if not scans.paths:
        raise InputError(f"{folder} holds no scan: looked for {READABLE}, also as a series or a data set.")
    return _as_cases(scans, channels)


def _series(folder: Path) -> list[Case]:
    """The one case of a folder that holds DICOM files itself, or nothing but one folder that does."""
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    holds_files = any(io.kind_of(path) == "dicom" for path in visible if path.is_file())
    holds_one = len(visible) == 1 and visible[0].is_dir() and io.kind_of(visible[0]) == "dicom"
    return [Case(safe_id(folder.resolve().name), (folder,))] if holds_files or holds_one else []


def _in_dataset(folder: Path, channels: int | None, options: io.ReadOptions) -> list[Case]:
    """All images of a data set, labelled or not, under the ids that it has for training; none if it is no data set."""
    layout = recognised(folder)
    if layout is None:
        return []
    dataset = layout[0].open(folder, options)
    incomplete = [problem for problem in dataset.problems if problem.images]
    if incomplete:
        raise InputError(" ".join(problem.reason for problem in incomplete[:5]) + f" ({len(incomplete)} in {folder})")
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
