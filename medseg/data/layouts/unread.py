"""Channels and label maps that are there, but in a format that medseg does not read: an error of their case.

To leave such a channel out would train on half of the data without a word; so the case cannot be used, its file and
format are named, and where no case is left the data set is refused. The module looks at names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg import io
from medseg.core.errors import InputError
from medseg.data.dataset import BadCase
from medseg.io.foreign import why_unread
from medseg.io.kinds import suffix_of

__all__ = ["UnreadCase", "is_unread", "refuse_if_all_unread", "unread_channels", "unread_label"]


@dataclass(frozen=True)
class UnreadCase(BadCase):
    """A case with a file that it needs in a format that medseg does not read."""


def is_unread(path: Path) -> bool:
    """Whether a path is of no kind that medseg reads."""
    return io.kind_of(path) is None


def unread_channels(case_id: str, files: Mapping[str, Path], images: Sequence[Path] = ()) -> UnreadCase:
    """A case some of whose channels are in other formats.

    Args:
        case_id: The case.
        files: The file of each such channel; "" for the one image of a case.
        images: The files of its other channels.
    """
    sentences = [
        f"{f'Channel {channel}' if channel else 'The image'} of case {case_id} is there as {path.name}: "
        f"that {_why(path)}."
        for channel, path in files.items()
    ]
    return UnreadCase(case_id, " ".join(sentences), tuple(images))


def unread_label(case_id: str, path: Path, images: Sequence[Path] = ()) -> UnreadCase:
    """A case whose label map is in another format."""
    sentence = f"The label map of case {case_id} is there as {path.name}: that {_why(path)}."
    return UnreadCase(case_id, sentence, tuple(images))


def refuse_if_all_unread(root: Path, n_usable: int, problems: Sequence[BadCase]) -> None:
    """Refuse a data set where formats leave no case.

    Raises:
        InputError: No case can be used, and files in other formats are why.
    """
    unread = [problem for problem in problems if isinstance(problem, UnreadCase)]
    if n_usable or not unread:
        return
    more = f" So it is in {len(unread) - 1} more cases." if len(unread) > 1 else ""
    raise InputError(f"In {root}, no case can be read whole. {unread[0].reason}{more}")


def _why(path: Path) -> str:
    if io.kind_of(path) is not None:
        return f"ends in {suffix_of(path)} and not as the data set says"
    return why_unread(path, with_kinds=False)
