"""DICOM series to predict, of a folder, an archive or a tree of patients: which are cases, and which channels of one.

A model of one modality takes its own series, one of several channels the series that belong together; nothing is read
but headers. Ids are those of `data.case_ids`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from medseg import io
from medseg.core.errors import InputError
from medseg.data.case_ids import place_name
from medseg.data.channel_order import ModelChannels
from medseg.data.channel_series import ChannelSeries, channel_series
from medseg.data.dataset import BadCase, Case, safe_id
from medseg.data.input_cases import Inputs
from medseg.data.layouts.ambiguity import refuse
from medseg.data.modality import modality_of, other_modalities, unlike
from medseg.data.named_series import named_series
from medseg.data.series import SeriesCase, catalogued, in_question, series_cases
from medseg.io.listing import listing
from medseg.io.options import MODALITIES, modality_code

__all__ = ["add_dicom", "add_files_of_series", "add_series", "is_series", "series_of"]

_FEWEST_OF_A_VOLUME = 4
"""A DICOM series that cannot be read and has fewer images than this is a scout or a report, not a case that failed."""


def add_series(
    folder: Path, places: Sequence[Path], model: ModelChannels | None, options: io.ReadOptions, found: Inputs
) -> None:
    """The DICOM series in some folders and archives of a tree."""
    series = [path for path in places if not _holds_labels_alone(path, options)]
    # The channels of a patient may lie in folders of their own.
    together = any(path.is_dir() for path in series) and _add_channels(folder, model, options, found)
    for path in series:
        if not (together and path.is_dir()):
            add_dicom(path, model, options, found, series)


def is_series(folder: Path) -> bool:
    """Whether a folder holds DICOM files itself, or nothing but one folder that does."""
    inside = listing(folder)
    holds_one = len(inside.folders) == 1 and not inside.files and io.kind_of(inside.folders[0]) == "dicom"
    return holds_one or any(io.kind_of(path) == "dicom" for path in inside.files if not is_zip(path))


def _holds_labels_alone(path: Path, options: io.ReadOptions) -> bool:
    """Whether a DICOM folder holds SEG or RTSTRUCT and no image: nothing to predict, and no case that failed."""
    try:
        found = catalogued(path, options)
    except InputError:  # an archive that is damaged: a case that fails
        return False
    return bool(found.objects) and not found.series


def is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def add_dicom(
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
    around = [entry for place in tree if place != path for entry in series_of(place, options)]
    beside, alone = other_modalities([*chosen, *around], wanted)
    mine = {entry.paths for entry in chosen}
    found.n_other_modality.update(entry.modality for entry in beside if entry.paths in mine)
    lonely = [entry for entry in alone if entry.paths in mine]
    for each in series_cases(lonely, every, path):
        reason = unlike(each.id, each.entry.modality, wanted)
        found.problems.append(BadCase(each.id, reason, (each.image,)))
    others = {entry.paths for entry in (*beside, *lonely)}
    return tuple(entry for entry in chosen if entry.paths not in others)


def series_of(path: Path, options: io.ReadOptions) -> tuple[io.SeriesEntry, ...]:
    try:
        return catalogued(path, options).series
    except InputError:
        return ()


def _add_channels(path: Path, model: ModelChannels | None, options: io.ReadOptions, found: Inputs) -> bool:
    """Add the series of a tree or an archive as channels of cases, if there are several and several are wanted.

    Which series is which channel is said by its modality, where the model's channels are called by modalities or
    `options` name one for each; else by its folder or its description, where those are the names of the channels.

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
        _add_named(path, series, model, found)
        return True
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


def _add_named(path: Path, series: Sequence[SeriesCase], model: ModelChannels, found: Inputs) -> None:
    """Add the series as channels of cases by what they are called.

    Raises:
        AmbiguousError: No examination has series that are called as the channels.
    """
    named = named_series(series, model)
    if named is None:
        _refuse_channels(path, series, model)
    found.cases += named.cases
    found.problems += named.problems
    if named.n_others:
        found.notes.append(
            f"{path}: {named.n_others} series that are called as none of {', '.join(model.names)} were left out."
        )


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


def add_files_of_series(
    folder: Path, files: Sequence[Path], model: ModelChannels | None, options: io.ReadOptions, found: Inputs
) -> None:
    """Some DICOM files of one folder that were given one by one: if they are all of them, as if the folder was."""
    if len(files) > 1 and {path for path in listing(folder).files if io.kind_of(path) == "dicom"} == set(files):
        add_dicom(folder, model, options, found)
        return
    for path in files:
        add_dicom(path, model, options, found)
