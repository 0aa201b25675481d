"""What is found in a data set, as values: one finding has a kind, a weight, the cases, a sentence and a remedy.

*Errors* are what training or prediction would refuse, or what makes every figure about a model wrong; *warnings* are
what a person should look at, since the data may be meant so; *notes* are facts that somebody will ask for. Sentences
name the thing and its figures; they never hold the name of a patient or the path of a machine.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from medseg.data.dataset import natural_key

__all__ = ["KINDS", "SEVERITIES", "Finding", "Kind", "Severity", "gathered", "ordered"]

Severity = Literal["error", "warning", "note"]

Kind = Literal[
    "layout",
    "incomplete",
    "unreadable",
    "defect",
    "not_a_label_map",
    "other_grid",
    "unknown_labels",
    "channels",
    "two_splits",
    "swapped_sides",
    "nothing_labelled",
    "mirrored_sides",
    "duplicate",
    "near_duplicate",
    "not_finite",
    "blank",
    "offset",
    "mended",
    "unlabelled_slices",
    "island",
    "empty",
    "ignored",
    "absent_label",
    "rare_label",
    "vanishing",
    "flattened",
    "spacing",
    "size",
    "intensity",
    "intensity_scales",
    "volume",
    "neighbours",
    "groups",
    "types",
    "label_types",
    "placement",
    "value_gaps",
    "padding",
    "own_grid",
    "reading",
]

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""The gravest first."""

KINDS: dict[Kind, str] = {
    "layout": "Cannot be opened",
    "incomplete": "Incomplete case",
    "unreadable": "Unreadable file",
    "defect": "Defect of medseg",
    "not_a_label_map": "Not a label map",
    "other_grid": "Grids that do not belong together",
    "unknown_labels": "Undeclared label values",
    "channels": "Wrong number of channels",
    "two_splits": "On both sides of a split",
    "swapped_sides": "Left and right swapped",
    "nothing_labelled": "No usable labels",
    "mirrored_sides": "Left and right mirrored",
    "duplicate": "Same image twice",
    "near_duplicate": "Nearly the same image",
    "not_finite": "NaN or infinity",
    "blank": "Blank channel",
    "offset": "Image and labels a little apart",
    "mended": "Mended while reading",
    "unlabelled_slices": "Slices without labels",
    "island": "Stray voxels and islands",
    "empty": "Empty label map",
    "ignored": "To be ignored",
    "absent_label": "Label missing",
    "rare_label": "Label of few cases",
    "vanishing": "Labels of less than a voxel",
    "flattened": "Values that hide all others",
    "spacing": "Unusual spacing",
    "size": "Unusual size",
    "intensity": "Unusual intensities",
    "intensity_scales": "Different intensity scales",
    "volume": "Unusual volume",
    "neighbours": "Neighbouring cases alike",
    "groups": "Several cases of one patient",
    "types": "Mixed number types",
    "label_types": "Type of the label maps",
    "placement": "Place in space",
    "value_gaps": "Gaps in label values",
    "padding": "Padded channel",
    "own_grid": "Channel on a grid of its own",
    "reading": "How it was read",
}
"""Kind → what people read, in the order in which findings of one severity are told."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: What it is, for programs.
        severity: How grave it is.
        text: What was found, with its figures: a sentence or two.
        remedy: What to do about it: a sentence.
        cases: The ids of the cases that it is about, in natural order; none if it is about the data set as a whole.
    """

    kind: Kind
    severity: Severity
    text: str
    remedy: str
    cases: tuple[str, ...] = ()

    @property
    def case(self) -> str | None:
        """The case, where it is a single one."""
        return self.cases[0] if len(self.cases) == 1 else None

    @property
    def title(self) -> str:
        """The kind in words."""
        return KINDS[self.kind]

    def to_json(self) -> dict[str, Any]:
        return {
            "case": self.case,
            "cases": list(self.cases),
            "kind": self.kind,
            "severity": self.severity,
            "text": self.text,
            "remedy": self.remedy,
        }


def gathered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings that say the same of several cases as one of all of them."""
    cases: defaultdict[Finding, dict[str, None]] = defaultdict(dict)
    for finding in findings:
        cases[replace(finding, cases=())].update(dict.fromkeys(finding.cases))
    return tuple(replace(said, cases=tuple(sorted(ids, key=natural_key))) for said, ids in cases.items())


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The gravest first, then by kind, then by case."""
    kinds = list(KINDS)

    def key(finding: Finding) -> tuple[int, int, Sequence[object]]:
        case = natural_key(finding.cases[0]) if finding.cases else ()
        return SEVERITIES.index(finding.severity), kinds.index(finding.kind), case

    return tuple(sorted(findings, key=key))
