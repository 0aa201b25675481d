"""The result of looking at a data set: findings, fingerprint and cases, as JSON and as a page.

Nothing in it holds an absolute path, a name or a date of a scan; ids of cases are the user's own names of files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg._version import __version__
from medseg.core.errors import UsageError
from medseg.data.fingerprint import Fingerprint
from medseg.inspect.findings import Finding, Severity
from medseg.inspect.report import CaseReport
from medseg.inspect.words import describe
from medseg.io.files import write_json, write_text

__all__ = ["INSPECTION_SCHEMA", "Inspection", "refuse_suffix"]

INSPECTION_SCHEMA = "medseg/inspection/1"

_SUFFIXES = (".html", ".htm", ".json")


@dataclass(frozen=True, eq=False)
class Inspection:
    """A data set that was looked at.

    Attributes:
        layout: The layout's name; "scans" for images without labels, "" if it could not be opened.
        notes: Which layout was taken and why, and how the data are read: one sentence each.
        findings: What was found, the gravest first.
        fingerprint: What the usable cases are like; None where there are none with labels.
        channels: Names of the channels.
        label_names: Names of the labels.
        reports: A case each, in natural order.
    """

    layout: str
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]
    fingerprint: Fingerprint | None = None
    channels: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()
    reports: tuple[CaseReport, ...] = ()

    def count(self, severity: Severity) -> int:
        """How many findings of a severity there are."""
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def is_clean(self) -> bool:
        """Whether nothing stands in the way of using the data; warnings may."""
        return not self.count("error")

    @property
    def verdict(self) -> str:
        """One sentence on it all."""
        counts = [
            f"{n} {severity}{'s' if n != 1 else ''}"
            for severity in ("error", "warning", "note")
            if (n := self.count(severity))
        ]
        cases = f" in {len(self.reports)} cases" if self.reports else ""
        return f"{', '.join(counts) if counts else 'Nothing'} found{cases}."

    @property
    def words(self) -> tuple[str, ...]:
        """What the data are like, one sentence each."""
        return describe(self.reports, self.fingerprint, self.channels)

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
        from medseg.inspect.page import render

        return render(self)

    def write(self, path: Path | str) -> None:
        """Write the page or the JSON, by the suffix of the path.

        Raises:
            UsageError: The suffix is neither .html nor .json.
        """
        path = Path(path)
        refuse_suffix(path)
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


def intensities(report: CaseReport, channels: tuple[str, ...]) -> Mapping[str, list[float]]:
    """By channel, the percentiles 0.5, 50 and 99.5 of sampled voxels of a case."""
    if report.facts is None:
        return {}
    samples = [channel.whole for channel in report.facts.channels]
    names = [channels[n] if n < len(channels) else f"channel {n}" for n in range(len(samples))]
    return {
        name: [float(value) for value in np.percentile(sample, (0.5, 50, 99.5))]
        for name, sample in zip(names, samples, strict=True)
    }
