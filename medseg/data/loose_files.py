"""The scans of one folder as cases: a file each, or the files of their channels, by number (k_0000) or name (k_t2).

What a file is called and what its header says decides alone which case it belongs to and how that is called; so the id
of a case does not change when another one arrives. What does not fit the model is a bad case, and the others go on.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medseg import io
from medseg.core.errors import InputError
from medseg.data.case_ids import file_name, folder_name
from medseg.data.channel_order import ModelChannels, channel_key, named_end
from medseg.data.dataset import BadCase, Case, natural_key, safe_id
from medseg.data.layouts.declaration import DECLARATION, channel_names, read_declaration
from medseg.data.pictures import is_rgb
from medseg.data.scans import IMAGE_FOLDERS, NAMED, NUMBERED, TEST_FOLDER, Scans, by_channel
from medseg.io.kinds import PICTURES

__all__ = ["LooseCases", "in_order", "loose_cases"]


@dataclass
class LooseCases:
    """The cases of a folder's files, those that cannot be used, and what else there is to say.

    Attributes:
        cases: In natural order of their ids.
        problems: Cases whose channels are not the model's.
        notes: What was left out.
        by_order: Whether the order of channels counted somewhere, for want of names.
    """

    cases: list[Case] = field(default_factory=list)
    problems: list[BadCase] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    by_order: bool = False


@dataclass
class _Group:
    """The files of one case: by the number or the name of their channel, as files write it."""

    base: str
    files: tuple[tuple[str, Path], ...]


def loose_cases(scans: Scans, model: ModelChannels | None, *, of_one_case: bool = False) -> LooseCases:
    """The cases of a folder's scans.

    Args:
        scans: The files.
        model: Whose channels they are; without one files are grouped if every case has the same numbers.
        of_one_case: Whether the folder is one of a case, where data sets have a folder a case: for a model without
            names as many files as it has channels are these, in their order.
    """
    if model is None:
        return _without_model(scans)
    found = LooseCases()
    names = _declared_names(scans.folder)
    if model.n == 1:
        _one_channel(scans, model, found)
    else:
        numbered, named, rest = _grouped(scans, model)
        if of_one_case and not model.are_named and not (numbered or named) and _are_channels(rest, model):
            named, rest = [_Group("", tuple((stem, path) for stem, path in scans.paths.items()))], []
        for group in numbered:
            _add_numbered(group, model, names, found)
        for group in named:
            _add_named(group, model, scans.folder, found)
        for path in rest:
            _add_whole(path, model, names, found)
    found.cases.sort(key=lambda case: natural_key(case.id))
    return found


def _without_model(scans: Scans) -> LooseCases:
    numbered = by_channel(scans.paths, NUMBERED)
    counts = {len(files) for files in numbered.values()}
    groups = {b: f for b, f in numbered.items() if len(counts) == 1 and (len(f) > 1 or [*f] == ["0000"])}
    members = {stem for files in groups.values() for stem in files.values()}
    cases = [Case(safe_id(b), tuple(scans.paths[files[c]] for c in sorted(files))) for b, files in groups.items()]
    cases += [Case(safe_id(file_name(path)), (path,)) for stem, path in scans.paths.items() if stem not in members]
    return LooseCases(sorted(cases, key=lambda case: natural_key(case.id)))


def _one_channel(scans: Scans, model: ModelChannels, found: LooseCases) -> None:
    """A case a file; beside p_ct, p_mr is another channel where the model's is called ct."""
    stems = {stem: named_end(stem, model.keys) for stem in scans.paths}
    with_name = {base for base, key in stems.values() if key}
    others = [stem for stem, (_, key) in stems.items() if not key and _named_base(stem) in with_name]
    found.cases += [
        Case(safe_id(base if key and base else file_name(scans.paths[stem], model.keys)), (scans.paths[stem],))
        for stem, (base, key) in stems.items()
        if stem not in others
    ]
    if others:
        files = ", ".join(scans.paths[stem].name for stem in others[:5]) + (" …" if len(others) > 5 else "")
        found.notes.append(
            f"{scans.folder}: {len(others)} files lie beside the one that is called after the model's channel "
            f"{model.names[0]}, and were left out as other channels: {files}."
        )


def _grouped(scans: Scans, model: ModelChannels) -> tuple[list[_Group], list[_Group], list[Path]]:
    """Files of numbered channels, files of named ones, and files that hold all channels or are of no group."""
    numbered, named = defaultdict[str, list[tuple[str, Path]]](list), defaultdict[str, list[tuple[str, Path]]](list)
    rest: list[Path] = []
    for stem, path in scans.paths.items():
        number = NUMBERED.match(stem)
        base, key = named_end(stem, model.keys)
        other = NAMED.match(stem)
        if not (number or key or other) or _holds_all(path, model):
            rest.append(path)
        elif number:
            numbered[number["base"]].append((number["channel"], path))
        elif key:
            named[base].append((stem[len(base) :].strip("-_. "), path))
        elif other:
            named[other["base"]].append((other["channel"], path))
    groups = []
    for base, files in named.items():
        # patient_a beside patient_b are files of one case only if a name says so, or if they are as many as channels.
        is_case = any(channel_key(name) in model.keys for name, _ in files)
        if is_case or (len(files) > 1 and (model.are_named or len(files) == model.n)):
            groups.append((base, files))
        else:
            rest += [path for _, path in files]
    return _groups(numbered.items()), _groups(groups), rest


def _are_channels(paths: Sequence[Path], model: ModelChannels) -> bool:
    return len(paths) == model.n and not any(_holds_all(path, model) for path in paths)


def _groups(found: Iterable[tuple[str, Sequence[tuple[str, Path]]]]) -> list[_Group]:
    return [_Group(base, tuple(sorted(files, key=lambda each: natural_key(each[0])))) for base, files in found]


def _add_numbered(group: _Group, model: ModelChannels, names: Sequence[str], found: LooseCases) -> None:
    case_id, wanted = safe_id(group.base), [f"{n:04d}" for n in range(model.n)]
    numbers, paths = [number for number, _ in group.files], tuple(path for _, path in group.files)
    if numbers != wanted:
        found.problems.append(BadCase(case_id, _wrong_numbers(case_id, numbers, wanted, model), paths))
        return
    _add_ordered(Case(case_id, paths), names if len(names) == model.n else (), model, found)


def _wrong_numbers(case_id: str, numbers: Sequence[str], wanted: Sequence[str], model: ModelChannels) -> str:
    given, expected = ", ".join(numbers), ", ".join(wanted)
    if len(numbers) == model.n:
        return f"Case {case_id} has the channels {given}, but those of the model, {model}, are {expected}."
    files = f"{len(numbers)} file{'' if len(numbers) == 1 else 's'} of channels"
    return f"Case {case_id} has {files}, but the model has {model}: {given} instead of {expected}."


def _add_named(group: _Group, model: ModelChannels, folder: Path, found: LooseCases) -> None:
    case_id = safe_id(group.base or folder_name(folder))
    names, paths = [name for name, _ in group.files], tuple(path for _, path in group.files)
    _add_ordered(Case(case_id, paths), names, model, found)


def _add_whole(path: Path, model: ModelChannels, names: Sequence[str], found: LooseCases) -> None:
    case = Case(safe_id(file_name(path, model.keys)), (path,), stacked=True)
    _add_ordered(case, names if len(names) == model.n else (), model, found)


def _add_ordered(case: Case, names: Sequence[str], model: ModelChannels, found: LooseCases) -> None:
    """Add a case with its channels in the model's order, or say why there is none."""
    try:
        order = model.order(names, f"Case {case.id}") if names else None
    except InputError as error:
        found.problems.append(BadCase(case.id, str(error), case.images))
        return
    found.by_order |= order is None
    found.cases.append(in_order(case, order))


def in_order(case: Case, order: Sequence[int] | None) -> Case:
    """A case with its channels in this order: its files, or the layers of its one file."""
    if order is None or list(order) == sorted(order):
        return case
    if len(case.images) == 1:
        return replace(case, layers=tuple(order))
    return replace(case, images=tuple(case.images[n] for n in order))


def _named_base(stem: str) -> str | None:
    match = NAMED.match(stem)
    return match["base"] if match else None


def _holds_all(path: Path, model: ModelChannels) -> bool:
    """Whether a file holds all channels itself: a picture for a model of colours, else by its header."""
    if is_rgb(model.names) and io.kind_of(path) in PICTURES:
        return True
    try:
        return io.read_geometry(path, io.ReadOptions(channels="last"))[1] == model.n
    except InputError:
        return False


def _declared_names(folder: Path) -> tuple[str, ...]:
    """The names of numbered channels that the data set declares which a folder belongs to."""
    whole = Path(folder).absolute()
    roots = [whole]
    if whole.name.lower() in (TEST_FOLDER, *IMAGE_FOLDERS):
        roots.append(whole.parent)
    for root in roots:
        try:
            declared: Mapping[str, object] = read_declaration(root) or {}
            names = channel_names(declared, root / DECLARATION)
        except InputError:
            continue  # a dataset.json of something else
        if names:
            return names
    return ()
