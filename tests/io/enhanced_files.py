"""Small multi-frame DICOM objects, as scanners and converters write them, for tests that bend one thing at a time."""

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, generate_uid

from tests.io.dicom_files import AXES, write_slice

__all__ = ["group", "groups_of", "write_enhanced"]


def group(**attributes):
    """A functional group's one item."""
    item = Dataset()
    for name, value in attributes.items():
        setattr(item, name, value)
    return Sequence([item])


def groups_of(
    position,
    *,
    axes=AXES,
    spacing=(0.8, 0.6),
    slope=1.0,
    intercept=0.0,
    stack="1",
    time=1,
    component="M",
    **more,
):
    """The groups of one frame, by their sequences' keywords; `more` adds or replaces, None leaves one out."""
    found = {
        "PlanePositionSequence": group(ImagePositionPatient=[f"{x:.10g}" for x in position]),
        "PlaneOrientationSequence": group(ImageOrientationPatient=[f"{x:.10g}" for x in (*axes[0], *axes[1])]),
        "PixelMeasuresSequence": group(PixelSpacing=[f"{x:.8g}" for x in spacing], SliceThickness="9"),
        "PixelValueTransformationSequence": group(
            RescaleSlope=f"{slope:.10g}", RescaleIntercept=f"{intercept:.10g}", RescaleType="US"
        ),
        "FrameContentSequence": group(StackID=stack, InStackPositionNumber=1, TemporalPositionIndex=time),
        "MRImageFrameTypeSequence": group(FrameType=["ORIGINAL", "PRIMARY", "T1", component]),
    }
    return {name: value for name, value in {**found, **more}.items() if value is not None}


def write_enhanced(path, stored, per_frame, *, shared=None, change=lambda image: None, **attributes):
    """One object for `stored` (frames, rows, columns), frame n with the groups `per_frame[n]`; `change` bends it."""
    image = Dataset()
    image.SOPClassUID = EnhancedMRImageStorage
    image.Modality = "MR"
    image.PatientName, image.PatientID = "Doe^John", "4711"
    image.SeriesNumber, image.InstanceNumber = 5, 1
    image.ImageType = ["ORIGINAL", "PRIMARY", "T1", "MIXED"]
    where = str(path.parent)
    image.SeriesInstanceUID, image.FrameOfReferenceUID, image.StudyInstanceUID = (
        generate_uid(entropy_srcs=[where, word]) for word in ("series", "frame", "study")
    )
    image.SOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    image.NumberOfFrames = len(stored)
    image.Rows, image.Columns = stored.shape[1:]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation = int(stored.dtype.kind == "i")
    image.SharedFunctionalGroupsSequence = Sequence([_item(shared or {})])
    image.PerFrameFunctionalGroupsSequence = Sequence([_item(groups) for groups in per_frame])
    image.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    for name, value in attributes.items():
        setattr(image, name, value)
    change(image)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_slice(image, path)
    return path


def _item(groups):
    item = Dataset()
    for name, value in groups.items():
        setattr(item, name, value)
    return item
