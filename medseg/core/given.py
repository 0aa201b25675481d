"""Paths in sentences, as seen from the path that a user gave.

Folders above a data set often bear a patient's or a hospital's name. Errors name files by the whole path that they were
opened by; whatever is kept (records, reports, logs, models) or said of a case names them from the given path on.
"""

import re
from collections.abc import Iterable
from pathlib import Path

_QUOTED = re.compile(r"""(?P<quote>['"])(?:/|[A-Za-z]:[\\/]+|\\\\)(?:(?!(?P=quote)).)*?(?P<name>[^'"/\\]*)(?P=quote)""")
_BARE = re.compile(r"(?<![\w./:'\"~-])(?:/|[A-Za-z]:[\\/]+)(?:[^\s/\\'\"]+[\\/]+)+")
"""Absolute paths of POSIX and Windows: in quotes (blanks and all), and bare up to the last part."""

__all__ = ["as_given", "as_kept"]


def as_given(text: str, given: Path | Iterable[Path]) -> str:
    """A sentence with its paths as seen from the path that was given, or from the one of several that they lie under.

    >>> as_given("data/imagesTr/a.nii.gz is damaged.", Path("data"))
    'imagesTr/a.nii.gz is damaged.'
    """
    for root in [given] if isinstance(given, Path) else given:
        text = _seen_from(root, text)
    return text


def as_kept(text: str, given: Path | Iterable[Path]) -> str:
    """A sentence for a file that stays: as given, and of any other absolute path the last part alone.

    Errors of the system name files that nobody gave: in the output, in a folder for temporary files.

    >>> as_kept("[Errno 5] Input/output error: '/home/Jane Doe/out/a.nii.gz'", Path("data"))
    "[Errno 5] Input/output error: 'a.nii.gz'"
    """
    text = as_given(text, given)
    return _BARE.sub("", _QUOTED.sub(r"\g<quote>\g<name>\g<quote>", text))


def _seen_from(root: Path, text: str) -> str:
    folder = root.parent if root.is_file() else root
    for whole in dict.fromkeys((folder.resolve(), folder.absolute(), folder)):
        if str(whole) in (".", whole.anchor):
            continue
        name = re.escape(str(whole))
        text = re.sub(rf"(?<![\w./-]){name}/", "", text)
        # A bare relative name may be any word ("empty"): only where the sentence begins is it surely the path.
        bare = rf"(?<![\w./-]){name}(?![\w/-])" if whole.is_absolute() else rf"\A{name}(?= )"
        text = re.sub(bare, "the folder", text)
    return text[:1].upper() + text[1:] if text.startswith("the folder") else text
