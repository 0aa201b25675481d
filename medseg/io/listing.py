"""What lies in a folder: regular files, folders, and what is neither (pipes, devices, links that lead nowhere).

Everything is told by `stat`, after links were followed; nothing is opened. To open a pipe is to wait for ever, to read
a device is to read without end. A folder that may not be read is an empty one that says so. It knows no formats.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.core.errors import is_shortage

__all__ = ["Listing", "exists", "is_folder", "is_regular", "kind_of_special", "listing"]

_SPECIAL: Mapping[int, str] = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""What is no regular file, by the type that `stat` gives it."""


@dataclass(frozen=True)
class Listing:
    """The entries of a folder, each kind sorted by name.

    Attributes:
        folder: The folder.
        files: Regular files whose names do not begin with a dot, and links to such files.
        folders: Folders whose names do not begin with a dot, and links to such folders.
        special: Pipes, devices, sockets, and links that lead nowhere or in a circle.
        n_hidden: How many names begin with a dot.
        is_readable: Whether the folder could be looked into.
    """

    folder: Path
    files: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    special: tuple[Path, ...] = ()
    n_hidden: int = 0
    is_readable: bool = True


def listing(folder: Path) -> Listing:
    """What lies directly in `folder`; nothing where there is no such folder."""
    files, folders, special, n_hidden = list[Path](), list[Path](), list[Path](), 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                path = folder / entry.name
                if entry.name.startswith("."):
                    n_hidden += 1
                elif is_folder(path) if entry.is_symlink() else entry.is_dir():
                    folders.append(path)
                elif is_regular(path) if entry.is_symlink() else entry.is_file():
                    files.append(path)
                else:
                    special.append(path)
    except (FileNotFoundError, NotADirectoryError):
        return Listing(folder)
    except OSError as error:
        if is_shortage(error):
            raise
        # No permission, a share that is gone: the others go on.
        return Listing(folder, is_readable=False)
    return Listing(folder, tuple(sorted(files)), tuple(sorted(folders)), tuple(sorted(special)), n_hidden)


def is_regular(path: Path) -> bool:
    """Whether a path is a regular file, or a link to one; False also where that cannot be told."""
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def exists(path: Path) -> bool:
    """Whether anything is there; False also for names that no system takes (too long, with a null)."""
    return _mode(path) is not None


def is_folder(path: Path) -> bool:
    """Whether a path is a folder, or a link to one; False also where that cannot be told."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def kind_of_special(path: Path) -> str | None:
    """What a path is that is there and neither a regular file nor a folder, in words; None for anything else."""
    mode = _mode(path)
    if mode is None or stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    return _SPECIAL.get(stat.S_IFMT(mode), "no file")


def _mode(path: Path) -> int | None:
    """The type and permissions of what a path leads to; None where nothing is there or it may not be asked."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None
