"""A table of cases: the layout in which everything can be said, and what every ambiguity is settled with.

CSV or TSV, separated by commas, semicolons or tabs; as Excel writes it, too. A row is a case, paths are relative to the
table. `written` makes a table of cases that `open_table` reads again. Lines that begin with # are comments.

| column | holds |
| --- | --- |
| case | the id; the name of the first image where there is no such column |
| image, image_2, … or image_t1, … | a channel: a file, or the folder of a DICOM series |
| label, or label_liver, … | the label map, a folder of masks, a SEG or an RTSTRUCT; or the mask of one structure |
| fold, split, group | who validates (0, 1, …; train, validation, test), and who belongs together |
| series, read, read.KEY | how the files of this case are read, as `--read KEY=VALUE` |
| any other | kept: `data.group` may name it |
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from medseg import io
from medseg.core.errors import InputError, UsageError
from medseg.data.dataset import BadCase, Case, Dataset, LabelSource, natural_key, safe_id, shortened, whole_number
from medseg.data.layouts.channels import names_by_looking
from medseg.data.layouts.rows import Row, header_of, line_of, parsed
from medseg.data.layouts.sources import label_source
from medseg.data.scans import stem_of
from medseg.io.foreign import why_unread
from medseg.io.listing import exists, is_regular
from medseg.io.names import file_key

__all__ = ["FILE_NAME", "is_table", "lists_cases", "open_folder", "open_table", "recognises", "written"]

FILE_NAME = "cases.csv"
"""What a table is best called, so that it is found in its folder."""

_NAMES = tuple(f"{name}.{suffix}" for name in ("cases", "dataset", "medseg") for suffix in ("csv", "tsv"))
_SUFFIXES = (".csv", ".tsv")
_KNOWN = ("case", "image", "label", "fold", "split", "group", "annotated", "series", "read")
_ALIKE = 0.8
_SPLITS: Mapping[str, str] = {
    **dict.fromkeys(("", "train", "training", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "ts"), "test"),
}
_MOST_LISTED = 50


@dataclass(frozen=True)
class _Columns:
    """Which columns hold what: channels by name in order, structures by name ("" for a whole label map)."""

    images: Mapping[str, str]
    labels: Mapping[str, str]
    read: Mapping[str, str]
    others: tuple[str, ...]


def is_table(path: Path) -> bool:
    """Whether a path is named as a table."""
    return path.suffix.lower() in _SUFFIXES and is_regular(path)


def lists_cases(path: Path) -> bool:
    """Whether a table has a column of images; False also where it cannot be read."""
    try:
        return any(_is_image_column(name) for name in _header(path))
    except InputError:
        return False


def recognises(root: Path) -> str | None:
    """Why a folder holds a table of its cases, or None. Tables of something else (scores, ages) are none."""
    for path in _tables(root):
        header = _header(path)
        if any(_is_image_column(name) for name in header):
            return f"{path.name} lists the cases"
        if path.stem != "dataset" and get_close_matches("image", header, 1, 0.6):
            return f"{path.name} seems to list the cases"
    return None


def open_folder(root: Path, options: io.ReadOptions) -> Dataset:
    """The data set of the table in a folder.

    Raises:
        InputError: There is none, or it contradicts itself.
    """
    tables = _tables(root)
    if not tables:
        raise InputError(f"{root} holds no {', '.join(_NAMES[:-1])} or {_NAMES[-1]}. Give the table itself.")
    path = next((each for each in tables if any(_is_image_column(name) for name in _header(each))), tables[0])
    return open_table(path, options)


def open_table(path: Path, options: io.ReadOptions) -> Dataset:
    """The data set that a table lists.

    Raises:
        InputError: A column or a cell is wrong, or files are missing; all of them are named with their lines.
    """
    written_header, written_rows = parsed(path)
    header = [_column_name(name) for name in written_header]
    columns = _columns(header, path)
    rows = [Row(row.line, {_column_name(n): cell for n, cell in row.cells.items()}) for row in written_rows]
    if not rows:
        raise InputError(f"{path} has a header and no case below it.")
    found = [_case(row, columns, path) for row in rows]
    _refuse_wrong(path, [wrong for _, each in found for wrong in each])
    cases = [case for case, _ in found if case is not None]
    _refuse_twins(path, rows, cases)
    images = {case.id: case.images for case in cases}
    incomplete = {id_ for id_, paths in images.items() if len(paths) < len(columns.images)}
    whole = [case for case in cases if case.id not in incomplete]
    for_test = [case for case in whole if case.attributes.get("split") == "test"]
    others = [case for case in whole if case.attributes.get("split") != "test"]
    return Dataset(
        root=path.parent,
        layout="table",
        cases=tuple(sorted((c for c in others if c.label is not None), key=lambda c: natural_key(c.id))),
        labels=None,
        channels=_channel_names(columns, [case.images for case in whole], options),
        unlabelled=(*(case for case in others if case.label is None), *for_test),
        problems=tuple(
            _lacking(case, row, columns) for case, row in zip(cases, rows, strict=True) if case.id in incomplete
        ),
        notes=_notes(cases),
    )


def written(cases: Iterable[Case], channels: Sequence[str], root: Path, others: Iterable[Case] = ()) -> str:
    """The CSV of some cases, with paths relative to `root`; `others` stand in comments, to be chosen instead."""
    each = [(case, "") for case in cases] + [(case, "# ") for case in others]
    structures = list(dict.fromkeys(n for case, _ in each if isinstance(case.label, Mapping) for n in case.label))
    keys = list(dict.fromkeys(key for case, _ in each for key in case.read))
    with_map = ["label"] if any(isinstance(case.label, Path) for case, _ in each) else []
    with_group = ["group"] if any(case.group != case.id for case, _ in each) else []
    header = ["case", *_image_columns(channels), *with_map, *(f"label_{name}" for name in structures), *with_group]
    lines = [line_of([*header, *(f"read.{key}" for key in keys)])]
    for case, mark in sorted(each, key=lambda pair: natural_key(pair[0].id)):
        cells = {"case": case.id, "group": case.group}
        cells |= dict(zip(_image_columns(channels), (_relative(path, root) for path in case.images), strict=False))
        if isinstance(case.label, Mapping):
            cells |= {f"label_{name}": _relative(path, root) for name, path in case.label.items()}
        elif case.label is not None:
            cells["label"] = _relative(case.label, root)
        lines.append(mark + line_of([*(cells.get(name, "") for name in header), *(case.read.get(k, "") for k in keys)]))
    return "\n".join(lines) + "\n"


def _tables(root: Path) -> list[Path]:
    return [root / name for name in _NAMES if is_regular(root / name)]


def _header(path: Path) -> list[str]:
    return [_column_name(name) for name in header_of(path)]


def _is_image_column(name: str) -> bool:
    return name == "image" or name.startswith("image_")


def _column_name(cell: str) -> str:
    """The name of a column: known words in lower case, what follows them as it is written."""
    start, joint, rest = re.match(r"^([^_.]*)([_.]?)(.*)$", cell, re.DOTALL).groups()  # type: ignore[union-attr]  # matches anything
    word = start.lower()
    if word in ("image", "label") and joint == "_":
        return f"{word}_{rest}"
    if word == "read" and joint == ".":
        return f"{word}.{rest}"
    return cell.lower() if cell.lower() in _KNOWN else cell


def _columns(header: Sequence[str], path: Path) -> _Columns:
    """Which columns hold what.

    Raises:
        InputError: There is no image, a name occurs twice, or a name is nearly one that is known.
    """
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise InputError(f"{path} has two columns called '{min(twice)}'.")
    images = [name for name in header if _is_image_column(name)]
    labels = [name for name in header if name == "label" or name.startswith("label_")]
    read = {name: name.removeprefix("read.") for name in header if name.startswith("read.")}
    known = {*_KNOWN, *images, *labels, *read}
    for name in header:
        nearest = get_close_matches(name.lower(), _KNOWN, 1, _ALIKE)
        if name not in known and nearest and nearest[0] not in header:
            raise InputError(f"{path} has a column '{name}'; did you mean '{nearest[0]}'?")
    if not images:
        raise InputError(
            f"{path} has no column 'image' (it has {', '.join(header) or 'none'}); paths of images go there."
        )
    if "series" in header:
        read["series"] = "series"
    # A column without a name is the index of a data frame.
    others = tuple(name for name in header if name and name not in {"case", "series", "read", *images, *labels, *read})
    return _Columns(_channels(images, path), {n.partition("_")[2]: n for n in labels}, read, others)


def _channels(columns: Sequence[str], path: Path) -> dict[str, str]:
    """Name of each channel → its column; numbered ones in the order of their numbers."""
    found = {name: 1 if name == "image" else whole_number(name[6:]) for name in columns}
    numbers = {number: name for name, number in found.items() if number is not None}
    if len(numbers) == len(columns):
        return {str(number): numbers[number] for number in sorted(numbers)}
    if len(numbers) > 1:
        raise InputError(f"{path} numbers some images and names others ({', '.join(columns)}); do one of both.")
    return {name.partition("_")[2] or "image": name for name in columns}


def _channel_names(columns: _Columns, images: Sequence[Sequence[Path]], options: io.ReadOptions) -> tuple[str, ...]:
    names = tuple(columns.images)
    return names_by_looking(images, options) if all(name.isdecimal() for name in names) else names


def _image_columns(channels: Sequence[str]) -> list[str]:
    if len(channels) == 1:
        return ["image"]
    numbered = all(name == f"channel {n}" for n, name in enumerate(channels))
    return [f"image_{n if numbered else name}" for n, name in enumerate(channels, start=1)]


def _case(row: Row, columns: _Columns, path: Path) -> tuple[Case | None, list[str]]:
    """The case of a row, and what is wrong with it: a phrase each, with the number of the line."""
    wrong: list[str] = []
    cells = row.cells
    images = [_existing(cells[name], path, row.line, name, wrong) for name in columns.images.values() if cells[name]]
    if not any(cells[name] for name in columns.images.values()):
        wrong.append(f"line {row.line}: no image")
    label = _label(row, columns, path, wrong)
    fold, split = _fold(row, wrong)
    read = _read(row, columns, wrong)
    if wrong or not images:
        return None, wrong
    attributes = {name: cells[name] for name in columns.others if name not in ("fold", "split") and cells[name]}
    if split != "train":
        attributes["split"] = split
    first = cells[next(name for name in columns.images.values() if cells[name])]
    id_ = safe_id(cells.get("case") or stem_of(Path(first.replace("\\", "/"))))
    return Case(id_, tuple(images), label, cells.get("group", ""), fold, attributes=attributes, read=read), []


def _label(row: Row, columns: _Columns, path: Path, wrong: list[str]) -> LabelSource | None:
    given = {name: row.cells[column] for name, column in columns.labels.items() if row.cells[column]}
    found = {name: _existing(text, path, row.line, columns.labels[name], wrong) for name, text in given.items()}
    if not found:
        return None
    if "" not in found:
        sources = {name: label_source(each) for name, each in found.items() if each.exists()}
        wrong += [
            f"line {row.line}: {columns.labels[name]} is a folder of {len(source)} masks; give the mask of {name}"
            for name, source in sources.items()
            if isinstance(source, Mapping) and len(source) != 1
        ]
        return {
            name: next(iter(source.values())) if isinstance(source, Mapping) else source
            for name, source in sources.items()
        }
    if len(found) > 1:
        wrong.append(f"line {row.line}: a label and a label_{next(n for n in found if n)}; give one of both")
    return label_source(found[""])


def _existing(text: str, table: Path, line: int, column: str, wrong: list[str]) -> Path:
    """The path of a cell; where nothing is called so, as it may have been meant (see `_spellings`)."""
    paths = [table.parent / spelling for spelling in _spellings(text)]
    path = next((each for each in paths if exists(each)), paths[0])
    if not exists(path):
        wrong.append(f"line {line}: there is no {shortened(text)} ({column})")
    elif io.kind_of(path) is None and not isinstance(label_source(path), Mapping):
        wrong.append(f"line {line}: {shortened(text)} {why_unread(path, with_kinds=False)} ({column})")
    return path


def _spellings(text: str) -> Iterator[str]:
    r"""Ways to read the path of a cell: backslashes for slashes, and names of files that are no UTF-8.

    Such a name stands in a table as a screen shows it (M\udcfcller), or in the bytes that it has on the disk.
    """
    yield text
    yield text.replace("\\", "/")
    yield re.sub(r"\\udc([89a-f][0-9a-f])", lambda found: chr(0xDC00 + int(found[1], 16)), text)
    with suppress(UnicodeEncodeError):
        yield os.fsdecode(text.encode("cp1252"))


def _fold(row: Row, wrong: list[str]) -> tuple[int | None, str]:
    text = row.cells.get("fold", "")
    split = _SPLITS.get(row.cells.get("split", "").lower(), "")
    if not split:
        wrong.append(f"line {row.line}: split is '{row.cells['split']}', but must be train, validation or test")
    number = text.removesuffix(".0")
    if text and whole_number(number) is None:
        wrong.append(f"line {row.line}: fold is '{shortened(text)}', but must be a number from 0 on")
        return None, split
    if text and split == "validation":
        wrong.append(f"line {row.line}: fold and split both say who validates; give one of both")
    if split == "validation":
        return 0, split
    return whole_number(number), split


def _read(row: Row, columns: _Columns, wrong: list[str]) -> dict[str, str]:
    """The read options of a row, from `read` (KEY=VALUE; KEY=VALUE), `read.KEY` and `series`."""
    parts = [part.strip() for part in row.cells.get("read", "").split(";") if part.strip()]
    pairs = {key.strip(): value.strip() for key, _, value in (part.partition("=") for part in parts)}
    pairs |= {key: row.cells[column] for column, key in columns.read.items() if row.cells[column]}
    try:
        io.ReadOptions.parse(pairs)
    except UsageError as error:
        wrong.append(f"line {row.line}: {str(error).rstrip('.')}")
    return pairs


def _refuse_wrong(path: Path, wrong: Sequence[str]) -> None:
    if wrong:
        more = f"\n  and {len(wrong) - _MOST_LISTED} more" if len(wrong) > _MOST_LISTED else ""
        raise InputError(
            f"{path} cannot be used as it is ({len(wrong)} cells are wrong; paths are relative to the table):\n  "
            + "\n  ".join(wrong[:_MOST_LISTED])
            + more
        )


def _refuse_twins(path: Path, rows: Sequence[Row], cases: Sequence[Case]) -> None:
    lines: dict[str, int] = {}
    for row, case in zip(rows, cases, strict=True):
        if file_key(case.id) in lines:
            raise InputError(
                f"{path}: lines {lines[file_key(case.id)]} and {row.line} are both the case '{case.id}'. "
                "Keep one of them, or give the other another name."
            )
        lines[file_key(case.id)] = row.line


def _lacking(case: Case, row: Row, columns: _Columns) -> BadCase:
    absent = [column for column in columns.images.values() if not row.cells[column]]
    return BadCase(case.id, f"Case {case.id} lacks {', '.join(absent)} (line {row.line}).", case.images)


def _notes(cases: Sequence[Case]) -> tuple[str, ...]:
    partly = [case for case in cases if case.attributes.get("annotated")]
    if not partly:
        return ()
    return (
        f"{len(partly)} cases say which labels they are annotated for. Figures heed that; "
        "training takes what is not labelled for background.",
    )


def _relative(path: Path, root: Path) -> str:
    """With forward slashes, as every system reads them; absolute where no way leads there (another drive)."""
    try:
        return Path(os.path.relpath(path, root)).as_posix()
    except ValueError:
        return path.absolute().as_posix()
