"""`medseg train` as a story: look, plan, prepare, measure, race, validate, keep.

`run` is a generator of events; where its files lie is `folder`'s affair. A run can die at any moment: what is on disk
is whole, and `TrainOptions.resume` goes on from the last checkpoint with the batches that it would have seen.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import torch

from medseg.core.errors import DiskFullError, InputError, MachineError, MedsegError
from medseg.core.events import EpochEnded, Event, Finished, Noted, Planned, StepEnded, Validated, Warned, record
from medseg.core.given import as_kept
from medseg.core.memory import in_words
from medseg.core.words import counted
from medseg.io.files import read_json, write_json
from medseg.model import NAMELESS, ModelInfo, load_model, save_model
from medseg.model.card import is_poor
from medseg.plan.cost import step_gflop
from medseg.plan.plan import Correction, Plan, Schedule
from medseg.predict.arithmetic import Arithmetic, candidates
from medseg.predict.predictor import Predictor
from medseg.train.batches import Batch, PatchBatches
from medseg.train.cache import Cache
from medseg.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from medseg.train.folder import RunFolder
from medseg.train.history import draw_curves, read_history, write_history
from medseg.train.learners import new_learner
from medseg.train.loaders import batch_loader, prepare
from medseg.train.lock import claimed, shared
from medseg.train.loop import Learner, Race, fit
from medseg.train.measure import time_steps
from medseg.train.schedule import augmentation_strength, steps_within
from medseg.train.setup import (
    Setup,
    TrainOptions,
    join,
    refuse_wrong_folder,
    resume,
    set_up,
    stored_plan,
    write_setup,
)
from medseg.train.validation import Validation, seconds_a_case, validate_all, validate_some

__all__ = ["run"]

WRITING_S = 3.0
"""Seconds of a budget that are kept for saving the model and drawing the last curves."""

QUICK_SHARE = 0.02
"""A validation on the way may take this share of the budget; else there is none."""

QUICK_CASES = 8
"""So many cases are validated on the way, spread over the fold; all of them at the end."""

CURVES_EVERY_S = 30.0
"""Curves are drawn anew no more often than this."""

NOTHING_JUDGES = (
    "No held-out case has an annotated voxel: nothing tells how good this model is. "
    "Annotate some of them, or choose another --fold."
)

Stop = Callable[[], bool]

Result = TypeVar("Result")


def run(data: Path, out: Path, options: TrainOptions, stop: Stop = lambda: False) -> Generator[Event, None, None]:
    """Train one fold on a data set.

    Args:
        data: A data set folder.
        out: The RUN folder; new, or one to go on with (`options.resume`).
        options: Everything else.
        stop: Asked between steps and between cases; when it says yes, the run ends. From the first step on it is saved
            and can be resumed.

    Yields:
        Events; the last is `Finished`, with "interrupted" in its summary where `stop` ended the run.

    Raises:
        UsageError, InputError, PlanError, MachineError: As `setup.set_up`; also when training diverges.
    """
    begun = time.monotonic() - options.used_s
    folder = RunFolder(out, str(options.fold))
    refuse_wrong_folder(folder, options.resume)
    if options.threads:
        torch.set_num_threads(options.threads)
    with claimed(folder):
        try:
            yield from _begun(data, folder, options, begun, stop)
        except _StoppedError:
            resumable = folder.plan.is_file()
            yield Finished(str(out), time.monotonic() - begun, {"interrupted": True, "resumable": resumable})


def _begun(
    data: Path, folder: RunFolder, options: TrainOptions, begun: float, stop: Stop
) -> Generator[Event, None, None]:
    """Begin or go on with a fold that is ours."""
    told: list[Event] = []  # what is said before there is a file for it
    if options.resume:
        setup = yield from _stoppable(resume(data, folder, options), stop, told)
        folder.fold_dir.mkdir(parents=True, exist_ok=True)
    elif folder.plan.is_file():
        setup = yield from _stoppable(join(data, folder, options), stop, told)
        folder.fold_dir.mkdir(parents=True, exist_ok=True)
    else:
        setup = yield from _stoppable(set_up(data, options), stop, told)
        # Before anything is written: a refused run must not look like one that was begun.
        _refuse_small_disk(setup, folder)
        setup = yield from _stoppable(write_setup(setup, folder), stop, told)
    yield from _logged(_race(setup, folder, begun, stop), folder, told, setup.dataset.root)


class _StoppedError(Exception):
    """The user wants to stop, and what needs to be saved is saved; it does not leave this module."""


def _stoppable(
    events: Generator[Event, None, Result], stop: Stop, told: list[Event] | None = None
) -> Generator[Event, None, Result]:
    """The same events and result, unless `stop` says yes between two of them; `told` collects them.

    Raises:
        _StoppedError: It did.
    """
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what the generator returns
        except MachineError:
            # Who wants to stop may have ended more than this process: a loader's, a drive's.
            if stop():
                raise _StoppedError from None
            raise
        if told is not None:
            told.append(event)
        yield event
        if stop():
            raise _StoppedError


def _race(setup: Setup, folder: RunFolder, begun: float, stop: Stop) -> Iterator[Event]:
    checkpoint = load_checkpoint(folder.checkpoint) if folder.checkpoint.is_file() else None
    used_before = checkpoint.elapsed_s if checkpoint else 0.0

    def clock() -> float:
        return time.monotonic() - begun + used_before

    has_all_steps = checkpoint is not None and checkpoint.step >= _steps_of(setup.plan, folder, checkpoint)
    if has_all_steps and (finished := _finished(setup, folder, clock())) is not None:
        yield Noted(f"Fold {folder.fold} is trained, validated and in the model: nothing is left to do.")
        yield finished
        return
    cache = Cache(folder.cache, setup.plan)
    if not has_all_steps:
        _refuse_small_disk(setup, folder)
        workers = setup.config.training.workers
        yield from _stoppable(prepare(setup.dataset, setup.fold.train, setup.plan, setup.read, cache, workers), stop)
    batches = PatchBatches(cache, setup.fold.train, setup.plan, setup.config.training.foreground, setup.config.seed)
    if setup.plan.schedule is None:
        setup = yield from _scheduled(setup, folder.fold, clock)
        with shared(folder):
            plan = stored_plan(folder)
            if plan.schedule is None:
                write_json(folder.plan, setup.plan.to_json())
            else:  # another fold was quicker
                setup = replace(setup, plan=plan)
    run = yield from _begin(setup, folder, batches, checkpoint, clock)
    yield run.announcement
    yield from _steps(run, stop)
    yield from _stoppable(_end(run), stop)
    cache.remove()


def _steps_of(plan: Plan, folder: RunFolder, checkpoint: Checkpoint) -> float:
    """How many steps a fold that was begun has, with the corrections so far; without end where they are not counted."""
    if plan.schedule is None:
        return math.inf
    if checkpoint.corrections:
        return checkpoint.corrections[-1][1]
    return plan.schedule.steps if plan.schedule.fold == folder.fold else plan.schedule.final_steps


def _finished(setup: Setup, folder: RunFolder, elapsed_s: float) -> Finished | None:
    """What a fold that has all its steps ended with; None where a part of it is missing, or a case could not be judged.

    The prepared cases are the last thing to go.
    """
    summary: dict[str, Any] = {}
    try:
        if folder.cache.exists() or f"fold_{folder.fold}" not in load_model(folder.model).folds:
            return None
        facts = read_json(folder.model / "model.json", "the description of a model")["training"][f"fold_{folder.fold}"]
        if setup.fold.validation:
            summary = read_json(folder.validation / "summary.json", "the summary of a validation")
            if summary["n_failed"]:
                return None
    except (MedsegError, KeyError, TypeError):
        return None
    return Finished(str(folder.root), elapsed_s, {**facts, "fold": folder.fold, "validation": summary, "failed": 0})


@dataclass
class _Run:
    """Everything that the race and those who listen to it hold."""

    setup: Setup
    schedule: Schedule
    folder: RunFolder
    batches: PatchBatches
    learner: Learner
    race: Race
    history: list[EpochEnded]
    clock: Callable[[], float]
    saved_at: float = 0.0
    drawn_at: float = 0.0
    nothing_judges: bool = False
    """Whether the cases of a validation on the way turned out to be ignored as a whole: then there are no more."""
    troubles: list[Warned] = field(default_factory=list)
    troubled: set[str] = field(default_factory=set)

    @property
    def announcement(self) -> Planned:
        left = (self.race.steps - self.race.step) * self.schedule.seconds_per_step
        return Planned(
            steps=self.race.steps,
            epochs=self.race.epochs,
            seconds_per_step=self.schedule.seconds_per_step,
            expected_s=left + self.end_s,
            summary={"arithmetic": self.schedule.arithmetic, "memory_format": self.schedule.memory_format},
        )

    @property
    def end_s(self) -> float:
        """What the last validation and the writing take."""
        return _end_s(self.setup, self.schedule.seconds_a_case)

    @property
    def quick_cases(self) -> tuple[str, ...]:
        """The cases of a validation on the way; none where it would cost too much of the budget."""
        cases = self.setup.fold.validation
        chosen = cases[:: max(1, len(cases) // QUICK_CASES)][:QUICK_CASES]
        budget_s = self.setup.plan.budget_s
        return (
            chosen if budget_s is None or self.schedule.seconds_a_case * len(chosen) <= QUICK_SHARE * budget_s else ()
        )

    def steps_end_s(self, done: float) -> float:
        """When the last step should end, in seconds of the budget, seen from a share of the race that is done."""
        validations = self.setup.config.training.validations
        to_come = sum(1 for n in range(1, validations) if n / validations > done) if self.quick_cases else 0
        quick_s = self.schedule.seconds_a_case * len(self.quick_cases)
        return (self.setup.plan.budget_s or 0.0) - self.end_s - to_come * quick_s

    @property
    def keeps_budget(self) -> bool:
        """Whether the number of steps follows the clock; the other folds of a run do what the first one did."""
        return self.setup.plan.budget_s is not None and self.schedule.fold == self.folder.fold

    def predictor(self) -> Predictor:
        """The real predictor, with the averaged weights."""
        return Predictor(self.setup.plan, [self.learner.ema], self.setup.device, arithmetic=self.learner.arithmetic)

    def save(self) -> None:
        """Freeze the run as it is; the history first, since what a checkpoint does not cover is cut from it."""
        self._describe(write_history, self.folder.history)
        corrections = tuple((c.at, c.steps) for c in self.race.corrections)
        save_checkpoint(
            self.folder.checkpoint,
            Checkpoint(
                step=self.race.step,
                elapsed_s=self.clock(),
                training_s=self.race.training_s,
                corrections=corrections,
                **self.learner.state(),
            ),
        )
        self.saved_at = self.clock()

    def draw(self) -> None:
        self._describe(write_history, self.folder.history)
        self._describe(draw_curves, self.folder.curves)
        self.drawn_at = self.clock()

    def _describe(self, write: Callable[[Path, Sequence[EpochEnded]], None], path: Path) -> None:
        """Write what people look at: where that fails it is a warning, except on a disk that is full.

        Raises:
            DiskFullError: There is no room for it.
        """
        try:
            write(path, self.history)
        except DiskFullError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever matplotlib finds: a picture is not worth a training
            if path.name not in self.troubled:
                self.troubled.add(path.name)
                self.troubles.append(Warned(f"{path.name} could not be written; training goes on. {error}"))

    def told_troubles(self) -> Iterator[Warned]:
        """What could not be written and was not told yet."""
        troubles, self.troubles = self.troubles, []
        yield from troubles

    @property
    def plan(self) -> Plan:
        """The plan with the corrections so far: what really happened, so that a rerun with it does the same steps."""
        if self.schedule.fold != self.folder.fold:
            return self.setup.plan
        schedule = self.schedule.model_copy(update={"corrections": self.race.corrections})
        return self.setup.plan.model_copy(update={"schedule": schedule})


def _scheduled(setup: Setup, fold: str, clock: Callable[[], float]) -> Generator[Event, None, Setup]:
    """Choose the arithmetic by timing real steps, and turn what is left of the budget into a number of steps."""
    training = setup.config.training
    measured = time_steps(setup.plan, training, lambda arithmetic: new_learner(setup, arithmetic), setup.device)
    yield Noted("Real steps, timed: " + ", ".join(f"{name} {s:.2f} s" for name, s in measured.tried.items()) + ".")
    case_s = 0.0
    if setup.fold.validation:
        network = new_learner(setup, measured.arithmetic).ema
        predictor = Predictor(setup.plan, [network], device=setup.device, arithmetic=measured.arithmetic)
        case_s = seconds_a_case(predictor, setup, setup.fold.validation)
    steps = (training.epochs or 0) * training.steps_an_epoch
    if setup.plan.budget_s is not None:
        left = setup.plan.budget_s - clock() - _end_s(setup, case_s)
        paid_for = steps_within(left, measured.seconds_per_step)
        if steps > paid_for:
            yield Warned(f"{training.epochs} epochs do not fit into the budget: {paid_for} steps instead of {steps}.")
        steps = min(steps, paid_for) if steps else paid_for
        if left < steps * measured.seconds_per_step:
            yield Warned("The budget hardly holds a training and will be overrun: give more time, or a smaller patch.")
    schedule = Schedule(
        steps=steps,
        seed=setup.config.seed,
        arithmetic=measured.arithmetic.dtype,
        memory_format=measured.arithmetic.memory_format,
        device=str(setup.device),
        seconds_per_step=round(measured.seconds_per_step, 4),
        seconds_a_case=round(case_s, 3),
        step_gflop=round(_step_gflop(setup.plan), 3),
        fold=fold,
    )
    return replace(setup, plan=setup.plan.model_copy(update={"schedule": schedule}))


def _step_gflop(plan: Plan) -> float:
    """GFLOP of a step; a profile of the network takes seconds to load, so ours is reckoned by the formula."""
    if plan.network.name == "unet" and not plan.network.residual:
        return step_gflop(plan.network, plan.patch, plan.batch)
    from medseg.nn.summary import summarise

    return 3 * plan.batch * summarise(plan.network, plan.patch).forward_gflop


def _end_s(setup: Setup, case_s: float) -> float:
    """What the last validation and the writing take."""
    return case_s * len(setup.fold.validation) + WRITING_S


def _begin(
    setup: Setup,
    folder: RunFolder,
    batches: PatchBatches,
    checkpoint: Checkpoint | None,
    clock: Callable[[], float],
) -> Generator[Event, None, _Run]:
    schedule = setup.plan.schedule
    if schedule is None:
        raise ValueError("a race begins with a schedule")
    arithmetic = Arithmetic(schedule.arithmetic, schedule.memory_format)
    chosen_by_us = setup.config.training.arithmetic == "auto"
    if chosen_by_us and arithmetic.dtype not in {option.dtype for option in candidates("auto", setup.device)}:
        # A run may be resumed elsewhere: what was fastest there can be thirty times slower here.
        yield Warned(f"{arithmetic.dtype} does not pay on this machine; the run goes on in float32.")
        arithmetic = Arithmetic("float32", schedule.memory_format)
    learner = new_learner(setup, arithmetic, augmentation_strength(schedule.steps))
    # A fold that begins takes the corrected number for its own; one that goes on has its corrections in its checkpoint.
    steps = schedule.steps if checkpoint is not None and schedule.fold == folder.fold else schedule.final_steps
    race = Race(steps, setup.config.training.steps_an_epoch)
    history: list[EpochEnded] = []
    if checkpoint is not None:
        learner.restore(checkpoint.network, checkpoint.ema, checkpoint.optimizer, checkpoint.scaler)
        race.step, race.training_s = checkpoint.step, checkpoint.training_s
        race.corrections = tuple(Correction(at=at, steps=steps) for at, steps in checkpoint.corrections)
        try:
            history = read_history(folder.history, checkpoint.step)
        except InputError as error:
            yield Warned(f"{error} It begins anew; training goes on.")
    return _Run(setup, schedule, folder, batches, learner, race, history, clock, saved_at=clock())


def _steps(run: _Run, stop: Stop) -> Iterator[Event]:
    """Run the race and listen to it: save, draw and validate between steps.

    Raises:
        _StoppedError: `stop` said yes; the run is saved.
    """
    training = run.setup.config.training
    batches = _batches(run, stop)
    end_s = run.steps_end_s if run.keeps_budget else None
    try:
        for event in fit(run.learner, batches, run.race, run.clock, end_s):
            if isinstance(event, EpochEnded):
                yield (yield from _epoch_ended(run, event))
                continue
            if isinstance(event, Warned):
                with shared(run.folder):
                    write_json(run.folder.plan, run.plan.to_json())
            yield event
            if isinstance(event, StepEnded):
                if stop():
                    run.save()
                    raise _StoppedError
                if run.clock() - run.saved_at >= training.checkpoint_every_s:
                    run.save()
                    yield from run.told_troubles()
    except GeneratorExit:
        # Whoever listens has broken off (a closed pipe, a terminal that is gone): between two events all is consistent.
        with suppress(MedsegError, OSError):
            run.save()
        raise


def _batches(run: _Run, stop: Stop) -> Iterator[Batch]:
    """The batches from here on; where none can be had any more, the run is saved as it stands between two steps."""
    try:
        yield from batch_loader(run.batches, run.race.step, run.setup.config.training.workers)
    except Exception:
        run.save()
        if stop():
            raise _StoppedError from None
        raise


def _epoch_ended(run: _Run, event: EpochEnded) -> Generator[Event, None, EpochEnded]:
    """Keep the row; validate a few cases where a share of the race has just ended."""
    validated = sum(1 for row in run.history if row.validation_dice is not None)
    due = not run.nothing_judges and int(run.race.done * run.setup.config.training.validations) > validated
    run.history.append(event)
    if due and run.quick_cases and run.race.step < run.race.steps:
        begun = run.clock()
        run.save()
        result = yield from validate_some(run.predictor(), run.setup, run.quick_cases)
        run.race.paused_s += run.clock() - begun
        run.nothing_judges = result.dice is None and not result.n_failed
        if result.dice is not None:
            yield Validated(run.race.step, result.n_cases, result.dice, result.dice_by_label, final=False)
            event = replace(event, validation_dice=result.dice)
            run.history[-1] = event
    if run.clock() - run.drawn_at >= CURVES_EVERY_S:
        run.draw()
    yield from run.told_troubles()
    return event


def _end(run: _Run) -> Generator[Event, None, None]:
    """Keep the model, validate every held-out case with it, and say how good it is."""
    run.save()
    _keep_model(run, {})
    validation = Validation(None, {}, 0)
    if run.setup.fold.validation:
        cases = run.setup.fold.validation
        validation = yield from validate_all(run.predictor(), run.setup, cases, run.folder.validation)
        if validation.dice is None:
            yield Warned(NOTHING_JUDGES)
        else:
            if run.history:
                run.history[-1] = replace(run.history[-1], validation_dice=validation.dice)
            figures = {"dice": validation.dice, "dice_by_label": dict(validation.dice_by_label)}
            _keep_model(run, {**figures, "n_cases": validation.n_cases})
            yield Validated(run.race.step, validation.n_cases, validation.dice, validation.dice_by_label, final=True)
    if is_poor(validation.dice):
        yield Warned(
            f"A model of a mean Dice of {validation.dice:.3f} on held-out cases is not one to use. It has learnt for "
            f"{counted(run.race.step, 'step')}: give more time (--budget, --epochs), and look at the data with medseg "
            "inspect."
        )
    run.draw()
    yield from run.told_troubles()
    facts = {**_facts(run), "fold": run.folder.fold, "validation": validation.summary, "failed": validation.n_failed}
    yield Finished(str(run.folder.root), run.clock(), facts)


def _keep_model(run: _Run, metrics: dict[str, Any]) -> None:
    setup = run.setup
    info = ModelInfo(
        plan=run.plan,
        name=setup.config.training.name or NAMELESS,
        is_named=setup.config.training.name is not None,
        description=setup.config.training.description or "",
        read=setup.read,
        training={**_facts(run), "cases": len(setup.fold.train), "held_out": len(setup.fold.validation)},
        metrics=metrics,
        codes={name: label for name, label in setup.config.data.labels.items() if label.says_more_than_a_value},
    )
    with shared(run.folder):
        save_model(run.folder.model, info, {run.folder.fold: run.learner.ema.state_dict()})


def _facts(run: _Run) -> dict[str, Any]:
    return {
        "steps": run.race.step,
        "pflop": round(run.race.step * run.schedule.step_gflop / 1e6, 9),
        "training_s": round(run.race.training_s, 1),
        "arithmetic": str(run.learner.arithmetic),
        "device": run.setup.device.type,
    }


def _logged(events: Iterator[Event], folder: RunFolder, told: Sequence[Event], data: Path) -> Iterator[Event]:
    """Pass events on and append them to `events.jsonl`, steps left out: one line each, whole at any moment.

    `told` are those that were passed on before and are only written. Paths are kept as seen from the data, the run and
    the file itself.
    """
    path, given = folder.events, (data, folder.root)
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:

        def write(event: Event) -> None:
            if isinstance(event, Finished):
                event = replace(event, output=os.path.relpath(event.output, path.parent))
            kept = {
                key: as_kept(value, given) if isinstance(value, str) else value for key, value in record(event).items()
            }
            file.write(json.dumps({"time": round(time.time(), 2), **kept}, ensure_ascii=False) + "\n")
            file.flush()

        for event in told:
            write(event)
        for event in events:
            if not isinstance(event, StepEnded):
                write(event)
            yield event


def _refuse_small_disk(setup: Setup, folder: RunFolder) -> None:
    """Prepared cases lie on the disk while a fold trains: refuse before hours of reading what it cannot hold.

    Raises:
        MachineError: With both numbers.
    """
    spacing = setup.plan.preprocessing.spacing_mm
    bytes_a_voxel = 4 * len(setup.plan.channels) + 1
    needed = 0.0
    for case in setup.fingerprint.cases:
        if case.case in setup.fold.train:
            sides = zip(case.shape, case.spacing_mm, spacing, strict=True)
            needed += bytes_a_voxel * prod(n * mm / (new or mm) for n, mm, new in sides)
    root = folder.root.absolute()
    free = shutil.disk_usage(next(each for each in (root, *root.parents) if each.is_dir())).free
    if needed > free:
        raise MachineError(
            f"The prepared cases of this run need about {in_words(needed)} in {folder.cache}, but the disk has "
            f"{in_words(free)} left. Free some space, give another folder, or a coarser plan.spacing_mm."
        )
