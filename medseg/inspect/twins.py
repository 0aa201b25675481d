"""What should not be on both sides of a split: one image twice, one patient, neighbouring sections.

Images are compared by their voxels and thumbnails (`likeness`), patients by what DICOM says and by the names of cases.
Whatever is in one group already stays together and needs no word.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from medseg.data.dataset import listed
from medseg.inspect.context import Context
from medseg.inspect.findings import Finding
from medseg.inspect.likeness import Neighbourhood, Pair, near_pairs, neighbourhood
from medseg.inspect.report import CaseReport

__all__ = ["findings", "pattern_of"]

MOSTLY_NEIGHBOURS = 0.5
"""If every other case is most like its neighbour, the cases are a sequence: sections of a block, frames of a film."""

OFTEN_NEIGHBOURS = 5.0
LEAST_NEIGHBOURS = 0.1
"""So many times more often than by chance, and in so many cases: some neighbours belong together (sides, visits)."""

FEWEST = 10
"""Of fewer cases chance alone makes neighbours."""

_KEEP = (
    'Keep one of them, or keep them in one fold: --set "data.group=…", by a pattern on the ids or a column of a table.'
)


def findings(context: Context) -> Iterator[Finding]:
    """All findings of this kind on a data set."""
    reports = [report for report in context.measured if report.likeness is not None]
    exact = _identical(reports)
    yield from (_same(cluster, context) for cluster in exact)
    twins = {frozenset((a.case, b.case)) for cluster in exact for a in cluster for b in cluster if a is not b}
    thumbnails = [report.likeness.thumbnail if report.likeness else None for report in reports]
    near = [pair for pair in near_pairs(thumbnails) if _ids(reports, pair) not in twins]
    near = [pair for pair in near if not _together(context, *_ids(reports, pair))]
    next_to = _sequence(context)
    if next_to is not None and next_to.severity == "warning":
        # Of a sequence, what lies next to each other is alike by nature.
        near = [pair for pair in near if abs(pair.first - pair.second) > 1]
    yield from (_nearly(reports, pair, context) for pair in near)
    if next_to is not None:
        yield next_to
    yield from _patients(context)
    yield from _names(context, near, reports)


def pattern_of(ids: Sequence[str]) -> tuple[str, dict[str, list[str]]] | None:
    """The longest beginning of ids that ends in a number and that several ids share, as a pattern for `data.group`.

    >>> pattern_of(["ms07_L_z016", "ms07_R_z016", "ms19_L_z016"])[0]
    '^(ms[0-9]+)'
    >>> pattern_of(["slice_01", "slice_02"]) is None
    True
    """
    parts = [re.findall(r"[0-9]+|[A-Za-z]+|[^0-9A-Za-z]+", name) for name in ids]
    shortest = min((len(each) for each in parts), default=0)
    for length in range(shortest, 0, -1):
        heads = [each[:length] for each in parts]
        if not all(head[-1].isdigit() for head in heads):
            continue
        groups: dict[str, list[str]] = defaultdict(list)
        for name, head in zip(ids, heads, strict=True):
            groups["".join(head)].append(name)
        pattern = _pattern(heads)
        if 1 < len(groups) < len(ids) and all(_first(pattern, n) == g for g, names in groups.items() for n in names):
            return pattern, dict(groups)
    return None


def _pattern(heads: Sequence[Sequence[str]]) -> str:
    words = []
    for alike in zip(*heads, strict=True):
        if alike[0].isdigit():
            words.append("[0-9]+")
        else:
            words.append(re.escape(alike[0]) if len(set(alike)) == 1 else "[A-Za-z]+")
    return f"^({''.join(words)})"


def _first(pattern: str, name: str) -> str | None:
    match = re.search(pattern, name)
    return match[1] if match else None


def _identical(reports: Sequence[CaseReport]) -> list[list[CaseReport]]:
    """Cases with the same voxels; blank images are alike by nature."""
    by_digest: dict[str, list[CaseReport]] = defaultdict(list)
    for report in reports:
        if report.likeness is not None and report.likeness.thumbnail is not None:
            by_digest[report.likeness.digest].append(report)
    return [cluster for cluster in by_digest.values() if len(cluster) > 1]


def _same(cluster: Sequence[CaseReport], context: Context) -> Finding:
    cases = tuple(report.case for report in cluster)
    text = f"{listed(cases)} have the same image, voxel for voxel"
    maps = {report.label_digest for report in cluster if report.label_digest}
    if sum(bool(report.label_digest) for report in cluster) > 1:
        text += ", and the same label map" if len(maps) == 1 else ", but label maps that differ"
    if _crosses_test(cluster):
        text += ". Some are kept for testing and some are trained on: figures on them would be no test."
        return Finding("two_splits", "error", text, "Take them out of one of the two.", cases)
    text += f".{_fold_words(cases, context)}"
    return Finding("duplicate", "note" if _together(context, *cases) else "warning", text, _KEEP, cases)


def _nearly(reports: Sequence[CaseReport], pair: Pair, context: Context) -> Finding:
    first, second = reports[pair.first], reports[pair.second]
    cases = (first.case, second.case)
    text = (
        f"{first.case} and {second.case} show nearly the same (their thumbnails correlate by {pair.correlation:.2f}): "
        "one scan in two versions, or one patient twice."
    )
    if _crosses_test((first, second)):
        text += " One of them is kept for testing."
    return Finding("near_duplicate", "warning", text + _fold_words(cases, context), _KEEP, cases)


def _crosses_test(cluster: Sequence[CaseReport]) -> bool:
    roles = {report.role for report in cluster}
    return "test" in roles and len(roles) > 1


def _fold_words(cases: Sequence[str], context: Context) -> str:
    for number, part in enumerate(context.folds):
        trained, held_out = ([case for case in cases if case in side] for side in (part.train, part.validation))
        if trained and held_out:
            return f" In fold {number} {trained[0]} would be trained on and {held_out[0]} validated."
    return ""


def _ids(reports: Sequence[CaseReport], pair: Pair) -> frozenset[str]:
    return frozenset((reports[pair.first].case, reports[pair.second].case))


def _together(context: Context, *cases: str) -> bool:
    return len({context.group(case) for case in cases}) == 1


def _sequence(context: Context) -> Finding | None:
    """What the likeness of neighbours by name says."""
    reports = [report for report in context.labelled if report.likeness is not None]
    if len(reports) < FEWEST or len({context.group(report.case) for report in reports}) < len(reports):
        return None
    alike = neighbourhood([report.likeness.thumbnail if report.likeness else None for report in reports])
    text = (
        f"{alike.n_neighbours} of {alike.n} cases are most like their neighbour by name, where chance would have "
        f"{alike.expected:.0f}"
    )
    if alike.share >= MOSTLY_NEIGHBOURS:
        return Finding(
            "neighbours",
            "warning",
            f"{text}: they seem to be neighbouring sections of one thing. Split at random, each section would be "
            "validated by a model that has seen the one beside it.",
            'Split by blocks: --set "data.group=block:5".',
        )
    return _often(alike, text)


def _often(alike: Neighbourhood, text: str) -> Finding | None:
    if alike.share < LEAST_NEIGHBOURS or alike.n_neighbours < OFTEN_NEIGHBOURS * alike.expected:
        return None
    return Finding(
        "neighbours",
        "note",
        f"{text}: some of them may be of one person (two sides, two visits).",
        'If so, keep them together: --set "data.group=…", by a pattern on the ids or a column of a table.',
    )


def _patients(context: Context) -> Iterator[Finding]:
    """Patients whom DICOM names on both sides: in training and kept for testing."""
    roles: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for report in context.reports:
        if report.case in context.patients:
            side = "test" if report.role == "test" else "training"
            roles[context.patients[report.case]][side].append(report.case)
    for sides in roles.values():
        if len(sides) > 1:
            yield Finding(
                "two_splits",
                "error",
                f"One patient, by the DICOM headers, is in training ({listed(sides['training'])}) and kept for testing "
                f"({listed(sides['test'])}): figures on them would be no test.",
                "Move all scans of a patient to one side.",
                (*sides["training"], *sides["test"]),
            )


def _names(context: Context, near: Sequence[Pair], reports: Sequence[CaseReport]) -> Iterator[Finding]:
    """A hint from the names of cases that are in no group yet."""
    ids = [report.case for report in context.labelled]
    if len({context.group(case) for case in ids}) < len(ids):
        return
    found = pattern_of(ids)
    if found is None:
        return
    pattern, groups = found
    several = [names for names in groups.values() if len(names) > 1]
    backed = [pair for pair in near if any(_ids(reports, pair) <= set(names) for names in several)]
    examples = "; ".join(listed(names, 3) for names in several[:3])
    text = f"By their names, {len(ids)} cases come from {len(groups)} patients (or sites): {examples}"
    text += " and so on." if len(several) > 3 else "."
    if backed:
        text += " Images bear it out: some of these show nearly the same."
    remedy = f"If a name's beginning is a patient, keep patients together: --set 'data.group={pattern}'."
    yield Finding("groups", "warning" if backed else "note", text, remedy, tuple(n for names in several for n in names))
