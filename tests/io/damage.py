"""Files that broke on their way, and whether reading them is honest: a sentence, the same grid, or a told change.

A damage is a cut at some place or one changed byte, drawn by a seed: half of the bytes anywhere, half in front of the
pixels, where the meaning is. The damaged file lies in a copy of its folder, of which a long regular series keeps five
neighbouring slices. Allowed is what a reader may do: refuse in a sentence, give the grid that it gave before, or give
another with a note that it did not give before. Everything else is a defect: another exception, a Python warning, a
silent change of shape, affine or number of slices. A changed digit that makes another valid header is told apart by
`says`: a reader that no other file contradicts cannot know.
"""

import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import dcmread

from medseg import io
from medseg.core.errors import MedsegError
from medseg.core.geometry import Geometry
from tests.io.variants import load_series, normal, position

NEIGHBOURS = 5
"""Slices of a long series that stay: enough to see what is regular."""

GEOMETRY = (
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "Rows", "Columns", "NumberOfFrames", "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "DetectorInformationSequence",
)  # fmt: skip
"""Attributes that say where pixels are; a changed byte in one of them may be another valid answer."""


@dataclass(frozen=True)
class Damage:
    """What happens to a file: it ends before `at`, or the byte there is another (`value`)."""

    at: int
    value: int | None = None

    def of(self, whole: bytes) -> bytes:
        if self.value is None:
            return whole[: self.at]
        return whole[: self.at] + bytes([self.value]) + whole[self.at + 1 :]

    def __str__(self) -> str:
        return f"cut at byte {self.at}" if self.value is None else f"byte {self.at} became {self.value}"


@dataclass(frozen=True)
class Seen:
    """What a reader made of a folder: a grid and notes, or a refusal, or a defect."""

    grid: Geometry | None = None
    notes: tuple[str, ...] = ()
    refusal: str = ""
    defect: str = ""


@dataclass(frozen=True)
class Patient:
    """A file to be damaged, where it lies in a copy of its folder, and how it is read there."""

    name: str
    file: Path
    place: Path
    image: Path | Geometry | None = None

    def read(self) -> Seen:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = io.read(self.place) if self.image is None else io.read_labels(self.file, image=self.image)
        except MedsegError as error:
            return Seen(refusal=str(error))
        except BaseException as error:  # noqa: BLE001  whatever it is, it is a defect
            return Seen(defect=f"{type(error).__name__}: {error}")
        return Seen(found.geometry, tuple(found.meta.warnings))


def dicom_files(data: Path) -> list[Path]:
    """Every file of the corpus but references, tables and prose."""
    others = (".nii.gz", ".csv", ".md", ".txt")
    return [path for path in sorted(data.rglob("*")) if path.is_file() and not path.name.endswith(others)]


def damages(whole: bytes, n_cuts: int, n_bytes: int, seed: int) -> Iterator[Damage]:
    """So many cuts and changed bytes of a file, in an order in which every beginning is a fair sample."""
    rng = np.random.default_rng(seed)
    if not whole:
        return
    head = header_length(whole)
    cuts = [Damage(int(at)) for at in spread(rng, n_cuts, len(whole), head)]
    places = spread(rng, n_bytes, len(whole), head)
    changes = [Damage(int(at), int(whole[at] ^ rng.integers(1, 256))) for at in places]
    every = max(1, len(changes) // max(1, len(cuts)))
    for n, change in enumerate(changes):
        if n % every == 0 and cuts:
            yield cuts.pop()
        yield change
    yield from cuts


def spread(rng: np.random.Generator, n: int, length: int, head: int) -> np.ndarray:
    """Half of `n` places anywhere, half in front of the pixels, in turn."""
    places = rng.integers(0, length, n)
    places[::2] = rng.integers(0, min(head, length), len(places[::2]))
    return places


def header_length(whole: bytes) -> int:
    """Where the pixels begin (the last time their tag occurs), or the length."""
    at = max(whole.rfind(b"\xe0\x7f\x10\x00"), whole.rfind(b"\x7f\xe0\x00\x10"))
    return at if at > 0 else len(whole)


def patient_of(file: Path, data: Path, folder: Path) -> Patient:
    """A file in a copy of its folder, made in `folder`."""
    name = file.relative_to(data).as_posix()
    if file.parent.name != "image" and (file.parent / "image").is_dir():
        copy = folder / file.name
        shutil.copy2(file, copy)
        # The grid alone, for long series: the images are whole, and reading them each time would test nothing.
        images = file.parent / "image"
        grid = io.read_geometry(images)[0] if len(list(images.iterdir())) > NEIGHBOURS else images
        return Patient(name, copy, copy, grid)
    if file.parent.name == "orphan":
        copy = folder / file.name
        shutil.copy2(file, copy)
        return Patient(name, copy, copy, folder / "absent")
    for other in _kept(file):
        shutil.copy2(other, folder / other.name)
    return Patient(name, folder / file.name, folder)


def _kept(file: Path) -> list[Path]:
    """The files of a folder, or those at the neighbouring positions in a long series of one orientation."""
    files = sorted(path for path in file.parent.iterdir() if path.is_file())
    if len(files) <= NEIGHBOURS:
        return files
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            series = load_series(file.parent)
        along = {Path(one.filename): float(normal(series[0]) @ position(one)) for one in series}
        if len({one.SeriesInstanceUID for one in series}) > 1:
            return files
    except Exception:  # noqa: BLE001  no series of slices: all of it stays
        return files
    places = sorted({round(place, 3) for place in along.values()})
    middle = places.index(round(along[file], 3))
    first = max(0, min(middle - NEIGHBOURS // 2, len(places) - NEIGHBOURS))
    near = places[first : first + NEIGHBOURS]
    return [path for path, place in along.items() if round(place, 3) in near]


def judge(before: Seen, after: Seen) -> str:
    """What became of a damaged file: "same", "refused", "said", "silent" or "defect"."""
    if after.defect:
        return "defect"
    if after.refusal:
        return "refused"
    if before.grid is not None and same(before.grid, after.grid):
        return "same"
    return "said" if set(after.notes) - set(before.notes) else "silent"


def same(one: Geometry, other: Geometry) -> bool:
    """One grid, within the tolerance of image and label; a single slice has no thickness to compare."""
    return one.shape == other.shape and one.same_as(other)


def says(file: Path, whole: bytes) -> bool:
    """Whether a damaged file says of itself, in a valid header, another geometry than the whole one did."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            now, then = (dcmread(one, stop_before_pixels=True, force=True) for one in (file, BytesIO(whole)))
            return any(now.get(keyword) != then.get(keyword) for keyword in GEOMETRY)
    except Exception:  # noqa: BLE001  then it says nothing
        return False
