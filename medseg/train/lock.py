"""Who trains a fold: one process at a time, on this machine or on another that shares the disk.

A fold has a lock of its own, so that the folds of a run can be trained side by side; what they share (plan, folds,
model) is written by one at a time (`shared`). The lock of a process of this machine that is dead is taken over. Of
another machine nobody can tell, so its lock is respected until a person removes it.
"""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from medseg.core.errors import UsageError
from medseg.io.files import remove_leftovers
from medseg.io.presence import Owner, alive, exclusive, make_owned, owner_of, this_process
from medseg.train.folder import RunFolder

__all__ = ["claimed", "shared"]

SINCE = "%Y-%m-%d %H:%M"


@contextmanager
def claimed(folder: RunFolder) -> Iterator[None]:
    """A block that has a fold for itself; what dead processes left half written there is removed.

    Raises:
        UsageError: Another process trains this fold.
        MachineError: The folder cannot be written to.
    """
    is_new = not folder.root.exists()
    with shared(folder):
        _claim(folder)
    try:
        for each in (folder.root, folder.fold_dir, folder.model):
            remove_leftovers(each)
        yield
    finally:
        with suppress(OSError):
            folder.lock.unlink(missing_ok=True)
        if is_new:
            with suppress(OSError):  # there is something in it, as there should be
                folder.root.rmdir()


def shared(folder: RunFolder) -> AbstractContextManager[None]:
    """A block in which one process alone writes what all folds share."""
    return exclusive(folder.root / ".shared.lock")


def _claim(folder: RunFolder) -> None:
    facts = {"since": datetime.now().astimezone().strftime(SINCE)}
    if make_owned(folder.lock, facts):
        return
    owner = owner_of(folder.lock)
    if owner is not None and not _is_dead(owner, folder.lock):
        raise UsageError(_refusal(folder, owner))
    folder.lock.unlink(missing_ok=True)
    make_owned(folder.lock, facts)


def _is_dead(owner: Owner, path: Path) -> bool:
    if owner.machine == this_process().machine:
        return not alive(path)
    # This machine as it was before it was started again: whatever ran then does not.
    return owner.host == socket.gethostname() and path.stat().st_mtime < _started_s()


def _started_s() -> float:
    """When this machine was started, in seconds since 1970; 0 where nothing tells."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return 0.0 if clock is None else time.time() - time.clock_gettime(clock)


def _refusal(folder: RunFolder, owner: Owner) -> str:
    since = ""
    with suppress(OSError, ValueError, KeyError):
        since = f" since {json.loads(folder.lock.read_text('utf-8').splitlines()[0])['since']}"
    is_here = owner.machine == this_process().machine
    way_out = (
        "Wait for its end, or stop it."
        if is_here
        else f"Wait for its end; if that machine is gone, remove {folder.lock} and run the command again."
    )
    return (
        f"{folder.root}: fold {folder.fold} is being trained by process {owner.pid} on {owner.host}{since}. {way_out} "
        "Other folds can be trained beside it (--fold)."
    )
