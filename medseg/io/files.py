"""Files that are whole or not there: every writer goes through `replacing`, every digest comes from here.

A file is written under a hidden name beside its own (the suffix is kept, libraries choose formats by it) and renamed
when it is complete. So no reader ever sees half a file under a final name, after a crash, Ctrl-C or a full disk
either. The module knows nothing of images.
"""

import errno
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from medseg.core.errors import (
    DiskFullError,
    InputError,
    MachineError,
    MedsegError,
    UsageError,
    is_shortage,
    machine_error,
)
from medseg.io.listing import is_regular, kind_of_special
from medseg.io.presence import is_running, this_process

__all__ = ["digest", "grow", "read_json", "remove_leftovers", "replacing", "write_json", "write_text"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says when there is no room left: disk, quota, largest file."""

_HELD = frozenset({5, 32, 33})
"""What Windows says of a file that another program holds open (access denied, sharing and lock violation)."""

_RETRIES_S = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Virus scanners and indexers open each new file of Windows for a moment: a rename waits for them this long."""

_NOT_FLUSHED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EPERM, errno.EISDIR})
"""What file systems say that keep no order of folders to flush (network shares, FUSE)."""

_LEFT_AFTER_S = 86400.0
"""A file in work that has not grown for a day is no longer in work."""

_CHUNK_BYTES = 1 << 20


@contextmanager
def replacing(path: Path | str, fsync: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the name `path` when the block ends well.

    If the block raises, the temporary file is removed and `path` is as it was before. Missing folders are made.

    Args:
        path: The final name; an existing file is replaced.
        fsync: Force the bytes to the disk before the rename (weights, checkpoints): a power cut then leaves the old
            file or the new one.

    Raises:
        MachineError: The disk is full, the folder cannot be written to, or another program holds `path` (Windows).
        UsageError: `path` is a folder, or a part of it is a file.
    """
    path = Path(path)
    # Not the name itself: with it, a name of 255 bytes would no longer fit.
    partial = path.with_name(f"{_part_name()}{''.join(path.suffixes[-2:])[-24:]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if _is_folder(path):
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
        yield partial
        if fsync:
            _flush(partial)
        _rename(partial, path)
        if fsync:
            _flush_folder(path.parent)
    except OSError as error:
        if not _is_about(error, path, partial):
            raise
        raise _sentence(error, path) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def remove_leftovers(folder: Path | str) -> None:
    """Remove what processes that were killed had begun to write in a folder (not in those below it)."""
    for path in Path(folder).glob(".part-*"):
        machine, _, rest = path.name.removeprefix(".part-").partition("-")
        pid = rest.partition("-")[0]
        if pid.isdecimal() and machine == this_process().machine:
            is_left = not is_running(int(pid))
        else:  # of another machine, or of medseg 0.1.0
            is_left = _age_s(path) > _LEFT_AFTER_S
        if is_left:
            with suppress(OSError):
                path.unlink()


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _part_name() -> str:
    """A hidden name for a file in work; who writes it can be read from it."""
    process = this_process()
    return f".part-{process.machine}-{process.pid}-{secrets.token_hex(6)}"


def grow(path: Path) -> None:
    """Ask the system for room behind a file that a library failed to write, and give it back.

    Raises:
        OSError: What the system says: no room, no file, a disk that does not answer.
    """
    with path.open("ab") as file:
        size = file.tell()
        try:
            file.write(bytes(_CHUNK_BYTES))
            file.flush()
            os.fsync(file.fileno())
        finally:
            file.truncate(size)


def write_text(path: Path | str, text: str, fsync: bool = False) -> None:
    """Write `text` as UTF-8 with line feeds, whole or not at all.

    Half a character (a byte of a file name that is no UTF-8) becomes its escape, as JSON knows it, too.
    """
    with replacing(path, fsync) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def write_json(path: Path | str, content: Any, fsync: bool = False) -> None:  # noqa: ANN401  any JSON value
    """Write a JSON value, keys in the order given. NaN and infinity have no place in JSON and are a defect here."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n", fsync)


def read_json(path: Path | str, what: str) -> Any:  # noqa: ANN401  any JSON value
    """The JSON value in a file.

    Args:
        path: The file.
        what: What it should be, for the sentence: "the list of splits".

    Raises:
        InputError: There is no such file, or it is not JSON.
    """
    _refuse_special(Path(path))
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; it should be {what}.") from error
    except OSError as error:
        raise _unreadable(error, f"{path} ({what})") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} ({what}) is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} ({what}) is not text in UTF-8; it may be damaged.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} ({what}) cannot be read: it is nested too deeply, or holds a number of thousands of digits."
        ) from error


def digest(path: Path | str) -> str:
    """Return "sha256:…" of a file's bytes, or of a folder: its files' names and bytes in the order of their names.

    Hidden files (and what lies in hidden folders) do not count: a `.DS_Store` is no part of a scan.

    Raises:
        UsageError: There is no such file or folder.
        InputError: A file cannot be read.
    """
    path = Path(path)
    try:
        if not path.is_dir():
            return f"sha256:{_sha256(path).hexdigest()}"
        whole = hashlib.sha256()
        for name in _visible_files(path):
            whole.update(name.encode("utf-8", "surrogateescape") + b"\0" + _sha256(path / name).digest())
        return f"sha256:{whole.hexdigest()}"
    except FileNotFoundError as error:
        raise UsageError(f"{error.filename or path} does not exist.") from error
    except OSError as error:
        raise _unreadable(error, error.filename or path) from error


def _unreadable(error: OSError, what: object) -> MedsegError:
    refused = machine_error(error) if is_shortage(error) else None
    return refused or InputError(f"{what} cannot be read: {error.strerror or error}.")


def _visible_files(folder: Path) -> list[str]:
    names = (file.relative_to(folder) for file in folder.rglob("*") if is_regular(file))
    return sorted(name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts))


def _sha256(path: Path) -> "hashlib._Hash":
    _refuse_special(path)
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            found.update(chunk)
    return found


def _refuse_special(path: Path) -> None:
    """Refuse what would be waited for, or read, without end."""
    special = kind_of_special(path)
    if special is not None:
        raise InputError(f"{path} is {special}; medseg reads files. Take it away, or give a file in its place.")


def _flush(path: Path) -> None:
    # Windows flushes handles that may write, and no others (EBADF).
    handle = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_folder(folder: Path) -> None:
    """Force a rename to the disk: POSIX keeps it in the folder, Windows opens no folders and keeps its own journal."""
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written to but not be read (a drop box)
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_FLUSHED:
            raise
    finally:
        os.close(handle)


def _rename(
    partial: Path,
    path: Path,
    replace: Callable[[Path, Path], object] = Path.replace,
    retries_s: Sequence[float] = _RETRIES_S,
) -> None:
    """Give a complete file its name; on Windows it waits for others to let go of the file that is there."""
    for pause_s in (*retries_s, None):
        try:
            replace(partial, path)
        except PermissionError as error:
            if pause_s is None or not _is_held(error):
                raise
            time.sleep(pause_s)
        else:
            return


def _is_held(error: OSError) -> bool:
    return getattr(error, "winerror", None) in _HELD


def _is_about(error: OSError, path: Path, partial: Path) -> bool:
    """Whether an error inside the block is one of writing `path`, and not of some other file that the block reads."""
    if error.errno in _FULL or error.filename is None:
        return True
    return Path(os.fsdecode(error.filename)) in (path, partial, *path.parents)


def _sentence(error: OSError, path: Path) -> MedsegError:
    if error.errno in _FULL:
        return DiskFullError(
            f"The disk is full: {path} could not be written ({error.strerror}). Nothing is left of it; free some space "
            "and run the command again."
        )
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(f"{path} cannot be written: the name is too long for this file system. Give a shorter one.")
    if error.errno == errno.EISDIR or _is_folder(path):
        return UsageError(f"{path} cannot be written: it is a folder. Give another name.")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return UsageError(f"{path} cannot be written: a part of that path is a file. Give another path.")
    if _is_held(error):
        return MachineError(
            f"{path} cannot be replaced: another program has it open, or it is read-only. Close that program, and run "
            "the command again."
        )
    if error.errno is None:  # NumPy writes arrays itself and says how many numbers it got rid of
        return MachineError(f"{path} cannot be written: {error}. Check whether its disk is full.")
    refused = machine_error(OSError(error.errno, error.strerror, str(path)))
    if error.errno in (errno.EACCES, errno.EPERM) or refused is None:
        return MachineError(f"{path} cannot be written: {error.strerror}. Check the permissions of its folder.")
    return refused


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, a folder that may not be looked into
        return False
