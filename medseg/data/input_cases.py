"""What was found to predict, as one value: cases, those that cannot be used, and what is to be said of the rest."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from medseg.data.channel_order import ModelChannels
from medseg.data.dataset import BadCase, Case
from medseg.data.modality import left_out
from medseg.data.pictures import is_rgb

__all__ = ["Inputs"]


@dataclass
class Inputs:
    """The cases to predict, and what is to be said of the rest.

    Attributes:
        cases: What can be predicted.
        problems: What belongs to the inputs by name but cannot be used: it fails by name, and the others go on.
        notes: What was left out: a sentence each.
        remarks: What needs no action: a sentence each.
        channels: What the channels of all cases are called, where no model says it and the files do.
    """

    cases: list[Case] = field(default_factory=list)
    problems: list[BadCase] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    channels: tuple[str, ...] = ()
    n_by_order: int = field(default=0)
    """How many cases have channels whose order counts, for want of names."""
    n_other_modality: Counter[str] = field(default_factory=Counter)
    """How many series were left out for their modality, by modality."""

    def add(self, cases: Iterable[Case], *, by_order: bool) -> None:
        before = len(self.cases)
        self.cases += cases
        self.n_by_order += (len(self.cases) - before) * by_order

    def counted(self, model: ModelChannels) -> tuple[str, ...]:
        """The remarks on what was counted: once, however many cases it holds of."""
        other_modality = (left_out(self.n_other_modality, model.names[0]),) if self.n_other_modality else ()
        return (*_order_remark(self.n_by_order, model), *other_modality)


def _order_remark(n_cases: int, model: ModelChannels) -> tuple[str, ...]:
    """The remark on cases whose channels go in by their order."""
    if n_cases == 0 or model.n == 1 or is_rgb(model.names):
        return ()
    if not model.are_named:
        return (f"The model has no names for its {model.n} channels: those of the cases are taken in their order.",)
    cases = "1 case has" if n_cases == 1 else f"{n_cases} cases have"
    return (f"{cases} no names for the channels: their order counts, and they are taken for {', '.join(model.names)}.",)
