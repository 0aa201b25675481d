"""How MONAI reads with our door: the reader, the preparing of cases and the loader of batches.

`MedsegReader` is `medseg.io` behind MONAI's `ImageReader`, so any MONAI pipeline reads what medseg reads, with the same
refusals. It is how training reads: `Prepare` loads image and label map with it, checks that they belong together and
brings both to the plan grid. Everything is picklable, so loaders work with spawned processes; the default is none.
What goes wrong in such a process comes up as it was, and a process that dies is noticed where the next item is waited
for, never in the middle of a step.
"""

import atexit
import logging
import multiprocessing
import os
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from monai.data.dataloader import DataLoader
from monai.data.dataset import Dataset as MonaiDataset
from monai.data.image_reader import ImageReader
from monai.data.meta_tensor import MetaTensor
from monai.transforms.io.array import LoadImage
from monai.transforms.transform import Transform
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler

from medseg import io
from medseg.core.errors import MachineError, MedsegError
from medseg.core.events import CaseRead, Event, Warned
from medseg.core.geometry import Geometry
from medseg.core.labels import IGNORED, Labels
from medseg.core.volume import LabelMap, Meta, Volume
from medseg.core.workers import live_with_parent, without_signals
from medseg.data.cases import read_image, read_label_map, together
from medseg.data.checks import count_values
from medseg.data.dataset import Case, Dataset
from medseg.data.stamps import stamp_of
from medseg.io.options import ReadOptions
from medseg.plan.plan import Plan
from medseg.train.batches import Batch, PatchBatches
from medseg.train.cache import Cache
from medseg.train.cautions import vanished_caution
from medseg.transforms.preprocess import preprocess, preprocess_labels

__all__ = ["MedsegReader", "Prepare", "batch_loader", "load_image", "prepare"]

PathLike = str | os.PathLike[str]


class MedsegReader(ImageReader):
    """MONAI's view of `medseg.io.read` and `read_labels`.

    `get_data` gives the array (channels, i, j, k) and the metadata that MONAI understands: "affine" (RAS+, mm),
    "spatial_shape", "original_channel_dim" 0, "placed", and "labels" (names and values of a label map that has names).
    Several files are the channels of one case; several label maps are one of each structure.
    """

    def __init__(
        self,
        options: ReadOptions | None = None,
        labels: bool = False,
        stacked: bool = False,
        image: PathLike | None = None,
        structures: Sequence[str] = (),
        channels: Sequence[str] = (),
        wanted: Sequence[str] | None = None,
    ) -> None:
        """A reader.

        Args:
            options: How a file that leaves a choice is read.
            labels: Whether files are label maps: whole numbers, one channel.
            stacked: Whether a 4-D file holds channels, as in MSD data sets.
            image: What label maps were drawn on; a DICOM SEG or an RTSTRUCT cannot be placed without.
            structures: Names of the structures of which each file is the mask; none where a file is a label map.
            channels: Names of the channels, for sentences.
            wanted: Names of the structures that are asked for, where a label map holds several by name; None: all.
        """
        self._options = options or ReadOptions()
        self._labels = labels
        self._stacked = stacked
        self._image = image
        self._structures = tuple(structures)
        self._channels = tuple(channels)
        self._wanted = wanted

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        return all(io.kind_of(Path(name)) is not None for name in _names(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **_: Any) -> Volume | LabelMap:  # noqa: ANN401  MONAI passes what it likes
        paths = tuple(Path(name) for name in _names(data))
        if self._labels:
            source = dict(zip(self._structures, paths, strict=True)) if self._structures else paths[0]
            return read_label_map(source, self._options, Path(self._image or paths[0]), self._wanted)
        return read_image(Case(io.stem(paths[0]), paths, stacked=self._stacked), self._options, self._channels)

    def get_data(self, img: Volume | LabelMap) -> tuple[NDArray[Any], dict[str, Any]]:
        array = img.array[None] if isinstance(img, LabelMap) else img.array
        return array, {
            "affine": np.array(img.geometry.affine),
            "spatial_shape": np.array(img.geometry.shape),
            "original_channel_dim": 0,
            "placed": img.meta.placed,
            "labels": img.labels.to_json() if isinstance(img, LabelMap) and img.labels is not None else None,
        }


def load_image() -> LoadImage:
    """MONAI's loader, to be called with a path and a `MedsegReader`, whose refusals then come through as they are.

    MONAI sets up all its own readers whatever it is asked for, and one of them complains of a package that it would
    like to have; nobody who trains needs to read that.
    """
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LoadImage(image_only=True, dtype=None)


class Prepare(Transform):
    """A MONAI transform from the paths of a case to its image and classes on the plan grid.

    {"case": id, "image": [paths], "label": [paths], "structures": names of masks, "read": options of the case} →
    {"case", "image": float32 (c, i, j, k), "classes": (i, j, k), "counts": name of each class that occurs → its voxels
    in the file, and whether the plan grid has one}.
    """

    def __init__(self, plan: Plan, options: ReadOptions, stacked: bool) -> None:
        self._plan = plan
        self._options = options
        self._stacked = stacked
        self._load = load_image()

    def __call__(self, paths: dict[str, Any]) -> dict[str, Any]:
        options = self._options.updated(paths.get("read", {}))
        image_reader = MedsegReader(options, stacked=self._stacked, channels=self._plan.channels)
        labels = self._plan.label_names
        label_reader = MedsegReader(
            options,
            labels=True,
            image=paths["image"][0],
            structures=paths.get("structures", ()),
            wanted=labels.names,
        )
        image = _volume(self._load(paths["image"], image_reader))
        label_map = _label_map(self._load(paths["label"], label_reader))
        image, label_map, _ = together(image, label_map, labels, paths["case"], self._plan.channels)
        array, classes = prepared(image, label_map, self._plan)
        found = {value: n for value, n in count_values(label_map.array).items() if value in labels.classes[1:]}
        left = set(labels.from_classes(np.setdiff1d(classes, [IGNORED])).tolist())
        counts = {labels.name_of(value): (n, value in left) for value, n in found.items()}
        return {"case": paths["case"], "image": array, "classes": classes, "counts": counts}


def prepared(image: Volume, label_map: LabelMap, plan: Plan) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Image and class indices of a case on the plan grid; what is to be ignored is 255."""
    how = plan.preprocessing
    classes = plan.label_names.to_classes(label_map.array)
    on_plan_grid = preprocess_labels(classes, label_map.geometry, how, plan.network.n_classes)
    return preprocess(image, how).array, on_plan_grid


def prepare(
    dataset: Dataset, ids: Sequence[str], plan: Plan, options: ReadOptions, cache: Cache, workers: int
) -> Generator[Event, None, None]:
    """Fill the cache with the cases that it lacks or that were made of other files; yields `CaseRead` for each.

    Labels that are too small for the plan grid are told at the end.

    Raises:
        InputError: A case cannot be read any more.
        MachineError: A process of the loader was ended by the system.
    """
    wanted = set(ids)
    # Taken before the files are read: one that changes meanwhile is then prepared anew by the next call.
    stamps = {case.id: stamp_of(case) for case in dataset.cases if case.id in wanted}
    missing = set(cache.missing(stamps))
    cases = [case for case in dataset.cases if case.id in missing]
    transform = Prepare(plan, options, stacked=any(case.stacked for case in cases))
    items = [_item(case) for case in cases]
    loaded = _loaded(MonaiDataset(items, transform), workers, range(len(items)))
    vanished: dict[str, dict[str, int]] = {}
    n_having: Counter[str] = Counter()
    for done, item in enumerate(loaded, start=1):
        n_having.update(item["counts"].keys())
        for label, (n, is_left) in item["counts"].items():
            if not is_left:
                vanished.setdefault(label, {})[item["case"]] = n
        rng = np.random.default_rng([*item["case"].encode()])
        cache.put(item["case"], item["image"], item["classes"], rng, stamps[item["case"]])
        yield CaseRead(item["case"], done, len(items), "preparing")
    if vanished:
        yield Warned(vanished_caution(vanished, n_having, plan))


def _item(case: Case) -> dict[str, Any]:
    """A case as `Prepare` takes it: texts alone, so that it goes to another process."""
    structures = case.label if isinstance(case.label, Mapping) else {}
    label_paths = structures.values() if structures else [case.label]
    return {
        "case": case.id,
        "image": [str(path) for path in case.images],
        "label": [str(path) for path in label_paths],
        "structures": list(structures),
        "read": dict(case.read),
    }


def batch_loader(batches: PatchBatches, first_step: int, workers: int) -> Iterator[Batch]:
    """The batches of all steps from `first_step` on, without end, drawn ahead by `workers` processes.

    Raises:
        MachineError: A process of the loader was ended by the system.
    """
    return _loaded(batches, workers, _Steps(first_step))


class _Steps(Sampler[int]):
    """Step numbers in order, without end: how many a run takes may change while it runs."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        return count(self._first)


def _loaded(dataset: TorchDataset[Any], workers: int, order: Sampler[int] | Sequence[int]) -> Iterator[Any]:
    """The items of a data set in an order; what goes wrong comes up as it was."""
    loader = DataLoader(
        _Guarded(dataset),
        batch_size=None,
        sampler=order,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_worker_begins if workers else None,
        multiprocessing_context="spawn" if workers else None,
    )
    iterator, processes = _begun(loader)
    at_exit = atexit.register(partial(_end, processes))
    try:
        while True:
            try:
                item = next(iterator)
            except StopIteration:
                return
            except (RuntimeError, EOFError, ConnectionError) as error:
                # A process is missed by torch, or by what it was about to hand over.
                if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                    raise
                raise MachineError(
                    "A process that loads training data was ended by the system, most likely for lack of memory (in a "
                    "container also of shared memory, /dev/shm). Free some, and go on with --resume."
                ) from error
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        del iterator  # torch lets its processes end; an error that somebody keeps would keep them, too
        _end(processes)
        atexit.unregister(at_exit)


def _begun(loader: Any) -> tuple[Iterator[Any], list[BaseProcess]]:  # noqa: ANN401  MONAI has no types
    """A loader at work, and its processes: they hear no signal, and their deaths interrupt nothing.

    torch answers the death of a process by an exception wherever this one is; in the middle of a step that would leave
    weights half moved. It looks at its processes when it waits for one, too, and that is soon enough.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    answers = getattr(signal, "SIGCHLD", None) if in_main_thread else None
    before = signal.getsignal(answers) if answers is not None else None
    others = {process.pid for process in multiprocessing.active_children()}
    with without_signals():
        iterator = iter(loader)
    if answers is not None and before is not None:
        signal.signal(answers, before)
    return iterator, [process for process in multiprocessing.active_children() if process.pid not in others]


def _end(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        if process.is_alive():
            process.kill()
        process.join()


def _worker_begins(_number: int) -> None:
    live_with_parent()


def _as_it_is(item: Any) -> Any:  # noqa: ANN401  a batch is made whole by its data set
    return item


@dataclass(frozen=True)
class _Failure:
    """An error on its way from a loader's process, which torch would turn into one of another kind."""

    error: Exception


class _Guarded(TorchDataset[Any]):
    """A data set whose items may be failures: our own errors and the system's, taken out of what MONAI wraps around."""

    def __init__(self, dataset: TorchDataset[Any]) -> None:
        self._dataset = dataset

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401  whatever the data set gives
        try:
            return self._dataset[index]
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, MedsegError | OSError | MemoryError):
                cause = cause.__cause__
            if cause is None:
                raise
            return _Failure(cause)


def _names(filename: Sequence[PathLike] | PathLike) -> list[str]:
    return [str(filename)] if isinstance(filename, str | os.PathLike) else [str(name) for name in filename]


def _volume(image: MetaTensor) -> Volume:
    array = image.as_tensor().numpy()
    return Volume(array, Geometry(array.shape[1:], _affine(image)), Meta(placed=bool(image.meta["placed"])))


def _label_map(image: MetaTensor) -> LabelMap:
    array = image.as_tensor().numpy()[0]
    named = image.meta["labels"]
    labels = Labels.from_json(named) if named is not None else None
    return LabelMap(array, Geometry(array.shape, _affine(image)), labels, Meta(placed=bool(image.meta["placed"])))


def _affine(image: MetaTensor) -> NDArray[np.float64]:
    return np.asarray(image.meta["affine"], dtype=np.float64)
