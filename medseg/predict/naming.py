"""What labels are called and coded in what a prediction writes, where that is not as in training.

Values stay: they are what the network learned. Only names, codes and colours change, everywhere that a prediction tells
them: in masks that hold names, label descriptions, previews, DICOM objects, volumes and records.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from medseg.config.schema import LabelConfig, LabelOutput
from medseg.core.errors import UsageError
from medseg.core.labels import Labels, folded
from medseg.core.volume import LabelMap
from medseg.model import Model

__all__ = ["Naming", "naming"]


@dataclass(frozen=True)
class Naming:
    """Labels as they are written.

    Attributes:
        labels: The model's, by their new names.
        codes: By new name what is declared of a label for DICOM.
        names: Name in training → name in what is written.
    """

    labels: Labels
    codes: Mapping[str, LabelConfig]
    names: Mapping[str, str]

    def renamed(self, label_map: LabelMap) -> LabelMap:
        return label_map if label_map.labels is None else replace(label_map, labels=self.labels)

    def by_new_names(self, by_label: Mapping[str, Any]) -> dict[str, Any]:
        return {self.names.get(name, name): value for name, value in by_label.items()}


def naming(model: Model, wishes: Mapping[str, LabelOutput]) -> Naming:
    """The names and codes of a model's labels, with what the user wishes otherwise.

    Args:
        model: The model.
        wishes: Label of the model (upper and lower case are alike) → what to change of it.

    Raises:
        UsageError: The model has no such label, or two labels would have one name.
    """
    labels = model.plan.label_names
    wanted = {_known(name, labels): wish for name, wish in wishes.items()}
    names = {name: (wanted[name].name or name) if name in wanted else name for name in labels.names}
    _refuse_twins(names)
    codes = {names[name]: code for name, code in model.codes.items() if name in names}
    for name, wish in wanted.items():
        changes = wish.model_dump(exclude_unset=True, exclude={"name", "value"})
        if changes:
            codes[names[name]] = codes.get(names[name], LabelConfig()).model_copy(update=changes)
    return Naming(Labels({names[name]: values for name, values in labels.values.items()}, labels.ignore), codes, names)


def _known(name: str, labels: Labels) -> str:
    by_folded = {folded(each): each for each in labels.names}
    if folded(name) in by_folded:
        return by_folded[folded(name)]
    nearest = get_close_matches(folded(name), by_folded, 1)
    hint = f" Did you mean '{by_folded[nearest[0]]}'?" if nearest else ""
    raise UsageError(f"--label {name}: the model has no such label.{hint} Its labels are {', '.join(labels.names)}.")


def _refuse_twins(names: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for old, new in names.items():
        other = seen.setdefault(folded(new), old)
        if other != old:
            raise UsageError(f"--label: '{other}' and '{old}' would both be called '{new}'. Give them two names.")
