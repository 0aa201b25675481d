"""A trained network (or several) as a function from a volume to its label map.

The way of a case: `transforms.preprocess` brings it to the plan grid, `windows` cuts it, the networks answer, `blend`
makes probabilities of the answers and classes of the probabilities on the canonical grid (which may lean), and flips
and permutations, which lose nothing, lead back to the native one. Everything that training did to a volume before the
network saw it is in the plan, so the same happens here. No files: whoever calls has read the volume and writes the
result.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from itertools import combinations, product
from math import prod
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medseg.core.errors import InputError, MachineError, UsageError
from medseg.core.frozen import FrozenMapping
from medseg.core.memory import allowed_bytes, in_words
from medseg.core.shear import Straightening
from medseg.core.volume import LabelMap, Volume
from medseg.model import load_model
from medseg.plan.plan import Plan
from medseg.predict.arithmetic import Arithmetic, Dtype, candidates, fastest
from medseg.predict.blend import blended_slabs, cropped, decide, gathered, slab_axis, slab_bytes
from medseg.predict.device import resolve_device
from medseg.predict.windows import pad_to, tiles, window_box
from medseg.transforms.preprocess import PlanGrid, Prepared, plan_grid, preprocess, preprocess_bytes

__all__ = ["Network", "Prediction", "Predictor"]

Network = Callable[[Tensor], Tensor]
"""Images (batch, channels, *patch) → logits (batch, classes, *patch)."""

Classes = NDArray[np.integer[Any]]
_Finished = TypeVar("_Finished")

WORTH_TIMING = 20
"""A volume of fewer windows is done before a choice of arithmetic has paid for itself."""

_BATCH_VOXELS = {"cpu": 2**18, "cuda": 2**22}
"""Voxels of windows that run at once: beyond it a larger batch was not faster."""

_CHANNELS_AS_TRAINED = "Give it the images that it was trained on."
_CHANNELS_TOGETHER = {"dicom": "Give it the folder that holds all series of the patient."}
"""How the channels of a case are given, by the kind of its files."""

_LARGEST_BATCH = {"cpu": 4, "cuda": 16}


@dataclass(frozen=True)
class Prediction:
    """What a model says about one volume.

    Attributes:
        labels: The label map on the volume's own grid, with the values that the training data used.
        volumes_ml: Volume of each label and region; empty for a picture without a place in space: its pixels have none.
        seconds: From the volume in memory to the label map in memory.
        warnings: What the user should know about this result: the reader's warnings first.
    """

    labels: LabelMap
    volumes_ml: Mapping[str, float]
    seconds: float
    warnings: tuple[str, ...] = ()


class Predictor:
    """Networks of one plan, ready to run; several are an ensemble, whose probabilities are averaged."""

    def __init__(
        self,
        plan: Plan,
        networks: Sequence[Network],
        device: str | torch.device = "auto",
        *,
        overlap: float | None = None,
        mirror: bool | None = None,
        max_memory: int | None = None,
        arithmetic: Arithmetic | Dtype | Literal["auto"] = "auto",
    ) -> None:
        """A predictor from networks in hand; `load` takes them from a folder.

        Args:
            plan: What the networks were trained by.
            networks: Functions from windows to logits. Modules are moved to the device and set to evaluation.
            device: Where networks run: "auto", "cpu", "cuda", "cuda:1", "mps".
            overlap: Least share of a window that neighbours have in common; the plan's by default.
            mirror: Also average over the views mirrored along the axes that training mirrored: 2ⁿ times the work.
            max_memory: Bytes that resampling and blending may each hold at a time, besides the volume itself; what is
                free on the machine by default, and never more.
            arithmetic: How networks compute: a type, an `Arithmetic` that was chosen before, or "auto": the first
                volume that is worth it is timed on real windows, and the choice stays. Untimed it is float32.

        Raises:
            UsageError: No network, an overlap outside [0, 1), or no such device.
            MachineError: This machine has no such device.
        """
        if not networks:
            raise UsageError("A prediction needs at least one network.")
        self.plan = plan
        self.device = resolve_device(device)
        self.overlap = plan.overlap if overlap is None else overlap
        if not 0 <= self.overlap < 1:
            raise UsageError(f"The overlap of windows is {self.overlap}, but must be a share in [0, 1). Try 0.5.")
        self._networks = tuple(networks)
        self._views = _views(plan) if mirror else [()]
        self._max_memory = max_memory
        self._box = window_box(plan.patch, plan.slice_axis)
        self._options = [arithmetic] if isinstance(arithmetic, Arithmetic) else candidates(arithmetic, self.device)
        self._settled = len(self._options) == 1 or not any(isinstance(network, nn.Module) for network in networks)
        self._place(self._options[0])

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        device: str | torch.device = "auto",
        folds: Sequence[int | str] | None = None,
        overlap: float | None = None,
        mirror: bool | None = None,
        max_memory: int | None = None,
        arithmetic: Dtype | Literal["auto"] = "auto",
    ) -> "Predictor":
        """A predictor from a RUN or a MODEL folder, with all its folds or those given (0, "1", "all").

        Raises:
            UsageError: There is no such folder or fold.
            ModelError: The model is damaged, unfinished or too new.
        """
        model = load_model(path)
        return cls(
            model.plan,
            [model.network(fold) for fold in model.choose(folds)],
            device=device,
            overlap=overlap,
            mirror=mirror,
            max_memory=max_memory,
            arithmetic=arithmetic,
        )

    def __call__(self, volume: Volume) -> Prediction:
        """Segment a volume.

        Raises:
            InputError: The volume has another number of channels than the model.
            MachineError: The memory does not suffice.
        """
        start = time.perf_counter()
        return self._concluded(volume, self.native_classes(self._prepared(volume)), start)

    def with_probabilities(self, volume: Volume) -> tuple[Prediction, Volume]:
        """Segment a volume, and give the probability of each class: (classes, i, j, k) on its grid, background first.

        The most probable class is the one of the prediction. Takes 4 bytes a voxel and class.

        Raises:
            InputError: The volume has another number of channels than the model.
            MachineError: The memory does not suffice.
        """
        start = time.perf_counter()
        self._refuse_large_probabilities(volume.geometry.shape)
        prepared = self._prepared(volume)
        said = self._blended(prepared.array, prepared.canonical.shape, prepared.straightening, gathered)
        said = np.ascontiguousarray(prepared.reorientation.inverse.apply(said))
        return self._concluded(volume, said.argmax(axis=0), start), Volume(said, volume.geometry, volume.meta)

    def _prepared(self, volume: Volume) -> Prepared:
        channels = self.plan.channels
        if volume.n_channels != len(channels):
            raise InputError(
                f"The image has {_counted(volume.n_channels)}, but the model needs {_counted(len(channels))} "
                f"({', '.join(channels)}). {_CHANNELS_TOGETHER.get(volume.meta.kind, _CHANNELS_AS_TRAINED)}"
            )
        self._refuse_too_large(plan_grid(volume.geometry, self.plan.preprocessing))
        return preprocess(volume, self.plan.preprocessing)

    def _refuse_too_large(self, grid: PlanGrid) -> None:
        """Refuse a volume whose resampling would take more memory than there is, before any of it is taken.

        Raises:
            MachineError: With both spacings: most often one of them is wrong.
        """
        needed, limit = preprocess_bytes(grid, len(self.plan.channels)), allowed_bytes(self._max_memory)
        if limit is not None and needed > limit:
            own = grid.canonical.spacing_mm
            planned = [mm or n for mm, n in zip(self.plan.preprocessing.spacing_mm, own, strict=True)]
            raise MachineError(
                f"The image has {_sides(grid.canonical.shape)} voxels of {_mm(own)}, and the "
                f"model works at {_mm(planned)}: there it has {_sides(grid.grid.shape)} voxels, which "
                f"take {in_words(needed)} of memory, but only {in_words(limit)} are {self._kind_of(limit)}. "
                "Check the spacing of the image; if it is right, crop or coarsen the image"
                f"{', or allow more (--max-memory)' if limit == self._max_memory else ''}."
            )

    def _refuse_large_probabilities(self, shape: Sequence[int]) -> None:
        """Refuse probabilities of all classes that would not fit on the image's own grid.

        Raises:
            MachineError: With both amounts.
        """
        n_classes, limit = self.plan.network.n_classes, allowed_bytes(self._max_memory)
        # Gathered and turned to the file's axes, float32; and the most probable class of each voxel, int64.
        needed = (2 * 4 * n_classes + 8) * prod(shape)
        if limit is not None and needed > limit:
            raise MachineError(
                f"Probabilities of {n_classes} classes in {_sides(shape)} voxels take {in_words(needed)} of memory, "
                f"but only {in_words(limit)} are {self._kind_of(limit)}. Leave --probabilities out, or crop the image."
            )

    def _kind_of(self, limit: int) -> str:
        return "allowed" if limit == self._max_memory else "free"

    def _concluded(self, volume: Volume, classes: Classes, start: float) -> Prediction:
        labels = self.plan.label_names
        label_map = LabelMap(labels.from_classes(classes), volume.geometry, labels, volume.meta)
        return Prediction(
            label_map,
            FrozenMapping(label_map.volumes_ml() if volume.meta.placed else {}),
            time.perf_counter() - start,
            (*volume.meta.warnings, *_place_warnings(volume, self.plan)),
        )

    def native_classes(self, prepared: Prepared) -> Classes:
        """Class indices on the native grid, contiguous (i, j, k), of what `preprocess` made of a volume."""
        classes = self.classes(prepared.array, prepared.canonical.shape, prepared.straightening)
        return np.ascontiguousarray(prepared.reorientation.inverse.apply(classes))

    def classes(
        self, array: NDArray[np.float32], shape: Sequence[int] | None = None, straightened: Straightening | None = None
    ) -> Classes:
        """Class indices (i, j, k) of a preprocessed image.

        Args:
            array: The image on the plan grid, (channels, i, j, k); it may be a memory map.
            shape: Shape of a grid over the same extent to answer on; the plan grid's own by default.
            straightened: How that grid came upright before it was resampled, if it leans.

        Raises:
            MachineError: The memory does not suffice.
        """
        return self._blended(array, shape, straightened, decide)

    def _blended(
        self,
        array: NDArray[np.float32],
        shape: Sequence[int] | None,
        straightened: Straightening | None,
        finish: Callable[..., _Finished],
    ) -> _Finished:
        """What `finish` (`blend.decide` or `blend.gathered`) makes of the blended probabilities."""
        padded, inside = pad_to(array, self._box)
        shape = array.shape[1:] if shape is None else shape
        # The planes of a leaning grid slide on each other: only from plane to plane can they be brought back.
        axis = slab_axis(padded.shape[1:], self._box) if straightened is None else straightened.stack
        placed = None if straightened is None else _placed(straightened, array.shape[1:])
        with _enough_memory(array.shape[1:], self.device):
            store = self._store(padded.shape[1:], shape, axis)
            image = torch.from_numpy(padded if padded.flags.writeable else padded.copy()).to(self.device)
            self._choose(image)
            with torch.inference_mode():
                slabs = blended_slabs(
                    image, self._box, self.overlap, self._probabilities, axis=axis, batch=self._batch, store=store
                )
                return finish(cropped(slabs, axis, inside), axis, array.shape[1:], shape, placed)

    @property
    def _batch(self) -> int:
        kind = "cpu" if self.device.type == "cpu" else "cuda"
        return max(1, min(_LARGEST_BATCH[kind], _BATCH_VOXELS[kind] // prod(self._box)))

    def _probabilities(self, windows: Tensor) -> Tensor:
        """Mean probabilities over networks and mirrored views of windows (batch, channels, *box)."""
        slice_axis = self.plan.slice_axis
        images = windows if slice_axis is None else windows.squeeze(slice_axis + 2)
        images = images.contiguous(memory_format=self._placed.layout(self.plan.dimensions))
        with self._placed.autocast(self.device):
            # Softmax in float32, whatever the network's arithmetic.
            seen = (
                network(images.flip(view)).float().softmax(dim=1).flip(view)
                for network, view in product(self._networks, self._views)
            )
            mean = reduce(Tensor.add_, seen) / (len(self._networks) * len(self._views))
        return mean if slice_axis is None else mean.unsqueeze(slice_axis + 2)

    def _place(self, arithmetic: Arithmetic) -> None:
        """Bring the networks to the device in this layout; outside inference mode, so that a training can go on."""
        for network in self._networks:
            if isinstance(network, nn.Module):
                arithmetic.place(network, self.device, self.plan.dimensions).eval()
        self._placed = arithmetic

    def _choose(self, image: Tensor) -> None:
        """Settle the arithmetic by timing real windows, if that is still open and this image is worth it."""
        if self._settled:
            return
        placed = tiles(image.shape[1:], self._box, self.overlap)
        if len(placed) * len(self._networks) * len(self._views) < WORTH_TIMING:
            return
        middle = placed[len(placed) // 2 : len(placed) // 2 + self._batch]
        windows = torch.stack([image[(slice(None), *tile.slices)] for tile in middle])

        def run(arithmetic: Arithmetic) -> None:
            if arithmetic != self._placed:
                self._place(arithmetic)
            with torch.inference_mode():
                self._probabilities(windows)

        self._place(fastest(self._options, run, self.device))
        self._settled = True

    def _store(self, shape: Sequence[int], new_shape: Sequence[int], axis: int) -> torch.device:
        """Where slabs of a volume of `shape` are kept: on the device if they take at most half of what is free."""
        needed = slab_bytes(shape, self._box, self.plan.network.n_classes, new_shape, axis)
        limit = self._max_memory if self.device.type == "cuda" else allowed_bytes(self._max_memory)
        if limit is not None and needed > limit:
            raise MachineError(
                f"Blending a volume of {_sides(shape)} voxels in {self.plan.network.n_classes} classes "
                f"takes {in_words(needed)}, but only {in_words(limit)} are {self._kind_of(limit)}. "
                "Allow more memory, or crop the image."
            )
        if self.device.type == "cuda" and needed > torch.cuda.mem_get_info(self.device)[0] / 2:
            return torch.device("cpu")
        return self.device


def _views(plan: Plan) -> list[tuple[int, ...]]:
    """The axes of a batch that are flipped in each view: every subset of those that training mirrored."""
    axes = [2 + plan.network_axes.index(axis) for axis in plan.mirror_axes if axis in plan.network_axes]
    return [view for n in range(len(axes) + 1) for view in combinations(axes, n)]


def _placed(straightened: Straightening, plan_shape: Sequence[int]) -> NDArray[np.float64]:
    """Voxel indices of a leaning grid to those of the plan grid, 4×4: upright, then resampled edge to edge."""
    resampled = np.eye(4)
    scale = np.array(plan_shape) / np.array(straightened.grid.shape)
    resampled[:3, :3] = np.diag(scale)
    resampled[:3, 3] = (scale - 1) / 2
    return resampled @ straightened.matrix


def _place_warnings(volume: Volume, plan: Plan) -> tuple[str, ...]:
    spacing = plan.preprocessing.spacing_mm
    if volume.meta.placed or all(side is None for side in spacing):
        return ()
    wanted = " × ".join("any" if side is None else f"{side:g}" for side in spacing)
    return (
        f"The image does not say how large its voxels are; each counts as 1 mm, though the model works at {wanted} mm. "
        "The result may be far off.",
    )


def _sides(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _mm(spacing_mm: Sequence[float]) -> str:
    return " × ".join(f"{mm:.3g}" for mm in spacing_mm) + " mm"


def _counted(n: int) -> str:
    return f"{n} channel" if n == 1 else f"{n} channels"


@contextmanager
def _enough_memory(shape: Sequence[int], device: torch.device) -> Iterator[None]:
    """Turn the ways in which torch and numpy run out of memory into one sentence."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        told = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
        if not told:
            raise
        is_cpu = device.type == "cpu"
        raise MachineError(
            f"The memory of {'this machine' if is_cpu else f'the device {device}'} does not suffice for a volume of "
            f"{_sides(shape)} voxels on the plan grid. "
            f"{'Close other programs' if is_cpu else 'Try --device cpu'}, or crop the image."
        ) from error
