"""Left and right: labels whose names say a side against the side on which they lie.

World x runs to the patient's right (RAS), so the left of a pair has the smaller x. A data set in which all cases have
it the other way has mirrored headers or names; a single case (or a pair in it) that differs from all others was
swapped. Where grids have no place in space only the comparison among cases is left.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medseg.data.dataset import listed
from medseg.inspect.context import Context
from medseg.inspect.findings import Finding

__all__ = ["findings", "pairs_of"]

_LEFT = frozenset({"left", "l", "lt", "lh", "sin", "sinister", "links", "gauche"})
_RIGHT = frozenset({"right", "r", "rt", "rh", "dex", "dexter", "rechts", "droit", "droite"})

AGREEMENT = 0.8
"""So many pairs of a data set must agree to say which way it has left and right."""

FEWEST_OTHERS = 3
"""One case is wrong only if so many others agree against it."""

LEAST_DISTANCE = 0.1
"""Of the image's width: structures that lie closer along x (both at the midline) say nothing about sides."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """One pair in one case: whether its left label has the smaller x."""

    case: str
    left: str
    right: str
    is_left: bool


def pairs_of(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Names that differ in the side alone, (left, right), in the order of the left ones.

    >>> pairs_of(["Left Hippocampus", "kidney_r", "kidney_l", "Right Hippocampus", "liver"])
    (('Left Hippocampus', 'Right Hippocampus'), ('kidney_l', 'kidney_r'))
    """
    left, right = ({key: name for name in names if (key := _key(name, side))} for side in (_LEFT, _RIGHT))
    return tuple((name, right[key]) for key, name in left.items() if key in right)


def findings(context: Context) -> Iterator[Finding]:
    """All findings of this kind on a data set."""
    seen = list(_seen(context))
    if not seen:
        return
    n_left = sum(each.is_left for each in seen)
    cases = list(dict.fromkeys(each.case for each in seen))
    usual = n_left * 2 >= len(seen)
    n_usual = max(n_left, len(seen) - n_left)
    if n_usual < AGREEMENT * len(seen):
        return
    if not usual and all(report.facts.grid.placed for report in context.labelled if report.facts):
        yield _mirrored(seen, cases, n_usual)
    if len(cases) > FEWEST_OTHERS:
        for case in cases:
            own = [each for each in seen if each.case == case]
            odd = [each for each in own if each.is_left != usual]
            others = [each for each in seen if each.case != case and each.is_left == usual]
            if odd and len({each.case for each in others}) >= FEWEST_OTHERS:
                yield _swapped(case, odd, own, seen, usual)


def _key(name: str, side: frozenset[str]) -> tuple[str, ...] | None:
    """A name's words less the one that says this side; None if it does not say it exactly once."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)
    folded = [word.lower() for word in words]
    if sum(word in side for word in folded) != 1 or len(folded) < 2:
        return None
    return tuple("" if word in side else word for word in folded)


def _seen(context: Context) -> Iterator[_Seen]:
    for report in context.labelled:
        if report.facts is None:
            continue
        grid = report.facts.grid
        least_mm = LEAST_DISTANCE * grid.shape[0] * grid.spacing_mm[0]
        for left, right in pairs_of(list(report.marks)):
            apart_mm = report.marks[right].centre_mm[0] - report.marks[left].centre_mm[0]
            if abs(apart_mm) >= least_mm:
                yield _Seen(report.case, left, right, apart_mm > 0)


def _mirrored(seen: Sequence[_Seen], cases: Sequence[str], n: int) -> Finding:
    names = {each.left: each.right for each in seen if not each.is_left}
    left, right = next(iter(names.items()))
    where = "all" if n == len(seen) else f"{n} of {len(seen)}"
    return Finding(
        "mirrored_sides",
        "warning",
        f"In {where} pairs of {len(cases)} cases the label called left lies to the patient's right of its partner, "
        f"by the headers ({left} and {right}, and {len(names) - 1} other pairs): headers or names are mirrored.",
        "Find out which: swap the names in dataset.json, or correct the headers. Until then never mix these cases with "
        "others, and leave mirroring out of augmentation (medseg's default).",
        tuple(cases),
    )


def _swapped(case: str, odd: Sequence[_Seen], own: Sequence[_Seen], seen: Sequence[_Seen], usual: bool) -> Finding:
    n_others = len({each.case for each in seen if each.case != case})
    names = listed([f"{each.left}/{each.right}" for each in odd], 3)
    what = "All pairs" if len(odd) == len(own) > 1 else f"{len(odd)} of {len(own)} pairs"
    lies = "left of" if not usual else "right of"
    return Finding(
        "swapped_sides",
        "error",
        f"{what} of left and right labels lie the other way round than in {n_others} other cases ({names}): the one "
        f"called left lies {lies} its partner.",
        "Swap the two labels in this case, or correct its header if the whole image is mirrored.",
        (case,),
    )
