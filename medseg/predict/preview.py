"""A picture of a result that can be judged at a glance: up to three slices with the outlines of the labels.

Volumes are shown as radiologists hang them: the patient's right is at the left of an axial or coronal picture, the nose
is up in an axial one and to the left in a sagittal one. Each slice is the one with most of the labels on it. Pictures
without a place in space are shown as they are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.views import LABEL_COLOURS, PLANES, edges_of, hung
from medseg.core.volume import LabelMap, Volume
from medseg.data.checks import count_values
from medseg.io.files import replacing

__all__ = ["draw_preview"]

LARGEST_LEGEND = 12
"""Labels that the legend lists; with a hundred organs the picture is about the whole."""

_SHOWN_PERCENTILES = (1.0, 99.5)
"""Grey values from black to white: a few bright voxels must not make the rest dark."""


@dataclass(frozen=True)
class _View:
    """A slice, ready to be shown: row 0 is the upper edge, column 0 the left one.

    `aspect` is a pixel's height over its width.
    """

    image: NDArray[np.float32]
    labels: NDArray[Any]
    aspect: float
    title: str
    edges: tuple[str, str, str, str]
    """Letters at the left, right, upper and lower edge; empty where there is no patient."""


def draw_preview(path: Path, volume: Volume, labels: LabelMap, title: str) -> None:
    """Draw a volume (its first channel) and its label map, on one grid, to a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    views = list(_views(volume, labels))
    figure = Figure(figsize=(4.2 * len(views) + 2.2, 4.6), dpi=110, layout="constrained", facecolor="#16181c")
    FigureCanvasAgg(figure)
    low, high = np.percentile(np.concatenate([view.image.ravel() for view in views]), _SHOWN_PERCENTILES)
    values = [value for value in count_values(labels.array) if value]
    colours = {value: LABEL_COLOURS[n % len(LABEL_COLOURS)] for n, value in enumerate(_all_values(labels, values))}
    for axes, view in zip(figure.subplots(1, len(views), squeeze=False)[0], views, strict=True):
        _draw_view(axes, view, (float(low), float(max(high, low + 1e-6))), {v: colours[v] for v in values})
    figure.suptitle(title, color="#e8e8e8", fontsize=11)
    _draw_legend(figure, labels, values, colours)
    with replacing(path) as partial:
        figure.savefig(partial, format="png", facecolor=figure.get_facecolor())


def _draw_view(axes: Any, view: _View, shown: tuple[float, float], colours: dict[int, str]) -> None:  # noqa: ANN401
    from matplotlib.patheffects import withStroke

    axes.imshow(view.image, cmap="gray", vmin=shown[0], vmax=shown[1], aspect=view.aspect, interpolation="nearest")
    height, width = view.labels.shape
    for value, colour in colours.items():
        # A border of zeros, so that an outline closes at the edge of the image.
        mask = np.pad(view.labels == value, 1).astype(np.float32)
        if mask.any():
            x, y = np.arange(-1, width + 1), np.arange(-1, height + 1)
            axes.contourf(x, y, mask, levels=(0.5, 1.5), colors=[colour], alpha=0.16)
            axes.contour(x, y, mask, levels=(0.5,), colors=[colour], linewidths=1.3)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.set_axis_off()
    axes.set_title(view.title, color="#a9adb5", fontsize=9)
    places = ((0.015, 0.5), (0.985, 0.5), (0.5, 0.985), (0.5, 0.015))
    sides = (("left", "center"), ("right", "center"), ("center", "top"), ("center", "bottom"))
    for letter, place, (across, along) in zip(view.edges, places, sides, strict=True):
        text = axes.text(*place, letter, transform=axes.transAxes, ha=across, va=along, color="#ffffff", fontsize=9)
        # A dark rim, or the letter would be lost on bright tissue.
        text.set_path_effects([withStroke(linewidth=2.5, foreground="#16181c")])


def _draw_legend(figure: Any, labels: LabelMap, values: list[int], colours: dict[int, str]) -> None:  # noqa: ANN401
    from matplotlib.patches import Patch

    voxel = labels.geometry.voxel_volume_ml
    handles = []
    for value in values[:LARGEST_LEGEND]:
        name = labels.labels.name_of(value) if labels.labels else f"label {value}"
        n = int(np.count_nonzero(labels.array == value))
        amount = f"{_shown(n * voxel)} ml" if labels.meta.placed else f"{n / labels.array.size:.1%}"
        handles.append(Patch(facecolor=colours[value], label=f"{name}  {amount}"))
    if len(values) > LARGEST_LEGEND:
        handles.append(Patch(alpha=0, label=f"and {len(values) - LARGEST_LEGEND} more"))
    if not handles:
        handles.append(Patch(alpha=0, label="nothing found"))
    figure.legend(handles=handles, loc="outside right center", frameon=False, labelcolor="#e8e8e8", fontsize=9)


def _shown(volume_ml: float) -> str:
    """A volume to three digits, without an exponent.

    >>> _shown(1100.2), _shown(0.01234), _shown(0.0)
    ('1100', '0.0123', '0')
    """
    if volume_ml >= 100:
        return f"{volume_ml:.0f}"
    digits = np.format_float_positional(volume_ml, precision=3, fractional=False, trim="-")
    return "0" if volume_ml == 0 else digits


def _all_values(labels: LabelMap, present: list[int]) -> list[int]:
    """Every value that could occur, so that a label has one colour in all previews of a model."""
    return list(labels.labels.classes[1:]) if labels.labels else present


def _views(volume: Volume, labels: LabelMap) -> Iterator[_View]:
    """The views of a volume: axial, coronal and sagittal, or the one of a picture."""
    grid = volume.geometry
    if not volume.meta.placed and grid.shape[2] == 1:
        yield _View(_grey(volume.array[0, :, :, 0].T), labels.array[:, :, 0].T, 1.0, "", ("", "", "", ""))
        return
    to_canonical = grid.to_canonical
    image, mask = to_canonical.apply(volume.array[0]), to_canonical.apply(labels.array)
    spacing = grid.reorient(to_canonical).spacing_mm
    for axis, name in PLANES.items():
        if image.shape[axis] == 1 or min(n for a, n in enumerate(image.shape) if a != axis) > 1:
            place = _fullest(mask, axis)
            across, along = (a for a in range(3) if a != axis)
            yield _View(
                _grey(hung(np.take(image, place, axis))),
                hung(np.take(mask, place, axis)),
                spacing[along] / spacing[across],
                f"{name} {place + 1} of {image.shape[axis]}",
                edges_of(axis),
            )


def _fullest(mask: NDArray[Any], axis: int) -> int:
    """The slice along an axis with most labelled voxels; the middle one where there are none."""
    counts = np.count_nonzero(mask, axis=tuple(a for a in range(3) if a != axis))
    return int(counts.argmax()) if counts.any() else mask.shape[axis] // 2


def _grey(plane: NDArray[Any]) -> NDArray[np.float32]:
    return np.nan_to_num(np.asarray(plane, np.float32))
