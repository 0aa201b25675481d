"""Which DICOM series are of the modality that a model of one channel wants: the CTs of an archive of PET and CT.

A model says its modality by the name of its channel, where that is one (CT, MRI, PET). What the user asks for by
`--read series=…` or `modality=…` goes before it. Headers were read; nothing is read here.
"""

from collections import Counter
from collections.abc import Sequence

from medseg import io
from medseg.data.channel_order import ModelChannels
from medseg.io.options import MODALITIES, modality_code

__all__ = ["left_out", "modality_of", "other_modalities", "unlike"]


def modality_of(model: ModelChannels | None, options: io.ReadOptions) -> str | None:
    """The modality of the model's one channel; None where that is not said, or where the user chooses himself."""
    if model is None or model.n != 1 or options.series is not None or options.modality is not None:
        return None
    code = modality_code(model.names[0])
    return code if code in MODALITIES else None


def other_modalities(
    series: Sequence[io.SeriesEntry], wanted: str | None
) -> tuple[tuple[io.SeriesEntry, ...], tuple[io.SeriesEntry, ...]]:
    """The series that are of another modality: of patients who have one of the wanted, and of patients who have none.

    A series that does not say its modality may be of any.
    """
    if wanted is None:
        return (), ()
    others = [entry for entry in series if entry.modality.upper() not in ("", wanted)]
    ids = {id(entry) for entry in others}
    with_wanted = {entry.patient for entry in series if id(entry) not in ids}
    return (
        tuple(entry for entry in others if entry.patient in with_wanted),
        tuple(entry for entry in others if entry.patient not in with_wanted),
    )


def unlike(case_id: str, modality: str, wanted: str) -> str:
    """Why a series of another modality is not predicted."""
    return (
        f"Case {case_id} is a {modality} series, and the model's channel is {wanted}. If it is to be predicted all the "
        f"same, say --read modality={modality}."
    )


def left_out(n_of: Counter[str], wanted: str) -> str:
    """The remark on series of other modalities.

    >>> left_out(Counter({"PT": 2, "MR": 1}), "CT")
    "3 series of other modalities were left out (2 of PT, 1 of MR): the model's channel is CT."
    """
    counts = ", ".join(f"{n} of {name}" for name, n in n_of.items())
    n = n_of.total()
    series = "1 series of another modality was" if n == 1 else f"{n} series of other modalities were"
    return f"{series} left out ({counts}): the model's channel is {wanted}."
