"""Two-dimensional pictures: PNG, TIFF, JPEG, BMP and GIF by Pillow; TIFF of several pages by tifffile.

A picture is a volume of one slice, array (c, i, j, 0) with i = column and j = row: the picture's own array transposed.
It has no place in space: identity affine, `placed` False, a "mm" is a pixel. A picture is one channel where it has no
colour, however it is stored, else three; `colour` of the options asks for one or the other. Transparency is not used.
Label pictures are taken by *index* where they have a palette, as they are where they are grey (0 and 255 become 0 and
1), and refused where they are lossy.
"""

import colorsys
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from medseg._version import __version__
from medseg.core.errors import InputError
from medseg.core.geometry import Geometry
from medseg.core.labels import LARGEST_VALUE
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.io.kinds import kind_of
from medseg.io.options import ReadOptions
from medseg.io.values import as_image, as_labels, label_dtype

__all__ = ["check_grid", "has_colour", "mode_of", "palette", "read", "read_geometry", "read_labels", "write"]

_GREY_MODES = frozenset({"1", "L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
_COLOUR_MODES = frozenset({"LA", "RGB", "RGBA", "RGBX", "YCbCr", "P", "PA"})
_EXIF_ORIENTATION, _BITS_PER_SAMPLE = 274, 258
_PNG_COLOUR_TYPE_AT = 25
"""In bytes from the beginning; the bits of a sample stand before it."""

_PNG_SIGNATURE_BYTES = 8
_DAMAGE = (
    *(SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, RuntimeError, ArithmeticError),
    *(AssertionError, AttributeError, struct.error, zlib.error),
)
"""What the libraries raise on bytes that are not as the format has them."""

_TRANSPARENCY = "Its transparency, which differs from pixel to pixel, was not used."

_NEARLY_BLACK, _HALF, _FEW_BETWEEN = 32, 128, 0.05
"""JPEG moves the values of a mask by some ten at its edges; more than a twentieth in between are other labels."""

_GOLDEN_RATIO = 0.618034
"""A turn of hue by it sets each further colour apart from all before."""


def read(path: Path, options: ReadOptions) -> Volume:
    """The picture in a file: one channel if it is grey (in whatever way it is stored), else red, green, blue."""
    notes: tuple[str, ...] = ()
    with _opened(path) as picture:
        if picture is None or _is_for_tifffile(picture, path):
            planes, notes = _tiff_planes(path), _size_note(path)
        else:
            planes, notes = _values(ImageOps.exif_transpose(picture), path)
            notes += _depth_note(path) if picture.format == "PNG" else ()
    stored = _as_wanted(_channels_first(planes), options.colour, path)
    array, mended = as_image(stored, str(path))
    return Volume(array, _grid(array), Meta(kind_of(path) or "png", placed=False, warnings=notes + mended))


def read_labels(path: Path, options: ReadOptions) -> LabelMap:
    """The label map in a picture, by index or grey value; {0, 255} is read as {0, 1}, with a note."""
    is_indexed, notes = False, tuple[str, ...]()
    with _opened(path) as picture:
        if picture is None or _is_for_tifffile(picture, path):
            planes = _tiff_planes(path)
        elif _is_lossy(picture, path):
            planes, notes = _thresholded(picture, path, options)
        else:
            _refuse_turned(picture, path)
            # Whoever writes a GIF orders its palette as it comes: there the colours count.
            is_indexed = picture.mode in ("P", "1") and picture.format != "GIF"
            planes, notes = (_indices(picture, path), ()) if is_indexed else _values(picture, path)
    stored = _channels_first(planes)
    if stored.shape[0] > 1:
        raise InputError(_coloured(stored, path))
    array, mended = as_labels(stored[0], str(path))
    if not is_indexed:
        array, noted = _white_is_one(array)
        mended += noted
    return LabelMap(array, _grid(array[None]), meta=Meta(kind_of(path) or "png", placed=False, warnings=notes + mended))


def read_geometry(path: Path, options: ReadOptions) -> tuple[Geometry, int]:
    """Grid and number of channels; pixels are looked at only where a colour picture may be grey."""
    with _opened(path) as picture:
        is_plain = picture is not None and not _is_for_tifffile(picture, path)
        if picture is not None and is_plain and (picture.mode in _GREY_MODES or options.colour != "auto"):
            width, height = picture.size
            turned = picture.getexif().get(_EXIF_ORIENTATION, 1) >= 5
            grid = Geometry((height, width, 1) if turned else (width, height, 1), np.eye(4))
            return grid, 3 if options.colour == "rgb" else 1
    volume = read(path, options)
    return volume.geometry, volume.n_channels


def mode_of(path: Path) -> str:
    """How a picture is stored, in Pillow's letters ("L", "RGB", "RGBA", "P", …), from its header; "" where that fails.

    A palette with a transparency is "PA".
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                return "PA" if picture.mode == "P" and "transparency" in picture.info else picture.mode
    except (OSError, Image.DecompressionBombError, *_DAMAGE):
        return ""


def has_colour(path: Path) -> bool:
    """Whether a picture has three channels that differ; a JPEG is looked at an eighth of its size, where that tells.

    Raises:
        InputError: As `read`.
    """
    with _opened(path) as picture:
        if picture is not None and (picture.mode in _GREY_MODES or picture.mode == "LA"):
            return False
        if picture is not None and picture.format == "JPEG" and picture.mode == "RGB":
            # Chroma that is neutral in every block's mean is neutral: no one draws in nothing but zero-mean colour.
            picture.draft("RGB", (max(1, picture.width // 8), max(1, picture.height // 8)))
            return not _is_grey(np.asarray(picture))
    return read(path, ReadOptions()).n_channels == 3


def write(thing: Volume | LabelMap, path: Path, like: Meta, final: Path) -> None:  # noqa: ARG001  the door's signature
    """Write to `path` (what will be `final`): PNG labels with a palette, index = label; TIFF in its own number type.

    Raises:
        InputError: The picture format cannot hold it: several slices in a PNG, real numbers in a PNG.
    """
    check_grid(thing.geometry, final)
    if isinstance(thing, LabelMap):
        array = thing.array.astype(label_dtype(thing.array))[None]
    else:
        array = thing.array.astype(np.uint8) if thing.array.dtype.kind == "b" else thing.array
    if kind_of(final) == "tiff":
        _write_tiff(array, path)
        return
    _check_png(array, final)
    picture = np.ascontiguousarray(array[..., 0].transpose(2, 1, 0))
    if isinstance(thing, LabelMap) and array.dtype == np.uint8:
        image = Image.frombytes("P", (picture.shape[1], picture.shape[0]), picture.tobytes())
        image.putpalette(palette().tobytes())
    else:
        image = Image.fromarray(picture if picture.shape[2] == 3 else picture[..., 0])
    image.save(path, "PNG")


def check_grid(grid: Geometry, final: Path) -> None:
    """Refuse a grid that the format of a file cannot hold.

    Raises:
        InputError: There are several slices, and the file is no TIFF.
    """
    if kind_of(final.name) != "tiff" and grid.shape[2] > 1:
        raise InputError(f"{final} cannot hold {grid.shape[2]} slices; write NIfTI (.nii.gz) or TIFF (.tif).")


def palette() -> NDArray[np.uint8]:
    """(256, 3) RGB colours of label values: 0 black, all others bright, neighbours far apart."""
    colours: list[tuple[float, float, float]] = [(0.0, 0.0, 0.0)]
    for value in range(1, 256):
        hue = (value * _GOLDEN_RATIO) % 1
        colours.append(colorsys.hsv_to_rgb(hue, (0.75, 0.5, 0.95)[value % 3], (1.0, 0.95, 0.8)[value // 3 % 3]))
    return np.array([[round(255 * part) for part in colour] for colour in colours], np.uint8)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image | None]:
    """The picture, or None for a TIFF that Pillow does not know (tifffile may).

    Raises:
        InputError: It is no picture, damaged, or too large to be read at once.
    """
    if kind_of(path) == "png":
        _check_png_chunks(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oddities of metadata that nobody here reads
            # Above Pillow's limit it only warns, up to twice the limit: an error here, at the limit.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                yield picture
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{path} has more than the {Image.MAX_IMAGE_PIXELS:,} pixels that are read from a picture at once. "
            "Cut it into tiles."
        ) from error
    except UnidentifiedImageError as error:
        if kind_of(path) != "tiff":
            raise InputError(f"{path} is not a picture: its content is no {kind_of(path)}.") from error
        yield None
    except (OSError, *_DAMAGE) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError(f"{path} is damaged: its pixels cannot be decoded. Copy it again.") from error


def _check_png_chunks(path: Path) -> None:
    """Every chunk's CRC, to the closing one: the decoder stops at the last row and would not see a changed byte.

    Raises:
        InputError: A chunk is cut or altered.
    """
    with path.open("rb") as file:
        file.seek(_PNG_SIGNATURE_BYTES)
        while len(head := file.read(8)) == 8:
            body = file.read(int.from_bytes(head[:4], "big"))
            if zlib.crc32(head[4:] + body) != int.from_bytes(file.read(4), "big"):
                break
            if head[4:] == b"IEND":
                return
        where = file.tell()
    with path.open("rb") as file:
        if file.read(4) != b"\x89PNG":
            raise InputError(f"{path} is not a picture: its content is no png.")
    raise InputError(f"{path} is damaged: a part that ends at byte {where} of {path.stat().st_size} is cut or altered.")


def _is_for_tifffile(picture: Image.Image, path: Path) -> bool:
    """Whether a TIFF has pages, or colours of more than 8 bits, of which Pillow keeps the upper 8.

    Raises:
        InputError: It is an animation.
    """
    n_frames = int(getattr(picture, "n_frames", 1))
    if isinstance(picture, TiffImageFile):
        return n_frames > 1 or (picture.mode in _COLOUR_MODES and max(picture.tag_v2.get(_BITS_PER_SAMPLE, (8,))) > 8)
    if n_frames > 1:
        raise InputError(f"{path} is an animation of {n_frames} pictures; save the one that is meant as PNG.")
    return False


def _depth_note(path: Path) -> tuple[str, ...]:
    """That Pillow keeps the upper half of the bits of a PNG with colours of 16 bits."""
    with path.open("rb") as file:
        head = file.read(_PNG_COLOUR_TYPE_AT + 1)
    is_deep = len(head) > _PNG_COLOUR_TYPE_AT and head[_PNG_COLOUR_TYPE_AT - 1] == 16 and head[_PNG_COLOUR_TYPE_AT] != 0
    return (
        ("Its colours have 16 bits, of which the upper 8 were read; save it as TIFF to keep all.",) if is_deep else ()
    )


def _values(picture: Image.Image, path: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
    """(rows, columns) of a grey picture, however it is stored, or (rows, columns, 3) of a coloured one; and notes."""
    if picture.mode in _GREY_MODES:
        return np.asarray(picture), ()
    if picture.mode not in _COLOUR_MODES:
        raise InputError(f"{path} is a {picture.mode} picture; convert it to grey or RGB.")
    has_alpha = picture.mode in ("LA", "RGBA", "PA") or "transparency" in picture.info
    pixels = np.asarray(picture.convert("RGBA" if has_alpha else "RGB"))
    colours, notes = pixels[..., :3], tuple[str, ...]()
    if has_alpha and np.ptp(pixels[..., 3]) > 0:
        if np.ptp(colours.reshape(-1, 3), axis=0).max() == 0:
            raise InputError(
                f"{path} has one colour everywhere and a transparency that differs from pixel to pixel: what it shows "
                "is in its transparency. Save that as a grey picture."
            )
        notes = (_TRANSPARENCY,)
    return (colours[..., 0] if _is_grey(colours) else colours), notes


def _is_grey(pixels: NDArray[Any]) -> bool:
    """Whether (rows, columns, 3) has no colour."""
    if pixels.ndim == 2 or pixels.shape[-1] == 1:
        return True
    return np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(pixels[..., 1], pixels[..., 2])


def _as_wanted(stored: NDArray[Any], colour: str, path: Path) -> NDArray[Any]:
    """(c, i, j, k) with as many channels as the options ask for.

    Raises:
        InputError: It has colours, and grey values are asked for.
    """
    if colour == "rgb" and stored.shape[0] == 1:
        return np.repeat(stored, 3, axis=0)
    if colour == "grey" and stored.shape[0] == 3:
        n_coloured = int(np.count_nonzero(np.ptp(stored, axis=0)))
        raise InputError(
            f"{path} has colours ({n_coloured} of {stored[0].size} pixels), and a grey picture is wanted. Save it as "
            "grey; for a model that sees colours, train on pictures some of which have some."
        )
    return stored


def _indices(picture: Image.Image, path: Path) -> NDArray[Any]:
    """The values of a picture with a palette, or of black and white; white that is index 255 is 1.

    Raises:
        InputError: Its index 0 is white and its black is another: by index and by colour it says the opposite.
    """
    indices = np.asarray(picture)
    entries = picture.getpalette("RGB") if picture.mode == "P" else None
    if entries is None:
        return indices
    colours = np.array(entries, np.uint8).reshape(-1, 3)
    used = np.unique(indices)
    used = used[used < len(colours)]
    is_white, is_black = (colours[used] == 255).all(axis=1), (colours[used] == 0).all(axis=1)
    if not (is_white | is_black).all():
        return indices
    if is_white[used == 0].any():
        raise InputError(
            f"{path} has a palette in which index 0 is white: by its indices white is background, by its colours black "
            "is. Save it as grey values, 0 for background."
        )
    return (indices == 255).astype(np.uint8) if set(used.tolist()) <= {0, 255} else indices


def _is_lossy(picture: Image.Image, path: Path) -> bool:
    """Whether its values went through a compression that changes them."""
    return kind_of(path) == "jpeg" or picture.format == "JPEG" or "jpeg" in str(picture.info.get("compression", ""))


def _thresholded(picture: Image.Image, path: Path, options: ReadOptions) -> tuple[NDArray[Any], tuple[str, ...]]:
    """A lossy mask as black and white, and how many pixels were neither.

    Raises:
        InputError: The options do not say that it is one.
    """
    grey = np.asarray(picture.convert("L"))
    n_between = int(np.count_nonzero((grey > _NEARLY_BLACK) & (grey < 255 - _NEARLY_BLACK)))
    if options.lossy != "threshold":
        share = n_between / max(1, grey.size)
        hint = " It looks like black and white: --read lossy=threshold takes each pixel for the nearer of both."
        raise InputError(
            f"{path} is a JPEG; its {np.unique(grey).size} grey values are compression noise, store labels as PNG."
            + (hint if share <= _FEW_BETWEEN else "")
        )
    note = f"A JPEG mask was read as black and white; {n_between} of its {grey.size} pixels are neither nearly."
    return np.where(grey >= _HALF, np.uint8(255), np.uint8(0)), (note,)


def _refuse_turned(picture: Image.Image, path: Path) -> None:
    orientation = picture.getexif().get(_EXIF_ORIENTATION, 1)
    if orientation != 1:
        raise InputError(
            f"{path} carries an EXIF orientation ({orientation}); whether it counts for labels is unclear. "
            "Save it upright, without EXIF."
        )


def _coloured(stored: NDArray[Any], path: Path) -> str:
    if stored.shape[0] != 3:
        return f"{path} is not a label map: it has {stored.shape[0]} channels; a label map has one."
    colours, counts = np.unique(stored.reshape(3, -1), axis=1, return_counts=True)
    is_colour = np.ptp(colours, axis=0) > 0
    listed = [
        f"#{r:02x}{g:02x}{b:02x} ({n} pixels)"
        for (r, g, b), n in zip(colours[:, is_colour].T[:3], counts[is_colour], strict=False)
    ]
    return (
        f"{path} is coloured ({', '.join(listed)}, …) and does not say which label a colour is; "
        "save it with a palette or as grey values 0, 1, 2, …."
    )


def _white_is_one(array: NDArray[np.unsignedinteger[Any]]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """A mask of black and white as a mask of 0 and 1."""
    white = {np.dtype(np.uint8): 255, np.dtype(np.uint16): LARGEST_VALUE}[array.dtype]
    if array.max(initial=0) != white or np.any((array != 0) & (array != white)):
        return array, ()
    return (array == white).astype(np.uint8), (f"Black and white (0 and {white}) were read as the labels 0 and 1.",)


def _tiff_planes(path: Path) -> NDArray[Any]:
    """(rows, columns), (rows, columns, c) or (slices, rows, columns) of a TIFF, by what it says of its axes.

    Raises:
        InputError: It is damaged, or has pages and does not say that they are slices.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            axes, shape = file.series[0].axes, file.series[0].shape
            if axes not in ("YX", "YXS", "ZYX"):
                raise InputError(
                    f"{path} has {len(file.pages)} pages (axes {axes}, {tuple(shape)}) and does not say that they are "
                    "slices; save them as separate pictures, or as NIfTI."
                )
            planes: NDArray[Any] = file.series[0].asarray()
            n_extra = len(file.pages.first.extrasamples or ()) if axes == "YXS" else 0
    except (tifffile.TiffFileError, *_DAMAGE) as error:
        raise InputError(f"{path} cannot be read: its pages are damaged or packed in an unknown way.") from error
    if axes == "ZYX":
        return planes.transpose(1, 2, 0)[..., None]
    planes = planes[..., : planes.shape[-1] - n_extra] if n_extra else planes  # alpha
    return planes[..., 0] if planes.ndim == 3 and planes.shape[-1] in (1, 3) and _is_grey(planes) else planes


def _size_note(path: Path) -> tuple[str, ...]:
    """The note on a size of voxels that a stack states (ImageJ, OME), and that is not read: it counts in pixels."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            imagej, ome = file.imagej_metadata or {}, file.ome_metadata or ""
    except (tifffile.TiffFileError, OSError, *_DAMAGE):
        return ()
    if "spacing" not in imagej and "PhysicalSize" not in ome:
        return ()
    return (
        "The stack says how large its voxels are, which is not read from TIFF: they count as 1 × 1 × 1 mm. "
        "If slices are farther apart than pixels, save it as NIfTI, NRRD or MetaImage with its spacing.",
    )


def _channels_first(planes: NDArray[Any]) -> NDArray[Any]:
    """(c, i, j, k) of (rows, columns), (rows, columns, c) or (rows, columns, slices, 1), in native byte order."""
    planes = planes.astype(planes.dtype.newbyteorder("="), copy=False)
    if planes.ndim == 2:
        planes = planes[..., None, None]
    elif planes.ndim == 3:
        planes = planes[:, :, None, :]
    return planes.transpose(3, 1, 0, 2)


def _grid(array: NDArray[Any]) -> Geometry:
    return Geometry((array.shape[1], array.shape[2], array.shape[3]), np.eye(4))


def _check_png(array: NDArray[Any], final: Path) -> None:
    n_channels = array.shape[0]
    if array.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{final} cannot hold numbers of the type {array.dtype}; write TIFF (.tif) or NIfTI (.nii.gz)."
        )
    if n_channels not in (1, 3) or (n_channels == 3 and array.dtype != np.uint8):
        raise InputError(f"{final} cannot hold {n_channels} channels of {array.dtype}; write NIfTI (.nii.gz).")


def _write_tiff(array: NDArray[Any], path: Path) -> None:
    import tifffile

    if array.shape[0] > 1 and (array.shape[0] != 3 or array.shape[3] > 1):
        raise InputError(
            f"A TIFF cannot hold {array.shape[0]} channels of {array.shape[3]} slices; write NIfTI (.nii.gz)."
        )
    if array.shape[0] == 3:
        planes, axes = array[..., 0].transpose(2, 1, 0), "YXS"
    elif array.shape[3] > 1:
        planes, axes = array[0].transpose(2, 1, 0), "ZYX"
    else:
        planes, axes = array[0, ..., 0].T, "YX"
    photometric = "rgb" if axes == "YXS" else "minisblack"
    tifffile.imwrite(
        path,
        np.ascontiguousarray(planes),
        photometric=photometric,
        compression="zlib",
        metadata={"axes": axes},
        software=f"medseg {__version__}",
    )
