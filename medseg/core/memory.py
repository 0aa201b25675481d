"""How much memory this process may still take, and amounts of memory in words.

The least of what the machine could free, what each control group around this process leaves (Linux: containers, SLURM,
systemd; versions 1 and 2, every level up to the outermost), and what a limit on the address space leaves (`ulimit -v`).
Files that were just read fill what is free otherwise, and count as free. The module reads the system's own tables below
`root` and never allocates anything.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["allowed_bytes", "free_bytes", "in_words"]

_UNITS = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))

_RECLAIMABLE = {"inactive_file", "active_file", "total_inactive_file", "total_active_file"}
"""Lines of a group's memory.stat that count what was read from files: the system drops it when memory is short.

Version 1 tells both a group's own (without "total_") and that of all groups within; the latter includes the former.
"""

_VM_STAT_S = 5
"""How long macOS may take to say how much memory is free."""


def allowed_bytes(limit: int | None, root: Path = Path("/")) -> int | None:
    """What may be taken: the user's limit, or less where less is free; None where there is no limit and nothing tells.

    >>> allowed_bytes(1)
    1
    """
    known = [amount for amount in (limit, free_bytes(root)) if amount is not None]
    return min(known, default=None)


def free_bytes(root: Path = Path("/")) -> int | None:
    """Bytes of memory that this process may still take; None where the system does not tell.

    Args:
        root: Where the system's tables lie (/proc, /sys); another place only in tests.
    """
    found = [*_available(root), *_left_in_groups(root), *_left_of_addresses(root)]
    return max(0, min(found)) if found else None


def in_words(n_bytes: float) -> str:
    """An amount of memory in the unit that gives it three digits: never a bare zero.

    >>> in_words(8 * 2**40), in_words(23.42 * 2**30), in_words(2**30), in_words(300 * 2**20), in_words(3)
    ('8 TiB', '23.4 GiB', '1 GiB', '300 MiB', '3 bytes')
    """
    size, unit = next(((size, unit) for size, unit in _UNITS if n_bytes >= size), (1, "bytes"))
    amount = n_bytes / size
    return f"{amount:,.0f} {unit}" if amount >= 100 else f"{amount:.3g} {unit}"


def _available(root: Path) -> list[int]:
    """What the machine as a whole could give."""
    lines = _lines(root / "proc/meminfo")
    if lines:
        return [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    if sys.platform == "darwin":
        return _available_on_macos()
    if sys.platform == "win32":
        return _available_on_windows()
    return []


def _left_in_groups(root: Path) -> Iterator[int]:
    """What each control group around this process leaves: its limit without what is in use and could not be dropped."""
    for folder in _groups(root):
        statistics = dict(line.split(maxsplit=1) for line in _lines(folder / "memory.stat") if " " in line)
        totals = {name: text for name, text in statistics.items() if name.startswith("total_")} or statistics
        reclaimable = sum(int(text) for name, text in totals.items() if name in _RECLAIMABLE and text.isdecimal())
        used = _number(folder / "memory.current", folder / "memory.usage_in_bytes") or 0
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            limit = _number(folder / name)
            if limit is not None:
                yield limit - max(0, used - reclaimable)


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's groups that may limit memory, from the innermost to the outermost that is seen.

    The path of a group in /proc/self/cgroup is the machine's; a container sees a part of the tree, mounted with that
    part's own root, or (with a namespace of its own) as if there were nothing above.
    """
    mounts = {version: (mounted, point) for version, mounted, point in _mounts(root)}
    for line in _lines(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        version = 2 if number == "0" and not controllers else 1
        if (version == 1 and "memory" not in controllers.split(",")) or version not in mounts:
            continue
        mounted, point = mounts[version]
        folder = root / point.relative_to("/")
        inner = PurePosixPath(path)
        within = inner.relative_to(mounted) if inner.is_relative_to(mounted) and ".." not in inner.parts else None
        if within is not None:
            yield from (folder / level for level in (within, *within.parents) if level.parts)
        yield folder


def _mounts(root: Path) -> Iterator[tuple[int, PurePosixPath, PurePosixPath]]:
    """Where groups that limit memory are mounted: the version, the group at the mount's root, and the place."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        # Blanks within paths are written as \040.
        mounted, point = (
            PurePosixPath(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)) for text in fields[3:5]
        )
        if point.is_absolute():
            if kind[0] == "cgroup2":
                yield 2, mounted, point
            elif kind[0] == "cgroup" and "memory" in kind[2].split(","):
                yield 1, mounted, point


def _left_of_addresses(root: Path) -> list[int]:
    """What a limit on this process's address space leaves."""
    if sys.platform == "win32":
        return []
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = " ".join(_lines(root / "proc/self/statm")).split()
    if limit == resource.RLIM_INFINITY or not pages:
        return []
    return [limit - int(pages[0]) * os.sysconf("SC_PAGE_SIZE")]


def _available_on_macos() -> list[int]:
    """What `vm_stat` counts as free or as soon to be."""
    try:
        text = subprocess.run(
            ["/usr/bin/vm_stat"], capture_output=True, text=True, timeout=_VM_STAT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return free_in_vm_stat(text)


def free_in_vm_stat(text: str) -> list[int]:
    r"""Bytes that macOS could give, in the output of `vm_stat`.

    >>> free_in_vm_stat("(page size of 16384 bytes)\nPages free: 10.\nPages inactive: 20.\nPages wired down: 70.")
    [491520]
    """
    size = re.search(r"page size of (\d+) bytes", text)
    pages = re.findall(r"^Pages (?:free|inactive|speculative|purgeable):\s+(\d+)", text, re.MULTILINE)
    return [int(size[1]) * sum(map(int, pages))] if size and pages else []


def _available_on_windows() -> list[int]:
    if sys.platform != "win32":
        return []
    import ctypes

    class _MemoryStatus(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "available", "total_page", "available_page")),
            *((name, ctypes.c_ulonglong) for name in ("total_virtual", "available_virtual", "extended")),
        ]

    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    known = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return [int(status.available)] if known else []


def _number(*paths: Path) -> int | None:
    """The number in the first of some files that exists and holds one; "max" is none."""
    for path in paths:
        text = "".join(_lines(path)).strip()
        if text.isdecimal():
            return int(text)
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
