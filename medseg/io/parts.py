"""All files that make an image: a header whose voxels lie elsewhere is a part of it, and so are those voxels.

Who asks whether an image has changed must ask all of them: the header of another patient's scan may be the same.
"""

from hashlib import sha256
from pathlib import Path

from medseg.core.errors import MedsegError
from medseg.io.files import digest
from medseg.io.kinds import suffix_of
from medseg.io.pairs import main_file, voxels_beside
from medseg.io.text_headers import read_text_header

__all__ = ["image_digest", "on_disk", "parts"]

_TEXT_HEADERS = (".mhd", ".nhdr", ".mha", ".nrrd", ".seg.nrrd")


def parts(path: Path | str) -> tuple[Path, ...]:
    """The files that make the image at `path`, its main file first; `path` alone for a folder and most files.

    A header that cannot be read stands alone: who reads the image says what is wrong with it.
    """
    path = main_file(Path(path))
    if path.suffix.lower() == ".hdr":
        voxels, matrix = voxels_beside(path), path.with_suffix(".mat")
        return (path, *([voxels] if voxels else []), *([matrix] if matrix.is_file() else []))
    if suffix_of(path) in _TEXT_HEADERS and path.is_file():
        try:
            return (path, *(each for each in read_text_header(path).data_paths if each != path))
        except (MedsegError, OSError):
            return (path,)
    return (path,)


def on_disk(path: Path) -> Path:
    """What lies on the disk of a path: itself, or the archive that it leads into; itself where nothing is there."""
    return next((each for each in (path, *path.parents) if each.exists()), path)


def image_digest(path: Path | str) -> str:
    """The digest ("sha256:…") of an image: of its file or folder, or of all its parts in their order.

    Raises:
        UsageError: There is no such file or folder.
        InputError: A file cannot be read.
    """
    first, *others = parts(path)
    if not others:
        return digest(first)
    whole = sha256()
    for each in (first, *others):
        whole.update(digest(each).encode())
    return f"sha256:{whole.hexdigest()}"
