"""Series of several modalities as the channels of one case: the CT and the PET of one examination.

A series of the first modality is a case; of each further modality it takes the series of the same patient that lies in
the same frame of reference, else the one of the same study. Where there is none, or where two would do, the case is
incomplete, in words. Two series of one modality (T1 and T2) cannot be told apart here; a table can. No file is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from medseg.data.dataset import Case, LabelSource
from medseg.data.series import SeriesCase

__all__ = ["ChannelSeries", "channel_series"]


@dataclass(frozen=True)
class ChannelSeries:
    """A series of the first modality, and those that could be its further channels.

    Attributes:
        first: The series that gives the case its grid, its id and its labels.
        candidates: By further modality, in order, the series that could be that channel.
    """

    first: SeriesCase
    candidates: dict[str, tuple[SeriesCase, ...]]

    @property
    def is_clear(self) -> bool:
        """Whether there is one series for each channel."""
        return all(len(each) == 1 for each in self.candidates.values())

    @property
    def problem(self) -> str | None:
        """Why this is no case, or why it cannot be read; None if it is one."""
        for modality, found in self.candidates.items():
            if not found:
                return (
                    f"Case {self.first.id} has a {self.first.entry.modality} series and no {modality} series in its "
                    "frame of reference or its study."
                )
            if len(found) > 1:
                numbers = ", ".join(each.entry.number or f"…{each.entry.uid[-8:]}" for each in found)
                return (
                    f"Case {self.first.id} has {len(found)} {modality} series in its frame of reference (series "
                    f"{numbers}), and nothing says which one is meant. Name it in a table (image_{modality})."
                )
        return next((each.entry.problem for each in self.chosen if each.entry.problem is not None), None)

    @property
    def ways(self) -> tuple["ChannelSeries", ...]:
        """Each way to choose one series a channel, as far as there are any."""
        choices = product(*(found or (None,) for found in self.candidates.values()))
        return tuple(
            ChannelSeries(
                self.first,
                {m: (one,) if one else () for m, one in zip(self.candidates, choice, strict=True)},
            )
            for choice in choices
        )

    @property
    def chosen(self) -> tuple[SeriesCase, ...]:
        """A series a channel, as far as there are any: the first that would do."""
        return (self.first, *(found[0] for found in self.candidates.values() if found))

    def case(self, label: LabelSource | None = None) -> Case:
        """The case of `chosen`."""
        series = self.chosen
        # A folder that holds several series is told by UIDs, of which a case then names one for each channel.
        uids = "+".join(each.entry.uid for each in series)
        read = {"series": uids} if any(each.read for each in series) and all(each.entry.uid for each in series) else {}
        first = self.first
        patient = {} if label is None else {"patient": first.group}
        return Case(first.id, tuple(each.image for each in series), label, first.group, attributes=patient, read=read)


def channel_series(series: Sequence[SeriesCase], modalities: Sequence[str]) -> tuple[ChannelSeries, ...]:
    """The cases that series of these modalities (as DICOM writes them) make, in the order of the first modality's."""
    first, *further = modalities
    return tuple(
        ChannelSeries(each, {modality: _partners(each, series, modality) for modality in further})
        for each in series
        if each.entry.modality.upper() == first
    )


def _partners(first: SeriesCase, series: Sequence[SeriesCase], modality: str) -> tuple[SeriesCase, ...]:
    """The series of a modality that belong to one of another: by the frame of reference, else by the study."""
    of_patient = [
        each for each in series if each.entry.modality.upper() == modality and each.entry.patient == first.entry.patient
    ]
    frame, study = first.entry.frame_of_reference, first.entry.study
    for together in (
        [each for each in of_patient if frame and each.entry.frame_of_reference == frame],
        [each for each in of_patient if study and each.entry.study == study],
    ):
        # A scout or a report beside the volume is no second candidate, and a visit has its own study.
        together = [each for each in together if each.entry.problem is None] or together
        together = [each for each in together if each.entry.study == study] or together
        if together:
            return tuple(together)
    return ()
