"""Tables as people keep them → a header and rows of texts: commas, semicolons or tabs, and the habits of Excel.

Byte order marks, UTF-16 ("Unicode text"), a first line "sep=;", quotes, empty lines and empty columns at the end are
all understood. Lines that begin with # are comments. What the columns mean is nobody's business here.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.core.errors import InputError, is_shortage
from medseg.core.escapes import for_csv, from_csv

__all__ = ["Row", "header_of", "line_of", "parsed"]

_DELIMITERS = ",;\t"
_COMMENT = "#"


@dataclass(frozen=True)
class Row:
    """A row of a table: its cells by column, and the number of its (last) line in the file."""

    line: int
    cells: Mapping[str, str]


def header_of(path: Path) -> list[str]:
    """The header alone, whatever is wrong below it.

    Raises:
        InputError: The file cannot be read.
    """
    return parsed(path, stop_at_header=True)[0]


def parsed(path: Path, stop_at_header: bool = False) -> tuple[list[str], list[Row]]:
    """Header and rows; the first row that is not empty is the header, names twice in it are its caller's business.

    Raises:
        InputError: The file cannot be read, or a row has more cells than the header.
    """
    try:
        lines = _decoded(path.read_bytes()).splitlines()
    except OSError as error:
        if is_shortage(error):
            raise
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    if lines and lines[0].lower().startswith("sep="):
        lines[0] = ""
    kept = [("" if line.startswith(_COMMENT) else line) + "\n" for line in lines]
    delimiter = _delimiter(next((line for line in kept if line.strip()), ""))
    reader = csv.reader(kept, delimiter=delimiter, skipinitialspace=True)
    header: list[str] = []
    rows: list[Row] = []
    try:
        for cells in reader:
            stripped = [from_csv(cell.strip()) for cell in cells]
            if not any(stripped):
                continue
            if not header:
                header = stripped
                if stop_at_header:
                    break
                continue
            if any(stripped[len(header) :]):
                raise InputError(
                    f"{path}, line {reader.line_num}: there are {len(stripped)} cells, but the header has "
                    f"{len(header)}. A path that holds the separator ({delimiter!r}) goes in quotes."
                )
            padded = stripped[: len(header)] + [""] * (len(header) - len(stripped))
            rows.append(Row(reader.line_num, dict(zip(header, padded, strict=True))))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}.") from error
    while header and not header[-1]:
        header.pop()
    return header, rows


def line_of(cells: Sequence[str]) -> str:
    """One line of a table with commas, which `parsed` reads as these cells, and a spreadsheet as no formula.

    >>> line_of(["a, b", "c"]), line_of(["#1", "c"])
    ('"a, b",c', '"#1","c"')
    """
    buffer = io.StringIO()
    # In quotes, a case called "#1" is no comment.
    style: type[csv.Dialect] = _Quoted if cells[0].startswith(_COMMENT) else _Plain
    csv.writer(buffer, style).writerow(map(for_csv, cells))
    return buffer.getvalue()


class _Plain(csv.excel):
    lineterminator = ""


class _Quoted(_Plain):
    quoting = csv.QUOTE_ALL


def _decoded(content: bytes) -> str:
    """UTF-8 with or without a mark, UTF-16 with one, else what Windows writes in the West."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _delimiter(header: str) -> str:
    bare = re.sub(r'"[^"]*"', "", header)
    return max(_DELIMITERS, key=bare.count)
