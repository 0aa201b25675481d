"""What belongs together: cases of one patient, or neighbouring sections, must never lie on both sides of a fold.

A rule (`data.group`) names the groups: a pattern with one pair of parentheses matched on the case id, "block:5" for
runs of five neighbouring cases in natural order, or the name of a column of the data set's table. Names only; no files.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from medseg.core.errors import UsageError
from medseg.data.dataset import Case, listed, natural_key, whole_number

__all__ = ["by_patient", "divided_patients", "grouped"]

_WAYS = 'Use a pattern with one group such as "^(ms\\d+)", "block:5", or a column of the data set\'s table.'


def grouped(cases: Sequence[Case], rule: str) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """The cases with their groups set by `rule`, in the order given, and what there is to say about it.

    Raises:
        UsageError: The rule is not one of the three, or fits no case.
    """
    if rule.startswith("block:"):
        return _by_block(cases, rule)
    if any(rule in case.attributes for case in cases):
        return _by_column(cases, rule)
    columns = {name for case in cases for name in case.attributes}
    nearest = get_close_matches(rule, columns, 1, 0.7)
    if nearest:
        raise UsageError(f'data.group is "{rule}", and the table has no such column; did you mean "{nearest[0]}"?')
    return _by_pattern(cases, rule)


def by_patient(cases: Sequence[Case], patient_of: Mapping[str, str]) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """The cases that are in no group yet, grouped by patient, and what there is to say about it.

    Args:
        cases: Some of them in groups of their own.
        patient_of: Case id → patient, for the cases where that is known. Patients are never named.
    """
    several = [each for each in _members(cases, patient_of) if all(case.group == case.id for case in each)]
    group_of = {case.id: each[0].id for each in several for case in each}
    if not group_of:
        return tuple(cases), ()
    note = f"{len(group_of)} cases are of {len(several)} patients by their DICOM headers and stay together."
    return tuple(replace(case, group=group_of.get(case.id, case.group)) for case in cases), (note,)


def divided_patients(cases: Sequence[Case], patient_of: Mapping[str, str]) -> tuple[str, ...]:
    """The note on patients whose cases are in different groups, if there are any."""
    divided = [each for each in _members(cases, patient_of) if len({case.group for case in each}) > 1]
    if not divided:
        return ()
    examples = "; ".join(listed([case.id for case in each], 3) for each in divided[:3])
    return (
        f"Cases of one patient by their DICOM headers are in different groups ({examples}): "
        "a fold may be validated on somebody whom it was trained on.",
    )


def _members(cases: Sequence[Case], patient_of: Mapping[str, str]) -> list[list[Case]]:
    """The cases of each patient who has more than one."""
    members: dict[str, list[Case]] = {}
    for case in cases:
        if case.id in patient_of:
            members.setdefault(patient_of[case.id], []).append(case)
    return [each for each in members.values() if len(each) > 1]


def _by_column(cases: Sequence[Case], rule: str) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    lone = [case.id for case in cases if not case.attributes.get(rule)]
    result = tuple(replace(case, group=case.attributes.get(rule) or case.id) for case in cases)
    if not lone:
        return result, ()
    return result, (f'{len(lone)} cases have nothing in "{rule}" and are a group each: {listed(lone)}.',)


def _by_block(cases: Sequence[Case], rule: str) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    size = rule.removeprefix("block:")
    length = whole_number(size)
    if not length:
        raise UsageError(f'data.group is "{rule}": after "block:" goes how many neighbouring cases, as in "block:5".')
    ordered = sorted((case.id for case in cases), key=natural_key)
    blocks = [ordered[start : start + length] for start in range(0, len(ordered), length)]
    group_of = {name: f"{block[0]}…{block[-1]}" for block in blocks for name in block}
    note = f"{len(cases)} cases in {len(blocks)} blocks of up to {size} neighbours, by the order of their ids."
    return tuple(replace(case, group=group_of[case.id]) for case in cases), (note,)


def _by_pattern(cases: Sequence[Case], rule: str) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise UsageError(f'data.group is "{rule}", which is no valid pattern: {error}. {_WAYS}') from error
    if pattern.groups != 1:
        raise UsageError(
            f'data.group is "{rule}": it has {pattern.groups} groups in parentheses and must have one. {_WAYS}'
        )
    matches = [pattern.search(case.id) for case in cases]
    lone = [case.id for case, match in zip(cases, matches, strict=True) if not (match and match[1])]
    if cases and len(lone) == len(cases):
        raise UsageError(f"data.group is \"{rule}\", which matches no case id (the first is '{cases[0].id}'). {_WAYS}")
    result = tuple(
        replace(case, group=match[1] if match and match[1] else case.id)
        for case, match in zip(cases, matches, strict=True)
    )
    n_groups = len({case.group for case in result})
    note = f'{len(cases)} cases in {n_groups} groups by the pattern "{rule}".'
    if lone:
        note += f" It matches {len(lone)} of them not: each of those is a group of its own."
    return result, (note,)
