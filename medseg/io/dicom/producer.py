"""What a caller says of a DICOM object that is to be written: in which form, and made by whom. Loads nothing."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

__all__ = ["DICOM_FORMS", "DicomForm", "Producer", "SegType"]

DicomForm = Literal["dicom-seg", "rtstruct"]
DICOM_FORMS: tuple[DicomForm, ...] = ("dicom-seg", "rtstruct")

SegType = Literal["binary", "labelmap"]
"""BINARY segments are read by everybody and may overlap; a LABELMAP is small, and young."""


@dataclass(frozen=True)
class Producer:
    """What made a label map.

    Attributes:
        name: The model's name.
        digest: "sha256:…" of the model and of all settings that shape a result: with the series it decides the UIDs.
        moment: When.
        description: What it is for, in words; may be empty.
    """

    name: str = "medseg"
    digest: str = ""
    moment: datetime = field(default_factory=datetime.now)
    description: str = ""
