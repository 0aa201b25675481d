"""Pictures that hold the slices of a volume side by side, taken apart: Siemens' mosaics, United Imaging's VFRAME.

Tiles run along the rows of the picture, then down. Siemens gives the position of the picture as if it were one large
slice with the first tile's centre: the tile itself begins half the difference of their sizes further (Q. Li et al.,
J Neurosci Methods 264, 2016; nibabel's notes on mosaics). How many tiles there are, and to which side of the first the
others lie, stands in the private header of the scanner (CSA) alone; without it a mosaic is refused. United Imaging
gives each tile's position in a private sequence. Nothing is decoded here: a tile is a place in a picture.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medseg.core.errors import InputError
from medseg.io.dicom.find import DAMAGE, Frame, numbers, text
from medseg.io.dicom.layers import Elements, Pool, layered

__all__ = ["is_mosaic", "tiles"]

_SIEMENS, _UNITED_IMAGING = "MOSAIC", "VFRAME"
"""Words of ImageType."""

_CSA_HEADER = (0x0029, 0x10, "SIEMENS CSA HEADER")
_N_IMAGES = (0x0019, 0x0A, "SIEMENS MR HEADER")
_N_SLICES = (0x0065, 0x50, "Image Private Header")
_SLICES = (0x0065, 0x51, "Image Private Header")
"""Group, element and owner of private elements: header of the image, number of tiles; number and list of slices."""

_LARGEST_CSA = 1000
"""Entries of a CSA header, and values of an entry; those of scanners have about 100."""

_PARALLEL = 0.999
"""The private header's normal is that of the orientation, or its opposite."""


def is_mosaic(file: Frame) -> bool:
    """Whether a file says that it holds tiles."""
    words = text(file.header, "ImageType").upper().split("\\")
    if _SIEMENS in words or _UNITED_IMAGING in words:
        return True
    n_tiles = _private(file.header, _N_IMAGES)
    return isinstance(n_tiles, int) and n_tiles > 1


def tiles(file: Frame) -> tuple[Frame, ...]:
    """One image a tile, each at its place in the patient.

    Raises:
        InputError: The private header does not say how many tiles there are or where they lie.
    """
    if _UNITED_IMAGING in text(file.header, "ImageType").upper().split("\\"):
        return _united_imaging(file)
    return _siemens(file)


def _siemens(file: Frame) -> tuple[Frame, ...]:
    csa = _csa(file)
    n_tiles = _count(csa.get("NumberOfImagesInMosaic", ()) or (_private(file.header, _N_IMAGES),))
    normal = _vector(csa.get("SliceNormalVector", ()))
    step = numbers(file.header, "SpacingBetweenSlices") or _scalar(csa.get("SpacingBetweenSlices", ()))
    lacking = [word for word, value in (("number of tiles", n_tiles), ("SliceNormalVector", normal)) if value is None]
    if lacking or n_tiles is None or normal is None:
        raise InputError(
            f"{file.path} is a Siemens mosaic (slices tiled in one picture) whose private header is gone or incomplete "
            f"({', '.join(lacking)}); export the slices as single images or as an enhanced object."
        )
    grid = _Grid.of(file, n_tiles, down=math.ceil(math.sqrt(n_tiles)))
    first, to_row, to_column = _plane(file)
    along = np.cross(to_column, to_row) / np.linalg.norm(np.cross(to_column, to_row))
    side = float(along @ normal)
    if step is None or step[0] == 0 or abs(side) < _PARALLEL:
        raise InputError(
            f"{file.path} is a Siemens mosaic that does not say where its slices lie (SpacingBetweenSlices "
            f"{'missing' if step is None else f'{step[0]:g}'}, {side:.3f} between its two normals)."
        )
    first = first + to_row * (grid.rows * (grid.down - 1)) / 2 + to_column * (grid.columns * (grid.across - 1)) / 2
    step_vector = along * math.copysign(step[0], side)
    return _frames(file, grid, [_position(first + n * step_vector) for n in range(n_tiles)])


def _united_imaging(file: Frame) -> tuple[Frame, ...]:
    n_tiles = _count((_private(file.header, _N_SLICES),))
    slices = _private(file.header, _SLICES)
    items = list(slices) if isinstance(slices, Sequence) and not isinstance(slices, str | bytes) else []
    places = [numbers(item, "ImagePositionPatient", 3) for item in items]
    if n_tiles is None or len(items) != n_tiles or None in places:
        raise InputError(
            f"{file.path} is a UIH VFRAME (slices tiled in one picture) without ImagePositionPatient for each of its "
            f"{n_tiles or 'unknown'} tiles; export the slices as single images."
        )
    grid = _Grid.of(file, n_tiles, down=math.ceil(n_tiles / math.ceil(math.sqrt(n_tiles))))
    return _frames(file, grid, [_of_slice(item) for item in items])


@dataclass(frozen=True)
class _Grid:
    """How many tiles lie across and down, and the size of one in pixels."""

    across: int
    down: int
    columns: int
    rows: int

    @classmethod
    def of(cls, file: Frame, n_tiles: int, down: int) -> "_Grid":
        """The grid of `n_tiles` in the picture, as wide as it takes to be about square."""
        across = math.ceil(math.sqrt(n_tiles))
        n_columns, n_rows = (int((numbers(file.header, key) or (0.0,))[0]) for key in ("Columns", "Rows"))
        if n_columns % across or n_rows % down or min(n_columns, n_rows) == 0:
            raise InputError(
                f"{file.path} holds {n_tiles} tiles, but its {n_columns} × {n_rows} pixels cannot be {across} × {down} "
                "equal ones."
            )
        return cls(across, down, n_columns // across, n_rows // down)

    @property
    def picture(self) -> tuple[int, int]:
        """Rows and columns of the whole."""
        return self.rows * self.down, self.columns * self.across


def _frames(file: Frame, grid: _Grid, places: Sequence[Mapping[str, object]]) -> tuple[Frame, ...]:
    """A frame a tile; `places` is what each says of itself."""
    pool = Pool()
    kind = [word for word in text(file.header, "ImageType").split("\\") if word not in (_SIEMENS, _UNITED_IMAGING)]
    common: Elements = {element.tag: element for element in pool.elements(file.header)}
    same = {"Rows": grid.rows, "Columns": grid.columns, "ImageType": kind}
    common |= {element.tag: element for element in (pool.named(key, value) for key, value in same.items())}
    frames = []
    for n, place in enumerate(places):
        elements = [pool.named(key, value) for key, value in place.items()]
        header = layered({element.tag: element for element in elements}, common, file.header)
        down, across = divmod(n, grid.across)
        corner, picture = (down * grid.rows, across * grid.columns), (grid.down * grid.rows, grid.across * grid.columns)
        frames.append(replace(file, header=header, tile=(*corner, *picture)))
    return tuple(frames)


def _position(place: NDArray[np.float64]) -> dict[str, object]:
    return {"ImagePositionPatient": [f"{x:.10g}" for x in place]}


def _of_slice(item: Dataset) -> dict[str, object]:
    keywords = ("ImagePositionPatient", "SliceLocation", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime")
    return {key: item[key].value for key in keywords if key in item}


def _plane(file: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Position of the picture's corner, and the steps to the next row and column (LPS mm)."""
    found = []
    for keyword, n in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
        values = numbers(file.header, keyword, n)
        if values is None:
            raise InputError(f"{file.path} has no {keyword}, so its place in the patient is unknown.")
        found.append(np.array(values))
    position, axes, (between_rows, between_columns) = found
    return position, axes[3:] * between_rows, axes[:3] * between_columns


def _private(header: Dataset, place: tuple[int, int, str]) -> object:
    """The value of a private element, None where it is absent or unreadable."""
    group, element, owner = place
    try:
        value: object = header.get_private_item(group, element, owner).value
    except DAMAGE:
        return None
    return value


def _csa(file: Frame) -> dict[str, tuple[str, ...]]:
    """The values of each entry of Siemens' private header, as text; empty where there is none.

    After the description in nibabel's documentation. Two versions: in the second the header begins with "SV10" and an
    item says its length; in the first the length is found from a number of the first entry.
    """
    data = _private(file.header, _CSA_HEADER)
    if not isinstance(data, bytes):
        return {}
    is_second = data.startswith(b"SV10")
    at = 8 if is_second else 0
    (n_entries,) = struct.unpack_from("<I", data, at)
    at += 8
    entries: dict[str, tuple[str, ...]] = {}
    offset = None
    for _ in range(_bounded(n_entries)):
        name, _vm, _vr, _type, n_items, _last = struct.unpack_from("<64si4siii", data, at)
        at += 84
        offset = n_items if offset is None else offset
        values = []
        for _ in range(_bounded(n_items)):
            first, second, _, _ = struct.unpack_from("<4i", data, at)
            length = second if is_second else first - offset
            if length < 0 or at + 16 + length > len(data):
                raise ValueError("an entry of the CSA header is longer than the header")
            values.append(_word(data[at + 16 : at + 16 + length]))
            at += 16 + (length + 3) // 4 * 4
        entries[_word(name)] = tuple(value for value in values if value)
    return entries


def _bounded(n: int) -> int:
    if not 0 <= n <= _LARGEST_CSA:
        raise ValueError(f"a CSA header with {n} entries")
    return n


def _word(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("latin-1").strip()


def _count(values: Sequence[object]) -> int | None:
    try:
        n = int(str(values[0]))
    except (ValueError, IndexError):
        return None
    return n if n > 0 else None


def _vector(values: Sequence[str]) -> NDArray[np.float64] | None:
    try:
        found = np.array([float(value) for value in values])
    except ValueError:
        return None
    return found if found.shape == (3,) and np.isfinite(found).all() else None


def _scalar(values: Sequence[str]) -> tuple[float, ...] | None:
    try:
        return (float(values[0]),)
    except (ValueError, IndexError):
        return None
