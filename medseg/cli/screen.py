"""Listeners for events: a Rich progress display on a terminal, a plain line now and then elsewhere, JSON on request.

Work is a generator of events; `follow` passes each to the listeners and hands back the last one, `Finished`. With
`--json` the objects go to standard output and the screen to standard error. `NO_COLOR`, `TERM=dumb` and pipes are
respected.
"""

import json
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from medseg.cli import streams
from medseg.cli.options import Shared
from medseg.core.escapes import for_terminal
from medseg.core.events import (
    CaseFailed,
    CasePredicted,
    CaseRead,
    CaseScored,
    EpochEnded,
    Event,
    Finished,
    Noted,
    Planned,
    StepEnded,
    Validated,
    Warned,
    record,
)
from medseg.core.words import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

__all__ = ["ENDING", "StopSwitch", "Stopped", "Terminated", "console", "duration", "follow"]

PLAIN_EVERY_S = 60.0
"""Without a terminal, work in progress says a line a minute …"""

PLAIN_FIRST_S = 8.0
"""… and the first one within ten seconds."""


class Listener(Protocol):
    """Something that hears events, in order, from its `__enter__` to its `__exit__`."""

    def __enter__(self) -> object: ...
    def __exit__(self, *_: object) -> None: ...
    def hear(self, event: Event) -> None: ...


def console(shared: Shared) -> "Console":
    """Where the screen is: standard output, or standard error when standard output carries JSON."""
    from medseg.cli.console import PlainConsole

    return PlainConsole(stderr=shared.json, highlight=False, soft_wrap=True)


def follow(events: Iterable[Event], shared: Shared) -> Finished | None:
    """Work through `events`, showing them as the options say; returns the last `Finished`, None if there was none."""
    finished = None
    listeners = _listeners(shared)
    with ExitStack() as stack:
        for listener in listeners:
            stack.enter_context(listener)
        for event in events:
            for listener in listeners:
                listener.hear(event)
            if isinstance(event, Finished):
                finished = event
    return finished


def duration(seconds: float) -> str:
    """A duration for people.

    >>> duration(42), duration(600), duration(5400)
    ('42 s', '10 min', '1 h 30 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What the system sends to end a process: a service manager, a queue; a terminal that is closed (SIGHUP)."""


class Terminated(BaseException):
    """SIGTERM or SIGHUP, on its way up like a Ctrl-C, but not taken for one by typer."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class Stopped(BaseException):
    """A signal that has been answered: what there is to say, and the exit code."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.exit_code = exit_code


class StopSwitch:
    """Ctrl-C, SIGTERM and SIGHUP as a question that long work asks between two steps; the second one stops at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """As a shell counts: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + (self.signal or signal.SIGINT)

    @contextmanager
    def armed(self) -> Iterator["StopSwitch"]:
        """Take the signals over for the length of a block; one that `nohup` has turned off stays so."""
        taken = [signal.SIGINT, *(number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN)]
        before = {number: signal.signal(number, self._press) for number in taken}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _press(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)
        self.signal = number
        if number != signal.SIGINT:
            streams.leave_closed_terminal()
        streams.say_error("\nStopping after the step in flight; once more to stop at once.")


def _listeners(shared: Shared) -> list[Listener]:
    listeners: list[Listener] = [_JsonLines()] if shared.json else []
    if shared.quiet:
        return [*listeners, _Failures()]
    out = console(shared)
    return [*listeners, _Display(out, shared) if out.is_terminal and not out.is_dumb_terminal else _Plain(out, shared)]


class _Silent:
    def __enter__(self) -> "_Silent":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _JsonLines(_Silent):
    def hear(self, event: Event) -> None:
        print(json.dumps(record(event)), flush=True)


class _Failures(_Silent):
    """What even a quiet command says."""

    def hear(self, event: Event) -> None:
        if isinstance(event, CaseFailed):
            streams.say_error(for_terminal(_line(event) or ""))


class _Plain(_Silent):
    """One line for what matters, and one a minute for what goes on."""

    def __init__(self, out: "Console", shared: Shared) -> None:
        self._out = out
        self._verbose = shared.verbose
        self._begun = time.monotonic()
        self._said = self._begun - PLAIN_EVERY_S + PLAIN_FIRST_S

    def hear(self, event: Event) -> None:
        line = _line(event)
        if line is not None:
            self._out.print(line, markup=False)
        going_on = _progress_line(event)
        now = time.monotonic()
        every_case = self._verbose > (1 if isinstance(event, StepEnded) else 0)
        if going_on is not None and (now - self._said >= PLAIN_EVERY_S or every_case):
            self._said = now
            self._out.print(going_on, markup=False)


class _Display:
    """Bars on a terminal; lines that matter scroll by above them."""

    def __init__(self, out: "Console", shared: Shared) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self._out = out
        self._verbose = shared.verbose
        self._tasks: dict[str, TaskID] = {}
        self._latest: str | None = None
        self._progress: Progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=out,
            transient=False,
        )

    def __enter__(self) -> "_Display":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def hear(self, event: Event) -> None:
        match event:
            case CaseRead(phase=phase, done=done, total=total):
                self._move(phase.capitalize(), done, total)
            case StepEnded(step=step, steps=steps, loss=loss):
                self._move("Training", step, steps, "" if loss is None else f"loss {loss:.3f}")
            case CasePredicted(case=case, done=done, total=total):
                self._move("Predicting", done, total, case)
            case CaseScored(case=case, done=done, total=total):
                self._move("Comparing", done, total, case)
            case CaseFailed(case=case, done=done, total=total) if self._latest is not None:
                self._move(self._latest, done, total, case)
            case _:
                pass
        line = _line(event) or (_progress_line(event) if self._verbose and isinstance(event, EpochEnded) else None)
        if line is not None:
            self._progress.console.print(line, markup=False, style="yellow" if isinstance(event, Warned) else None)

    def _move(self, name: str, done: int, total: int, note: str = "") -> None:
        self._latest, note = name, for_terminal(note)
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, note=note)
        self._progress.update(self._tasks[name], completed=done, total=total, note=note)


def _line(event: Event) -> str | None:
    """What everyone should read, wherever the screen is."""
    match event:
        case Noted(text=text):
            return text
        case Warned(text=text, case=case):
            return f"Warning: {case}: {text}" if case else f"Warning: {text}"
        case CaseFailed(case=case, reason=reason):
            return f"Failed: {case}: {reason}"
        case CasePredicted(case=case, status="predicted", warnings=warnings) if warnings:
            return "\n".join(f"Warning: {case}: {text}" for text in warnings)
        case Planned(steps=steps, seconds_per_step=per_step, expected_s=expected):
            return f"{counted(steps, 'step')} of {per_step:.2f} s; the expected end is in {duration(expected)}."
        case Validated(step=step, dice=dice, n_cases=n, final=final):
            which = "At the end" if final else f"At step {step}"
            return f"{which}: mean Dice {dice:.3f} on {counted(n, 'validation case')}."
        case _:
            return None


def _progress_line(event: Event) -> str | None:
    """What goes on, for a log that nobody watches."""
    match event:
        case CaseRead(phase=phase, done=done, total=total):
            return f"{phase.capitalize()}: {done} of {counted(total, 'case')}."
        case StepEnded(step=step, steps=steps, loss=loss, remaining_s=remaining):
            shown = "" if loss is None else f", loss {loss:.3f}"
            return f"Training: step {step} of {steps}{shown}, {duration(remaining)} to go."
        case CasePredicted(case=case, done=done, total=total, seconds=seconds):
            return f"Predicted {case} in {seconds:.1f} s ({done} of {total})."
        case CaseScored(done=done, total=total):
            return f"Compared {done} of {counted(total, 'case')}."
        case EpochEnded(epoch=epoch, epochs=epochs, loss=loss, learning_rate=rate):
            return f"Epoch {epoch} of {epochs}: loss {loss:.3f}, learning rate {rate:.1e}."
        case _:
            return None
