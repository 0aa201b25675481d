"""Series as the channels of a model by what they are called: the T1 and the T2 of one examination.

A series is called by its modality, by the folder that it lies in, and by its SeriesDescription, which is compared and
never written. A channel is the one series of a patient (else of a study) that is called as it is; nothing is guessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from medseg.data.channel_order import ModelChannels, channel_key
from medseg.data.dataset import BadCase, Case, listed
from medseg.data.series import SeriesCase

__all__ = ["NamedSeries", "named_series"]


_WAYS = 3
"""A series is called by its description, its folder, its modality."""


@dataclass(frozen=True)
class NamedSeries:
    """The cases that series make by their names, examinations that lack a channel, and how many series are none."""

    cases: tuple[Case, ...]
    problems: tuple[BadCase, ...]
    n_others: int


def named_series(series: Sequence[SeriesCase], model: ModelChannels) -> NamedSeries | None:
    """The series as channels by their names; None where no examination has all of them."""
    if not model.are_named:
        return None
    cases, problems, n_used = list[Case](), list[BadCase](), 0
    for examination in _examinations(series, model):
        found = [_called(examination, key) for key in model.keys]
        chosen = [each[0] for each in found if len(each) == 1]
        if len(chosen) == model.n and len({id(each) for each in chosen}) == model.n:
            cases.append(_case(chosen))
            n_used += model.n
        elif any(found):
            problems.append(_problem(examination, found, model))
            n_used += sum(map(len, found))
    return NamedSeries(tuple(cases), tuple(problems), len(series) - n_used) if cases else None


def _examinations(series: Sequence[SeriesCase], model: ModelChannels) -> list[list[SeriesCase]]:
    """The series of each patient together; of one who has several for a channel, those of each study."""
    of_patient: dict[str, list[SeriesCase]] = {}
    for each in series:
        of_patient.setdefault(each.group, []).append(each)
    result = []
    for mine in of_patient.values():
        studies: dict[str, list[SeriesCase]] = {}
        for each in mine:
            studies.setdefault(each.entry.study, []).append(each)
        is_one = all(len(_called(mine, key)) < 2 for key in model.keys)
        result += [mine] if is_one else list(studies.values())
    return result


def _called(series: Sequence[SeriesCase], key: str) -> list[SeriesCase]:
    """The series that are called as a channel, by the words that say most: description, folder, modality."""
    for number in range(_WAYS):
        found = [each for each in series if key in map(channel_key, _names(each)[number])]
        if found:
            return found
    return []


def _names(series: SeriesCase) -> tuple[Sequence[str], ...]:
    """What a series is called, in the order in which it counts."""
    return ((series.entry.description,), series.image.parts[-2:], (series.entry.modality,))


def _case(channels: Sequence[SeriesCase]) -> Case:
    first = channels[0]
    # A folder that holds several series is told by UIDs, one for each channel.
    uids = "+".join(each.entry.uid for each in channels)
    read = {"series": uids} if any(each.read for each in channels) and all(each.entry.uid for each in channels) else {}
    return Case(first.id, tuple(each.image for each in channels), None, first.group, read=read)


def _problem(series: Sequence[SeriesCase], found: Sequence[Sequence[SeriesCase]], model: ModelChannels) -> BadCase:
    first = next(each[0] for each in found if each)
    lacking = [name for name, each in zip(model.names, found, strict=True) if not each]
    several = [name for name, each in zip(model.names, found, strict=True) if len(each) > 1]
    parts = [
        *([f"has no series called {listed(lacking)}"] if lacking else []),
        *([f"has several series called {listed(several)}"] if several else []),
    ] or ["has one series for two channels"]
    reason = f"Case {first.id} {' and '.join(parts)}, and the model has {model}. Say in a table which series is which."
    return BadCase(first.id, reason, tuple(each.image for each in series))
