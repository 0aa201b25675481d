"""What a data set is like, in sentences: the fingerprint for people."""

from collections import Counter
from collections.abc import Iterator, Sequence

from medseg.core.words import counted
from medseg.data.fingerprint import ChannelFacts, Fingerprint, LabelFacts
from medseg.inspect.report import CaseReport, Role
from medseg.pages import number, percent

__all__ = ["describe"]

MOST_LABELS = 12
"""Labels that are told one by one; of a hundred organs the table on the page tells."""


def describe(
    reports: Sequence[CaseReport], fingerprint: Fingerprint | None, channels: Sequence[str]
) -> tuple[str, ...]:
    """Sentences on the cases, their grids, channels and labels; those on intensities and labels need a fingerprint."""
    read = [report for report in reports if report.facts is not None]
    if not read:
        return ()
    return (
        _counts(reports),
        *_grids(read),
        *((_channel(each) for each in fingerprint.channels) if fingerprint else (_channels(channels),)),
        *(_labels(fingerprint, _whole(reports)) if fingerprint else ()),
    )


def _counts(reports: Sequence[CaseReport]) -> str:
    words: dict[Role, str] = {"labelled": "with a label map", "unlabelled": "without", "test": "kept for testing"}
    counts = Counter(report.role for report in reports)
    parts = [f"{counts[role]} {words[role]}" for role in words if counts[role]]
    unusable = sum(report.role == "labelled" and not report.usable for report in reports)
    left = f"; {unusable} of the labelled ones cannot be used" if unusable else ""
    return f"{counted(len(reports), 'case')}: {', '.join(parts)}{left}."


def _grids(reports: Sequence[CaseReport]) -> Iterator[str]:
    grids = [report.facts.grid for report in reports if report.facts]
    axes = range(3)
    sizes = " × ".join(_range([grid.shape[axis] for grid in grids], "{:.0f}") for axis in axes)
    yield f"Sizes in voxels (right × front × head): {sizes}."
    if not any(grid.placed for grid in grids):
        yield "No file says where it lies in space: a mm is a pixel."
        return
    spacings = " × ".join(_range([grid.spacing_mm[axis] for grid in grids], "{:.3g}") for axis in axes)
    yield f"Spacings: {spacings} mm."
    orientations = Counter(grid.orientation for grid in grids).most_common()
    told = ", ".join(f"{letters} ({n})" for letters, n in orientations)
    yield f"Axes of the files: {orientations[0][0] if len(orientations) == 1 else told}."


def _range(values: Sequence[float], form: str) -> str:
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low}–{high}"


def _channels(channels: Sequence[str]) -> str:
    return f"{counted(len(channels), 'channel')}: {', '.join(channels)}."


def _channel(facts: ChannelFacts) -> str:
    kind = "read as CT in HU" if facts.is_ct else "not CT"
    zero = f" {facts.zero_share:.0%} of the voxels are exactly 0." if facts.zero_share >= 0.01 else ""
    return (
        f"Channel {facts.name}: inside the labels values from {number(facts.low)} to {number(facts.high)} (median "
        f"{number(facts.median)}), over whole images from {number(facts.whole_low)} to {number(facts.whole_high)}; "
        f"{kind}, since {facts.ct_reason}.{zero}"
    )


def _whole(reports: Sequence[CaseReport]) -> str:
    """What shares of labels are shares of: voxels that are to be ignored are none of it."""
    return "all annotated voxels" if any(report.ignored_share for report in reports) else "all voxels"


def _labels(fingerprint: Fingerprint, whole: str) -> Iterator[str]:
    n_cases = fingerprint.n_cases
    for label in fingerprint.labels[:MOST_LABELS]:
        yield _label(label, n_cases, fingerprint.placed, whole)
    rest = fingerprint.labels[MOST_LABELS:]
    if rest:
        shares = [label.frequency for label in rest]
        range_ = f"{percent(min(shares))} to {percent(max(shares))}"
        yield f"{counted(len(rest), 'more label')} with {range_} of {whole} each."


def _label(label: LabelFacts, n_cases: int, placed: bool, whole: str) -> str:
    where = f"in {label.n_cases} of {n_cases} cases" if n_cases > 1 else "in the one case"
    name = label.name if label.name.lower().startswith("label") else f"Label {label.name}"
    if not label.n_cases:
        return f"{name[0].upper()}{name[1:]}: in no case."
    unit, scale = ("ml", 1.0) if placed else ("voxels", 1000.0)
    volumes = [scale * ml for ml in (label.smallest_ml, label.median_ml, label.largest_ml)]
    amount = f"median {number(volumes[1])} {unit} ({number(volumes[0])}–{number(volumes[2])})"
    return f"{name[0].upper()}{name[1:]}: {where}, {amount}, {percent(label.frequency)} of {whole}."
