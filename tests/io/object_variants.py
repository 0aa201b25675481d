"""Variants of real objects that hold many frames, segments or contours: other orders, other encodings, small faults.

As in `variants`: each change has a truth that follows from the original. Multi-frame images are compared with their own
frames by position; segmentations and structure sets with the references of the row that they come from.
"""

import copy
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.io.corpus import Crashed, Refused, Row, Verdict, judge, outcome_of
from tests.io.variants import Truth, save, try_variant

__all__ = ["FRAME_VARIANTS", "LABEL_VARIANTS", "load_frames", "try_frames", "try_label"]

Change = Callable[[Dataset, np.random.Generator], Truth]


def load_frames(place: Path) -> Dataset:
    """The one multi-frame file of a folder, with plain pixels."""
    (path,) = (path for path in place.iterdir() if path.is_file())
    dataset = dcmread(path)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        dataset.decompress(generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def try_frames(change: Change, dataset: Dataset, folder: Path, seed: int) -> Verdict:
    """As `try_variant`, for one multi-frame file."""

    def variant(series, folder, rng):
        truth = change(series[0], rng)
        save(series[0], folder / "frames.dcm")
        n_slices = int(dataset.NumberOfFrames) if truth.n_slices is None else truth.n_slices
        return replace(truth, n_slices=n_slices)

    return try_variant(variant, [dataset], folder, seed)


def frames_of(dataset: Dataset) -> np.ndarray:
    size = int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated) // 8
    raw = np.frombuffer(dataset.PixelData, np.uint8)[: size * int(dataset.NumberOfFrames)]
    return raw.reshape(int(dataset.NumberOfFrames), size)


def put_frames(dataset: Dataset, frames: np.ndarray, groups: list[Dataset]) -> None:
    dataset.NumberOfFrames = len(frames)
    dataset.PerFrameFunctionalGroupsSequence = groups
    raw = frames.tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)


def shared_by(dataset: Dataset) -> Dataset:
    """What holds for all frames; some vendors repeat all of it in each."""
    return dataset.get("SharedFunctionalGroupsSequence", [Dataset()])[0]


def frames_in_any_order(dataset: Dataset, rng: np.random.Generator) -> Truth:
    order = rng.permutation(int(dataset.NumberOfFrames))
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    put_frames(dataset, frames_of(dataset)[order], [groups[n] for n in order])
    return Truth()


def each_frame_has_its_own_slope(dataset: Dataset, rng: np.random.Generator) -> Truth:
    shared = shared_by(dataset)
    if "PixelValueTransformationSequence" in shared:
        del shared.PixelValueTransformationSequence
    for group in dataset.PerFrameFunctionalGroupsSequence:
        item = Dataset()
        item.RescaleSlope, item.RescaleIntercept = f"{rng.uniform(0.5, 2):.4f}", f"{rng.integers(-50, 50)}"
        item.RescaleType = "US"
        group.PixelValueTransformationSequence = [item]
    return Truth()


def a_frame_between_is_missing(dataset: Dataset, rng: np.random.Generator) -> Truth:
    frames, groups = frames_of(dataset), list(dataset.PerFrameFunctionalGroupsSequence)
    order = np.argsort([group.PlanePositionSequence[0].ImagePositionPatient[2] for group in groups])
    gone = int(order[len(order) // 2])
    put_frames(dataset, np.delete(frames, gone, axis=0), groups[:gone] + groups[gone + 1 :])
    return Truth(refusal="lacks 1 slice|uneven slice distances")


def a_frame_twice_with_other_pixels(dataset: Dataset, rng: np.random.Generator) -> Truth:
    frames, groups = frames_of(dataset), list(dataset.PerFrameFunctionalGroupsSequence)
    other = frames[1].copy()
    other[::2] ^= 1
    put_frames(dataset, np.concatenate([frames, other[None]]), [*groups, copy.deepcopy(groups[1])])
    return Truth(refusal="same place|images each|hold")


def more_frames_are_promised_than_described(dataset: Dataset, rng: np.random.Generator) -> Truth:
    dataset.NumberOfFrames = int(dataset.NumberOfFrames) + 2
    return Truth(refusal="promises .* frames and describes|cut off|describes")


def a_frame_of_pixels_is_missing(dataset: Dataset, rng: np.random.Generator) -> Truth:
    frames = frames_of(dataset)
    dataset.PixelData = frames[:-1].tobytes()
    return Truth(refusal="cut off")


def what_is_shared_stands_in_each_frame(dataset: Dataset, rng: np.random.Generator) -> Truth:
    shared = shared_by(dataset)
    for keyword in ("PixelMeasuresSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence"):
        if keyword in shared:
            for group in dataset.PerFrameFunctionalGroupsSequence:
                setattr(group, keyword, copy.deepcopy(shared[keyword].value))
            del shared[keyword]
    return Truth()


def frames_are_tilted(dataset: Dataset, rng: np.random.Generator) -> Truth:
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    shared = shared_by(dataset)
    oriented = groups[0] if "PlaneOrientationSequence" in groups[0] else shared
    x, y = np.array(oriented.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(x, y)
    for group in groups:
        plane = group.PlanePositionSequence[0]
        at = np.array(plane.ImagePositionPatient, float)
        plane.ImagePositionPatient = [f"{value:.8f}"[:16] for value in at + y * 0.2 * (at @ normal)]
    return Truth(note="tilt")


FRAME_VARIANTS: tuple[Change, ...] = (
    frames_in_any_order,
    each_frame_has_its_own_slope,
    a_frame_between_is_missing,
    a_frame_twice_with_other_pixels,
    more_frames_are_promised_than_described,
    a_frame_of_pixels_is_missing,
    what_is_shared_stands_in_each_frame,
    frames_are_tilted,
)


def try_label(change: Callable[[Dataset, np.random.Generator], str | None], row: Row, seed: int) -> Verdict:
    """Change a SEG or RTSTRUCT in a copy of its folder: its masks must stay, or it is refused as the change returns."""
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / row.place.parent.name
        shutil.copytree(row.place.parent, copied)
        moved = replace(row, path=str(copied / row.place.name))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(moved.place)
            refusal = change(dataset, np.random.default_rng(seed))
            dataset.save_as(moved.place)
        outcome = outcome_of(moved)
        if refusal is None:
            return judge(moved, outcome)
        if isinstance(outcome, Refused):
            good = re.search(refusal, outcome.sentence)
            return Verdict("right" if good else "other reason", outcome.sentence)
        if isinstance(outcome, Crashed):
            return Verdict("crashed", outcome.how)
        return Verdict("silently wrong", f"returned {outcome.array.shape} with {outcome.meta.warnings}")


def contours_in_any_order_and_direction(dataset: Dataset, rng: np.random.Generator) -> None:
    for roi in dataset.ROIContourSequence:
        contours = list(roi.ContourSequence)
        for contour in contours:
            points = np.array(contour.ContourData, object).reshape(-1, 3)
            points = np.roll(points, int(rng.integers(len(points))), axis=0)
            contour.ContourData = list((points[::-1] if rng.random() < 0.5 else points).ravel())
        roi.ContourSequence = [contours[n] for n in rng.permutation(len(contours))]


def contours_without_references_to_images(dataset: Dataset, rng: np.random.Generator) -> None:
    for roi in dataset.ROIContourSequence:
        for contour in roi.ContourSequence:
            if "ContourImageSequence" in contour:
                del contour.ContourImageSequence


def contours_between_slices(dataset: Dataset, rng: np.random.Generator) -> str:
    for roi in dataset.ROIContourSequence:
        for contour in roi.ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            points[:, 2] += 1.1
            contour.ContourData = [f"{value:.4f}" for value in points.ravel()]
    return r"off the slices|beyond the slices|at no slice"


def two_structures_of_one_name(dataset: Dataset, rng: np.random.Generator) -> str:
    structure = copy.deepcopy(dataset.StructureSetROISequence[0])
    structure.ROINumber = 99
    contours = copy.deepcopy(dataset.ROIContourSequence[0])
    contours.ReferencedROINumber = 99
    dataset.StructureSetROISequence.append(structure)
    dataset.ROIContourSequence.append(contours)
    return "two structures called"


def of_another_patient(dataset: Dataset, rng: np.random.Generator) -> str:
    """Another frame of reference, and other images."""
    _strangers(dataset)
    return "not there|another frame of reference|drawn on other images|belong"


def _strangers(dataset: Dataset) -> None:
    names = ("FrameOfReferenceUID", "ReferencedFrameOfReferenceUID", "ReferencedSOPInstanceUID", "SeriesInstanceUID")
    for element in dataset.iterall():
        if element.keyword in names:
            element.value = generate_uid()


def frames_of_segments_in_any_order(dataset: Dataset, rng: np.random.Generator) -> None:
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    order = rng.permutation(len(groups))
    size = int(dataset.Rows) * int(dataset.Columns)
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")[: size * len(groups)]
    packed = np.packbits(bits.reshape(len(groups), size)[order].ravel(), bitorder="little").tobytes()
    dataset.PixelData = packed + b"\0" * (len(packed) % 2)
    dataset.PerFrameFunctionalGroupsSequence = [groups[n] for n in order]


def a_frame_of_a_segment_lies_beside_the_slices(dataset: Dataset, rng: np.random.Generator) -> str:
    for group in dataset.PerFrameFunctionalGroupsSequence:
        plane = group.PlanePositionSequence[0]
        x, y, z = map(float, plane.ImagePositionPatient)
        plane.ImagePositionPatient = [x, y, z + 1.1]
    return "has no slice|off the|at no slice|beyond|not lie on"


def segment_frames_are_cut_off(dataset: Dataset, rng: np.random.Generator) -> str:
    dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 4 * 2]
    return "cut off|damaged"


LABEL_VARIANTS: dict[str, tuple[Callable, ...]] = {
    "RTSTRUCT": (
        contours_in_any_order_and_direction,
        contours_without_references_to_images,
        contours_between_slices,
        two_structures_of_one_name,
        of_another_patient,
    ),
    "SEG": (
        frames_of_segments_in_any_order,
        a_frame_of_a_segment_lies_beside_the_slices,
        segment_frames_are_cut_off,
        of_another_patient,
    ),
}
