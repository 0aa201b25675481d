"""What is unusual about images when all are seen side by side: their grids, their numbers, their place in space."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from math import log

import numpy as np
from numpy.typing import NDArray

from medseg.core.words import counted
from medseg.data.dataset import listed, natural_key
from medseg.data.fingerprint import CaseFacts, flattened_channels, own_grid_notes
from medseg.inspect.context import Context
from medseg.inspect.findings import Finding, Kind
from medseg.inspect.outliers import are_few, standing_out
from medseg.inspect.report import CaseReport
from medseg.pages import number

__all__ = ["findings"]

LEAST_LOG_SD_SPACING = 0.14
"""With 5 standard deviations a factor of 2: slices of 3 and of 5 mm are two customs of one hospital."""

LEAST_LOG_SD_SIZE = 0.11
"""A factor of 1.7."""

LEAST_LOG_SD_INTENSITY = 0.25
"""For the width of intensities: a factor of 3.5, more than coils and protocols make of one scanner's images."""

LEAST_SD_HU = 60.0
"""For percentiles of CT: 300 HU, more than contrast agent and padding make; what is not in HU is off by 1000."""

WIDE_SCALES = 10.0
"""MR has no unit, but scanners agree within a factor of ten; beyond it some files were rescaled."""

COMMON = 0.8
"""What so many do is the custom of a data set; the others differ from it."""

Ends = NDArray[np.float64]
"""A row a case: its lower and its upper percentile."""

_SHOWN = ("0.5th", "99.5th")


def findings(context: Context) -> Iterator[Finding]:
    """All findings of this kind on a data set."""
    reports = context.measured
    if not reports:
        return
    yield from _types(reports)
    yield from _placement(reports)
    yield from _grids(reports, "spacing", lambda facts: facts.grid.spacing_mm, LEAST_LOG_SD_SPACING)
    yield from _grids(reports, "size", _extent, LEAST_LOG_SD_SIZE)
    for place, name in enumerate(context.channels):
        seen = [each for each in reports if each.facts and place < len(each.facts.channels)]
        if _is_ct(context, place):
            yield from _hounsfield(seen, place, name)
        else:
            yield from _intensities(seen, place, name)
    yield from _padding(reports, context.channels)
    yield from _own_grids(reports, context.channels)
    yield from _flattened(context)


def _types(reports: Sequence[CaseReport]) -> Iterator[Finding]:
    kinds = Counter(report.dtype for report in reports)
    if len(kinds) < 2:
        return
    told = ", ".join(f"{kind} in {n}" for kind, n in kinds.most_common())
    rare = kinds.most_common()[-1][0]
    yield Finding(
        "types",
        "note",
        f"The images' numbers are of {len(kinds)} types: {told} cases.",
        "No harm to medseg. Where types differ, exports did: look whether intensities differ along with them.",
        tuple(report.case for report in reports if report.dtype == rare),
    )


def _placement(reports: Sequence[CaseReport]) -> Iterator[Finding]:
    ways: list[tuple[Callable[[CaseReport], str], str]] = [
        (lambda report: report.placed_by, "takes its place in space from {}, where {} of {} take it from {}"),
        (lambda report: report.facts.grid.orientation if report.facts else "", "has axes {}, where {} of {} have {}"),
    ]
    for way, words in ways:
        counts = Counter(way(report) for report in reports)
        (usual, n), *others = counts.most_common()
        if not others or n < COMMON * len(reports) or len(reports) < 3:
            continue
        for report in reports:
            if way(report) != usual:
                said = words.format(_header_word(way(report)), n, len(reports), _header_word(usual))
                text = f"The image {said}."
                yield Finding("placement", "note", text, "No harm to medseg; other tools may differ.", (report.case,))


def _header_word(way: str) -> str:
    words = {"sform": "the sform", "qform": "the qform alone (sform code 0)", "header": "its header"}
    return words.get(way, way)


def _placed(report: CaseReport) -> bool:
    return report.facts is not None and report.facts.grid.placed


def _extent(facts: CaseFacts) -> tuple[float, ...]:
    return tuple(n * mm for n, mm in zip(facts.grid.shape, facts.grid.spacing_mm, strict=True))


def _grids(
    reports: Sequence[CaseReport], kind: Kind, of: Callable[[CaseFacts], Sequence[float]], least_log_sd: float
) -> Iterator[Finding]:
    """Cases whose spacing or extent stands out along some (canonical) axis."""
    sides = np.array([of(report.facts) for report in reports if report.facts])
    odd = {row for axis in range(3) for row in standing_out([log(v) for v in sides[:, axis]], least_log_sd)}
    middle = np.median(sides, axis=0)
    what = "spacing" if kind == "spacing" else "extent"
    unit = "mm" if all(_placed(each) for each in reports) else "voxels"
    if not odd:
        return
    if not are_few(len(odd), len(reports)):
        ranges = " × ".join(f"{low:.3g}–{high:.3g}" for low, high in zip(sides.min(0), sides.max(0), strict=True))
        text = f"The {what} varies widely, {ranges} {unit}; {len(odd)} of {len(reports)} cases are far from the median."
        yield Finding(kind, "note", text, "See whether these are scans of one kind.", _cases(reports, odd))
        return
    for row in sorted(odd):
        text = f"The {what} is {_sides(sides[row])} {unit}; the median is {_sides(middle)} {unit}."
        remedy = "Check the header, and whether this scan belongs into the data set."
        yield Finding(kind, "warning", text, remedy, (reports[row].case,))


def _cases(reports: Sequence[CaseReport], rows: Iterable[int]) -> tuple[str, ...]:
    return tuple(reports[row].case for row in sorted(rows))


def _sides(values: Sequence[float]) -> str:
    return " × ".join(f"{value:.3g}" for value in values)


def _is_ct(context: Context, number: int) -> bool:
    channels = context.fingerprint.channels if context.fingerprint else ()
    return number < len(channels) and channels[number].is_ct


def _low_high(report: CaseReport, number: int) -> tuple[float, float]:
    samples = report.facts.channels[number].whole if report.facts else np.zeros(1)
    low, high = np.percentile(samples, (0.5, 99.5))
    return float(low), float(high)


def _hounsfield(reports: Sequence[CaseReport], number: int, name: str) -> Iterator[Finding]:
    ends = np.array([_low_high(report, number) for report in reports]).reshape(-1, 2)
    odd = {row for end in range(2) for row in standing_out(ends[:, end].tolist(), LEAST_SD_HU)}
    yield from _unusual(reports, name, ends, odd, "Check that it is CT in HU: air is -1000.")


def _intensities(reports: Sequence[CaseReport], number: int, name: str) -> Iterator[Finding]:
    ends = np.array([_low_high(report, number) for report in reports]).reshape(-1, 2)
    widths = ends[:, 1] - ends[:, 0]
    seen = widths > 0
    if np.count_nonzero(seen) < 2:
        return
    if widths[seen].max() >= WIDE_SCALES * widths[seen].min():
        # One sentence on all of them: with scales that wild, no single case is the odd one.
        yield _scales(reports, name, ends, widths, seen)
        return
    logs = [log(width) if width > 0 else float("nan") for width in widths]
    odd = standing_out(logs, LEAST_LOG_SD_INTENSITY)
    yield from _unusual(reports, name, ends, odd, "Check that it is the same kind of scan, exported in the same way.")


def _scales(reports: Sequence[CaseReport], name: str, ends: Ends, widths: Ends, seen: NDArray[np.bool_]) -> Finding:
    middle = float(np.median(widths[seen]))
    far = seen & ((widths > WIDE_SCALES * middle) | (widths < middle / WIDE_SCALES))
    low, high = (int(f(np.where(seen, widths, fill))) for f, fill in ((np.argmin, np.inf), (np.argmax, -np.inf)))
    n_far = int(np.count_nonzero(far))
    if ends[high, 1] >= WIDE_SCALES * abs(ends[low, 1]):
        figures = (
            f"the 99.5th percentile is {number(ends[low, 1])} in {reports[low].case} and {number(ends[high, 1])} in "
            f"{reports[high].case}"
        )
    else:  # the upper ends are about equal: the lower ones make the difference
        narrow, wide = (f"from {number(ends[row, 0])} to {number(ends[row, 1])}" for row in (low, high))
        figures = (
            f"between the 0.5th and the 99.5th percentile they go {narrow} in {reports[low].case} and {wide} in "
            f"{reports[high].case}"
        )
    text = f"{name}: scales of intensity differ {number(float(round(widths[high] / widths[low])))}-fold: {figures}"
    are = "is" if n_far == 1 else "are"
    text += f"; {n_far} of {len(reports)} cases {are} more than tenfold off the median." if n_far else "."
    return Finding(
        "intensity_scales",
        "warning",
        text,
        "Normalise each image by itself (z-score, medseg's default for MR), never by fixed numbers; "
        "if one scale is an export's mistake, export those cases again.",
        tuple(report.case for report, is_far in zip(reports, far, strict=True) if is_far),
    )


def _unusual(
    reports: Sequence[CaseReport], name: str, ends: Ends, odd: Collection[int], remedy: str
) -> Iterator[Finding]:
    """Cases whose percentiles stand out: one by one, or as a group where they are many."""
    low, high = np.median(ends, axis=0)
    usual = f"the medians over cases are {number(low)} and {number(high)}"
    if not are_few(len(odd), len(reports)):
        text = (
            f"{name}: intensities fall into groups; {len(odd)} of {len(reports)} cases are far from the rest ({usual})."
        )
        yield Finding("intensity", "note", text, remedy, _cases(reports, odd))
        return
    for row in sorted(odd):
        own = f"{_SHOWN[0]} and {_SHOWN[1]} percentile are {number(ends[row, 0])} and {number(ends[row, 1])}"
        yield Finding("intensity", "warning", f"{name}: {own}; {usual}.", remedy, (reports[row].case,))


def _own_grids(reports: Sequence[CaseReport], channels: Sequence[str]) -> Iterator[Finding]:
    """Channels that were brought to the grid of the first one."""
    notes = own_grid_notes([report.facts for report in reports if report.facts], channels)
    for place, name in enumerate(channels):
        if name in notes:
            cases = [each.case for each in reports if each.facts and place in each.facts.own_spacings_mm]
            remedy = f"Nothing, if {name} and {channels[0]} were taken in one session or registered."
            yield Finding("own_grid", "note", notes[name], remedy, tuple(cases))


def _flattened(context: Context) -> Iterator[Finding]:
    """Images in which a few values far away leave a z-score no contrast; CT is clipped before."""
    facts = [report.facts for report in context.measured if report.facts is not None]
    for name, cases in flattened_channels(facts, context.channels).items():
        if _is_ct(context, context.channels.index(name)):
            continue
        first = min(cases, key=natural_key)
        others = f" (in {first}; {counted(len(cases) - 1, 'other case')} likewise)" if len(cases) > 1 else ""
        yield Finding(
            "flattened",
            "warning",
            f"{name}: {cases[first]}{others}.",
            cases[first].remedy,
            tuple(cases),
        )


def _padding(reports: Sequence[CaseReport], channels: Sequence[str]) -> Iterator[Finding]:
    """Channels that have planes of one value at the border where another channel of the case shows something."""
    for place, name in enumerate(channels if len(channels) > 1 else ()):
        padded = [
            report.case
            for report in reports
            if len(report.blank_planes) == len(channels) and report.blank_planes[place] > min(report.blank_planes)
        ]
        if padded:
            yield Finding(
                "padding",
                "note",
                f"{name} has planes of one value at its border where another channel shows something, in "
                f"{len(padded)} of {len(reports)} cases ({listed(padded, 3)}): its field of view is smaller.",
                "No harm where labels lie inside; else crop the case to what all channels show.",
                tuple(padded),
            )
