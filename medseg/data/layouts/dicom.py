"""A tree of DICOM files, as archives (TCIA, IDC) and hospitals hand it out: image series with SEG or RTSTRUCT labels.

A label belongs to the series that it says it was drawn on; where that is not there, to the one of its frame of
reference, the nearest in the tree. One case for each series with a label; a patient is a group. `--read modality=CT+PT`
makes series of several modalities the channels of one case (`data.channel_series`), whose labels are those drawn on the
first. Nothing that is written in a file becomes a name here, except the modality.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from medseg import io
from medseg.core.errors import InputError
from medseg.data.channel_series import ChannelSeries, channel_series
from medseg.data.dataset import BadCase, Case, Dataset, listed, natural_key
from medseg.data.layouts.ambiguity import refuse
from medseg.data.series import SeriesCase, catalogued, in_question, series_cases

__all__ = ["open_folder", "recognises"]


def recognises(root: Path) -> str | None:
    """Why `root` is a tree of DICOM series and labels, or None."""
    if io.kind_of(root) != "dicom":
        return None
    found = catalogued(root, io.ReadOptions())
    if not found.objects or not found.series:
        return None
    kinds = Counter(each.kind for each in found.objects)
    labels = " and ".join(f"{n} {_KINDS[kind]}" for kind, n in kinds.items())
    return f"there are {len(found.series)} DICOM image series and {labels}"


_KINDS: Mapping[str, str] = {"seg": "SEG", "rtstruct": "RTSTRUCT"}


def open_folder(root: Path, options: io.ReadOptions) -> Dataset:
    """The data set in `root`.

    Raises:
        InputError: No label belongs to a series (that the options leave).
        AmbiguousError: Series with labels are of several modalities, a series has several labels, or several series
            could be one channel.
    """
    found = catalogued(root, options)
    chosen = in_question(found.series, options)
    if len(options.modalities) > 1:
        return _of_several_channels(root, found, chosen, options.modalities)
    labels_of, homeless, doubtful = _matched(found, chosen)
    labelled = [entry for entry in chosen if id(entry) in labels_of]
    if not labelled:
        raise InputError(
            f"In {root}, none of {len(found.objects)} SEG and RTSTRUCT files belongs to one of {len(chosen)} image "
            f"series{' that --read leaves' if len(chosen) < len(found.series) else ''}: neither the series that they "
            "name nor their frame of reference is there."
        )
    used = {path for each in labels_of.values() for path in each}
    elsewhere = [label for label in found.objects if label.path not in used and label not in homeless]
    modalities = Counter(entry.modality for entry in labelled)
    series = series_cases(labelled, found.series, root)
    paths = {case.id: labels_of[id(case.entry)] for case in series}
    if len(modalities) > 1 or doubtful or any(len(each) > 1 for each in paths.values()):
        _refuse(root, series, paths, modalities, doubtful, _all_together(found, chosen, root, modalities))
    cases = [_case(each, paths[each.id][0]) for each in series if each.entry.problem is None]
    problems = [
        BadCase(each.id, each.entry.problem, (each.image,)) for each in series if each.entry.problem is not None
    ]
    (modality,) = modalities
    rest = [entry for entry in chosen if id(entry) not in labels_of]
    taken = {case.id for case in series}
    unlabelled = [
        Case(each.id, (each.image,), group=each.group, read=each.read)
        for each in series_cases([e for e in rest if e.modality == modality and e.problem is None], found.series, root)
        if each.id not in taken
    ]
    return Dataset(
        root=root,
        layout="dicom",
        cases=tuple(sorted(cases, key=lambda case: natural_key(case.id))),
        labels=None,
        channels=(modality or "image",),
        unlabelled=tuple(unlabelled),
        problems=tuple(problems),
        notes=(*_notes(series, rest, modality, homeless, elsewhere), *found.notes),
    )


def _of_several_channels(
    root: Path, found: io.Catalogue, chosen: Sequence[io.SeriesEntry], modalities: Sequence[str]
) -> Dataset:
    """The data set of cases with a channel of each of these modalities; labels are those drawn on the first."""
    first = [entry for entry in chosen if entry.modality.upper() == modalities[0]]
    labels_of, homeless, doubtful = _matched(found, first)
    if not labels_of:
        _refuse_first_channel(root, found, chosen, modalities)
    further = [entry for entry in chosen if entry.modality.upper() != modalities[0]]
    sets = channel_series(series_cases([*first, *further], found.series, root), modalities)
    paths = {each.first.id: labels_of.get(id(each.first.entry), []) for each in sets}
    labelled = [each for each in sets if paths[each.first.id]]
    if doubtful or any(len(paths[each.first.id]) > 1 or _is_open(each) for each in labelled):
        _refuse_channels(root, labelled, paths, modalities)
    whole = [each for each in labelled if each.problem is None]
    if not whole:
        n_others = len(labelled) - 1
        more = f" ({n_others} more like it)" if n_others else ""
        raise InputError(
            f"{root} holds no case with the channels {', '.join(modalities)}. {labelled[0].problem}{more} Its series "
            f"are of {listed({entry.modality or 'no modality' for entry in found.series})}."
        )
    n_patients = len({each.first.group for each in whole})
    notes = [
        f"Cases with the channels {', '.join(modalities)}: {len(whole)}, of {n_patients} "
        f"patient{'' if n_patients == 1 else 's'}; those of one patient stay in one fold."
    ]
    used = {path for each in paths.values() for path in each}
    n_others = sum(label.path not in used for label in found.objects) - len(homeless)
    if n_others:
        notes.append(f"{n_others} SEG or RTSTRUCT files were not drawn on {modalities[0]} and are not used.")
    return Dataset(
        root=root,
        layout="dicom",
        cases=tuple(
            sorted(
                (each.case(paths[each.first.id][0]) for each in whole),
                key=lambda case: natural_key(case.id),
            )
        ),
        labels=None,
        channels=tuple(modalities),
        unlabelled=tuple(each.case() for each in sets if not paths[each.first.id] and each.problem is None),
        problems=tuple(
            BadCase(each.first.id, each.problem, tuple(series.image for series in each.chosen))
            for each in labelled
            if each.problem is not None
        ),
        notes=(*notes, *_homeless_note(homeless), *found.notes),
    )


def _is_open(channels: ChannelSeries) -> bool:
    """Whether several series could be one channel."""
    return any(len(each) > 1 for each in channels.candidates.values())


def _refuse_first_channel(
    root: Path, found: io.Catalogue, chosen: Sequence[io.SeriesEntry], modalities: Sequence[str]
) -> NoReturn:
    """Refuse a data set none of whose labels is drawn on its first channel."""
    first, *others = modalities
    drawn = {entry.modality.upper() for label in found.objects for entry in _series_of(label, chosen)}
    instead = next((modality for modality in others if modality in drawn), None)
    remedy = "Their series are not here."
    if instead is not None:
        order = "+".join((instead, *(each for each in modalities if each != instead)))
        remedy = f"They are drawn on {instead}: make it the first channel, as in --read modality={order}."
    raise InputError(
        f"In {root}, none of {len(found.objects)} SEG and RTSTRUCT files is drawn on {first}, and labels are those of "
        f"the first channel. {remedy}"
    )


def _refuse_channels(
    root: Path, labelled: Sequence[ChannelSeries], paths: Mapping[str, Sequence[Path]], modalities: Sequence[str]
) -> NoReturn:
    """Refuse cases with several labels, or with several series that could be one channel."""
    several = [each.first.id for each in labelled if _is_open(each)]
    doubtful = [each.first.id for each in labelled if len(paths[each.first.id]) > 1]
    if several:
        reason = f"In {root}, several series could be one of the channels {', '.join(modalities)} of {listed(several)}."
    else:
        reason = (
            f"In {root}, the {modalities[0]} series of {listed(doubtful)} have several SEG or RTSTRUCT, or share one."
        )
    cases, others = list[Case](), list[Case]()
    for each in labelled:
        chosen, *rest = (way.case(label) for way in each.ways for label in paths[each.first.id])
        cases.append(chosen)
        others += rest
    refuse(reason, root, cases, others, modalities)


def _all_together(
    found: io.Catalogue, chosen: Sequence[io.SeriesEntry], root: Path, modalities: Counter[str]
) -> tuple[str, ...]:
    """The modalities of which a patient has series that belong together, the commonest first; none if there is one."""
    first, *others = (name.upper() for name, _ in modalities.most_common())
    series = series_cases(chosen, found.series, root)
    further = [name for name in others if name and any(each.is_clear for each in channel_series(series, (first, name)))]
    return (first, *further) if first and further else ()


def _case(series: SeriesCase, label: Path) -> Case:
    return Case(series.id, (series.image,), label, series.group, attributes={"patient": series.group}, read=series.read)


def _matched(
    found: io.Catalogue, chosen: Sequence[io.SeriesEntry]
) -> tuple[dict[int, list[Path]], list[io.ObjectEntry], list[io.ObjectEntry]]:
    """The labels of each series that was chosen (by its identity), those that have none, those that could have several.

    A label of several series stands at each of them.
    """
    labels_of: dict[int, list[Path]] = {}
    homeless, doubtful = [], []
    for label in found.objects:
        candidates = _series_of(label, found.series)
        homeless += [label] if not candidates else []
        mine = [entry for entry in candidates if any(entry is each for each in chosen)]
        doubtful += [label] if len(mine) > 1 else []
        for entry in mine:
            labels_of.setdefault(id(entry), []).append(label.path)
    return labels_of, homeless, doubtful


def _series_of(label: io.ObjectEntry, series: Sequence[io.SeriesEntry]) -> list[io.SeriesEntry]:
    """The series that a label was drawn on: by its word, else by its frame of reference and the nearest folder."""
    named = [entry for entry in series if label.series & {entry.uid, *entry.members}]
    if not named:
        frame = label.frame_of_reference
        named = [e for e in series if frame and e.frame_of_reference == frame and e.patient == label.patient]
    if len(named) < 2:
        return named
    near = {id(entry): _n_shared(label.path, entry.paths[0]) for entry in named}
    # A structure set may list every series of its study; the one beside it is meant.
    return [entry for entry in named if near[id(entry)] == max(near.values())]


def _n_shared(one: Path, other: Path) -> int:
    """How many folders two paths have in common."""
    return sum(a == b for a, b in zip(one.parent.parts, other.parent.parts, strict=False))


def _refuse(
    root: Path,
    series: Sequence[SeriesCase],
    paths: Mapping[str, Sequence[Path]],
    modalities: Counter[str],
    doubtful: Sequence[io.ObjectEntry],
    together: Sequence[str],
) -> NoReturn:
    modality = modalities.most_common(1)[0][0]
    several = [case for case, each in paths.items() if len(each) > 1]
    if len(modalities) > 1:
        counts = ", ".join(f"{n} of {name}" for name, n in modalities.items())
        reason = (
            f"{root} holds labelled series of several modalities ({counts}), and a model learns from one kind of "
            f"image: say which, as in --read modality={modality}"
            + (
                f". Or several are the channels of one case: --read modality={'+'.join(together)}, with the labels of "
                f"{together[0]}."
                if together
                else "."
            )
        )
    elif several:
        reason = f"In {root}, the series of {listed(several)} have more than one SEG or RTSTRUCT."
    else:
        names = listed([str(label.path.relative_to(root)) for label in doubtful])
        reason = f"In {root}, {names} could belong to more than one image series."
    used: set[Path] = set()
    cases, others = list[Case](), list[Case]()
    for each in series:
        first, *rest = (_case(each, path) for path in paths[each.id])
        is_row = each.entry.modality == modality and not used & set(paths[each.id])
        used |= set(paths[each.id]) if is_row else set()
        (cases if is_row else others).append(first)
        others += rest
    refuse(reason, root, cases, others, (modality or "image",))


def _notes(
    series: Sequence[SeriesCase],
    rest: Sequence[io.SeriesEntry],
    modality: str,
    homeless: Sequence[io.ObjectEntry],
    elsewhere: Sequence[io.ObjectEntry],
) -> tuple[str, ...]:
    n_patients = len({case.group for case in series})
    notes = [f"{len(series)} series with labels are of {n_patients} patients; those of one patient stay in one fold."]
    others = Counter(entry.modality or "unknown" for entry in rest if entry.modality != modality)
    if others:
        counts = ", ".join(f"{n} of {name}" for name, n in others.items())
        notes.append(f"Series without labels, of another modality, are not used: {counts}.")
    if elsewhere:
        verb = "belongs to a series that is" if len(elsewhere) == 1 else "belong to series that are"
        notes.append(f"{len(elsewhere)} SEG or RTSTRUCT {verb} not used (see --read).")
    return (*notes, *_homeless_note(homeless))


def _homeless_note(homeless: Sequence[io.ObjectEntry]) -> tuple[str, ...]:
    if not homeless:
        return ()
    names = listed([label.path.name for label in homeless])
    return (f"{len(homeless)} SEG or RTSTRUCT files belong to no series here and are not used: {names}.",)
