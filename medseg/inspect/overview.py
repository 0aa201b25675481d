"""What is known when all cases were looked at and judged, as one value; how it is written down is `inspection`'s."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medseg.core.words import counted
from medseg.data.fingerprint import Fingerprint
from medseg.inspect.findings import Finding, Severity
from medseg.inspect.report import CaseReport
from medseg.inspect.words import describe

__all__ = ["Overview", "intensities"]


@dataclass(frozen=True, eq=False)
class Overview:
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
        counts = [counted(n, severity) for severity in ("error", "warning", "note") if (n := self.count(severity))]
        cases = f" in {counted(len(self.reports), 'case')}" if self.reports else ""
        return f"{', '.join(counts) if counts else 'Nothing'} found{cases}."

    @property
    def words(self) -> tuple[str, ...]:
        """What the data are like, one sentence each."""
        return describe(self.reports, self.fingerprint, self.channels)


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
