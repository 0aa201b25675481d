"""A patient's name where names hide, and a search for it in every byte of what medseg leaves behind.

The canary is planted in all text of DICOM objects (standard and private, in sequences too), in a NIfTI header and its
extensions, and in names of folders. It is searched for in plain bytes, in UTF-16 and base64, without regard to case,
and inside what is packed: gzip, zip, numpy archives, compressed chunks of PNG, pictures in a page.
"""

import base64
import gzip
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

CANARY = "Kanarius"
"""Short enough for every kind of text (SH holds 16 characters), and like nothing else."""

LENGTHS = {"PN": 64, "LO": 64, "SH": 16, "LT": 200, "ST": 200, "UT": 200, "UC": 200, "AE": 16, "UR": 64}
"""The kinds of text that any words may stand in; codes of CS are added by name."""

KEPT = {
    # What a structure is called is what its label is called: that is the user's own word.
    *("SegmentLabel", "ROIName"),
    # Codes and settings that decide what is read.
    *("CodeValue", "CodingSchemeDesignator", "SpecificCharacterSet", "TransferSyntaxUID"),
}

PLANTED = (
    "PatientName", "PatientID", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "PatientAddress",
    "PatientComments", "AdditionalPatientHistory", "EthnicGroup", "Occupation", "MedicalRecordLocator",
    "IssuerOfPatientID",
    "ReferringPhysicianName", "PhysiciansOfRecord", "PerformingPhysicianName", "OperatorsName", "InstitutionName",
    "InstitutionAddress", "InstitutionalDepartmentName", "StationName", "StudyDescription", "SeriesDescription",
    "ProtocolName", "StudyID", "AccessionNumber", "ImageComments", "DeviceSerialNumber", "Manufacturer",
    "ManufacturerModelName", "SoftwareVersions", "RequestedProcedureDescription", "PerformedProcedureStepDescription",
    "ContrastBolusAgent", "SequenceName", "DerivationDescription", "CountryOfResidence", "RetrieveAETitle",
    "StructureSetLabel", "StructureSetName", "StructureSetDescription", "ContentLabel", "ContentDescription",
    "ContentCreatorName", "AcquisitionComments", "FrameComments", "TextComments", "RetrieveURL",
)  # fmt: skip
"""Elements that hospitals fill, added where they are absent."""

ALLOWED = {
    "PatientName", "PatientID", "IssuerOfPatientID", "OtherPatientNames", "OtherPatientIDs", "PatientBirthName",
    "PatientMotherBirthName", "PatientComments", "EthnicGroup", "ReferringPhysicianName", "StudyID", "AccessionNumber",
    "StudyDescription", "PhysiciansOfRecord", "AdditionalPatientHistory", "Occupation",
}  # fmt: skip
"""Of the patient and study modules, which a derived object carries so that it is filed with its images."""


def plant_in_dicom(path: Path) -> None:
    """The canary in every text of a DICOM file, and in private elements."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(path)
        number = dataset.PatientID  # patients stay apart
        for keyword in PLANTED:
            if keyword not in dataset and dictionary_VR(keyword) in LENGTHS:
                setattr(dataset, keyword, CANARY)
        dataset.BodyPartExamined = CANARY.upper()
        dataset.RequestAttributesSequence = [Dataset()]
        dataset.RequestAttributesSequence[0].ScheduledProcedureStepDescription = CANARY
        block = dataset.private_block(0x0013, f"{CANARY} Inc", create=True)
        block.add_new(0x01, "LO", CANARY)
        block.add_new(0x02, "UN", CANARY.encode())
        _fill(dataset)
        dataset.PatientID = f"{CANARY} {number}"
        dataset.save_as(path, enforce_file_format=True)


def _fill(dataset: Dataset) -> None:
    for element in list(dataset):
        if element.VR == "SQ":
            for item in element.value:
                _fill(item)
        elif element.VR in LENGTHS and keyword_for_tag(element.tag) not in KEPT:
            text = {"PN": f"{CANARY}^{CANARY}", "UR": f"http://{CANARY}/"}.get(element.VR, f"{CANARY} {element.VR}")
            dataset[element.tag] = DataElement(element.tag, element.VR, text[: LENGTHS[element.VR]])


def plant_in_nifti(path: Path) -> None:
    """The canary in every text of a NIfTI header, and in two extensions."""
    image = nib.load(path)
    header = image.header
    for field, length in (("descrip", 80), ("aux_file", 24), ("db_name", 18), ("intent_name", 16)):
        header[field] = CANARY.encode()[:length]
    header.extensions.append(nib.nifti1.Nifti1Extension("comment", CANARY.encode()))
    header.extensions.append(nib.nifti1.Nifti1Extension("afni", f"<name>{CANARY}</name>".encode()))
    nib.save(nib.Nifti1Image(image.dataobj, image.affine, header), path)


def sightings(root: Path) -> list[str]:
    """Where in or below `root` the canary is: in names, and in contents however they are packed."""
    found = []
    for path in [root, *sorted(root.rglob("*"))]:
        name = path.relative_to(root.parent).as_posix()
        if CANARY.lower() in name.lower():
            found.append(f"the name {name}")
        if path.is_file():
            found += [f"{name}: {where}" for where in _in_file(path)]
    return found


def sings(content: bytes | str) -> bool:
    """Whether the canary is in these bytes, in any of its disguises."""
    content = content.encode() if isinstance(content, str) else content
    lower = content.lower()
    plain = (CANARY.lower().encode(coding) for coding in ("utf-8", "utf-16-le", "utf-16-be"))
    return any(needle in lower for needle in plain) or any(needle in content for needle in _base64s())


def _base64s() -> Iterator[bytes]:
    """What the canary looks like inside base64, at each of the three places that it may begin at."""
    for word in (CANARY, CANARY.lower(), CANARY.upper()):
        for lead in range(3):
            whole = base64.b64encode(b"\0" * lead + word.encode())
            # The first and the last letters depend on what stands beside it.
            yield whole[{0: 0, 1: 2, 2: 3}[lead] : len(whole) // 4 * 4 - 4]


def _in_file(path: Path) -> Iterator[str]:
    content = path.read_bytes()
    if content[128:132] == b"DICM":
        yield from _in_dicom(path)
        return
    if sings(content):
        yield "as it is"
    for kind, inside in _unpacked(content):
        if sings(inside):
            yield f"inside, as {kind}"


def _in_dicom(path: Path) -> Iterator[str]:
    """Elements with the canary that a derived object has no need of."""
    dataset = dcmread(path)
    for element in dataset:
        if element.keyword not in ALLOWED and sings(str(element)):
            yield f"the element {element.keyword or element.tag}"
    rest = path.read_bytes()
    n_allowed = sum(str(element.value).count(CANARY) for element in dataset if element.keyword in ALLOWED)
    if rest.lower().count(CANARY.lower().encode()) > n_allowed:
        yield "somewhere besides the elements"


def _unpacked(content: bytes) -> Iterator[tuple[str, bytes]]:
    if content[:2] == b"\x1f\x8b":
        yield "gzip", gzip.decompress(content)
        yield "the name in gzip's header", content[:200]
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield f"zip member {name}", name.encode() + archive.read(name)
    if content[:8] == b"\x89PNG\r\n\x1a\n":
        at = 8
        while at + 8 <= len(content):
            length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
            chunk = content[at + 8 : at + 8 + length]
            if kind in (b"zTXt", b"iTXt", b"iCCP"):
                packed = re.split(rb"\0", chunk, maxsplit=1)[-1].lstrip(b"\0\x01")
                try:
                    yield kind.decode(), zlib.decompress(packed)
                except zlib.error:
                    yield kind.decode(), packed
            at += 12 + length
    for match in re.finditer(rb"base64,([A-Za-z0-9+/=]+)", content):
        inside = base64.b64decode(match[1] + b"===")
        yield "a picture in a page", inside
        yield from _unpacked(inside)
