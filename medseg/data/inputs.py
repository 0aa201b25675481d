"""What to predict: the cases in any mix of files, folders of scans, DICOM series, archives, tables and data sets.

A folder (or a zip archive) of several DICOM series is as many cases. Ids are those of `data.case_ids`, never text
inside a scan (DICOM holds patient names).
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from medseg import io
from medseg.core.errors import InputError
from medseg.data.case_folders import ImageFolder, channels_of, image_folders
from medseg.data.case_ids import folder_ids, folder_name, member_name, says_little, without_number
from medseg.data.channel_order import ModelChannels
from medseg.data.dataset import BadCase, Case, Dataset, listed, natural_key, refuse_twins, safe_id
from medseg.data.input_cases import Inputs
from medseg.data.layouts import existing, recognised
from medseg.data.layouts.table import is_table, lists_cases, open_table
from medseg.data.leftovers import left_aside
from medseg.data.loose_files import LooseCases, in_order, loose_cases
from medseg.data.raw_bids import raw_cases
from medseg.data.scans import Scans, is_image_folder
from medseg.data.series import in_question, series_cases
from medseg.data.series_inputs import add_dicom, add_files_of_series, add_series, is_series, series_of
from medseg.io.foreign import is_sidecar, why_unread
from medseg.io.kinds import READABLE
from medseg.io.listing import exists, kind_of_special
from medseg.io.names import file_key

__all__ = ["Inputs", "find_cases", "find_inputs"]


def find_cases(
    paths: Sequence[Path], channels: int | Sequence[str] | None = None, options: io.ReadOptions | None = None
) -> tuple[Case, ...]:
    """The cases of `find_inputs`.

    Raises:
        InputError: As `find_inputs`, and where a single case cannot be used.
    """
    found = find_inputs(paths, channels, options)
    if found.problems:
        raise InputError(found.problems[0].reason)
    return tuple(found.cases)


def find_inputs(
    paths: Sequence[Path], channels: int | Sequence[str] | None = None, options: io.ReadOptions | None = None
) -> Inputs:
    """The cases in `paths`, in the order of the paths and of natural names within each.

    Args:
        paths: Files, folders of scans (a file or a DICOM series each), DICOM series, archives of them, tables, data
            sets (all their images).
        channels: What the model calls its channels, or how many it has; files named case_0000, case_0001 (or case-t1,
            case-t2) are then one case, and channels come in the model's order (`data.channel_order`). None where there
            is no model: files are grouped if every case has the same numbers.
        options: How files are read; `series` and `modality` choose among DICOM series.

    Raises:
        UsageError: A path does not exist.
        InputError: A path holds no scan, the channels of a data set are not the model's, or two cases have one id.
        AmbiguousError: DICOM series could be the channels of a case in several ways.
    """
    found, options, model = Inputs(), options or io.ReadOptions(), ModelChannels.of(channels)
    loose: dict[Path, dict[str, Path]] = {}
    slices: dict[Path, list[Path]] = {}
    usable, found.notes[:] = _usable(paths)
    for path in usable:
        if path.is_dir():
            _add_folder(path, model, options, found)
        elif is_table(path):
            _add_table(path, model, options, found, is_alone=len(usable) == 1)
        elif io.kind_of(path) is None:
            _add_unread(path, found, is_alone=len(usable) == 1)
        elif path.suffix.lower() == ".zip":
            add_dicom(path, model, options, found)
        elif io.kind_of(path) == "dicom":
            slices.setdefault(path.parent, []).append(path)
        else:
            _add(path, loose.setdefault(path.parent, {}))
    for folder, files in loose.items():
        _add_loose(Scans(folder, files), model, found)
    for folder, dicom in slices.items():
        add_files_of_series(folder, dicom, model, options, found)
    refuse_twins(found.cases)
    if model is not None:
        found.cases = [replace(case, stacked=model.n > 1 and len(case.images) == 1) for case in found.cases]
        found.remarks += found.counted(model)
    return found


def _usable(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The paths that are files or folders, each once; of several, links that lead nowhere and pipes are noted.

    Raises:
        UsageError: A path does not exist, or the only one is neither a file nor a folder.
    """
    each = [*dict.fromkeys(io.main_file(Path(path)) for path in paths)]
    special = {path: kind_of_special(path) or "a link that leads nowhere" for path in each if _is_special(path)}
    if len(special) == len(each):
        special = {}
    notes = [f"{path.name} is {what} and was left aside." for path, what in special.items()]
    return [existing(path) for path in each if path not in special], notes


def _is_special(path: Path) -> bool:
    return kind_of_special(path) is not None or (path.is_symlink() and not exists(path))


def _add_table(
    path: Path, model: ModelChannels | None, options: io.ReadOptions, found: Inputs, *, is_alone: bool
) -> None:
    """The cases of a table; of several inputs a table of something else (participants.tsv) is noted.

    Raises:
        InputError: It is the only input and no table of cases, or it lists cases and contradicts itself.
    """
    if not is_alone and not lists_cases(path):
        found.notes.append(f"{path} lists no cases (it has no column image) and was left aside.")
    else:
        _add_dataset(open_table(path, options), model, options, found)


def _add_unread(path: Path, found: Inputs, *, is_alone: bool) -> None:
    """A file of no kind that medseg reads: of several inputs it fails by name, or is noted where it is no image.

    Raises:
        InputError: It is the only input.
    """
    reason = f"{path} {why_unread(path)}."
    if is_alone:
        raise InputError(reason)
    if is_sidecar(path):
        found.notes.append(f"{path} is no scan and was left aside.")
        return
    found.problems.append(BadCase(safe_id(path.name), reason, (path,)))


def _add_loose(scans: Scans, model: ModelChannels | None, found: Inputs) -> None:
    _take(loose_cases(scans, model), found)


def _take(cases: LooseCases, found: Inputs) -> None:
    found.add(cases.cases, by_order=cases.by_order)
    found.problems += cases.problems
    found.notes += cases.notes


def _add(path: Path, files: dict[str, Path]) -> None:
    twin = files.setdefault(io.stem(path), path)
    if twin != path:
        raise InputError(f"{twin} and {path} would have one name for their results; predict them one after the other.")


def _add_folder(folder: Path, model: ModelChannels | None, options: io.ReadOptions, found: Inputs) -> None:
    found.notes += left_aside(folder)
    if is_series(folder):
        add_dicom(folder, model, options, found)
        return
    layout = recognised(folder, but=("dicom", "folders"))
    if layout is not None:
        dataset = layout[0].open(folder, options)
        _add_dataset(dataset, model, options, found)
        if layout[0].name == "bids":
            _add_raw(folder, model, found, {path for case in dataset.cases for path in case.images})
        return
    if _add_raw(folder, model, found):
        return
    n_before, n_problems = len(found.cases), len(found.problems)
    tree = list(image_folders(folder))
    if model is None and (names := channels_of(tree, folder)):
        model = ModelChannels(names)
        found.channels = names
    add_series(folder, [path for each in tree for path in each.series], model, options, found)
    for each in tree:
        _add_files(each, model, found, of_root=each.folder == folder or _holds_cases(each, folder, model))
    found.cases[n_before:] = _told_apart(found.cases[n_before:], folder)
    _say_masks([path for each in tree for path in each.masks], found)
    if (n_before, n_problems) == (len(found.cases), len(found.problems)):
        _refuse_without_scans(folder, tree)
    found.cases[n_before:] = sorted(found.cases[n_before:], key=lambda case: natural_key(case.id))


def _add_raw(root: Path, model: ModelChannels | None, found: Inputs, used: Collection[Path] = ()) -> bool:
    """Add the examinations of a BIDS tree that have no label map, if the folder is one."""
    cases = raw_cases(root, model, used)
    if cases is None:
        return False
    found.cases += cases.cases
    found.problems += cases.problems
    found.remarks += cases.remarks
    found.notes += cases.notes
    return True


def _add_files(inside: ImageFolder, model: ModelChannels | None, found: Inputs, *, of_root: bool) -> None:
    """The cases of a folder's files; those of a folder in a tree are called after it, as in training."""
    cases = loose_cases(inside.files, model, of_one_case=not of_root)
    if not of_root:
        is_one = len(cases.cases) + len(cases.problems) == 1
        rename = partial(_name_in_tree, inside.folder, is_one=is_one)
        cases.cases = [replace(case, id=rename(case.id), group="") for case in cases.cases]
        cases.problems = [replace(problem, id=rename(problem.id)) for problem in cases.problems]
    _take(cases, found)


def _holds_cases(inside: ImageFolder, root: Path, model: ModelChannels | None) -> bool:
    """Whether a folder "images" in the folder that was given holds many cases, and is not the one of a case."""
    keys = model.keys if model is not None else ()
    is_of_case = all(says_little(without_number(stem), keys) for stem in inside.files.paths)
    return inside.folder.parent == root and is_image_folder(inside.folder) and not is_of_case


def _told_apart(cases: Sequence[Case], root: Path) -> list[Case]:
    """The cases of a tree; those of one id are called by as many folders as tell them apart, as in training."""
    folders: dict[str, list[Path]] = {}
    for case in cases:
        folders.setdefault(file_key(case.id), []).append(case.images[0].parent)
    apart = {key for key, each in folders.items() if 1 < len(each) == len(set(each))}
    alike = [case for case in cases if file_key(case.id) in apart and case.images[0].is_file()]
    places = [(*case.images[0].parent.relative_to(root).parts, case.id) for case in alike]
    new = {id(case): name for case, name in zip(alike, folder_ids(places, root), strict=True)}
    return [replace(case, id=new[id(case)], group="") if id(case) in new else case for case in cases]


def _name_in_tree(folder: Path, name: str, *, is_one: bool) -> str:
    if name.startswith("sub-"):  # BIDS: the name says all
        return name
    return safe_id(folder_name(folder) if is_one else member_name(folder, name, is_root=False))


def _say_masks(masks: Sequence[Path], found: Inputs) -> None:
    if masks:
        are = (
            "1 file is a label map by its name and was"
            if len(masks) == 1
            else (f"{len(masks)} files are label maps by their names and were")
        )
        found.remarks.append(f"{are} left out: {listed([path.name for path in masks])}.")


def _refuse_without_scans(folder: Path, tree: Sequence[ImageFolder]) -> NoReturn:
    """Refuse a folder in which nothing is to be predicted.

    Raises:
        InputError: Always.
    """
    if any(each.series for each in tree):
        raise InputError(f"{folder} holds SEG or RTSTRUCT alone, and no image to predict.")
    masks = [path.name for each in tree for path in each.masks]
    if masks:
        raise InputError(
            f"{folder} holds no scan but files that are label maps by their names ({listed(masks)}). If they are "
            "scans, give the files themselves."
        )
    looked_for = f"{folder} holds no scan: looked for {READABLE}, also as a series or a data set."
    raise InputError(" ".join((looked_for, *left_aside(folder))))


def _add_dataset(dataset: Dataset, model: ModelChannels | None, options: io.ReadOptions, found: Inputs) -> None:
    """All images of a data set, labelled or not, under the ids that they have when they are given themselves.

    Raises:
        InputError: The data set names its channels, and not as the model does.
    """
    found.problems += [problem for problem in dataset.problems if problem.images]
    cases = [replace(case, label=None) for case in (*dataset.cases, *dataset.unlabelled)]
    if dataset.layout != "table":  # which says itself what its cases are called
        cases = [replace(case, id=_own_id(case, options)) for case in cases]
    if model is None:
        found.cases += cases
        return
    order = model.order(dataset.channels, str(dataset.root))
    other = model.mismatch(dataset.channels)
    if other is not None:
        found.notes.append(f"{dataset.root} calls its channel {other}, and the model {model.names[0]}: are they one?")
    for case in cases:
        if case.channels or len(case.images) not in (1, model.n):
            found.problems.append(BadCase(case.id, _wrong_channels(case, dataset, model), case.images))
        else:
            found.add([in_order(case, order)], by_order=order is None)


def _own_id(case: Case, options: io.ReadOptions) -> str:
    """The id of a case of a data set as its first image has it by itself, where that is told by more than a name."""
    image = case.images[0]
    if io.kind_of(image) != "dicom":
        return without_number(case.id)
    every = series_of(image, options)
    chosen = in_question(every, options.updated(case.read).of_channel(0))
    return series_cases(chosen, every, image)[0].id if len(chosen) == 1 else case.id


def _wrong_channels(case: Case, dataset: Dataset, model: ModelChannels) -> str:
    n, names = len(case.images), case.channels or dataset.channels
    files = f"{n} file{'' if n == 1 else 's'} of channels"
    return f"Case {case.id} has {files}, but the model has {model}: its own are {', '.join(names)}."
