"""One function for many things, side by side: in processes that are started afresh (spawn), a thing at a time each.

What is waiting is not sent ahead, so memory is that of the things in work. Each process has a pipe of its own: when one
is ended from outside (most often for lack of memory), it is known what it had in work, and that alone is tried again at
the end, with nothing beside it. Processes end with their parent, however that ends, and leave Ctrl-C and the signals
that ask for an end to it. The module knows nothing of what is done.
"""

import atexit
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

from medseg.core.errors import MachineError

__all__ = ["live_with_parent", "side_by_side", "without_signals"]

Thing = TypeVar("Thing")
Result = TypeVar("Result")

_PATIENCE_S = 5.0
"""So long a process may go on with what it has in work when nobody waits for it any more."""

_MOST_PROCESSES = 30 if sys.platform == "win32" else 256
"""Windows waits for 63 things at most, and a process is two of them."""

_ASKING_FOR_AN_END = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)


def side_by_side(
    function: Callable[[Thing], Result],
    things: Iterable[Thing],
    n_processes: int,
    lost: Callable[[Thing, str], Result],
) -> Iterator[Result]:
    """The results as they get ready, in any order; with one process in this one, in order.

    Args:
        function: At the top of a module, so that another process can import it; its results must be small.
        things: What it is called with.
        n_processes: How many at once.
        lost: The result of a thing that has cost its process its life, alone, too; it is given why, as a sentence.

    Raises:
        MachineError: No process can be started.
    """
    if n_processes <= 1 or multiprocessing.current_process().daemon:  # a daemon may have no children
        yield from map(function, things)
        return
    waiting = iter(things)
    again: list[Thing] = []
    yield from _worked(function, waiting, min(n_processes, _MOST_PROCESSES), again.append)
    # What is still waiting was kept from work by processes that could not start any more.
    for thing in chain(again, waiting):
        dead: list[Thing] = []
        try:
            yield from _worked(function, iter((thing,)), 1, dead.append)
        except MachineError:  # of a process that could not even start
            dead.append(thing)
        for one in dead:
            yield lost(one, "The process that worked on it was ended by the system, most likely for lack of memory.")


@contextmanager
def without_signals() -> Iterator[None]:
    """Processes that are started in this block hear no signal that asks for an end before `live_with_parent`.

    A signal that comes to the whole process group while a process still imports would kill it. What comes to this
    process in the meantime is answered after the block.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where only Ctrl-C comes to a group
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ASKING_FOR_AN_END)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def live_with_parent() -> None:
    """For a process that was started by `multiprocessing`: end when the parent ends, and not before it says so.

    Ctrl-C, and what a service manager sends to all processes, is the parent's to answer. Whoever starts such a process
    ends it by `kill`, since it does not hear `terminate`, and has to do so before `multiprocessing` waits for it.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        watch = threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True)
        watch.start()
    for number in _ASKING_FOR_AN_END:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKING_FOR_AN_END)


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


@dataclass
class _Worker(Generic[Thing]):
    """A process, this side of its pipe, and what it has in work."""

    process: SpawnProcess
    pipe: Connection
    ready: bool = False
    in_work: tuple[Thing] | None = None

    @property
    def is_idle(self) -> bool:
        return self.ready and self.in_work is None


def _worked(
    function: Callable[[Thing], Result], things: Iterator[Thing], n_processes: int, broken: Callable[[Thing], object]
) -> Iterator[Result]:
    """Results by `n_processes` processes; `broken` is told of each thing whose process died."""
    crew: list[_Worker[Thing]] = []
    at_exit = atexit.register(partial(_dismiss, crew))
    try:
        crew.extend(_started(function) for _ in range(n_processes))
        was_ready = False
        while True:
            for worker in crew:
                if worker.is_idle and (taken := next(things, _NOTHING)) is not _NOTHING:
                    worker.in_work = (taken,)
                    _send(worker)
            if not any(worker.in_work or not worker.ready for worker in crew):
                return
            for worker in _heard(crew):
                answer = _answer(worker)
                if answer is None:
                    crew.remove(worker)
                    worker.process.join()
                    if worker.in_work is not None:
                        broken(worker.in_work[0])
                        crew.append(_started(function))
                    elif not was_ready and not crew:
                        raise _not_started(worker.process.exitcode)
                elif worker.ready:
                    worker.in_work = None
                    yield _result(answer)
                else:
                    worker.ready = was_ready = True
    finally:
        _dismiss(crew)
        atexit.unregister(at_exit)


_NOTHING: Any = object()
"""What `next` gives when nothing is left; None may be a thing."""


def _started(function: Callable[[Thing], Result]) -> "_Worker[Thing]":
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(function, theirs), daemon=True)
    with without_signals():
        process.start()
    theirs.close()  # so that its end is heard
    return _Worker(process, ours)


def _serve(function: Callable[[Any], Any], pipe: Connection) -> None:
    """The life of a process: what comes through the pipe is answered, until the pipe is closed."""
    live_with_parent()
    with suppress(EOFError, OSError):  # of the pipe: nobody is there any more
        pipe.send(None)
        while True:
            thing = pipe.recv()
            try:
                answer: tuple[Any, Exception | None] = (function(thing), None)
            except Exception as error:  # noqa: BLE001  # every error is the parent's, as it would be without processes
                error.add_note("".join(traceback.format_exception(error)))
                answer = (None, error)
            try:
                pipe.send(answer)
            except (TypeError, AttributeError, ValueError) as error:
                pipe.send((None, TypeError(f"{answer!r} cannot be sent to another process: {error}")))


def _send(worker: _Worker[Any]) -> None:
    with suppress(OSError):  # it is dead; `_heard` tells
        worker.pipe.send(*(worker.in_work or ()))


def _heard(crew: Sequence[_Worker[Thing]]) -> list[_Worker[Thing]]:
    """Those that have answered or died, waiting for the first."""
    signs = wait([sign for worker in crew for sign in (worker.pipe, worker.process.sentinel)])
    return [worker for worker in crew if worker.pipe in signs or worker.process.sentinel in signs]


def _answer(worker: _Worker[Any]) -> tuple[Any] | None:
    """What the process says; None if it is dead and has said all."""
    try:
        return (worker.pipe.recv(),) if worker.pipe.poll() else None
    except (EOFError, OSError):
        return None


def _result(answer: tuple[Any]) -> Any:  # noqa: ANN401  what the function gives
    result, error = answer[0]
    if error is not None:
        raise error
    return result


def _dismiss(crew: list[_Worker[Any]]) -> None:
    """Let the processes end; one that is still at work after a while is ended."""
    for worker in crew:
        worker.pipe.close()
    until = time.monotonic() + _PATIENCE_S
    for worker in crew:
        worker.process.join(max(0.0, until - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
    crew.clear()


def _not_started(exit_code: int | None) -> MachineError:
    guard = ""
    if not getattr(sys, "ps1", None) and getattr(sys.modules.get("__main__"), "__file__", None):
        guard = ' In a program of your own, call medseg below `if __name__ == "__main__":`.'
    return MachineError(
        f"No process could be started to work side by side (exit code {exit_code}). Give --jobs 1 (jobs=1).{guard}"
    )
