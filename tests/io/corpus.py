"""The judge of DICOM readers: what came of a row of the corpus's `index.csv`, and whether that is right.

A row says what is right (a volume, masks, a refusal with its reason, a list to choose from). What a reader returns is
compared with the reference by world position, in any of the 48 ways to store an array, voxel by voxel; rows without a
reference are compared with the pixels of their own files, decoded and placed here by the standard's formula. A refusal
must give the reason. Everything that is neither is wrong; returned and wrong is the worst there is. medseg is known
here by its public door alone, and the judge does not trust it: references are read with nibabel, files with pydicom.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from medseg import io
from medseg.core.errors import InputError, MedsegError
from medseg.core.geometry import Geometry
from medseg.core.volume import LabelMap, Volume
from tests.strategies import ORIENTATIONS

Kind = Literal["right", "also accepted", "refused wrongly", "other reason", "silently wrong", "crashed"]

GRID_MM, GRID_SHARE = 0.01, 0.01
"""Corners agree within the larger of this and this share of the smallest spacing."""

VALUE_SHARE = 1e-5
"""Values agree within this share of the largest: the rounding of float32."""

REASONS = {
    "tilt": r"tilt|uneven",
    "uneven": r"uneven slice distances",
    "missing slice": r"lacks \d+ slice",
    "one position": r"lie at one position|same place",
    "localizer": r"localizer",
    "not a DICOM": r"without a DICOM image|[Nn]o DICOM image|not an image",
    "echoes": r"hold \d+ images each",
    "time points": r"hold \d+ images each",
    "kinds of frame": r"hold \d+ images each",
    "diffusion": r"hold \d+ images each",
    "at every position": r"hold \d+ images each",
    "mosaic": r"mosaic|hold \d+ images each",
    "vframe": r"VFRAME|hold \d+ images each",
    "position": r"has no Image(Position|Orientation)Patient|no slice positions",
    "colour": r"in colour",
    "orientation": r"orientations? of slices|ImageOrientationPatient",
    "no image": r"[Nn]o DICOM image|not an image",
    "truncated": r"cut off|damaged|cannot be decoded",
    "contours outside": r"contours at .* beyond the slices",
    "images it refers to": r"images that .* was drawn on are not there",
    "single slice": r"single slice",
    "transfer syntax": r"compressed with",
    "overlapping": r"overlap",
    "fractional": r"fractional",
    "duplicate": r"same place|copies",
    "projection": r"projection|has no Image",
}
"""Words of a row → what the sentence of a refusal must say."""


@dataclass(frozen=True)
class Row:
    """A row of index.csv, and the folder that its paths are relative to."""

    root: Path
    path: str
    modality: str
    traps: str
    expected: str
    reference: str
    also_accepted: str
    note: str

    @property
    def place(self) -> Path:
        return self.root / self.path

    @property
    def is_label(self) -> bool:
        return self.modality in ("SEG", "RTSTRUCT")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that is named first in what is expected."""
        found = re.search(r"\(([\d,]+)\)", self.expected)
        return tuple(map(int, found[1].split(","))) if found else ()

    @property
    def tolerance(self) -> float | None:
        found = re.search(r"within (\d+)", self.note)
        return float(found[1]) if found else None

    @cached_property
    def references(self) -> tuple[Path, ...]:
        """The reference files; "a_seg1.nii.gz ... _seg5.nii.gz" are five."""
        if " ... " not in self.reference:
            return (self.root / self.reference,) if self.reference else ()
        first, last = self.reference.split(" ... ")
        stem = first.removesuffix("1.nii.gz")
        count = int(re.search(r"(\d+)\.nii", last)[1])
        return tuple(self.root / f"{stem}{n}.nii.gz" for n in range(1, count + 1))


@dataclass(frozen=True)
class Refused:
    """A reader said no, in this sentence."""

    sentence: str


@dataclass(frozen=True)
class Crashed:
    """A reader ended in anything but a result or a refusal."""

    how: str


Outcome = Volume | LabelMap | Refused | Crashed


@dataclass(frozen=True)
class Verdict:
    kind: Kind
    why: str = ""

    @property
    def is_good(self) -> bool:
        return self.kind in ("right", "also accepted")


def rows(root: Path) -> list[Row]:
    """All rows of the corpus in `root`."""
    with (root / "index.csv").open(encoding="utf-8", newline="") as file:
        names = [name for name in Row.__dataclass_fields__ if name != "root"]
        return [Row(root, **{name: line[name] for name in names}) for line in csv.DictReader(file)]


def outcome_of(row: Row, **pairs: str) -> Outcome:
    """What medseg's door makes of a row, with `--read` options if given."""
    options = io.ReadOptions.parse(pairs)
    try:
        if not row.is_label:
            return io.read(row.place, options)
        image = row.place.parent / "image"
        return io.read_labels(row.place, options, image if image.exists() else None)
    except MedsegError as error:
        return Refused(str(error))
    except Exception as error:  # noqa: BLE001  anything else is a defect, and a row like the others
        return Crashed(f"{type(error).__name__}: {error}")


def judge(row: Row, outcome: Outcome) -> Verdict:
    """Whether an outcome is what the row expects, or accepts."""
    if isinstance(outcome, Crashed):
        return Verdict("crashed", outcome.how)
    if isinstance(outcome, Refused):
        return _judge_refusal(row, outcome.sentence)
    returned = re.match(r"volume|mask|label map|list", row.expected)
    if not returned and not re.search(r"volume|4-D|2-D\+time|single-slice image|own grid|de-tiled", row.also_accepted):
        return Verdict("silently wrong", f"returned {_shape(outcome)}, expected {row.expected}")
    difference = _difference(row, outcome)
    if difference:
        return Verdict("silently wrong", difference)
    if row.expected.startswith("list") and not re.search(r"left aside", " ".join(outcome.meta.warnings)):
        return Verdict("silently wrong", "took one of several series without saying which were left out")
    if not returned and "own grid" in row.also_accepted and not outcome.meta.warnings:
        return Verdict("silently wrong", "took a grid of its own without saying so")
    return Verdict("right" if returned else "also accepted")


def choices(row: Row, sentence: str) -> Iterator[tuple[str, Verdict]]:
    """What becomes of the choices that a refusal offers: each must lead to a right volume, and all to all of them."""
    volumes = re.search(r"--read volume=0 to (\d+)", sentence)
    if volumes and row.references:
        n = int(volumes[1]) + 1
        found = [_which(row, outcome_of(row, volume=str(index))) for index in range(n)]
        right = None not in found and sorted(found) == list(range(nib.load(row.references[0]).shape[3]))
        yield f"volume=0…{n - 1}", Verdict("right" if right else "silently wrong", f"volumes {found} of the reference")
    for select in _selections(sentence):
        yield f"select={select}", _judge_choice(row, outcome_of(row, select=select))
    if "--read series=" in sentence:
        for entry in io.catalogue(row.place).series:
            outcome = outcome_of(row, series=entry.uid)
            if isinstance(outcome, Crashed):
                yield f"series={entry.uid}", Verdict("crashed", outcome.how)
            elif isinstance(outcome, Volume):
                difference = unlike_files(row.place, outcome, series=entry.uid)
                yield f"series={entry.uid}", Verdict("silently wrong" if difference else "right", difference)


def _selections(sentence: str) -> list[str]:
    """What may stand after --read select=, by the sentence: its example, and the list in brackets."""
    offered = re.findall(r"--read select=(.+?)(?:, or in this order|, or --read|\.$)", sentence)
    listed = re.search(r"differing in [^(]*\(([^)]*)\)", sentence)
    return list(dict.fromkeys(offered + (listed[1].split("; ") if listed and offered else [])))


def _judge_choice(row: Row, outcome: Outcome) -> Verdict:
    if isinstance(outcome, Crashed):
        return Verdict("crashed", outcome.how)
    if not isinstance(outcome, Volume):
        return Verdict("refused wrongly", str(outcome))
    if row.references:
        which = _which(row, outcome)
        return Verdict("silently wrong" if which is None else "right", f"volume {which} of the reference")
    difference = unlike_files(row.place, outcome, some=True)
    return Verdict("silently wrong" if difference else "right", difference)


def _judge_refusal(row: Row, sentence: str) -> Verdict:
    if row.expected.startswith("list"):
        n = re.search(r"holds (\d+) image series", sentence)
        if n and "--read series=" in sentence:
            return Verdict("right", sentence)
        return Verdict("other reason", sentence)
    refusal = row.expected.startswith("refuse")
    wanted = row.expected if refusal else row.also_accepted
    if "refuse" not in wanted:
        return Verdict("refused wrongly", sentence)
    # A file may have two faults; either is a reason.
    words = wanted + (" " + row.traps if refusal else "")
    patterns = [pattern for word, pattern in REASONS.items() if word.lower() in words.lower()]
    if any(re.search(pattern, sentence) for pattern in patterns):
        return Verdict("right" if refusal else "also accepted", sentence)
    return Verdict("other reason", sentence)


def _difference(row: Row, outcome: Volume | LabelMap) -> str:
    """What sets a result apart from its reference; empty if nothing does."""
    if isinstance(outcome, LabelMap):
        return _unlike_masks(row, outcome)
    if outcome.n_channels > 1:
        return _unlike_volumes(row, outcome)
    if not row.references or "mask" in row.reference:
        if row.shape and sorted(row.shape) != sorted(outcome.geometry.shape):
            return f"shape {outcome.geometry.shape} for {row.shape}"
        return unlike_files(row.place, outcome)
    grid, reference = _load(row.references[0])
    if row.modality == "PT":
        reference = reference * suv_factor(row.place)
    array = on_grid(outcome.array[0], outcome.geometry, grid)
    if isinstance(array, str):
        return array
    return unlike_values(array, reference, row.tolerance)


def _unlike_volumes(row: Row, outcome: Volume) -> str:
    """4-D: each channel must be one of the reference's volumes, in any order."""
    _, reference = _load(row.references[0])
    if outcome.n_channels != reference.shape[3]:
        return f"{outcome.n_channels} volumes for {reference.shape[3]}"
    one = [_which(row, Volume(channel[None], outcome.geometry)) for channel in outcome.array]
    return "" if None not in one and len(set(one)) == len(one) else f"volumes {one} of the reference"


def _which(row: Row, outcome: Outcome) -> int | None:
    """The volume of a 4-D reference that a result is; None if it is none."""
    if not isinstance(outcome, Volume):
        return None
    grid, reference = _load(row.references[0])
    array = on_grid(outcome.array[0], outcome.geometry, grid)
    if isinstance(array, str):
        return None
    volumes = np.moveaxis(reference, 3, 0) if reference.ndim == 4 else reference[None]
    found = [n for n, volume in enumerate(volumes) if not unlike_values(array, volume, row.tolerance)]
    return found[0] if found else None


def _unlike_masks(row: Row, outcome: LabelMap) -> str:
    """Every structure of the reference must be there by name, voxel by voxel, and nothing else."""
    if outcome.labels is None:
        return "the structures have no names"
    if not row.references:
        return "" if sorted(row.shape or outcome.geometry.shape) == sorted(outcome.geometry.shape) else "shape"
    expected = dict(_expected_masks(row))
    if set(expected) != set(outcome.labels.values):
        return f"structures {sorted(outcome.labels.values)} for {sorted(expected)}"
    for name, (grid, mask) in expected.items():
        array = on_grid(np.isin(outcome.array, outcome.labels.values[name]), outcome.geometry, grid)
        if isinstance(array, str):
            return array
        if (n := np.count_nonzero(array != mask)) > 0:
            return f"{n} voxels of {name} differ"
    stray = ~np.isin(outcome.array, [0, *(v for values in outcome.labels.values.values() for v in values)])
    return f"{np.count_nonzero(stray)} voxels belong to no structure" if stray.any() else ""


def _expected_masks(row: Row) -> Iterator[tuple[str, tuple[Geometry, np.ndarray]]]:
    dataset = dcmread(row.place)
    if row.modality == "RTSTRUCT":
        (structure,) = dataset.StructureSetROISequence
        grid, reference = _load(row.references[0])
        yield str(structure.ROIName), (grid, reference != 0)
        return
    names = {int(segment.SegmentNumber): str(segment.SegmentLabel) for segment in dataset.SegmentSequence}
    for path in row.references:
        grid, reference = _load(path)
        if path.name.endswith("_labels.nii.gz"):
            for number in np.unique(reference[reference != 0]):
                yield names[int(number)], (grid, reference == number)
        else:
            # A fractional segmentation's reference holds the shares; half a voxel is what belongs.
            shares = reference.dtype.kind == "f"
            yield (
                names[int(re.search(r"_seg(\d+)\.nii", path.name)[1])],
                (grid, reference >= 0.5 if shares else reference != 0),
            )


def _load(path: Path) -> tuple[Geometry, np.ndarray]:
    image = nib.load(path)
    return Geometry(image.shape[:3], image.affine), np.asarray(image.dataobj)


def on_grid(array: np.ndarray, grid: Geometry, target: Geometry) -> np.ndarray | str:
    """`array` as it would be stored on `target`, if both hold the same voxels in the world; else what is wrong.

    Along an axis of one voxel neither direction nor spacing counts.
    """
    tolerance = max(GRID_MM, GRID_SHARE * min(target.spacing_mm))
    shapes = [orientation for orientation in ORIENTATIONS if grid.reorient(orientation).shape == target.shape]
    if not shapes:
        return f"shape {grid.shape} for {target.shape}"
    apart = {orientation: grid.reorient(orientation).distance_mm(target) for orientation in shapes}
    best = min(apart, key=apart.get)
    if apart[best] > tolerance:
        return f"world corners off by {apart[best]:.3g} mm"
    return best.apply(array)


def unlike_values(array: np.ndarray, reference: np.ndarray, tolerance: float | None = None) -> str:
    """How far values are from the reference's, if that is further than rounding (or the tolerance of the row)."""
    if array.shape != reference.shape:
        return f"shape {array.shape} for {reference.shape}"
    if not np.isfinite(array).all():
        return "values that are no numbers"
    allowed = VALUE_SHARE * max(1e-3, float(np.abs(reference).max())) if tolerance is None else tolerance
    worst = float(np.abs(array.astype(np.float64) - reference.astype(np.float64)).max())
    return "" if worst <= allowed else f"values differ by {worst:.4g}"


def unlike_files(place: Path, volume: Volume, series: str | None = None, some: bool = False) -> str:
    """What sets a volume apart from the pixels of the files that it was read from, each placed by its own header.

    With `some`, slices may have been left out, but those of the volume must all be in the files.
    """
    left = np.ones(volume.geometry.shape, bool)
    factor = suv_factor(place, series) if (volume.meta.header or {}).get("modality") == "PT" else 1.0
    for values, affine in placed_slices(place, series):
        columns, rows = np.indices(values.T.shape)
        points = np.stack([columns, rows, np.zeros_like(rows), np.ones_like(rows)], axis=-1) @ affine.T
        index = volume.geometry.to_voxel(points[..., :3])
        whole = np.rint(index).astype(int)
        beside = ((whole < 0) | (whole >= volume.geometry.shape)).any() or np.abs(index - whole).max() > 0.02
        if beside:
            if some:
                continue
            return "a slice of the files lies at no slice of the volume"
        at = tuple(np.moveaxis(whole, -1, 0))
        difference = unlike_values(volume.array[0][at], values.T * factor)
        if difference and not some:
            return difference
        if not difference:
            left[at] = False
    return f"{np.count_nonzero(left)} voxels of the volume come from no file" if left.any() else ""


def placed_slices(place: Path, series: str | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each image under a path as (rows, columns) and its affine (column, row, 0) → world RAS; multi-frame too."""
    for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if path.is_file():
            try:
                dataset = dcmread(path)
            except InvalidDicomError:
                dataset = dcmread(path, force=True)
            if "PixelData" in dataset and (series is None or dataset.SeriesInstanceUID == series):
                if "LOCALIZER" in dataset.get("ImageType", []) and series is None and len(list(place.iterdir())) > 1:
                    continue
                yield from _slices(dataset)


def _slices(dataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if not hasattr(dataset.file_meta, "TransferSyntaxUID"):
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    pixels = dataset.pixel_array.astype(np.float64)
    frames = pixels if pixels.ndim == 3 else pixels[None]
    for n, frame in enumerate(frames):
        places = [dataset]
        if "PerFrameFunctionalGroupsSequence" in dataset:
            places = [dataset.PerFrameFunctionalGroupsSequence[n], *dataset.get("SharedFunctionalGroupsSequence", [])]

        def said(name, group, places=places):
            """A value of a classic header, or of the functional group that holds it."""
            for place in places:
                inside = place.get(group)
                if inside and name in inside[0]:
                    return inside[0][name].value
                if name in place:
                    return place[name].value
            return None

        slope = said("RescaleSlope", "PixelValueTransformationSequence")
        intercept = said("RescaleIntercept", "PixelValueTransformationSequence")
        if said("ImagePositionPatient", "PlanePositionSequence") is None:
            raise InputError("The files of the corpus give no position that the judge knows.")
        x, y, z, u, v, w = map(float, said("ImageOrientationPatient", "PlaneOrientationSequence"))
        between_rows, between_columns = map(float, said("PixelSpacing", "PixelMeasuresSequence"))
        affine = np.eye(4)
        affine[:3, 0] = np.array([x, y, z]) * between_columns
        affine[:3, 1] = np.array([u, v, w]) * between_rows
        affine[:3, 3] = list(map(float, said("ImagePositionPatient", "PlanePositionSequence")))
        yield frame * float(slope or 1) + float(intercept or 0), np.diag([-1, -1, 1, 1]) @ affine


def suv_factor(place: Path, series: str | None = None) -> float:
    """SUVbw over the rescaled values, from the headers, for GML and for BQML that is corrected to the series' start."""
    files = [dcmread(path, stop_before_pixels=True) for path in sorted(place.rglob("*")) if path.is_file()]
    files = [file for file in files if series is None or file.SeriesInstanceUID == series]
    header = files[0]
    if header.Units == "GML":
        return 1.0
    if header.Units != "BQML" or header.DecayCorrection != "START":
        raise InputError(f"The judge knows no factor for {header.Units}, {header.DecayCorrection}.")
    drug = header.RadiopharmaceuticalInformationSequence[0]

    def clock(date: str, time: str) -> datetime:
        whole, _, fraction = str(time).partition(".")
        return datetime.strptime(f"{date}{whole}.{fraction or 0}", "%Y%m%d%H%M%S.%f")

    start = clock(header.SeriesDate, header.SeriesTime)
    start = min([start, *(clock(file.AcquisitionDate, file.AcquisitionTime) for file in files)])
    seconds = (start - clock(header.SeriesDate, str(drug.RadiopharmaceuticalStartTime))).total_seconds()
    dose = float(drug.RadionuclideTotalDose) * 2 ** (-seconds / float(drug.RadionuclideHalfLife))
    return float(header.PatientWeight) * 1000 / dose


def _shape(outcome: Volume | LabelMap) -> tuple[int, ...]:
    return outcome.array.shape
