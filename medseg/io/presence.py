"""Who is at work in a folder, for processes that share one: on this machine, or by a network share on several.

A process leaves a file that names its machine and its number, and touches it now and then. It is alive if its machine
is this one and the process runs; on another machine, if the file was touched lately. `exclusive` is for the short time
in which one alone may write. Only plain files are used, since locks of the system do not reach across all shares.
"""

import ctypes
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from medseg.core.errors import MachineError, machine_error

__all__ = ["Owner", "Presence", "alive", "exclusive", "is_running", "make_owned", "owner_of", "this_process"]

BEAT_S = 10.0
"""How often a process touches its file."""

LOST_AFTER_S = 120.0
"""A process of another machine whose file was not touched for so long is dead: a dozen beats."""

PATIENCE_S = 300.0
"""How long `exclusive` waits for others; what it guards takes seconds."""

_GONE = "gone"

_ONE_THREAD = threading.Lock()
"""A file tells processes apart, this one its threads."""

_STILL_ACTIVE = 259
"""What Windows gives as the exit code of a process that has not ended."""


@dataclass(frozen=True)
class Owner:
    """A process.

    Attributes:
        host: What its machine is called.
        machine: A digest that tells machines, their starts, and containers on them apart.
        pid: Its number there.
        born: When it began, as the system counts; "" where the system does not tell.
    """

    host: str
    machine: str
    pid: int
    born: str = ""


class Presence:
    """This process, as a file that says so; the file is touched until `close`, which removes it."""

    def __init__(self, path: Path) -> None:
        """Make the file, which must not be there.

        Raises:
            MachineError: The folder cannot be written to.
        """
        self.path = path
        make_owned(path)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="presence", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            with suppress(OSError):
                os.utime(self.path)

    def stop(self) -> None:
        """Touch the file no more, and leave it."""
        self._ended.set()

    def close(self) -> None:
        self.stop()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def this_process() -> Owner:
    return _process(os.getpid())


@cache
def _process(pid: int) -> Owner:
    """By its number, which is another one after a fork."""
    host = socket.gethostname()
    facts = [host]
    # A container may be called as its host is, and has numbers of processes of its own.
    with suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
        facts.append(str(Path("/proc/self/ns/pid").readlink()))
    return Owner(host, sha256(" ".join(facts).encode("utf-8", "surrogateescape")).hexdigest()[:16], pid, _born(pid))


def owner_of(path: Path) -> Owner | None:
    """Whose file it is; None if it is gone, or does not say (yet)."""
    try:
        with path.open(encoding="utf-8") as file:
            facts = json.loads(file.readline())
        return Owner(str(facts["host"]), str(facts["machine"]), int(facts["pid"]), str(facts["born"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def alive(path: Path) -> bool:
    """Whether the process that a file tells of is still there; a file that is gone tells of none."""
    owner = owner_of(path)
    if owner is not None and owner.machine == this_process().machine:
        return _runs(owner)
    try:
        return _now_of(path.parent) - path.stat().st_mtime < LOST_AFTER_S
    except OSError:
        return False


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """A block that one process at a time is in, of all that give this path; the file is there as long as the block.

    Raises:
        MachineError: Somebody else has been in it for minutes, or the folder cannot be written to.
    """
    with _ONE_THREAD:
        _wait_for(path)
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _wait_for(path: Path) -> None:
    waited_until = time.monotonic() + PATIENCE_S
    pause_s = 0.005
    while not make_owned(path):
        # Its own file is there if a signal came between making it and the block.
        if not alive(path) or owner_of(path) == this_process():
            _take_away(path)
        elif time.monotonic() > waited_until:
            owner = owner_of(path)
            who = "another process" if owner is None else f"process {owner.pid} on {owner.host}"
            raise MachineError(f"{path.parent} is held by {who}. If that has ended, remove {path}.")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.2)


def make_owned(path: Path, facts: Mapping[str, object] | None = None) -> bool:
    """Make a file that tells of this process (and of `facts`) in its first line; False if it is there already.

    Raises:
        MachineError: The folder cannot be written to.
    """
    line = json.dumps({**asdict(this_process()), **(facts or {})}) + "\n"
    try:
        handle = _new(path)
    except FileExistsError:
        return False
    except PermissionError as error:
        # Windows says so of a file that is about to be removed.
        if os.name == "nt" and path.parent.is_dir():
            return False
        raise _sentence(error) from error
    except OSError as error:
        raise _sentence(error) from error
    try:
        os.write(handle, line.encode("ascii"))
    except OSError as error:
        raise _sentence(error) from error
    finally:
        os.close(handle)
    return True


def _new(path: Path) -> int:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    try:
        return os.open(path, flags, 0o644)
    except FileNotFoundError:
        # Who was in the folder last has removed it.
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o644)


def _sentence(error: OSError) -> MachineError:
    return machine_error(error) or MachineError(f"{error.filename} cannot be written: {error.strerror or error}.")


def _take_away(path: Path) -> None:
    """Remove the file of a dead process; of several that try, one gets it, and a file made anew meanwhile stays."""
    taken = path.with_name(f"{path.name}-{secrets.token_hex(4)}")
    with suppress(OSError):
        path.rename(taken)
        if alive(taken) and owner_of(taken) != this_process() and not path.exists():
            taken.rename(path)
        else:
            taken.unlink()


def _now_of(folder: Path) -> float:
    """The time as the folder's file system has it: the clocks of two machines may differ by minutes."""
    probe = folder / f".now-{secrets.token_hex(4)}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def is_running(pid: int) -> bool:
    """Whether a process of this machine is there."""
    if sys.platform == "win32":
        return _runs_on_windows(pid)
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is another user's
        return True
    return _born(pid) != _GONE


def _runs(owner: Owner) -> bool:
    # The number may have gone to another process since.
    return is_running(owner.pid) and (not owner.born or _born(owner.pid) in ("", owner.born))


def _runs_on_windows(pid: int) -> bool:
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]  # there on Windows alone
    query_limited_information = 0x1000
    handle = kernel.OpenProcess(query_limited_information, False, pid)
    if not handle:
        return False
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return code.value == _STILL_ACTIVE


def _born(pid: int) -> str:
    """When a process began, in ticks since the system did; "" where nothing tells, `_GONE` if it is a zombie."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return _GONE if after_name[0] in "ZX" else after_name[19]
