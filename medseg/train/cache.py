"""Prepared cases on disk: each is read and preprocessed once, then training draws patches from memory maps.

A cache folder holds `CASE.image.npy` (float32, channels first, plan grid), `CASE.classes.npy` (class indices),
`CASE.places.npy` (up to 10,000 voxel indices of each class, where patches may be centred) and, written last,
`CASE.json`: the stamp of the files that the case was made of. The folder belongs to one plan: `cache.json` holds the
plan's digest, and a cache of another plan is emptied.

A case is mapped for as long as a patch is cut out of it, and no longer: neither open files nor memory grow with the
number of cases, and no mapped file is in the way when the folder is removed (Windows removes none).
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.labels import IGNORED
from medseg.io.files import replacing, write_json
from medseg.plan.plan import Plan

__all__ = ["Cache", "CachedCase"]

SCHEMA = "medseg/cache/2"

PLACES = 10_000
"""Voxel indices of a class that are kept a case: enough to centre patches anywhere in it, little enough to forget."""


@dataclass(frozen=True)
class CachedCase:
    """A prepared case: views on disk, which are closed when nobody holds them any more.

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
        index, content = folder / "cache.json", {"schema": SCHEMA, "plan": _digest(plan)}
        if _stored(index) != content:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
            write_json(index, content)

    def missing(self, stamps: Mapping[str, str]) -> list[str]:
        """Of the cases with the stamps of their files, those that are not prepared yet, or were of other files."""
        return [case for case, stamp in stamps.items() if _stored(self._path(case, "json")) != {"made_of": stamp}]

    def put(
        self, case: str, image: NDArray[np.float32], classes: NDArray[Any], rng: np.random.Generator, stamp: str
    ) -> None:
        """Store a prepared case; the stamp of its files comes last: its presence says that the case is whole."""
        self._path(case, "json").unlink(missing_ok=True)
        for name, array in (("image", image), ("classes", classes), ("places", _packed(_places(classes, rng)))):
            with replacing(self._path(case, f"{name}.npy")) as path, path.open("wb") as file:
                np.save(file, np.ascontiguousarray(array))
        write_json(self._path(case, "json"), {"made_of": stamp})

    def get(self, case: str) -> CachedCase:
        """A prepared case as memory maps, open as long as its arrays are held."""
        image, classes, packed = (
            np.load(self._path(case, f"{name}.npy"), mmap_mode="r") for name in ("image", "classes", "places")
        )
        return CachedCase(image, classes, _unpacked(packed))

    def remove(self) -> None:
        """Delete the folder and all in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, case: str, ending: str) -> Path:
        return self.folder / "cases" / f"{case}.{ending}"


def _packed(places: Mapping[int, NDArray[np.int32]]) -> NDArray[np.int32]:
    """All places in one table (n, 3), which is one file: how many classes, (class, start, stop) of each, places."""
    n_rows = [len(found) for found in places.values()]
    stops = 1 + len(places) + np.cumsum(n_rows, dtype=np.int32)
    index = np.array([*zip(places, stops - n_rows, stops, strict=True)], np.int32).reshape(-1, 3)
    return np.concatenate([np.array([[len(places), 0, 0]], np.int32), index, *places.values()])


def _unpacked(packed: NDArray[np.int32]) -> dict[int, NDArray[np.int32]]:
    """The inverse of `_packed`, as views."""
    index = packed[1 : 1 + int(packed[0, 0])].tolist()
    return {label: packed[start:stop] for label, start, stop in index}


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


def _stored(path: Path) -> object:
    """What a small JSON file holds; None where there is none, or none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
