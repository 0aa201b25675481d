"""From a folder and wishes to everything a race needs to start: cases, folds, a plan and the device.

All that can be refused is refused here, before an hour is spent: each case is read once, all bad ones are listed
together, and a run that exists is only continued when asked to.
"""

import os
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import BaseModel, ValidationError

from medseg.config.load import config_to_yaml, load_config
from medseg.config.schema import Config
from medseg.core.errors import InputError, MachineError, MedsegError, ModelError, UsageError
from medseg.core.events import Event, Noted, Warned
from medseg.core.labels import Labels
from medseg.core.memory import allowed_bytes
from medseg.core.words import counted
from medseg.data.cases import read_case
from medseg.data.dataset import BadCase, Case, Dataset, listed
from medseg.data.fingerprint import Fingerprint, measure
from medseg.data.layouts import open_dataset
from medseg.data.record import FilesRecord, load_record, record_of, save_record
from medseg.data.splits import Fold, Splits, fold, load_splits, make_splits, save_splits
from medseg.io.files import read_json, write_json, write_text
from medseg.io.options import ReadOptions
from medseg.plan.plan import Plan
from medseg.plan.rules import DeviceFacts, make_plan
from medseg.predict.device import resolve_device
from medseg.train.cautions import NO_JUDGE, flattened_cautions, fold_cautions
from medseg.train.folder import RunFolder
from medseg.train.lock import shared
from medseg.train.measure import free_memory_gib, layer_gflops
from medseg.train.sizes import too_large

__all__ = [
    "Setup",
    "TrainOptions",
    "is_begun",
    "join",
    "refuse_wrong_folder",
    "resume",
    "set_up",
    "stored_plan",
    "write_setup",
]

Kind = TypeVar("Kind", bound=BaseModel)

DEFAULT_BUDGET_S = {"cpu": 3600.0, "mps": 3600.0, "cuda": 7200.0}
"""An hour on a CPU, two on a GPU, where the user names neither a budget nor epochs."""


@dataclass(frozen=True)
class TrainOptions:
    """Everything that `medseg train` is told.

    Attributes:
        config: The configuration, whole.
        fold: Which fold validates; "all" trains on every case and validates on none.
        budget_s: Wall-clock seconds for all of it; None takes the default of the device (or `training.epochs`).
        resume: Go on with the run in the folder.
        skip_bad: Leave bad cases out instead of stopping.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        threads: Threads of the CPU that training uses; None leaves it to torch.
        max_memory_bytes: What a step may count on, at most; None leaves it to the device.
        used_s: Seconds of the budget that were gone before the call (starting up).
    """

    config: Config = field(default_factory=Config)
    fold: int | Literal["all"] = 0
    budget_s: float | None = None
    resume: bool = False
    skip_bad: bool = False
    device: str = "auto"
    threads: int | None = None
    max_memory_bytes: int | None = None
    used_s: float = 0.0


@dataclass(frozen=True)
class Setup:
    """What a race starts from."""

    dataset: Dataset
    labels: Labels
    splits: Splits
    fold: Fold
    fingerprint: Fingerprint
    plan: Plan
    config: Config
    read: ReadOptions
    device: torch.device

    @property
    def cases(self) -> dict[str, Case]:
        return {case.id: case for case in self.dataset.cases}


def set_up(data: Path, options: TrainOptions) -> Generator[Event, None, Setup]:
    """Look at the data, choose folds and make a plan; nothing is written.

    Raises:
        InputError: The data cannot be used; every bad case is named.
        PlanError: The configuration asks for what these data cannot give.
        MachineError: The device is not there.
    """
    config = options.config
    device = resolve_device(options.device)
    read = ReadOptions.parse(config.data.read)
    budget_s = options.budget_s
    if budget_s is None and config.training.epochs is None:
        budget_s = DEFAULT_BUDGET_S[device.type]
    yield Noted(f"Training on {device} for {_amount(budget_s, config)}.")
    dataset = open_dataset(data, config.data)
    yield from (Noted(note) for note in dataset.notes)
    splits = make_splits(dataset, config.data.folds, config.seed)
    fold(splits, options.fold)  # refuses a fold that there is not before every case is read
    yield from (Noted(note) for note in splits.notes)
    measured = yield from measure(dataset, read, seed=config.seed)
    total = len(dataset.cases) + len(dataset.problems)
    yield from _bad_cases(measured.bad, total, options.skip_bad)
    splits = splits.without({case.id for case in measured.bad})
    chosen = fold(splits, options.fold)
    if not chosen.train:
        raise InputError(f"Fold {options.fold} has no case left to train on. Add cases, or use --fold all.")
    if not chosen.validation:
        yield Warned(f"No case is held out for validation: {NO_JUDGE}.")
    yield from map(Warned, fold_cautions(measured.counts, measured.labels, chosen, options.fold))
    memory_gib = free_memory_gib(device)
    if options.max_memory_bytes is not None:
        memory_gib = min(memory_gib, options.max_memory_bytes / 2**30)
    facts = DeviceFacts(device.type, layer_gflops(device), memory_gib)  # type: ignore[arg-type]  # resolve_device gives one of the three
    sized_for_s = budget_s or DEFAULT_BUDGET_S[device.type]
    plan = make_plan(measured.fingerprint, config, measured.labels, facts, sized_for_s)
    plan = plan.model_copy(update={"budget_s": budget_s})
    limit = allowed_bytes(options.max_memory_bytes)
    large = tuple(too_large(measured.fingerprint, plan, limit, limit == options.max_memory_bytes))
    yield from _bad_cases(large, total, options.skip_bad)
    splits = splits.without({case.id for case in large})
    chosen = fold(splits, options.fold)
    if not chosen.train:
        raise InputError(f"Fold {options.fold} has no case left to train on. Add cases, or use --fold all.")
    yield from map(Warned, flattened_cautions(measured.flattened, plan))
    return Setup(dataset, measured.labels, splits, chosen, measured.fingerprint, plan, config, read, device)


def join(data: Path, folder: RunFolder, options: TrainOptions) -> Generator[Event, None, Setup]:
    """What a further fold of a run starts from: all that the first one began with.

    Raises:
        UsageError: The options are others than those of the run.
        InputError: As `resume`.
    """
    _refuse_other_options(folder, options)
    yield Noted(f"{folder.root} holds a run: fold {options.fold} joins it, with its plan, its folds and its options.")
    return (yield from resume(data, folder, options))


def _refuse_other_options(folder: RunFolder, options: TrainOptions) -> None:
    """Defaults are no wish; anything else must be what the run began with.

    Raises:
        UsageError: With the keys that differ.
    """
    given, kept, default = (
        config.model_dump(mode="json") for config in (options.config, load_config(folder.config), Config())
    )
    differing = [
        f"{section}.{key}" if isinstance(values, dict) else section
        for section, values in given.items()
        for key in (values if isinstance(values, dict) else [""])
        if _at(given, section, key) not in (_at(kept, section, key), _at(default, section, key))
    ]
    budget_s = stored_plan(folder).budget_s
    if options.budget_s not in (None, budget_s):
        differing.append("--budget")
    if differing:
        raise UsageError(
            f"{folder.root} holds a run that was begun with another {', '.join(differing)}. Leave that out, so that "
            f"fold {options.fold} joins it as it is, or give another folder with -o."
        )


def _at(values: dict[str, Any], section: str, key: str) -> object:
    return values[section][key] if key else values[section]


def resume(data: Path, folder: RunFolder, options: TrainOptions) -> Generator[Event, None, Setup]:
    """What `set_up` found when the run began, from its folder: plan, folds and configuration stay as they were.

    Raises:
        UsageError: The run has no such fold.
        InputError: Cases that the run needs are gone.
    """
    config = load_config(folder.config)
    plan = stored_plan(folder)
    fingerprint = _stored(Fingerprint, folder.fingerprint, "the fingerprint of a data set")
    splits = load_splits(folder.splits)
    chosen = fold(splits, options.fold)
    dataset = open_dataset(data, config.data)
    gone = sorted({*chosen.train, *chosen.validation} - {case.id for case in dataset.cases})
    if gone:
        raise InputError(
            f"{len(gone)} cases of this run are no longer in {data} ({', '.join(gone[:5])}). "
            "Give the data set that the run began with."
        )
    read = ReadOptions.parse(config.data.read)
    yield from _same_files(folder, dataset, chosen, read, plan.label_names)
    device = options.device
    if device == "auto" and plan.schedule is not None:
        device = plan.schedule.device
        try:
            resolve_device(device)
        except MachineError:
            yield Warned(f"The run began on {device}, which is not here; it goes on on {resolve_device('auto')}.")
            device = "auto"
    return Setup(
        dataset=dataset,
        labels=plan.label_names,
        splits=splits,
        fold=chosen,
        fingerprint=fingerprint,
        plan=plan,
        config=config,
        read=read,
        device=resolve_device(device),
    )


def _same_files(
    folder: RunFolder, dataset: Dataset, chosen: Fold, read: ReadOptions, labels: Labels
) -> Generator[Event, None, None]:
    """Refuse files that changed since the run began: it would learn one thing and be judged by another.

    A held-out case that cannot be read now (a share that is gone for a moment) is told: if it is not back at the end it
    counts as failed there.

    Raises:
        InputError: With the cases and what of them changed.
    """
    if not folder.files.is_file():
        yield Warned(
            "This run was begun by an older medseg, which kept no record of its files: whether they are still the same "
            "cannot be told. From now on it can."
        )
        save_record((yield from _recorded(dataset)), folder.files)
        return
    record = load_record(folder.files)
    needed = [case for case in dataset.cases if case.id in {*chosen.train, *chosen.validation}]
    changed = {case.id: record.cases[case.id].changed(case) if case.id in record.cases else ("all",) for case in needed}
    unreadable = {
        case.id: reason
        for case in needed
        if changed[case.id] and case.id not in chosen.train and (reason := _why_unreadable(case, read, labels))
    }
    yield from (
        Warned(f"Held-out case {case} cannot be read now, and counts as failed if it stays so: {reason}")
        for case, reason in unreadable.items()
    )
    told = [f"{case} ({', '.join(roles)})" for case, roles in changed.items() if roles and case not in unreadable]
    if told:
        raise InputError(
            f"{counted(len(told), 'case')} of this run {'has' if len(told) == 1 else 'have'} changed since it began: "
            f"{listed(told)}. Put the files back as they were, or train anew in another folder."
        )
    added = [case.id for case in dataset.cases if case.id not in record.cases]
    if added:
        yield Noted(
            f"{counted(len(added), 'case')} {'was' if len(added) == 1 else 'were'} added since this run began "
            f"({listed(added)}); it goes on without. To train on them, begin a run in another folder."
        )


def _why_unreadable(case: Case, read: ReadOptions, labels: Labels) -> str | None:
    """Why a case cannot be read; None where it can."""
    try:
        read_case(case, labels, read)
    except MedsegError as error:
        return str(error)
    return None


def _recorded(dataset: Dataset) -> Generator[Event, None, FilesRecord]:
    """What the files of the data set are now."""
    for item in record_of(dataset.cases):
        if isinstance(item, FilesRecord):
            return item
        yield item
    raise AssertionError("a record comes at the end")


def _stored(kind: type[Kind], path: Path, what: str) -> Kind:
    """What a file of the run says.

    Raises:
        ModelError: The file is damaged, or was edited so that it fits no more.
    """
    try:
        return kind.model_validate(read_json(path, what))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        problem = f"{where}: {first['msg']}" if where else str(first["msg"])
        raise ModelError(
            f"{path} ({what}) is damaged or was edited: {problem}. Put the file back, or train anew in another folder."
        ) from error


def write_setup(setup: Setup, folder: RunFolder) -> Generator[Event, None, Setup]:
    """What stands before the race begins; the plan comes last, so that its presence says that the rest is there.

    Where another fold of the same run was quicker, its plan is taken.

    Raises:
        UsageError: The other fold was begun with other options.
    """
    record = yield from _recorded(setup.dataset)
    folder.fold_dir.mkdir(parents=True, exist_ok=True)
    with shared(folder):
        if not folder.plan.is_file():
            save_record(record, folder.files)
            write_text(folder.config, config_to_yaml(setup.config))
            write_json(folder.fingerprint, setup.fingerprint.to_json())
            save_splits(setup.splits, folder.splits)
            write_json(folder.plan, setup.plan.to_json())
            return setup
    if load_config(folder.config) != setup.config or load_splits(folder.splits).folds != setup.splits.folds:
        raise UsageError(
            f"Another fold was begun in {folder.root} in the meantime, with other options or data. Give the same ones, "
            "or another folder with -o."
        )
    return replace(setup, plan=stored_plan(folder))


def stored_plan(folder: RunFolder) -> Plan:
    """The plan of a run as it is on the disk now: another fold may have timed the machine since.

    Raises:
        ModelError: The file is damaged, or was edited so that it fits no more.
    """
    return _stored(Plan, folder.plan, "the plan of a run")


def is_begun(folder: RunFolder) -> bool:
    """Whether the fold was begun before: then it is gone on with, and only when asked to."""
    return folder.fold_dir.is_dir() and any(not path.name.startswith(".") for path in folder.fold_dir.iterdir())


def refuse_wrong_folder(folder: RunFolder, wants_resume: bool) -> None:
    """A fold that exists is continued only with `--resume`, and nothing else is continued at all.

    Raises:
        UsageError: The folder and the wish do not fit.
        MachineError: Nothing can be written there.
    """
    root = folder.root
    there = next(parent for parent in (root.absolute(), *root.absolute().parents) if parent.exists())
    if not os.access(there, os.W_OK):
        raise MachineError(f"{root} cannot be written: {there} is read-only for you. Give another folder with -o.")
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is a file; give a folder for the run.")
    if folder.plan.is_file() and not wants_resume:
        if is_begun(folder):
            raise UsageError(
                f"{root} already holds fold {folder.fold} of a run. Add --resume to go on with it, or give another "
                "folder with -o."
            )
        return
    if wants_resume and not folder.plan.is_file():
        raise UsageError(f"{root} holds no run to resume: it has no plan.json. Train without --resume first.")
    if not wants_resume and root.is_dir() and any(not _is_leftover(path) for path in root.iterdir()):
        raise UsageError(f"{root} is not empty and holds no run; give a new folder, so that nothing is mixed up.")


def _is_leftover(path: Path) -> bool:
    """Whether a run that died before it had a plan may have left this: then the same command may begin again."""
    begun = path.name in ("config.yaml", "files.json", "fingerprint.json", "splits.json")
    return (
        path.name.startswith(".")
        or begun
        or (path.is_dir() and path.name.startswith("fold_") and not any(path.iterdir()))
    )


def _amount(budget_s: float | None, config: Config) -> str:
    """How much training there will be, in words.

    >>> _amount(90, Config())
    '1.5 minutes, all included'
    """
    epochs = config.training.epochs
    minutes = None
    if budget_s is not None:
        minutes = f"{budget_s / 60:.3g} minute{'s' if budget_s != 60 else ''}, all included"
    if epochs is None or minutes is None:
        return minutes or counted(epochs or 0, "epoch")
    return f"{counted(epochs, 'epoch')}, at most {minutes}"


def _bad_cases(bad: tuple[BadCase, ...], total: int, skip: bool) -> Generator[Event, None, None]:
    if not bad:
        return
    if len(bad) == total:
        raise InputError(f"None of the {total} cases can be used. The first: {bad[0].id}: {bad[0].reason}")
    if not skip:
        listed = "\n".join(f"  {case.id}: {case.reason}" for case in bad)
        raise InputError(
            f"{len(bad)} of {total} cases cannot be used:\n{listed}\nMend them, or leave them out with --skip-bad."
        )
    yield Warned(f"{len(bad)} of {total} cases are left out, as --skip-bad asks.")
