"""One function for many things, side by side: in processes that are started afresh (spawn), a few things at a time.

What is waiting is not sent ahead, so memory is that of the things in work. Ctrl-C is the parent's to answer. The module
knows nothing of what is done.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from medseg.core.errors import MachineError

__all__ = ["side_by_side"]

Thing = TypeVar("Thing")
Result = TypeVar("Result")


def side_by_side(
    function: Callable[[Thing], Result], things: Iterable[Thing], n_processes: int, what: str = "worked"
) -> Iterator[Result]:
    """The results as they get ready, in any order; with one process in this one, in order.

    Args:
        function: At the top of a module, so that another process can import it; its results must be small.
        things: What it is called with.
        n_processes: How many at once.
        what: What a process does, in the past, for a sentence: "A process that compared cases was …".

    Raises:
        MachineError: A process was ended by the system.
    """
    if n_processes <= 1:
        yield from map(function, things)
        return
    waiting = iter(things)
    pool = ProcessPoolExecutor(n_processes, multiprocessing.get_context("spawn"), initializer=_leave_ctrl_c_to_parent)
    try:
        running: set[Future[Result]] = set()
        while True:
            # Twice as many as processes, so that none is idle while results are taken.
            for thing in islice(waiting, 2 * n_processes - len(running)):
                running.add(pool.submit(function, thing))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool as error:
        raise MachineError(
            f"A process that {what} was ended by the system, most likely for lack of memory. "
            f"Run again with fewer than {n_processes} jobs."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _leave_ctrl_c_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
