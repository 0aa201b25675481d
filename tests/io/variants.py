"""Variants of real DICOM series whose truth follows from the original: what a reader meets tomorrow.

Each builds a folder (or an archive) from the files of a regular series by one change that hospitals make: other names,
lost slices, copies, foreign files, tilts, slopes, encodings. A `Truth` says what is right: a volume, whose voxels are
then compared with the pixels of the very files by position (`corpus.unlike_files`), or a refusal that gives the reason.
"""

import copy
import re
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from medseg import io
from medseg.core.errors import MedsegError
from tests.io.corpus import Verdict, unlike_files

__all__ = ["VARIANTS", "Truth", "load_series", "try_variant"]


@dataclass(frozen=True)
class Truth:
    """What is right for a variant.

    Attributes:
        refusal: What the sentence of the refusal says; None where a volume is right.
        note: What a warning of the volume says.
        n_slices: How many slices the volume has; as many as the original by default.
        some: Whether files were left out rightly, so that some have no place in the volume.
        interpolated: Whether some slices of the volume come from no file.
        options: `--read` options to read with.
        place: What to read, inside of the folder.
        folder: Where the files to compare with lie, inside of the folder; the whole by default.
    """

    refusal: str | None = None
    note: str | None = None
    n_slices: int | None = None
    some: bool = False
    interpolated: bool = False
    options: dict = field(default_factory=dict)
    place: str = "."
    folder: str = "."


Series = Sequence[Dataset]
Variant = Callable[[Series, Path, np.random.Generator], Truth]


def load_series(place: Path) -> list[Dataset]:
    """The slices of a folder in order along their normal."""
    files = [dcmread(path) for path in sorted(place.iterdir()) if path.is_file()]
    x, y = (np.array(files[0].ImageOrientationPatient[a : a + 3], float) for a in (0, 3))
    return sorted(files, key=lambda file: float(np.cross(x, y) @ np.array(file.ImagePositionPatient, float)))


def try_variant(variant: Variant, series: Series, folder: Path, seed: int) -> Verdict:
    """Build a variant in an empty folder, read it by medseg's door and judge what came of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom thinks of the values of real files when it writes them
        truth = variant([copy.deepcopy(file) for file in series], folder, np.random.default_rng(seed))
    try:
        volume = io.read(folder / truth.place, io.ReadOptions.parse(truth.options))
    except MedsegError as error:
        sentence = str(error)
        if truth.refusal is None:
            return Verdict("refused wrongly", sentence)
        good = re.search(truth.refusal, sentence)
        return Verdict("right" if good else "other reason", sentence)
    except Exception as error:  # noqa: BLE001  a defect, and a variant like the others
        return Verdict("crashed", f"{type(error).__name__}: {error}")
    if truth.refusal is not None:
        return Verdict("silently wrong", f"returned {volume.array.shape} with {volume.meta.warnings}")
    n_slices = len(series) if truth.n_slices is None else truth.n_slices
    if volume.geometry.shape[2] != n_slices:
        return Verdict("silently wrong", f"{volume.geometry.shape[2]} slices for {n_slices}")
    if truth.note and not re.search(truth.note, " ".join(volume.meta.warnings)):
        return Verdict("silently wrong", f"no note says {truth.note}: {volume.meta.warnings}")
    if truth.interpolated:
        return Verdict("right")
    difference = unlike_files(folder / truth.folder, volume, some=truth.some)
    return Verdict("silently wrong" if difference else "right", difference)


def save(file: Dataset, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)


def save_all(series: Series, folder: Path, names: Sequence[str] | None = None) -> None:
    for n, file in enumerate(series):
        save(file, folder / (names[n] if names else f"{n:04d}.dcm"))


def anew(file: Dataset) -> Dataset:
    """Another object: a copy with a UID of its own."""
    other = copy.deepcopy(file)
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return other


def position(file: Dataset) -> np.ndarray:
    return np.array(file.ImagePositionPatient, float)


def move(file: Dataset, by: np.ndarray) -> None:
    file.ImagePositionPatient = [f"{value:.6f}"[:16] for value in position(file) + by]


def normal(file: Dataset) -> np.ndarray:
    x, y = (np.array(file.ImageOrientationPatient[a : a + 3], float) for a in (0, 3))
    return np.cross(x, y)


def step_mm(series: Series) -> float:
    return float((position(series[1]) - position(series[0])) @ normal(series[0]))


def shuffled_names_in_folders(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    names = [f"{'abc'[n % 3]}/{'deep/' * (n % 2)}IM{order:05d}" for n, order in enumerate(rng.permutation(len(series)))]
    save_all(series, folder, names)
    return Truth()


def packed_as_zip(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    names = [f"files/study/{order:04d}.dcm" for order in rng.permutation(len(series))]
    save_all(series, folder, names)
    with zipfile.ZipFile(folder / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(folder / name, name)
    return Truth(place="scan.zip", folder="files")


def instance_numbers_at_random(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    for file, number in zip(series, rng.permutation(len(series)), strict=True):
        file.InstanceNumber = int(number) + 1
        file.SliceLocation = str(int(rng.integers(-500, 500)))
    save_all(series, folder)
    return Truth()


def lying_spacing_between_slices(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    for file in series:
        file.SpacingBetweenSlices = "17.5"
        file.SliceThickness = "0.7"
    save_all(series, folder)
    return Truth()


def an_inner_slice_is_missing(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    gone = int(rng.integers(1, len(series) - 1))
    save_all([file for n, file in enumerate(series) if n != gone], folder)
    return Truth(refusal="lacks 1 slice|uneven slice distances")


def a_missing_slice_is_filled(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    gone = int(rng.integers(2, len(series) - 2)) if len(series) > 4 else 1
    save_all([file for n, file in enumerate(series) if n != gone], folder)
    return Truth(note="interpolated|filled", interpolated=True, options={"missing": "fill"})


def the_longest_run_is_taken(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    save_all([file for n, file in enumerate(series) if n != 1], folder)
    return Truth(note="largest|longest|left", n_slices=len(series) - 2, some=True, options={"missing": "largest-run"})


def the_last_slice_is_missing(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    save_all(series[:-1], folder)
    return Truth(n_slices=len(series) - 1)


def a_file_lies_there_twice(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    save_all([*series, series[int(rng.integers(len(series)))]], folder)
    return Truth(note="cop(y|ies)")


def another_image_at_the_same_place(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    other = anew(series[int(rng.integers(len(series)))])
    raw = bytearray(other.PixelData)
    for at in rng.integers(0, len(raw) // 2, 20) * 2:
        raw[at] ^= 3
    other.PixelData = bytes(raw)
    save_all([*series, other], folder)
    return Truth(refusal="same place|images each|hold|at one position")


def the_same_pixels_under_another_uid(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    """A second export of one slice: the voxels are certain, though not which object is meant."""
    save_all([*series, anew(series[1])], folder)
    return Truth(refusal="same place|images each|hold|at one position|cop(y|ies)")


def two_series_in_one_folder(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    uid = generate_uid()
    others = [anew(file) for file in series]
    for file in others:
        file.SeriesInstanceUID = uid
        file.SeriesNumber = 77
        move(file, np.array([10.0, 0, 0]))
    save_all([*series, *others], folder)
    return Truth(refusal="holds 2 image series.*--read series=")


def one_of_two_series_is_chosen(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    uid = generate_uid()
    others = [anew(file) for file in series]
    for file in others:
        file.SeriesInstanceUID = uid
        move(file, np.array([10.0, 0, 0]))
    save_all(series, folder / "a")
    save_all(others, folder / "b")
    return Truth(options={"series": uid}, folder="b")


def two_patients_under_one_series_uid(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    for file in series[: len(series) // 2]:
        file.PatientID = "SOMEBODY-ELSE"
        file.PatientName = "Else^Somebody"
    save_all(series, folder)
    return Truth(refusal="series|stacks|patient")


def slopes_differ_from_slice_to_slice(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    for file in series:
        file.RescaleSlope = f"{rng.uniform(0.5, 2):.4f}"
        file.RescaleIntercept = f"{rng.integers(-50, 50)}"
    save_all(series, folder)
    return Truth()


def turned_in_space(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    for file in series:
        x, y = (np.array(file.ImageOrientationPatient[a : a + 3], float) for a in (0, 3))
        file.ImageOrientationPatient = [f"{value:.12f}"[:16] for value in (*(turn @ x), *(turn @ y))]
        file.ImagePositionPatient = [f"{value:.10f}"[:16] for value in turn @ position(file)]
    save_all(series, folder)
    return Truth()


def a_tilted_gantry(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    down = np.array(series[0].ImageOrientationPatient[3:], float)
    lean = step_mm(series) * np.tan(np.deg2rad(rng.choice([-18.0, -5, 7, 21])))
    for n, file in enumerate(series):
        move(file, n * lean * down)
    save_all(series, folder)
    return Truth(note="tilt")


def a_curved_table(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    across = np.array(series[0].ImageOrientationPatient[:3], float)
    bend_mm = 0.8 * float(series[0].PixelSpacing[0])
    for n, file in enumerate(series):
        move(file, across * bend_mm * n * n)
    save_all(series, folder)
    return Truth(refusal="straight line|tilt" if len(series) > 2 else "")


def jitter_of_a_micrometre(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    for file in series:
        move(file, rng.normal(0, 0.001, 3))
    save_all(series, folder)
    return Truth()


def one_gap_is_a_third_wider(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    first = int(rng.integers(1, len(series)))
    for file in series[first:]:
        move(file, normal(file) * step_mm(series) / 3)
    save_all(series, folder)
    return Truth(refusal="uneven slice distances")


def a_slow_drift_of_the_gaps(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    step = step_mm(series)
    for n, file in enumerate(series):
        move(file, normal(file) * step * 0.04 * n * n)
    save_all(series, folder)
    return Truth(refusal="uneven slice distances")


def a_localizer_is_among_them(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    scout = anew(series[0])
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    x, y = scout.ImageOrientationPatient[:3], scout.ImageOrientationPatient[3:]
    scout.ImageOrientationPatient = [*x, *np.round(np.cross(np.array(x, float), np.array(y, float)), 8)]
    save_all([*series, scout], folder)
    return Truth(note="localizer", some=True)


def one_slice_of_another_size(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    file = series[1]
    rows, columns = int(file.Rows), int(file.Columns)
    pixels = np.frombuffer(file.PixelData[: rows * columns * file.BitsAllocated // 8], f"u{file.BitsAllocated // 8}")
    file.PixelData = pixels.reshape(rows, columns)[: rows - 2].tobytes()
    file.Rows = rows - 2
    save_all(series, folder)
    return Truth(refusal="stacks|lacks|uneven|size|lies at")


def other_files_beside_them(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    save_all(series, folder / "scan")
    (folder / "README.txt").write_text("no image")
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "._0001.dcm").write_bytes(b"\x00\x05\x16\x07" + bytes(200))
    return Truth(note="left aside", folder="scan")


def a_file_that_is_cut(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    save_all(series, folder)
    path = folder / f"{int(rng.integers(len(series))):04d}.dcm"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 1 - int(rng.integers(1, 4000))])
    return Truth(refusal="cut off|damaged")


def without_pixel_spacing(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    for file in series:
        del file.PixelSpacing
    save_all(series, folder)
    return Truth(refusal="PixelSpacing")


def without_a_position_in_one_file(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    del series[1].ImagePositionPatient
    save_all(series, folder)
    return Truth(refusal="ImagePositionPatient|lacks")


def oblique_axes_not_at_right_angles(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    for file in series:
        values = np.array(file.ImageOrientationPatient, float)
        values[3:] += 0.05 * values[:3]
        file.ImageOrientationPatient = [f"{value:.8f}" for value in values]
    save_all(series, folder)
    return Truth(refusal="right angles")


def without_preamble(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    for n, file in enumerate(series):
        file.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        save(file, folder / "whole" / f"{n}.dcm")
        whole = (folder / "whole" / f"{n}.dcm").read_bytes()
        length = int.from_bytes(whole[140:144], "little")  # the group length of the file meta group
        (folder / "bare").mkdir(exist_ok=True)
        (folder / "bare" / f"{n}.dcm").write_bytes(whole[144 + length :])
    return Truth(place="bare", folder="whole")


def implicit(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    return _encoded(series, folder, ImplicitVRLittleEndian)


def deflated(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    return _encoded(series, folder, DeflatedExplicitVRLittleEndian)


def run_length_encoded(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    return _compressed(series, folder, RLELossless)


def half_of_them_encoded_otherwise(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    for file in series[::2]:
        file.compress(RLELossless, generate_instance_uid=False)
    save_all(series, folder)
    return Truth()


def jpeg_2000(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    # OpenJPEG encodes no picture of fewer than 32 pixels a side at its usual depth of wavelets.
    small = min(series[0].Rows, series[0].Columns) < 32
    return _compressed(series, folder, RLELossless if small else JPEG2000Lossless)


def jpeg_ls(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    return _compressed(series, folder, JPEGLSLossless)


def the_whole_series_twice(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    save_all(series, folder / "export")
    save_all(series, folder / "export again", [f"{n}" for n in rng.permutation(len(series))])
    return Truth(note="cop(y|ies)")


def a_second_acquisition(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    _two_acquisitions(series, folder)
    return Truth(refusal=f"{len(series)} positions of series .* hold 2 images each.*--read select=AcquisitionNumber=")


def one_of_two_acquisitions_is_chosen(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    _two_acquisitions(series, folder)
    return Truth(options={"select": "AcquisitionNumber=2"}, folder="second")


def _two_acquisitions(series: Series, folder: Path) -> None:
    others = [anew(file) for file in series]
    for number, files in enumerate((series, others), 1):
        for file in files:
            file.AcquisitionNumber = number
    for file in others:
        file.RescaleSlope, file.RescaleIntercept = "2", "7"
    save_all(series, folder / "first")
    save_all(others, folder / "second")


def numbers_and_locations_are_absent(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    for file in series:
        for keyword in ("InstanceNumber", "SliceLocation", "SliceThickness", "SpacingBetweenSlices", "SeriesNumber"):
            if keyword in file:
                del file[keyword]
    save_all([series[n] for n in rng.permutation(len(series))], folder)
    return Truth()


def monochrome1(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    """How a picture is shown changes nothing of what its values mean in CT, MR and PET."""
    for file in series:
        file.PhotometricInterpretation = "MONOCHROME1"
    save_all(series, folder)
    return Truth(note="MONOCHROME1")


def in_colour(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    for file in series:
        rows, columns = int(file.Rows), int(file.Columns)
        file.SamplesPerPixel, file.PhotometricInterpretation, file.PlanarConfiguration = 3, "RGB", 0
        file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 8, 8, 7, 0
        file.PixelData = rng.integers(0, 256, rows * columns * 3, np.uint8).tobytes() + b"\0" * (rows * columns * 3 % 2)
    save_all(series, folder)
    return Truth(refusal="in colour")


def the_highest_bit_in_an_odd_place(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    for file in series:
        file.BitsStored, file.HighBit = 12, 15
    save_all(series, folder)
    return Truth(refusal="unusual place")


def texts_in_another_alphabet(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    for file in series:
        file.SpecificCharacterSet = "ISO_IR 192"
        file.PatientName = "Ямада^花子"
        file.SeriesDescription = "頭部 5 мм"
    save_all(series, folder)
    return Truth()


def rubbish_above_the_stored_bits(series: Series, folder: Path, rng: np.random.Generator) -> Truth:
    """What lies above BitsStored is overlays or noise, and no value."""
    if series[0].BitsStored == series[0].BitsAllocated or series[0].BitsAllocated != 16:
        save_all(series, folder)
        return Truth()
    save_all(series, folder / "clean")
    for n, file in enumerate(series):
        stored = np.frombuffer(file.PixelData, "<u2").copy()
        stored &= (1 << int(file.BitsStored)) - 1
        stored |= (rng.integers(0, 2, stored.size).astype(np.uint16) << 15) if file.BitsStored < 16 else 0
        file.PixelData = stored.tobytes()
        save(file, folder / "noisy" / f"{n}.dcm")
    return Truth(place="noisy", folder="clean")


def _compressed(series: Series, folder: Path, syntax: str) -> Truth:
    for file in series:
        file.compress(syntax, generate_instance_uid=False)
    save_all(series, folder)
    return Truth()


def _encoded(series: Series, folder: Path, syntax: str) -> Truth:
    for file in series:
        file.file_meta.TransferSyntaxUID = syntax
    save_all(series, folder)
    return Truth()


def plain(file: Dataset) -> Dataset:
    """The slice with its pixels decoded, so that variants can change them."""
    if file.file_meta.TransferSyntaxUID.is_compressed and file.file_meta.TransferSyntaxUID.is_encapsulated:
        file.decompress(generate_instance_uid=False)
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return file


VARIANTS: tuple[Variant, ...] = (
    shuffled_names_in_folders,
    packed_as_zip,
    instance_numbers_at_random,
    lying_spacing_between_slices,
    an_inner_slice_is_missing,
    a_missing_slice_is_filled,
    the_longest_run_is_taken,
    the_last_slice_is_missing,
    a_file_lies_there_twice,
    another_image_at_the_same_place,
    the_same_pixels_under_another_uid,
    two_series_in_one_folder,
    one_of_two_series_is_chosen,
    two_patients_under_one_series_uid,
    slopes_differ_from_slice_to_slice,
    turned_in_space,
    a_tilted_gantry,
    a_curved_table,
    jitter_of_a_micrometre,
    one_gap_is_a_third_wider,
    a_slow_drift_of_the_gaps,
    a_localizer_is_among_them,
    one_slice_of_another_size,
    other_files_beside_them,
    a_file_that_is_cut,
    without_pixel_spacing,
    without_a_position_in_one_file,
    oblique_axes_not_at_right_angles,
    without_preamble,
    implicit,
    deflated,
    run_length_encoded,
    half_of_them_encoded_otherwise,
    jpeg_2000,
    jpeg_ls,
    the_whole_series_twice,
    a_second_acquisition,
    one_of_two_acquisitions_is_chosen,
    numbers_and_locations_are_absent,
    monochrome1,
    in_colour,
    the_highest_bit_in_an_odd_place,
    texts_in_another_alphabet,
    rubbish_above_the_stored_bits,
)
