"""`medseg train` as a story: look, plan, prepare, measure, race, validate, keep.

`train` is a generator of events; where its files lie is `folder`'s affair. A run can die at any moment: what is on disk
is whole, and `TrainOptions.resume` goes on from the last checkpoint with the batches that it would have seen.
"""

import json
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from medseg.core.events import EpochEnded, Event, Finished, Noted, Planned, StepEnded, Validated, Warned, record
from medseg.io.files import write_json
from medseg.nn.summary import summarise
from medseg.plan.plan import Schedule
from medseg.predict.arithmetic import Arithmetic
from medseg.predict.predictor import Predictor
from medseg.train.cache import Cache
from medseg.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from medseg.train.folder import RunFolder
from medseg.train.history import draw_curves, read_history, write_history
from medseg.train.loaders import batch_loader, prepare
from medseg.train.loop import Learner, Race, fit
from medseg.train.measure import time_steps
from medseg.train.schedule import augmentation_strength, steps_within
from medseg.train.setup import Setup, TrainOptions, refuse_wrong_folder, resume, set_up, write_setup
from medseg.train.validation import validate

__all__ = ["train"]

WRITING_S = 3.0
"""Seconds of a budget that are kept for saving the model and drawing the last curves."""

QUICK_SHARE = 0.02
"""A validation on the way may take this share of the budget; else there is none."""

QUICK_CASES = 8
"""So many cases are validated on the way, spread over the fold; all of them at the end."""

CURVES_EVERY_S = 30.0
"""Curves are drawn anew no more often than this."""

Stop = Callable[[], bool]


def train(data: Path, out: Path, options: TrainOptions, stop: Stop = lambda: False) -> Iterator[Event]:
    """Train one fold on a data set.

    Args:
        data: A data set folder.
        out: The RUN folder; new, or one to go on with (`options.resume`).
        options: Everything else.
        stop: Asked after each step; when it says yes, the run saves and ends, and can be resumed.

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
    if options.resume:
        setup = resume(data, folder, options)
        folder.fold_dir.mkdir(parents=True, exist_ok=True)
    else:
        setup = yield from set_up(data, options)
        write_setup(setup, folder)
    yield from _logged(_race(setup, folder, begun, stop), folder.events)


def _race(setup: Setup, folder: RunFolder, begun: float, stop: Stop) -> Iterator[Event]:
    checkpoint = load_checkpoint(folder.checkpoint) if folder.checkpoint.is_file() else None
    used_before = checkpoint.elapsed_s if checkpoint else 0.0

    def clock() -> float:
        return time.monotonic() - begun + used_before

    cache = Cache(folder.cache, setup.plan)
    yield from prepare(setup.dataset, setup.fold.train, setup.plan, setup.read, cache, setup.config.training.workers)
    batches = PatchBatches(cache, setup.fold.train, setup.plan, setup.config.training.foreground, setup.config.seed)
    case_s = _seconds_a_validation_case(setup)
    if setup.plan.schedule is None:
        setup = yield from _scheduled(setup, batches, clock, case_s * len(setup.fold.validation) + WRITING_S)
        write_json(folder.plan, setup.plan.to_json())
    run = _begin(setup, folder, batches, checkpoint, clock, case_s)
    yield run.announcement
    interrupted = yield from _steps(run, stop)
    if interrupted:
        run.save()
        yield Finished(str(folder.root), clock(), {"interrupted": True, "step": run.race.step, "steps": run.race.steps})
        return
    yield from _end(run)
    cache.remove()


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
    case_s: float
    saved_at: float = 0.0
    drawn_at: float = 0.0

    @property
    def announcement(self) -> Planned:
        left = (self.race.steps - self.race.step) * (self.schedule.seconds_per_step or 0.0)
        return Planned(
            steps=self.race.steps,
            epochs=self.race.epochs,
            seconds_per_step=self.schedule.seconds_per_step or 0.0,
            expected_s=left + self.end_s,
            summary={"arithmetic": self.schedule.arithmetic, "memory_format": self.schedule.memory_format},
        )

    @property
    def end_s(self) -> float:
        """What the last validation and the writing take."""
        return self.case_s * len(self.setup.fold.validation) + WRITING_S

    @property
    def quick_cases(self) -> tuple[str, ...]:
        """The cases of a validation on the way; none where it would cost too much of the budget."""
        cases = self.setup.fold.validation
        chosen = cases[:: max(1, len(cases) // QUICK_CASES)][:QUICK_CASES]
        budget_s = self.schedule.budget_s
        return chosen if budget_s is None or self.case_s * len(chosen) <= QUICK_SHARE * budget_s else ()

    def steps_end_s(self, done: float) -> float:
        """When the last step should end, in seconds of the budget, seen from a share of the race that is done."""
        validations = self.setup.config.training.validations
        to_come = sum(1 for n in range(1, validations) if n / validations > done) if self.quick_cases else 0
        return (self.schedule.budget_s or 0.0) - self.end_s - to_come * self.case_s * len(self.quick_cases)

    def predictor(self) -> Predictor:
        """The real predictor, with the averaged weights."""
        return Predictor(self.setup.plan, [self.learner.ema], self.setup.device, arithmetic=self.learner.arithmetic)

    def save(self) -> None:
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
        write_history(self.folder.history, self.history)
        draw_curves(self.folder.curves, self.history)
        self.drawn_at = self.clock()

    def write_corrections(self) -> None:
        """The plan says what really happened: a rerun with it does the same steps."""
        schedule = self.schedule.model_copy(update={"corrections": self.race.corrections})
        write_json(self.folder.plan, self.setup.plan.model_copy(update={"schedule": schedule}).to_json())


def _scheduled(
    setup: Setup, batches: PatchBatches, clock: Callable[[], float], end_s: float
) -> Generator[Event, None, Setup]:
    """Choose the arithmetic by timing real steps, and turn what is left of the budget into a number of steps."""
    training = setup.config.training
    measured = time_steps(lambda arithmetic: _learner(setup, arithmetic, 1.0), batches, training, setup.device)
    yield Noted("Real steps, timed: " + ", ".join(f"{name} {s:.2f} s" for name, s in measured.tried.items()) + ".")
    steps = (training.epochs or 0) * training.steps_an_epoch
    if setup.budget_s is not None:
        left = setup.budget_s * (1 - QUICK_SHARE) - clock() - end_s
        paid_for = steps_within(left, measured.seconds_per_step)
        if steps > paid_for:
            yield Warned(f"{training.epochs} epochs do not fit into the budget: {paid_for} steps instead of {steps}.")
        steps = min(steps, paid_for) if steps else paid_for
        if left < 20 * measured.seconds_per_step:
            yield Warned("The budget hardly holds a training: it will be overrun. Give more time, or a smaller patch.")
    schedule = Schedule(
        steps=steps,
        seed=setup.config.seed,
        arithmetic=measured.arithmetic.dtype,
        memory_format=measured.arithmetic.memory_format,
        device=str(setup.device),
        seconds_per_step=round(measured.seconds_per_step, 4),
        step_gflop=round(3 * setup.plan.batch * summarise(setup.plan.network, setup.plan.patch).forward_gflop, 3),
        budget_s=setup.budget_s,
    )
    return replace(setup, plan=setup.plan.model_copy(update={"schedule": schedule}))


def _begin(
    setup: Setup,
    folder: RunFolder,
    batches: PatchBatches,
    checkpoint: Checkpoint | None,
    clock: Callable[[], float],
    case_s: float,
) -> _Run:
    schedule = setup.plan.schedule
    if schedule is None:
        raise ValueError("a race begins with a schedule")
    learner = _learner(
        setup, Arithmetic(schedule.arithmetic, schedule.memory_format), augmentation_strength(schedule.steps)
    )
    race = Race(schedule.steps, setup.config.training.steps_an_epoch, corrections=schedule.corrections)
    history: list[EpochEnded] = []
    if checkpoint is not None:
        learner.restore(checkpoint.network, checkpoint.ema, checkpoint.optimizer)
        race.step, race.training_s = checkpoint.step, checkpoint.training_s
        race.corrections = tuple(Correction(at=at, steps=steps) for at, steps in checkpoint.corrections)
        history = read_history(folder.history, checkpoint.step)
    return _Run(setup, schedule, folder, batches, learner, race, history, clock, case_s, saved_at=clock())


def _steps(run: _Run, stop: Stop) -> Generator[Event, None, bool]:
    """Run the race and listen to it: save, draw and validate between steps. Whether it was interrupted."""
    loader = batch_loader(run.batches, run.race.step, run.setup.config.training.workers)
    end_s = run.steps_end_s if run.schedule.budget_s is not None else None
    validations = run.setup.config.training.validations
    for event in fit(run.learner, loader, run.race, run.clock, end_s):
        if isinstance(event, Warned):
            run.write_corrections()
        if isinstance(event, EpochEnded):
            event = yield from _epoch_ended(run, event, validations)
        yield event
        if isinstance(event, StepEnded):
            if stop() and run.race.step < run.race.steps:
                return True
            if run.clock() - run.saved_at >= run.setup.config.training.checkpoint_every_s:
                run.save()
    return False


def _epoch_ended(run: _Run, event: EpochEnded, validations: int) -> Generator[Event, None, EpochEnded]:
    due = int(run.race.done * validations) > sum(1 for e in run.history if e.validation_dice is not None)
    if due and run.quick_cases and run.race.step < run.race.steps:
        result = yield from validate(run.predictor(), run.setup, run.quick_cases)
        yield Validated(run.race.step, len(run.quick_cases), result.dice, result.dice_by_label, final=False)
        event = replace(event, validation_dice=result.dice)
    run.history.append(event)
    if run.clock() - run.drawn_at >= CURVES_EVERY_S:
        run.draw()
    return event


def _end(run: _Run) -> Iterator[Event]:
    """Keep the model, validate every held-out case with it, and say how good it is."""
    run.save()
    metrics: dict[str, Any] = {}
    save(run, metrics)
    cases = run.setup.fold.validation
    if cases:
        result = yield from validate(run.predictor(), run.setup, cases, run.folder.validation)
        run.history[-1] = replace(run.history[-1], validation_dice=result.dice)
        metrics = result.summary
        save(run, metrics)
        yield Validated(run.race.step, len(cases), result.dice, result.dice_by_label, final=True)
    run.draw()
    yield Finished(str(run.folder.root), run.clock(), _summary(run, metrics))


def _summary(run: _Run, metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": str(run.folder.model),
        "steps": run.race.step,
        "pflop": round(run.race.step * (run.schedule.step_gflop or 0.0) / 1e6, 5),
        "training_s": round(run.race.training_s, 1),
        "arithmetic": str(run.learner.arithmetic),
        "device": str(run.setup.device),
        "validation": metrics,
    }


def _seconds_a_validation_case(setup: Setup) -> float:
    """What it takes to read, predict and judge a validation case: tried on one, with untrained weights."""


def _logged(events: Iterator[Event], path: Path) -> Iterator[Event]:
    """Pass events on and append them to `events.jsonl`, steps left out: one line each, whole at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for event in events:
            if not isinstance(event, StepEnded):
                file.write(json.dumps({"time": round(time.time(), 2), **record(event)}, ensure_ascii=False) + "\n")
                file.flush()
            yield event
