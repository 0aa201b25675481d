"""Who trains and who validates: seeded folds by group, written to `splits.json` and read from it.

Groups (patients) are never divided, folds are balanced in cases, and the same cases and seed give the same folds
whatever order they come in. Where a data set brings nnU-Net's `splits_final.json`, that file decides. Ids only: the
module never looks at an image.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.core.errors import InputError, UsageError
from medseg.core.words import counted
from medseg.data.dataset import Case, Dataset, listed, natural_key, safe_id, shortened, whole_number
from medseg.io import files

__all__ = ["SPLITS_SCHEMA", "Fold", "Splits", "fold", "load_splits", "make_splits", "save_splits", "split_by_group"]

SPLITS_SCHEMA = "medseg/splits/1"


@dataclass(frozen=True)
class Fold:
    """The ids that one model trains on, and those it is validated on; each in natural order."""

    train: tuple[str, ...]
    validation: tuple[str, ...]


@dataclass(frozen=True)
class Splits:
    """The folds of a data set; fold f is `folds[f]`.

    Attributes:
        folds: At least one. A single fold without validation means that there was nothing to hold out.
        seed: What the folds were drawn with; None where a file or the data set decided.
        source: "seeded", the name of the file that decided, or "data set" for folds that its cases carry.
        notes: What the user should know about them: one sentence each.
    """

    folds: tuple[Fold, ...]
    seed: int | None
    source: str
    notes: tuple[str, ...] = field(default=(), compare=False)

    def without(self, ids: Collection[str]) -> "Splits":
        """The same folds less some cases (bad ones): nobody else changes sides."""
        folds = tuple(Fold(_less(part.train, ids), _less(part.validation, ids)) for part in self.folds)
        return Splits(folds, self.seed, self.source, self.notes)


def make_splits(dataset: Dataset, folds: int, seed: int) -> Splits:
    """The folds of a data set: by its `splits_final.json`, else by the folds that its cases carry, else seeded.

    Raises:
        InputError: There is no labelled case, or the file's folds cannot be used with these cases.
    """
    if not dataset.cases:
        bad = dataset.problems
        first = f"the first is {shortened(bad[0].id)}: {bad[0].reason}" if bad else ""
        reason = f" None of its {len(bad)} cases can be used; {first}" if bad else ""
        raise InputError(
            f"{dataset.root} has no case with an image and a label map; there is nothing to train on.{reason}"
        )
    if dataset.splits_path is not None:
        return _from_nnunet(dataset.splits_path, dataset.cases)
    if any(case.fold is not None for case in dataset.cases):
        return _from_cases(dataset.cases)
    return split_by_group(dataset.cases, folds, seed)


def split_by_group(cases: Sequence[Case], folds: int, seed: int) -> Splits:
    """Seeded folds that keep groups whole and are balanced in cases.

    Groups are taken in an order that a hash of seed and name decides (so neither the order of the cases nor a
    library's random generator matters), larger ones first, each to the fold with the fewest cases so far. Folds then
    differ by at most the size of the largest group.
    """
    members: dict[str, list[str]] = {}
    for case in cases:
        members.setdefault(case.group, []).append(case.id)
    everyone = _ordered(case.id for case in cases)
    if len(members) == 1:
        alone = "There is one case" if len(everyone) == 1 else f"All {len(everyone)} cases belong to one group"
        note = (
            f"{alone}, so nothing can be held out: training has NO validation, and nothing will say how good the model "
            "is."
        )
        return Splits((Fold(everyone, ()),), seed, "seeded", (note,))
    n_folds = min(folds, len(members))
    held_out: list[list[str]] = [[] for _ in range(n_folds)]
    for group in sorted(members, key=lambda name: (-len(members[name]), _shuffled(seed, name))):
        min(held_out, key=len).extend(members[group])
    notes: tuple[str, ...] = ()
    if n_folds < folds:
        notes = (f"There are {len(members)} groups for {folds} folds: {n_folds} folds were made, one for each group.",)
    return Splits(tuple(Fold(_less(everyone, out), _ordered(out)) for out in map(set, held_out)), seed, "seeded", notes)


def fold(splits: Splits, which: int | str) -> Fold:
    """Fold number `which`, or for "all" every case of every fold in training and none in validation.

    Raises:
        UsageError: There is no such fold.
    """
    if which == "all":
        return Fold(_ordered({name for part in splits.folds for name in (*part.train, *part.validation)}), ())
    number = whole_number(str(which))
    if number is None or not 0 <= number < len(splits.folds):
        numbers = "0" if len(splits.folds) == 1 else f"0…{len(splits.folds) - 1}"
        raise UsageError(f"There is no fold {which}: these splits have the folds {numbers}, or take all.")
    return splits.folds[number]


def save_splits(splits: Splits, path: Path) -> None:
    """Write `splits.json`."""
    files.write_json(
        path,
        {
            "schema": SPLITS_SCHEMA,
            "seed": splits.seed,
            "source": splits.source,
            "folds": [{"train": list(part.train), "validation": list(part.validation)} for part in splits.folds],
        },
    )


def load_splits(path: Path) -> Splits:
    """Read a `splits.json` that `save_splits` wrote.

    Raises:
        InputError: The file is damaged or of another schema.
    """
    stored = files.read_json(path, "splits")
    if not isinstance(stored, Mapping) or stored.get("schema") != SPLITS_SCHEMA:
        found = stored.get("schema") if isinstance(stored, Mapping) else None
        raise InputError(f"{path} is not a splits file of medseg: its schema is {found!r}, not '{SPLITS_SCHEMA}'.")
    seed = stored.get("seed")
    folds = _parsed(stored.get("folds"), path, "validation")
    return Splits(folds, seed if isinstance(seed, int) else None, str(stored.get("source", "")))


def _from_cases(cases: Sequence[Case]) -> Splits:
    numbers = sorted({case.fold for case in cases if case.fold is not None})
    everyone = _ordered(case.id for case in cases)
    folds = []
    for number in numbers:
        out = {case.id for case in cases if case.fold == number}
        folds.append(Fold(_less(everyone, out), _ordered(out)))
    splits = Splits(tuple(folds), None, "data set", (f"The data set itself names {len(folds)} folds.",))
    _refuse_straddling(splits, cases)
    return splits


def _from_nnunet(path: Path, cases: Sequence[Case]) -> Splits:
    parsed = _parsed(files.read_json(path, "splits"), path, "val")
    known = {case.id for case in cases}
    named = {name for part in parsed for name in (*part.train, *part.validation)}
    unknown = named - known
    folds = tuple(Fold(_less(part.train, unknown), _less(part.validation, unknown)) for part in parsed)
    for number, part in enumerate(folds):
        if not part.train:
            raise InputError(
                f"{path}: fold {number} trains on {len(parsed[number].train)} cases, none of which is in the data set "
                f"(it names {listed(parsed[number].train, 3)}; the data set has {listed(known, 3)}). "
                "Correct the file or move it away."
            )
    notes = [f"{counted(len(folds), 'fold')} by {path.name}."]
    if unknown:
        names = f"{path.name} names {counted(len(unknown), 'case')} that {_be(unknown)} not in the data set"
        notes.append(f"{names}: {listed(unknown)}.")
    unused = known - named
    if unused:
        listing = f"{counted(len(unused), 'case')} {_be(unused)} in no fold of {path.name} and not used"
        notes.append(f"{listing}: {listed(unused)}.")
    never = (known & named) - {name for part in folds for name in part.validation}
    if never:
        notes.append(
            f"{counted(len(never), 'case')} {_be(never)} validated in no fold of {path.name}: {listed(never)}."
        )
    splits = Splits(folds, None, path.name, tuple(notes))
    _refuse_straddling(splits, cases)
    return splits


def _parsed(stored: object, path: Path, held_out_key: str) -> tuple[Fold, ...]:
    """Folds from their JSON form, a list of {"train": […], <held_out_key>: […]}."""
    if not isinstance(stored, list) or not stored:
        raise InputError(f"{path} holds no list of folds; it must be [{{'train': […], '{held_out_key}': […]}}, …].")
    folds = []
    for number, entry in enumerate(stored):
        train, held_out = (_names(entry, key) for key in ("train", held_out_key))
        if train is None or held_out is None:
            raise InputError(f"{path}: fold {number} must have two lists of case ids, 'train' and '{held_out_key}'.")
        part = Fold(_ordered(train), _ordered(held_out))
        both = set(part.train) & set(part.validation)
        if both:
            raise InputError(
                f"{path}: in fold {number}, {len(both)} cases are in training and in validation: {listed(both)}. "
                "Validation would be no test; correct the file or move it away."
            )
        folds.append(part)
    return tuple(folds)


def _names(entry: object, key: str) -> set[str] | None:
    """The case ids that an entry lists under `key`; None if they are no list of texts."""
    names = entry.get(key) if isinstance(entry, Mapping) else None
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return {safe_id(name) for name in names} if is_list and isinstance(names, list) else None


def _refuse_straddling(splits: Splits, cases: Sequence[Case]) -> None:
    group_of = {case.id: case.group for case in cases}
    for number, part in enumerate(splits.folds):
        both = {group_of[name] for name in part.train} & {group_of[name] for name in part.validation}
        if both:
            raise InputError(
                f"In fold {number} of {splits.source}, {len(both)} groups are in training and in validation: "
                f"{listed(both)}. What belongs together (a patient) must not be on both sides: correct the folds, or "
                "the groups (a table's column group, or data.group)."
            )


def _shuffled(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}\n{name}".encode()).hexdigest()


def _be(things: Collection[str]) -> str:
    return "is" if len(things) == 1 else "are"


def _ordered(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(ids, key=natural_key))


def _less(ids: Sequence[str], gone: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in ids if name not in gone)
