"""The result of looking at a data set: findings, fingerprint and cases, as JSON and as a page.

Nothing in it holds an absolute path, a name or a date of a scan; ids of cases are the user's own names of files.
"""

from pathlib import Path
from typing import Any

from medseg._version import __version__
from medseg.core.errors import UsageError
from medseg.inspect.overview import Overview, intensities
from medseg.inspect.page import render
from medseg.inspect.report import CaseReport
from medseg.io.files import remove_leftovers, write_json, write_text
from medseg.io.origin import is_our_page, namesakes, refuse_folder, schema_of

__all__ = ["INSPECTION_SCHEMA", "Inspection", "refuse_foreign_file", "refuse_suffix"]

INSPECTION_SCHEMA = "medseg/inspection/1"

_SUFFIXES = (".html", ".htm", ".json")


class Inspection(Overview):
    """A data set that was looked at, and how that is written down."""

    def to_json(self) -> dict[str, Any]:
        """The content of the JSON file, schema medseg/inspection/1."""
        return {
            "schema": INSPECTION_SCHEMA,
            "medseg": __version__,
            "layout": self.layout,
            "notes": list(self.notes),
            "n_cases": len(self.reports),
            "n_errors": self.count("error"),
            "n_warnings": self.count("warning"),
            "n_notes": self.count("note"),
            "findings": [finding.to_json() for finding in self.findings],
            "words": list(self.words),
            "channels": list(self.channels),
            "labels": list(self.label_names),
            "fingerprint": None if self.fingerprint is None else self.fingerprint.to_json(),
            "cases": [_case(report, self.channels) for report in self.reports],
        }

    def to_html(self) -> str:
        """The page, which needs nothing but itself."""
        return render(self)

    def write(self, path: Path | str) -> None:
        """Write the page or the JSON, by the suffix of the path.

        Raises:
            UsageError: The suffix is neither .html nor .json.
        """
        path = Path(path)
        refuse_suffix(path)
        remove_leftovers(path.parent)
        if path.suffix.lower() == ".json":
            write_json(path, self.to_json())
        else:
            write_text(path, self.to_html())

    def write_html(self, path: Path | str) -> None:
        """Write the page, whatever the path is called."""
        write_text(path, self.to_html())


def refuse_suffix(path: Path) -> None:
    """Refuse a path that says neither page nor JSON.

    Raises:
        UsageError: The suffix is neither .html nor .json.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"-o {path} should end in .html (a page with pictures) or in .json.")


def refuse_foreign_file(path: Path) -> None:
    """Refuse to write an inspection over a file that is none of medseg's.

    Raises:
        UsageError: There is such a file, or the path leads nowhere that can be written.
    """
    refuse_folder(path)
    for lying in namesakes(path.parent, (path.name,)):
        is_json = lying.suffix.lower() == ".json"
        if not (schema_of(lying).startswith("medseg/inspection/") if is_json else is_our_page(lying)):
            raise UsageError(
                f"{lying} is there already, and medseg inspect did not write it. Give another name, or say --overwrite."
            )


def _case(report: CaseReport, channels: tuple[str, ...]) -> dict[str, Any]:
    facts = report.facts
    return {
        "case": report.case,
        "role": report.role,
        "usable": report.usable,
        "shape": None if facts is None else list(facts.grid.shape),
        "spacing_mm": None if facts is None else list(facts.grid.spacing_mm),
        "orientation": None if facts is None else facts.grid.orientation,
        "placed_by": report.placed_by,
        "dtype": report.dtype,
        "label_dtype": report.label_dtype,
        "intensities": intensities(report, channels),
        "volumes_ml": {name: mark.volume_ml for name, mark in report.marks.items()},
        "pieces": {name: mark.n_pieces for name, mark in report.marks.items()},
    }
