"""What to predict: the cases in any mix of files, folders of scans, DICOM series, archives, tables and data sets.

A folder (or a zip archive) of several DICOM series is as many cases. Ids are those of `data.case_ids`, never text
inside a scan (DICOM holds patient names).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from medseg import io
from medseg.core.errors import InputError
from medseg.data.case_folders import ImageFolder, image_folders
from medseg.data.case_ids import folder_ids, folder_name, member_name, place_name, without_number
from medseg.data.channel_order import ModelChannels
from medseg.data.channel_series import ChannelSeries, channel_series
from medseg.data.dataset import BadCase, Case, Dataset, listed, natural_key, refuse_twins, safe_id
from medseg.data.layouts import existing, recognised
from medseg.data.layouts.ambiguity import refuse
from medseg.data.layouts.table import is_table, open_table
from medseg.data.leftovers import left_aside
from medseg.data.loose_files import LooseCases, in_order, loose_cases
from medseg.data.modality import left_out, modality_of, other_modalities, unlike
from medseg.data.raw_bids import raw_cases
from medseg.data.scans import Scans, is_image_folder
from medseg.data.series import SeriesCase, catalogued, in_question, series_cases
from medseg.io.foreign import why_unread
from medseg.io.kinds import READABLE
from medseg.io.listing import listing
from medseg.io.names import file_key
from medseg.io.options import MODALITIES, modality_code

__all__ = ["Inputs", "find_cases", "find_inputs"]

_FEWEST_OF_A_VOLUME = 4
"""A DICOM series that cannot be read and has fewer images than this is a scout or a report, not a case that failed."""


@dataclass
class Inputs:
    """The cases to predict, and what is to be said of the rest.

    Attributes:
        cases: What can be predicted.
        problems: What belongs to the inputs by name but cannot be used: it fails by name, and the others go on.
        notes: What was left out: a sentence each.
        remarks: What needs no action: a sentence each.
    """

    cases: list[Case] = field(default_factory=list)
    problems: list[BadCase] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    n_by_order: int = field(default=0)
    """How many cases have channels whose order counts, for want of names."""
    n_other_modality: Counter[str] = field(default_factory=Counter)
    """How many series were left out for their modality, by modality."""

    def add(self, cases: Iterable[Case], *, by_order: bool) -> None:
        before = len(self.cases)
        self.cases += cases
        self.n_by_order += (len(self.cases) - before) * by_order


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
    for path in dict.fromkeys(io.main_file(Path(path)) for path in paths):
        if existing(path).is_dir():
            _add_folder(path, model, options, found)
        elif is_table(path):
            _add_dataset(open_table(path, options), model, options, found)
        elif io.kind_of(path) is None:
            raise InputError(f"{path} {why_unread(path)}.")
        elif io.kind_of(path) == "dicom":
            _add_dicom(path, model, options, found)
        else:
            _add(path, loose.setdefault(path.parent, {}))
    for folder, files in loose.items():
        _add_loose(Scans(folder, files), model, found)
    refuse_twins(found.cases)
    if model is not None:
        found.cases = [replace(case, stacked=model.n > 1 and len(case.images) == 1) for case in found.cases]
        found.remarks += _order_remark(found.n_by_order, model)
        if found.n_other_modality:
            found.remarks.append(left_out(found.n_other_modality, model.names[0]))
    return found


def _order_remark(n_cases: int, model: ModelChannels) -> tuple[str, ...]:
    """The remark on cases whose channels go in by their order."""
    if n_cases == 0 or model.n == 1 or model.names == ("red", "green", "blue"):
        return ()
    if not model.are_named:
        return (f"The model has no names for its {model.n} channels: those of the cases are taken in their order.",)
    cases = "1 case has" if n_cases == 1 else f"{n_cases} cases have"
    return (f"{cases} no names for the channels: their order counts, and they are taken for {', '.join(model.names)}.",)


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
    if _is_series(folder):
        _add_dicom(folder, model, options, found)
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
    _add_series(folder, [path for each in tree for path in each.series], model, options, found)
    for each in tree:
        of_root = each.folder == folder or (each.folder.parent == folder and is_image_folder(each.folder))
        _add_files(each, model, found, of_root=of_root)
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
    return True


def _add_files(inside: ImageFolder, model: ModelChannels | None, found: Inputs, *, of_root: bool) -> None:
    """The cases of a folder's files; those of a folder in a tree are called after it, as in training."""
    cases = loose_cases(inside.files, model)
    if not of_root:
        is_one = len(cases.cases) + len(cases.problems) == 1
        rename = partial(_name_in_tree, inside.folder, is_one=is_one)
        cases.cases = [replace(case, id=rename(case.id), group="") for case in cases.cases]
        cases.problems = [replace(problem, id=rename(problem.id)) for problem in cases.problems]
    _take(cases, found)


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


def _add_series(
    folder: Path, places: Sequence[Path], model: ModelChannels | None, options: io.ReadOptions, found: Inputs
) -> None:
    """The DICOM series in some folders and archives of a tree."""
    series = [path for path in places if not _holds_labels_alone(path, options)]
    # The channels of a patient may lie in folders of their own.
    together = any(path.is_dir() for path in series) and _add_channels(folder, model, options, found)
    for path in series:
        if not (together and path.is_dir()):
            _add_dicom(path, model, options, found, series)


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


def _is_series(folder: Path) -> bool:
    """Whether a folder holds DICOM files itself, or nothing but one folder that does."""
    inside = listing(folder)
    holds_one = len(inside.folders) == 1 and not inside.files and io.kind_of(inside.folders[0]) == "dicom"
    return holds_one or any(io.kind_of(path) == "dicom" for path in inside.files if not _is_zip(path))


def _holds_labels_alone(path: Path, options: io.ReadOptions) -> bool:
    """Whether a DICOM folder holds SEG or RTSTRUCT and no image: nothing to predict, and no case that failed."""
    try:
        found = catalogued(path, options)
    except InputError:  # an archive that is damaged: a case that fails
        return False
    return bool(found.objects) and not found.series


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _add_dicom(
    path: Path, model: ModelChannels | None, options: io.ReadOptions, found: Inputs, tree: Sequence[Path] = ()
) -> None:
    """The series in a folder or an archive; `tree` are all places of series of the tree that it is part of.

    Series of another modality than the model's are left out where their patient has one of it, and fail elsewhere.
    Of several, those that cannot be read are left out with a note where they are a few images (scouts, reports); else
    they stay, and fail with the reason.
    """
    try:
        every = catalogued(path, options).series
    except InputError:  # an archive that is damaged or a bomb: a case that fails, and says so when it is read
        found.cases.append(Case(safe_id(place_name(path)), (path,)))
        return
    asked_for = in_question(every, options)
    chosen = _of_modality(path, asked_for, every, model, options, found, tree)
    if asked_for and not chosen:
        return
    aside = [s for s in chosen if s.problem is not None and (s.is_scout or s.n_images < _FEWEST_OF_A_VOLUME)]
    kept = [entry for entry in chosen if entry not in aside]
    if not kept and len(chosen) != 1:
        found.cases.append(Case(safe_id(place_name(path)), (path,)))
        return
    if _add_channels(path, model, options, found):
        return
    series = series_cases(kept or chosen, every, path)
    found.cases += [Case(each.id, (each.image,), group=each.group, read=each.read) for each in series]
    if aside and kept:
        n_images = sum(entry.n_images for entry in aside)
        found.notes.append(f"{path}: {len(aside)} series of {n_images} images in all are no volumes and were left out.")


def _of_modality(
    path: Path,
    chosen: Sequence[io.SeriesEntry],
    every: Sequence[io.SeriesEntry],
    model: ModelChannels | None,
    options: io.ReadOptions,
    found: Inputs,
    tree: Sequence[Path],
) -> tuple[io.SeriesEntry, ...]:
    """The series of the model's modality among those that were chosen; what becomes of the others is put down."""
    wanted = modality_of(model, options)
    if wanted is None:
        return tuple(chosen)
    around = [entry for place in tree if place != path for entry in _entries(place, options)]
    beside, alone = other_modalities([*chosen, *around], wanted)
    mine = {entry.paths for entry in chosen}
    found.n_other_modality.update(entry.modality for entry in beside if entry.paths in mine)
    lonely = [entry for entry in alone if entry.paths in mine]
    for each in series_cases(lonely, every, path):
        reason = unlike(each.id, each.entry.modality, wanted)
        found.problems.append(BadCase(each.id, reason, (each.image,)))
    others = {entry.paths for entry in (*beside, *lonely)}
    return tuple(entry for entry in chosen if entry.paths not in others)


def _entries(path: Path, options: io.ReadOptions) -> tuple[io.SeriesEntry, ...]:
    try:
        return catalogued(path, options).series
    except InputError:
        return ()


def _add_channels(path: Path, model: ModelChannels | None, options: io.ReadOptions, found: Inputs) -> bool:
    """Add the series of a tree or an archive as channels of cases, if there are several and several are wanted.

    Which series is which channel is said by its modality, where the model's channels are called by modalities or
    `options` name one for each.

    Returns:
        Whether the series are dealt with; else each is a case of its own.

    Raises:
        AmbiguousError: Nothing says which series is which channel.
    """
    wanted = _wanted_modalities(model, options)
    if len(wanted) < 2 and (model is None or model.n < 2):
        return False
    every = catalogued(path, options).series
    kept = [s for s in in_question(every, options) if s.problem is None or s.n_images >= _FEWEST_OF_A_VOLUME]
    if len(kept) < 2:
        return False
    series = series_cases(sorted(kept, key=lambda each: each.modality.upper() not in wanted[:1]), every, path)
    if not wanted and model is not None:
        _refuse_channels(path, series, model)
    sets = channel_series(series, wanted)
    # Whatever order the user names them in, the channels come in the model's.
    order = {"modality": "+".join(wanted)} if options.modalities not in ((), wanted) else {}
    cases = [each.case() for each in sets if each.problem is None]
    found.cases += [replace(case, read={**case.read, **order}) for case in cases]
    found.problems += [
        BadCase(each.first.id, each.problem, tuple(series.image for series in each.chosen))
        for each in sets
        if each.problem is not None
    ]
    found.problems += _without_first_channel(series, sets, wanted)
    others = Counter(each.entry.modality or "unknown" for each in series if each.entry.modality.upper() not in wanted)
    if others:
        counts = ", ".join(f"{n} of {name}" for name, n in others.items())
        found.notes.append(
            f"{path}: series of modalities that are none of {', '.join(wanted)} were left out: {counts}."
        )
    return True


def _wanted_modalities(model: ModelChannels | None, options: io.ReadOptions) -> tuple[str, ...]:
    """The modality of each channel; none where that is not said."""
    if model is None:
        return options.modalities if len(options.modalities) > 1 else ()
    codes = tuple(modality_code(name) for name in model.names)
    if model.are_named and all(code in MODALITIES for code in codes):
        return codes
    return options.modalities if len(options.modalities) == model.n else ()


def _without_first_channel(
    series: Sequence[SeriesCase], sets: Sequence[ChannelSeries], wanted: Sequence[str]
) -> list[BadCase]:
    """Series of further channels whose patients lack the first one: nothing can be predicted of them."""
    with_first = {each.first.entry.patient for each in sets}
    lonely = [s for s in series if s.entry.modality.upper() in wanted[1:] and s.entry.patient not in with_first]
    return [
        BadCase(
            each.id,
            f"Case {each.id} has a {each.entry.modality} series and no {wanted[0]} series, which is the first channel.",
            (each.image,),
        )
        for each in lonely
    ]


def _refuse_channels(path: Path, series: Sequence[SeriesCase], model: ModelChannels) -> NoReturn:
    """Refuse several series for a model whose channels are not called by modalities."""
    of_patient: dict[str, list[SeriesCase]] = {}
    for each in series:
        of_patient.setdefault(each.group, []).append(each)
    rows = [Case(name, tuple(each.image for each in mine[: model.n])) for name, mine in of_patient.items()]
    others = [Case(each.group, (each.image,)) for mine in of_patient.values() for each in mine[model.n :]]
    modalities = tuple(dict.fromkeys(each.entry.modality.upper() for each in series))
    remedy = ""
    if len(modalities) == model.n and all(modalities):
        remedy = f" If their modalities say it: --read modality={'+'.join(modalities)}, in the order of the model's."
    refuse(
        f"{path} holds {len(series)} DICOM series, and the model wants {model}: say which series is which.{remedy}",
        path if path.is_dir() else path.parent,
        rows,
        others,
        model.names,
    )


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
    every = _entries(image, options)
    chosen = in_question(every, options.updated(case.read).of_channel(0))
    return series_cases(chosen, every, image)[0].id if len(chosen) == 1 else case.id


def _wrong_channels(case: Case, dataset: Dataset, model: ModelChannels) -> str:
    n, names = len(case.images), case.channels or dataset.channels
    files = f"{n} file{'' if n == 1 else 's'} of channels"
    return f"Case {case.id} has {files}, but the model has {model}: its own are {', '.join(names)}."
