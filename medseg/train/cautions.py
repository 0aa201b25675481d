"""What a user should know of a fold before it is trained: what it cannot learn, and what cannot judge it.

Facts that hold of a data set need not hold of a fold: a label may occur in validation cases alone. Pure functions of
what was measured; who calls decides how it is told.
"""

from collections.abc import Iterator, Mapping, Sequence

from medseg.core.errors import InputError
from medseg.core.labels import Labels
from medseg.core.words import counted
from medseg.data.contrast import Flattened
from medseg.data.dataset import listed, natural_key
from medseg.data.splits import Fold
from medseg.plan.plan import Plan

__all__ = ["NO_JUDGE", "flattened_cautions", "fold_cautions", "vanished_caution"]

NO_JUDGE = "nothing will tell how good this model is"

Counts = Mapping[str, Mapping[int, int]]
"""Voxels of each value by case."""


def fold_cautions(counts: Counts, labels: Labels, fold: Fold, name: int | str) -> Iterator[str]:
    """Sentences on what this fold cannot learn or judge.

    Args:
        counts: Of every case of the fold.
        labels: What the values mean.
        fold: Who trains and who validates.
        name: What the fold is called.

    Raises:
        InputError: No case that trains has a voxel of any label.
    """
    unlearnt = [label for label in labels.names if not _having(counts, fold.train, labels.values[label])]
    tested = {label: _having(counts, fold.validation, labels.values[label]) for label in unlearnt}
    if len(unlearnt) == len(labels.names):
        where = listed({case for cases in tested.values() for case in cases})
        raise InputError(
            f"No case that fold {name} trains on has a voxel of {listed(labels.names)}; only {where}, held out for "
            "validation. Choose another --fold, give other folds (splits_final.json), or use --fold all."
        )
    for label in unlearnt:
        if tested[label]:
            yield (
                f"{label} occurs in no case that fold {name} trains on, only in {listed(tested[label])}, which "
                f"{'validates' if len(tested[label]) == 1 else 'validate'}: this model will not find it. "
                "Choose another --fold, give other folds (splits_final.json), or use --fold all."
            )
    yield from _ignored_cautions(counts, labels, fold)


def _ignored_cautions(counts: Counts, labels: Labels, fold: Fold) -> Iterator[str]:
    for role, cases in (("train on", fold.train), ("validate", fold.validation)):
        ignored = [case for case in cases if set(counts[case]) == {labels.ignore}]
        if not ignored:
            continue
        what = f"{listed(ignored)} {'is' if len(ignored) == 1 else 'are'} to be ignored as a whole"
        if role == "train on":
            yield f"{what}: there is nothing to learn from {'it' if len(ignored) == 1 else 'them'}."
        elif len(ignored) == len(cases):
            yield f"{what}, and no other case is held out for validation: {NO_JUDGE}."
        else:
            yield f"{what}: left out of validation; {len(cases) - len(ignored)} of {len(cases)} cases judge."


def _having(counts: Counts, cases: Sequence[str], values: Sequence[int]) -> list[str]:
    return [case for case in cases if any(counts[case].get(value) for value in values)]


def flattened_cautions(flattened: Mapping[str, Mapping[str, Flattened]], plan: Plan) -> Iterator[str]:
    """A sentence on each channel that the plan's normalisation leaves without contrast in some cases."""
    for channel, way in zip(plan.channels, plan.preprocessing.normalisation, strict=True):
        cases = flattened.get(channel, {})
        if way.scheme == "percentile":
            cases = {case: each for case, each in cases.items() if each.by_percentiles}
        if cases and way.scheme in ("zscore", "percentile"):
            first = min(cases, key=natural_key)
            rest = [case for case in cases if case != first]
            others = f" The same holds of {listed(rest)}." if rest else ""
            yield f"{channel} of {first}: {cases[first]}; a network sees next to nothing.{others} {cases[first].remedy}"


def vanished_caution(vanished: Mapping[str, Mapping[str, int]], n_having: Mapping[str, int], plan: Plan) -> str:
    """A sentence on labels of which the plan grid holds no voxel any more.

    Args:
        vanished: By label, the cases and how many voxels each had on its own grid.
        n_having: By label, how many cases had it on their own grid.
        plan: With its spacing.
    """
    parts = []
    for label, cases in vanished.items():
        few = dict(sorted(cases.items(), key=lambda each: natural_key(each[0]))[:5])
        more = f" and {len(cases) - len(few)} more" if len(cases) > len(few) else ""
        told = ", ".join(f"{case} ({counted(n, 'voxel')})" for case, n in few.items())
        parts.append(f"{label} in {len(cases)} of the {n_having[label]} training cases that have it: {told}{more}")
    spacing = " × ".join("own" if mm is None else f"{mm:.3g}" for mm in plan.preprocessing.spacing_mm)
    return (
        f"Too small for the plan grid ({spacing} mm), where nothing is left to learn from: {'; '.join(parts)}. "
        "A finer plan.spacing_mm keeps more."
    )
