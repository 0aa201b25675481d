"""The masks of one case in every form that is asked for: refused before the network runs, written and read back.

A form is a file format, or a kind of DICOM object, which refers to the images of the series that was predicted. Names,
codes and colours of labels go with the masks: inside where the format has a place for them, as a label description
(`CASE.labels.txt`, for ITK-SNAP) beside NIfTI.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import Any

from medseg import io
from medseg.core.errors import InputError, UsageError
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap, Volume
from medseg.io.codes import MEANINGS, Meaning, meanings
from medseg.io.itksnap import description_of, write_label_description
from medseg.model import Model
from medseg.predict.naming import Naming
from medseg.predict.outputs import FORMATS, write_checked

__all__ = ["MaskWriter", "form_of", "mask_writer"]

_SHAPES_NO_RESULT = ("formats", "preview", "probabilities", "seg_type")
"""Options of a prediction that decide what is written, not what was found."""


@dataclass(frozen=True)
class MaskWriter:
    """Writes label maps of one model.

    Attributes:
        labels: The model's, by the names that they are written under.
        known: What is known of each label besides its name.
        producer: What DICOM objects say of where they come from.
        seg_type: Of DICOM segmentations.
    """

    labels: Labels
    known: Mapping[str, Meaning]
    producer: io.Producer
    seg_type: io.SegType = "binary"

    def check(self, form: str, path: Path, volume: Volume) -> None:
        """Refuse what could not be written for this image.

        Raises:
            InputError: The form cannot hold its grid, or refers to a DICOM series that it was not read from.
        """
        try:
            if form in io.DICOM_FORMS:
                io.check_dicom(volume.geometry, self.labels, form, source=volume.meta, seg_type=self.seg_type)
            else:
                io.check_writable(volume.geometry, path)
        except InputError as error:
            raise InputError(f"It cannot be written as {form}, so it was not predicted. {error}") from error

    def names(self, form: str, path: Path) -> tuple[str, ...]:
        """The names of the files that one form becomes."""
        if form != "nifti" or not self._has_names:
            return (path.name,)
        return path.name, description_of(path).name

    def write(self, form: str, path: Path, label_map: LabelMap) -> tuple[tuple[Path, ...], tuple[str, ...]]:
        """Write one form; the files that it has become, and what it cannot say.

        Raises:
            InputError: The form cannot hold the map.
            MachineError: The disk is full, or gives back something else; then nothing is left of it.
        """
        header = {**label_map.meta.header, MEANINGS: self.known}
        label_map = replace(label_map, meta=replace(label_map.meta, header=header))
        if form in io.DICOM_FORMS:
            source, producer = label_map.meta, self.producer
            notes = io.write_dicom(label_map, path, form, source=source, producer=producer, seg_type=self.seg_type)
            return (path,), notes
        write_checked(label_map, path)
        if form != "nifti" or not self._has_names:
            return (path,), ()
        description = description_of(path)
        write_label_description(label_map, self.labels, description)
        return (path, description), ()

    @property
    def _has_names(self) -> bool:
        """Whether somebody named the labels; else they are called after their values."""
        return self.labels.names != Labels.from_values(self.labels.classes).names


def mask_writer(
    model: Model, naming: Naming, how: Mapping[str, Any], forms: tuple[str, ...], seg_type: io.SegType
) -> tuple[MaskWriter, tuple[str, ...]]:
    """The writer for a model's predictions, and what the user should know.

    Args:
        model: The model.
        naming: What its labels are called and coded.
        how: The options that decide what a result is.
        forms: What is to be written, as far as the user says it.
        seg_type: Of DICOM segmentations.

    Raises:
        UsageError: A label map SEG is asked for, and labels of the model overlap.
    """
    labels = naming.labels
    if seg_type == "labelmap" and "dicom-seg" in forms:
        shared = next((names for value in labels.classes if len(names := labels.combination(value)) > 1), None)
        if shared is not None:
            raise UsageError(
                f"{' and '.join(sorted(shared)[:2])} overlap, and a label map SEG holds one segment a voxel. "
                "Leave --seg-type out: binary segments may overlap."
            )
    known, notes = meanings(labels.names, naming.codes)
    result = {key: value for key, value in how.items() if key not in _SHAPES_NO_RESULT}
    said = dumps({"model": model.digest, **result}, sort_keys=True)
    digest = f"sha256:{sha256(said.encode()).hexdigest()}"
    producer = io.Producer(model.title, digest, description=model.description)
    is_dicom = any(form in io.DICOM_FORMS for form in forms)
    return MaskWriter(labels, known, producer, seg_type), notes if is_dicom else ()


def form_of(out: Path, forms: tuple[str, ...]) -> str:
    """The form of a single file that is to be called `out`.

    Args:
        out: Its name has the suffix of an image.
        forms: What the user asks for; may be nothing where the name tells.

    Raises:
        UsageError: Name and forms contradict each other, or nothing is written under such a name.
    """
    kind = io.kind_of(out.name)
    if kind == "dicom":
        if len(forms) == 1 and forms[0] in io.DICOM_FORMS:
            return forms[0]
        raise UsageError(f"{out.name} may be a segmentation or a structure set: say -f dicom-seg or -f rtstruct.")
    form = "seg.nrrd" if out.name.lower().endswith(".seg.nrrd") else kind
    if form is None or form not in FORMATS:
        raise UsageError(
            f"Masks are not written as {out.suffix}; give a name that ends as one of {', '.join(FORMATS)}."
        )
    if forms and forms != (form,):
        raise UsageError(f"{out.name} says {form}, the format asked for is {', '.join(forms)}. Give a folder.")
    return form
