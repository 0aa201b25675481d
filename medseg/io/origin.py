"""Which files medseg wrote, by what they say of themselves: JSON by its schema, pages by their generator."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from medseg.core.errors import UsageError
from medseg.io.listing import is_regular
from medseg.io.names import file_key

__all__ = ["is_our_page", "namesakes", "refuse_folder", "schema_of"]

_HEAD_BYTES = 4096
"""A page names what made it among its first lines."""


def schema_of(path: Path) -> str:
    """The schema that a JSON file names; "" if it names none, or is no JSON file."""
    if not is_regular(path):
        return ""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return ""
    schema = content.get("schema") if isinstance(content, dict) else None
    return schema if isinstance(schema, str) else ""


def is_our_page(path: Path) -> bool:
    """Whether medseg made a page."""
    if not is_regular(path):
        return False
    try:
        with path.open("rb") as file:
            return b'<meta name="generator" content="medseg ' in file.read(_HEAD_BYTES)
    except OSError:
        return False


def namesakes(folder: Path, names: Iterable[str]) -> list[Path]:
    """What lies in a folder under one of these names, or under one that some file system takes for it."""
    keys = {file_key(name) for name in names}
    return sorted(path for path in folder.iterdir() if file_key(path.name) in keys) if folder.is_dir() else []


def refuse_folder(path: Path) -> None:
    """Refuse a path to write a file to where a folder is, or where a part of the path is a file.

    Raises:
        UsageError: It is so.
    """
    if path.is_dir():
        raise UsageError(f"{path} cannot be written: it is a folder. Give another name.")
    above = next((parent for parent in path.parents if os.path.lexists(parent)), None)
    if above is not None and not above.is_dir():
        raise UsageError(f"{path} cannot be written: {above} is a file. Give another path.")
