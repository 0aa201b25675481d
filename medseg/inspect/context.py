"""Everything that is known of a data set when all its cases have been looked at: what the rules judge by."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from medseg.core.labels import Labels
from medseg.data.dataset import Case
from medseg.data.fingerprint import Fingerprint
from medseg.data.splits import Fold
from medseg.inspect.report import CaseReport

__all__ = ["Context"]


@dataclass(frozen=True, eq=False)
class Context:
    """A data set as its cases report it.

    Attributes:
        reports: A case each, in natural order of the ids.
        cases: By id; with the groups that hold.
        patients: Id → digest of the patient, where DICOM tells; never shown.
        labels: What the values mean: declared, or found by looking; None where there are none.
        channels: Their names.
        fingerprint: Of the usable cases; None where there is none.
        folds: Who would train and who would validate.
    """

    reports: tuple[CaseReport, ...]
    cases: Mapping[str, Case]
    patients: Mapping[str, str]
    labels: Labels | None
    channels: tuple[str, ...]
    fingerprint: Fingerprint | None
    folds: tuple[Fold, ...]

    @cached_property
    def measured(self) -> tuple[CaseReport, ...]:
        """The cases whose image could be read."""
        return tuple(report for report in self.reports if report.facts is not None)

    @cached_property
    def labelled(self) -> tuple[CaseReport, ...]:
        """The cases whose label map could be read, too."""
        return tuple(report for report in self.measured if report.label_digest)

    def group(self, case: str) -> str:
        """What a case must stay together with."""
        return self.cases[case].group
