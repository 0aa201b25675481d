"""What is wrong or unusual about label maps when all are seen side by side.

A slip of the brush, slices that were forgotten, a label that is missing: each looks like anatomy in one case alone. So
a case is measured against the custom of its data set, and what most cases have (lesions come in pieces) is no finding
or a single note.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from math import log, prod

import numpy as np

from medseg.core.words import counted
from medseg.data.dataset import listed
from medseg.inspect.context import Context
from medseg.inspect.findings import Finding
from medseg.inspect.outliers import are_few, standing_out
from medseg.inspect.report import CaseReport, Gap, Mark
from medseg.inspect.shapes import ONE_PIECE
from medseg.pages import percent

__all__ = ["findings"]

RARE = 0.2
"""What at most this share of the cases has is an exception and told case by case; what more have is a custom."""

FEWEST_OTHERS = 4
"""So many other cases make a custom."""

COMMON = 0.8

SEEMS_TO_GO_ON = 0.5
"""An object that its fellows show to the last slice goes on where the next slice is half as alike as usual (Gap)."""

GOES_ON = 0.8
ABRUPT = 0.8
LONG_END = 3
"""Without fellows to compare: so alike, so large in its last two slices, and so many slices without a label."""

LEAST_LOG_SD_VOLUME = 0.12
"""With 5 standard deviations a factor of 1.8."""

FEW_PIECES = 3
"""A label that comes in more pieces than this in the median case has islands by nature."""

HALF_A_VOXEL = 0.5
"""A label of less than this share of a voxel cannot have the larger part of any."""

RARELY_EMPTY = 0.1
"""Below this share, an empty label map is more likely forgotten than true."""


def findings(context: Context) -> Iterator[Finding]:
    """All findings of this kind on a data set."""
    reports = context.labelled
    yield from _empty(reports)
    yield from _ignored(reports)
    yield from _label_types(reports)
    yield from _value_gaps(context)
    yield from _absent(context)
    yield from _rare(context)
    yield from _vanishing(context)
    yield from _filling(reports)
    yield from _unlabelled_slices(reports)
    yield from _islands(reports)
    yield from _volumes(context)


def _empty(reports: Sequence[CaseReport]) -> Iterator[Finding]:
    reports = [report for report in reports if report.ignored_share < 1]
    unlabelled = [report for report in reports if not report.marks]
    empty = [report.case for report in unlabelled]
    if not empty or len(empty) == len(reports):  # all of them: the fingerprint says so
        return
    is_rare = len(empty) < RARELY_EMPTY * len(reports)
    partly = " (and voxels to ignore)" if any(report.ignored_share for report in unlabelled) else ""
    yield Finding(
        "empty",
        "warning" if is_rare else "note",
        f"{len(empty)} of {len(reports)} label maps hold nothing but background{partly}: {listed(empty)}.",
        "Nothing, if there is nothing to see in these cases; else they were not labelled: take them out.",
        tuple(empty),
    )


def _ignored(reports: Sequence[CaseReport]) -> Iterator[Finding]:
    """Voxels that nobody annotated: how many there are, and the cases that are nothing else."""
    having = [report for report in reports if report.ignored_share]
    if not having:
        return
    whole = [report.case for report in having if report.ignored_share == 1]
    shares = [report.ignored_share for report in having if report.ignored_share < 1]
    texts = []
    if shares:
        low, high = percent(min(shares)), percent(max(shares))
        amount = f"{high} of the voxels are" if low == high else f"{low} to {high} of the voxels are"
        texts.append(f"In {len(shares)} of {len(reports)} label maps {amount} to be ignored.")
    if whole:
        are = "is" if len(whole) == 1 else "are"
        texts.append(f"{len(whole)} of {len(reports)} label maps {are} to be ignored as a whole: {listed(whole)}.")
    yield Finding(
        "ignored",
        "warning" if whole else "note",
        " ".join(texts),
        "No harm: such voxels count neither as a label nor as background. A case of nothing else teaches and judges "
        "nothing: annotate it, or take it out."
        if whole
        else "No harm: such voxels count neither as a label nor as background, in training and in figures.",
        tuple(report.case for report in having),
    )


def _label_types(reports: Sequence[CaseReport]) -> Iterator[Finding]:
    kinds = Counter(report.label_dtype for report in reports if report.label_dtype)
    floats = [report.case for report in reports if report.label_dtype.startswith("float")]
    if floats:
        told = ", ".join(f"{kind} in {n}" for kind, n in kinds.most_common())
        yield Finding(
            "label_types",
            "note",
            f"{len(floats)} of {len(reports)} label maps are stored as floating point numbers ({told} cases); "
            "their values are whole, to a thousandth.",
            "No harm to medseg. Tools that resample with interpolation would turn them into nonsense.",
            tuple(floats),
        )


def _value_gaps(context: Context) -> Iterator[Finding]:
    values = context.labels.classes if context.labels else (0,)
    missing = sorted(set(range(1, values[-1] + 1)) - {*values, context.labels.ignore if context.labels else None})
    # A few values far apart (1, 255) are a way of numbering, not one with gaps.
    if missing and len(missing) < len(values):
        yield Finding(
            "value_gaps",
            "note",
            f"Label values run to {values[-1]}, but {listed([str(v) for v in missing], 10)} "
            f"{'is' if len(missing) == 1 else 'are'} no label.",
            "No harm to medseg: networks learn the values that exist.",
        )


def _absent(context: Context) -> Iterator[Finding]:
    """Labels that nearly every case has and this one lacks; where voxels are to be ignored, nobody can say so."""
    reports = [report for report in context.labelled if report.marks and not report.ignored_share]
    names = list(dict.fromkeys(name for report in reports for name in report.marks))
    for name in names:
        without = [report.case for report in reports if name not in report.marks]
        if without and len(reports) > FEWEST_OTHERS and len(without) <= RARE * len(reports):
            yield Finding(
                "absent_label",
                "warning",
                f"{name} is in {len(reports) - len(without)} of {len(reports)} cases, but not in {listed(without)}.",
                "Check whether it is absent there, or was not drawn.",
                tuple(without),
            )


def _rare(context: Context) -> Iterator[Finding]:
    """Labels that one case alone has, or that in some fold no case has that trains."""
    usable = {report.case for report in context.labelled}
    for name, having in _cases_by_label(context.labelled).items():
        if len(usable) < 2 or len(having) == len(usable):
            continue
        unlearnt = [
            number
            for number, fold in enumerate(context.folds)
            if having & set(fold.validation) and not having & set(fold.train)
        ]
        if len(having) == 1:
            text = f"{name} is in 1 of {len(usable)} cases only: {listed(having)}."
        elif unlearnt:
            text = f"{name} is in {len(having)} of {len(usable)} cases only: {listed(having)}."
        else:
            continue
        if unlearnt:
            folds = f"fold{'s' if len(unlearnt) > 1 else ''} {listed([str(number) for number in unlearnt])}"
            text += f" In {folds} of {len(context.folds)} no training case has it: such a model will not find it."
        remedy = (
            "Annotate it in more cases, or give folds in which it is on both sides; --fold all trains on every case."
        )
        yield Finding("rare_label", "warning", text, remedy, tuple(having))


def _cases_by_label(reports: Sequence[CaseReport]) -> dict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for report in reports:
        for name in report.marks:
            found[name].add(report.case)
    return found


def _vanishing(context: Context) -> Iterator[Finding]:
    """Labels that are less than half a voxel of the median spacing, which is what training resamples to."""
    if context.fingerprint is None or not context.fingerprint.placed:
        return
    voxel_ml = prod(context.fingerprint.median_spacing_mm) / 1000
    for name in _by_label(context.labelled):
        small = [
            (report.case, report.marks[name])
            for report in context.labelled
            if name in report.marks and report.marks[name].volume_ml < HALF_A_VOXEL * voxel_ml
        ]
        if small:
            told = ", ".join(
                f"{case} ({counted(mark.n_voxels, 'voxel')}, {mark.volume_ml / voxel_ml:.2g} of one)"
                for case, mark in small[:5]
            )
            more = f" and {len(small) - 5} more" if len(small) > 5 else ""
            spacing = " × ".join(f"{mm:.3g}" for mm in context.fingerprint.median_spacing_mm)
            yield Finding(
                "vanishing",
                "warning",
                f"{name} is less than half a voxel of the median spacing ({spacing} mm) in {told}{more}: "
                "resampled to it, nothing of the label is left.",
                "Train on a finer grid (plan.spacing_mm), or look whether these voxels are meant.",
                tuple(case for case, _ in small),
            )


def _filling(reports: Sequence[CaseReport]) -> Iterator[Finding]:
    """A label that is everywhere: a network has nothing to tell it from."""
    for name in _by_label(reports):
        having = [report for report in reports if name in report.marks and report.facts is not None]
        full = [
            report.case
            for report in having
            if report.facts and report.marks[name].n_voxels == sum(report.facts.counts.values())
        ]
        if full:
            text = f"{name} fills the whole image in {len(full)} of {counted(len(reports), 'case')}: {listed(full)}."
            remedy = "Look whether the label map is meant; there is nothing that the label could be told from."
            yield Finding("volume", "warning", text, remedy, tuple(full))


def _unlabelled_slices(reports: Sequence[CaseReport]) -> Iterator[Finding]:
    inside = {report.case: [gap for gap in report.gaps if gap.end is None] for report in reports}
    having = [case for case, gaps in inside.items() if gaps]
    if _is_custom(having, reports):
        yield Finding(
            "unlabelled_slices",
            "note",
            f"{len(having)} of {len(reports)} cases have slices without labels between labelled ones: it seems that "
            "not all slices were drawn.",
            "If so, label maps call background what nobody looked at: train on the drawn slices alone.",
            tuple(having),
        )
    else:
        for report in reports:
            yield from (_forgotten(report, gap) for gap in inside[report.case])
    ends = [(report, gap) for report in reports for gap in report.gaps if gap.end is not None]
    stopping = [(report, gap) for report, gap in ends if _stops(report, gap, reports)]
    if not _is_custom([report.case for report, _ in stopping], reports):
        yield from (_stopped(report, gap, reports) for report, gap in stopping)


def _is_custom(cases: Sequence[str], reports: Sequence[CaseReport]) -> bool:
    return len(reports) > FEWEST_OTHERS and len(set(cases)) > RARE * len(reports)


def _stops(report: CaseReport, gap: Gap, reports: Sequence[CaseReport]) -> bool:
    """Whether labels stop although the object seems to go on: against its fellows' custom, or abruptly."""
    reaching, n = _reaching(report, gap, reports)
    if n >= FEWEST_OTHERS and reaching >= COMMON * n and gap.continuity >= SEEMS_TO_GO_ON:
        return True
    long = gap.last - gap.first + 1 >= LONG_END
    return long and gap.area >= ABRUPT and gap.continuity >= GOES_ON


def _reaching(report: CaseReport, gap: Gap, reports: Sequence[CaseReport]) -> tuple[int, int]:
    """In how many other cases labels reach this end of the image, and in how many that can be said."""
    others = [each.reach for each in reports if each.case != report.case and gap.end in each.reach]
    return sum(reach[gap.end] for reach in others if gap.end is not None), len(others)


def _slices(gap: Gap) -> str:
    if gap.first == gap.last:
        return f"Slice {gap.first} of 0…{gap.n_slices - 1} has"
    return f"Slices {gap.first}…{gap.last} of 0…{gap.n_slices - 1} have"


def _forgotten(report: CaseReport, gap: Gap) -> Finding:
    what = f"no {gap.label}" if gap.label else "no label"
    text = f"{_slices(gap)} {what}, though the slices on both sides have, at the same place."
    return Finding(
        "unlabelled_slices", "warning", text, "Draw the missing slices, or take the case out.", (report.case,)
    )


_ENDS = {"S": "upper", "I": "lower", "L": "left", "R": "right", "A": "front", "P": "back"}


def _stopped(report: CaseReport, gap: Gap, reports: Sequence[CaseReport]) -> Finding:
    reaching, n = _reaching(report, gap, reports)
    end = _ENDS.get(gap.end or "", "last")
    text = (
        f"{_slices(gap)} no label, though the object seems to go on: at the last labelled slice it is cut off at "
        f"{gap.area:.0%} of its median area, and the next slice shows the same ({gap.continuity:.0%} as alike as "
        "labelled neighbours)."
    )
    if n >= FEWEST_OTHERS and reaching >= COMMON * n:
        text += f" In {reaching} of {n} other cases labels reach the {end} end of the image."
    remedy = "Draw the missing slices, crop the scan to the labelled ones, or take the case out."
    return Finding("unlabelled_slices", "warning", text, remedy, (report.case,))


def _islands(reports: Sequence[CaseReport]) -> Iterator[Finding]:
    whole = {name: marks for name, marks in _by_label(reports).items() if _median_share(marks) >= ONE_PIECE}
    found = [(report, name, report.marks[name]) for report in reports for name in report.marks if name in whole]
    found = [(report, name, mark) for report, name, mark in found if mark.n_islands]
    cases = tuple(dict.fromkeys(report.case for report, _, _ in found))
    # Told one by one only where few cases have any: labels made by propagation have them everywhere.
    if _is_custom(cases, reports):
        by_label = Counter(name for _, name, _ in found)
        told = ", ".join(f"{name} ({n})" for name, n in by_label.most_common(5))
        more = f" and {len(by_label) - 5} more" if len(by_label) > 5 else ""
        n_islands = sum(mark.n_islands for _, _, mark in found)
        yield Finding(
            "island",
            "note",
            f"{len(cases)} of {len(reports)} cases have small islands apart from a label's main piece, {n_islands} in "
            f"all; by label (and cases): {told}{more}.",
            "Remove islands if the labels are to be in one piece each; they raise distances such as HD.",
            cases,
        )
        return
    for report, name, mark in found:
        if np.median([each.n_pieces for each in whole[name]]) <= FEW_PIECES:
            yield _stray(report, name, mark)


def _by_label(reports: Sequence[CaseReport]) -> dict[str, list[Mark]]:
    marks: defaultdict[str, list[Mark]] = defaultdict(list)
    for report in reports:
        for name, mark in report.marks.items():
            marks[name].append(mark)
    return marks


def _median_share(marks: Sequence[Mark]) -> float:
    return float(np.median([mark.largest_share for mark in marks]))


def _stray(report: CaseReport, name: str, mark: Mark) -> Finding:
    first = mark.islands[0]
    where = f"at voxel {first.voxel} (counted from 0), {first.distance_mm:.3g} mm from the main piece"
    voxels = f"{first.n_voxels} voxel{'s' if first.n_voxels > 1 else ''}"
    text = f"{name}: an island of {voxels} ({mark.n_voxels} in all) {where}."
    if mark.n_islands > 1:
        text = f"{name}: {mark.n_islands} small islands; the smallest has {voxels}, {where}."
    return Finding("island", "warning", text, "Remove it, unless it was meant.", (report.case,))


def _volumes(context: Context) -> Iterator[Finding]:
    """Cases in which a label's volume stands out: one by one, or as a group where they are many.

    A map with voxels to ignore holds a part of its labels, whose volume says nothing.
    """
    whole = [report for report in context.labelled if not report.ignored_share]
    for name in _by_label(whole):
        having = [report for report in whole if name in report.marks]
        volumes = [report.marks[name].volume_ml for report in having]
        odd = standing_out([log(volume) for volume in volumes], LEAST_LOG_SD_VOLUME)
        if not odd:
            continue
        is_placed = all(report.facts is not None and report.facts.grid.placed for report in having)
        usual = f"the median of {len(having)} cases is {_amount(float(np.median(volumes)), is_placed)}"
        if are_few(len(odd), len(having)):
            for row in odd:
                text = f"{name} has {_amount(volumes[row], is_placed)}; {usual}."
                yield Finding("volume", "warning", text, "Look at the labels of this case.", (having[row].case,))
        else:
            low, high = (_amount(end([volumes[row] for row in odd]), is_placed) for end in (min, max))
            text = f"{name}: volumes fall into groups; {len(odd)} cases have {low} to {high}, and {usual}."
            cases = tuple(having[row].case for row in odd)
            yield Finding("volume", "note", text, "See whether these cases have something in common.", cases)


def _amount(volume_ml: float, is_placed: bool) -> str:
    return f"{volume_ml:.3g} ml" if is_placed else f"{volume_ml * 1000:.0f} voxels"
