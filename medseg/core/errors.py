"""The errors that medseg raises on purpose, and the exit code that each branch ends a command with.

    MedsegError                     never raised itself; catch it to catch everything below
    ├── UsageError          exit 2  an option, a key or a path that the user gave is wrong
    ├── InputError          exit 3  the data cannot be used as they are
    │   ├── AmbiguousError          data can be read in more than one way; it holds the table that settles it
    │   ├── OrphanError             a label whose images are not there
    │   ├── MisfitError             structures of a label do not fit the images it is read on
    │   ├── ModelError              a model folder is damaged, too old, or does not fit the data
    │   └── PlanError               no plan can be made from these data under these wishes
    └── MachineError        exit 4  the machine cannot: memory, disk, device
        └── DiskFullError           there is no room left to write

The message is one sentence or two for a person: the thing by name, what is wrong with it (with both numbers),
and what to do. Anything else that escapes is a defect of medseg.
"""

import errno
from typing import ClassVar

__all__ = [
    "AmbiguousError",
    "DiskFullError",
    "InputError",
    "MachineError",
    "MedsegError",
    "MisfitError",
    "ModelError",
    "OrphanError",
    "PlanError",
    "UsageError",
    "is_shortage",
    "machine_error",
]


class MedsegError(Exception):
    """Any error that medseg raises on purpose; its text is meant for the user."""

    exit_code: ClassVar[int] = 70


class UsageError(MedsegError):
    """An option, a configuration key or a path that the user gave is wrong."""

    exit_code = 2


class InputError(MedsegError):
    """A file or a data set cannot be used as it is."""

    exit_code = 3


class AmbiguousError(InputError):
    """A data set can be read in more than one way.

    Attributes:
        table: The CSV that settles it, ready to be saved; it is part of the message, too.
    """

    def __init__(self, message: str, table: str) -> None:
        super().__init__(message, table)  # all arguments, or it could not be sent between processes
        self.table = table

    def __str__(self) -> str:
        return str(self.args[0])


class OrphanError(InputError):
    """A label has no grid of its own, and the images that it was drawn on are not there."""


class MisfitError(InputError):
    """Structures of a label do not fit the images it is read on; `names` are theirs."""

    def __init__(self, sentence: str, names: tuple[str, ...] = ()) -> None:
        super().__init__(sentence)
        self.names = names


class ModelError(InputError):
    """A model folder is damaged, too old, or does not fit the data."""


class PlanError(InputError):
    """No plan can be made from these data under these wishes."""


class MachineError(MedsegError):
    """The machine cannot do what was asked: memory, disk or device."""

    exit_code = 4


class DiskFullError(MachineError):
    """There is no room left to write a file."""


_WAYS_OUT = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), ("the disk is full", "Free some space and run the command again.")),
    errno.EFBIG: (
        "the file is larger than the system allows",
        "Raise that limit (ulimit -f) and run the command again.",
    ),
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE),
        ("too many files are open at once", "Raise that limit (ulimit -n) and run the command again."),
    ),
    **dict.fromkeys(
        (errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.ETIMEDOUT),
        ("the disk or the network drive does not answer as it should", "Check it and run the command again."),
    ),
    **dict.fromkeys(
        (errno.ENOMEM, errno.EAGAIN),
        ("the memory of this machine is not enough", "Close other programs, give fewer --jobs, and run it again."),
    ),
    errno.EROFS: ("the place is read-only", "Choose a place that you may write to."),
    **dict.fromkeys((errno.EACCES, errno.EPERM), ("permission denied", "Choose a place that you may read and write.")),
}
"""errno → what is wrong with the machine, and the way out; what is not here is no fault of the machine."""


_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def is_shortage(error: BaseException | None) -> bool:
    """Whether this process or machine has run out of something, so that the next file would fare no better."""
    return isinstance(error, OSError) and error.errno in _SHORTAGES


def machine_error(error: OSError) -> MachineError | None:
    """What the system refused, as a sentence; None where not the machine but a name is wrong (no such file, …)."""
    if error.errno not in _WAYS_OUT:
        return None
    problem, way_out = _WAYS_OUT[error.errno]
    place = f"{error.filename}: " if error.filename else ""
    return MachineError(f"{place}{problem}. {way_out}")
