"""The files of an evaluation in a folder, and the refusal to write over anything else that has their names.

`summary.json` holds the digests of the other files as they were written: what is as it says is medseg's own. Results of
medseg 0.1.0 have no digests; beside such a summary all five files are taken for medseg's.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from medseg.core.errors import UsageError
from medseg.io.files import digest
from medseg.io.origin import is_our_page, namesakes, refuse_folder, schema_of

__all__ = ["REPORT", "RESULTS", "SUMMARY", "TABLE", "TABLE_HEADER", "refuse_foreign_results"]

SUMMARY, TABLE, REPORT = "summary.json", "metrics.csv", "report.html"

RESULTS = (TABLE, SUMMARY, "table.md", "table.tex", REPORT)
"""What `medseg evaluate -o` writes."""

TABLE_HEADER = ("case", "label", "metric", "value", "unit", "status")


def refuse_foreign_results(folder: Path) -> None:
    """Refuse to write results over files that medseg did not write, or that somebody has changed since.

    Raises:
        UsageError: There are such files, or the folder is a file.
    """
    refuse_folder(folder / SUMMARY)
    lying = namesakes(folder, RESULTS)
    is_ours = any(schema_of(path).startswith("medseg/summary/") for path in lying if path.suffix.lower() == ".json")
    known = _digests(folder / SUMMARY) if is_ours else None
    foreign = [path.name for path in lying if not _is_ours(path, is_ours, known)]
    if foreign:
        they = "it is" if len(foreign) == 1 else "they are"
        raise UsageError(
            f"{', '.join(foreign)} in {folder} would be replaced, and {they} not as medseg wrote "
            f"{'it' if len(foreign) == 1 else 'them'}. Give another folder with -o, or say --overwrite."
        )


def _is_ours(path: Path, beside_ours: bool, known: Mapping[str, str] | None) -> bool:
    if path.suffix.lower() == ".json":
        return schema_of(path).startswith("medseg/summary/")
    if known is not None:
        return path.is_file() and known.get(path.name) == digest(path)
    if beside_ours:
        return True
    if path.suffix.lower() == ".csv":
        return _first_line(path) == ",".join(TABLE_HEADER)
    return path.suffix.lower() == ".html" and is_our_page(path)


def _digests(summary: Path) -> Mapping[str, str] | None:
    """Name → digest of the files that were written with a summary; None where it does not say."""
    try:
        files = json.loads(summary.read_text(encoding="utf-8")).get("files")
    except (OSError, ValueError, AttributeError):
        return None
    return files if isinstance(files, dict) else None


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline(200).rstrip("\r\n")
    except OSError:
        return ""
