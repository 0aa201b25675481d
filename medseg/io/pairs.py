"""Images in two files, a header `.hdr` and voxels `.img`: which files belong together. The header stands for both."""

from pathlib import Path

from medseg.io.listing import is_regular

__all__ = ["header_beside", "main_file", "voxels_beside"]

_VOXELS = (".img", ".img.gz")


def main_file(path: Path) -> Path:
    """The file that stands for an image: the header of the pair if `path` is its voxels, else `path` itself."""
    return header_beside(path) or path


def header_beside(path: Path) -> Path | None:
    """The header of a file of voxels; None if it has none, or is called otherwise."""
    suffix = next((suffix for suffix in _VOXELS if path.name.lower().endswith(suffix)), None)
    if suffix is None:
        return None
    name = path.name[: -len(suffix)]
    return next((found for ending in (".hdr", ".HDR") if is_regular(found := path.with_name(name + ending))), None)


def voxels_beside(header: Path) -> Path | None:
    """The voxels of a header; None if they are not there."""
    name = header.name[: -len(header.suffix)]
    endings = (*_VOXELS, *map(str.upper, _VOXELS))
    return next((found for ending in endings if is_regular(found := header.with_name(name + ending))), None)
