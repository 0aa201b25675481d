"""Prepared cases on disk: each is read and preprocessed once, then training draws patches from memory maps.

A cache folder holds `CASE.image.npy` (float32, channels first, plan grid), `CASE.classes.npy` (class indices) and
`CASE.foreground.npz` (up to 10,000 voxel indices of each class, where patches may be centred). It belongs to one plan:
`cache.json` holds the plan's digest, and a cache of another plan is emptied. Opened cases are memory maps, so the
machine's memory is the operating system's affair.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.labels import IGNORED
from medseg.io.files import replacing, write_json
from medseg.plan.plan import Plan

__all__ = ["Cache", "CachedCase"]

PLACES = 10_000
"""Voxel indices of a class that are kept a case: enough to centre patches anywhere in it, little enough to forget."""


@dataclass(frozen=True)
class CachedCase:
    """A prepared case: views on disk.

    Attributes:
        image: float32 (channels, i, j, k) on the plan grid.
        classes: Class indices (i, j, k); 255 where nothing is to be learnt.
        places: class → (n, 3) int32 voxel indices, for the classes that occur (background left out).
    """

    image: NDArray[np.float32]
    classes: NDArray[Any]
    places: dict[int, NDArray[np.int32]]


class Cache:
    """The prepared cases of one plan in one folder.

    Picklable: worker processes open the files themselves.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self._digest = _digest(plan)
        self._open: dict[str, CachedCase] = {}
        index = folder / "cache.json"
        if not index.is_file() or _stored_digest(index) != self._digest:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
            write_json(index, {"schema": "medseg/cache/1", "plan": self._digest})

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def missing(self, cases: Iterable[str]) -> list[str]:
        """Those of `cases` that are not prepared yet."""
        return [case for case in cases if not self._path(case, "foreground.npz").is_file()]

    def put(self, case: str, image: NDArray[np.float32], classes: NDArray[Any], rng: np.random.Generator) -> None:
        """Store a prepared case; the foreground comes last, so that its presence says that the case is whole."""
        for name, array in (("image.npy", image), ("classes.npy", classes)):
            with replacing(self._path(case, name)) as path, path.open("wb") as file:
                np.save(file, np.ascontiguousarray(array))
        places = {str(label): found for label, found in _places(classes, rng).items()}
        with replacing(self._path(case, "foreground.npz")) as path, path.open("wb") as file:
            np.savez(file, **places)  # type: ignore[arg-type]  # numpy's stub takes the keys for its options

    def get(self, case: str) -> CachedCase:
        """A prepared case as memory maps, kept open."""
        if case not in self._open:
            with np.load(self._path(case, "foreground.npz")) as stored:
                places = {int(label): stored[label] for label in stored.files}
            self._open[case] = CachedCase(
                np.load(self._path(case, "image.npy"), mmap_mode="r"),
                np.load(self._path(case, "classes.npy"), mmap_mode="r"),
                places,
            )
        return self._open[case]

    def remove(self) -> None:
        """Delete the folder and all in it."""
        self._open.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, case: str, ending: str) -> Path:
        return self.folder / f"{case}.{ending}"


def _places(classes: NDArray[Any], rng: np.random.Generator) -> dict[int, NDArray[np.int32]]:
    """Up to `PLACES` voxel indices of each class that occurs but background and the ignored, (n, 3) int32."""
    flat = classes.ravel()
    foreground = np.flatnonzero((flat != 0) & (flat != IGNORED))
    order = np.argsort(flat[foreground], kind="stable")
    found, starts = np.unique(flat[foreground][order], return_index=True)
    places = {}
    # Split before the first, too: where no class occurs (a scan without lesions) there is no group, not an empty one.
    for label, group in zip(found, np.split(foreground[order], starts)[1:], strict=True):
        chosen = group if len(group) <= PLACES else np.sort(rng.choice(group, PLACES, replace=False))
        places[int(label)] = np.stack(np.unravel_index(chosen, classes.shape), axis=1).astype(np.int32)
    return places


def _digest(plan: Plan) -> str:
    """Of what decides a prepared case: labels, channels and preprocessing, not the patch or the schedule."""
    decisive = {
        "labels": plan.labels,
        "ignore": plan.ignore,
        "channels": plan.channels,
        "preprocessing": plan.preprocessing.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _stored_digest(index: Path) -> str | None:
    try:
        stored = json.loads(index.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return stored.get("plan") if isinstance(stored, dict) else None
