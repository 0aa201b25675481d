"""How right, how fast and how frugal medseg's evaluation is beside other libraries, on the same masks.

    python benchmarks/evaluation.py accuracy [--pictures DIR]   against continuous bodies, at three spacings
    python benchmarks/evaluation.py empty                       what each library answers where a mask is empty
    python benchmarks/evaluation.py speed [--patience 60]       512 × 512 × 200 with 20 labels: seconds and memory
    python benchmarks/evaluation.py cases DATA                  many pairs of a data set, start-up included

Other libraries take part where they are installed: surface-distance, MONAI, pymeshmetrics, MedPy (GPL-3), seg-metrics,
panoptica, SimpleITK. Prints the Markdown that docs/benchmarks.md quotes.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from metric_libraries import LIBRARIES, cropped, installed, version_of
from numpy.typing import NDArray
from scipy.spatial import cKDTree

SPACINGS = {"A": (1.0, 1.0, 1.0), "B": (0.7, 0.9, 1.5), "C": (0.8, 0.8, 5.0)}
COLUMNS = ("assd", "hd95", "nsd1")
PAIRS = Path(__file__).parents[1] / "tests" / "golden" / "ellipsoids.json"
FIELD_MM = 52.0

LARGE = (512, 512, 200)
LARGE_SPACING = (0.8, 0.8, 1.5)
N_LABELS = 20


# --- accuracy -------------------------------------------------------------------------------------------------------


def accuracy(pictures: Path | None) -> None:
    libraries = installed()
    errors = _errors_on_ellipsoids(libraries)
    print(f"Mean absolute error over {len(_ellipsoids())} pairs of turned ellipsoids; {_about(libraries)}\n")
    print("| library | " + " | ".join(f"{_title(c)} {s}" for c in COLUMNS for s in SPACINGS) + " |")
    print("| --- |" + " ---: |" * (len(COLUMNS) * len(SPACINGS)))
    for name, of_library in errors.items():
        cells = [_error_cell(of_library.get((c, s)), c) for c in COLUMNS for s in SPACINGS]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\nDistances in % of the truth, NSD in points; in brackets the bias.\n")
    _print_ratios(errors)
    _print_bodies(libraries)
    if pictures is not None:
        _draw_errors(errors, pictures / "evaluation_accuracy.png")


def _ellipsoids() -> list[dict[str, Any]]:
    pairs: list[dict[str, Any]] = json.loads(PAIRS.read_text())["pairs"]
    return pairs


def _errors_on_ellipsoids(libraries: dict[str, Any]) -> dict[str, dict[tuple[str, str], list[float]]]:
    """Library → (column, spacing) → signed errors: relative for distances, in points for NSD."""
    found: dict[str, dict[tuple[str, str], list[float]]] = {name: {} for name in libraries}
    for pair in _ellipsoids():
        truth = {"assd": pair["truth"]["ASSD"], "hd95": pair["truth"]["HD95"], "nsd1": pair["truth"]["NSD1"]}
        for letter, spacing in SPACINGS.items():
            masks = [_voxelised(pair[side], spacing) for side in ("reference", "prediction")]
            for name, measure in libraries.items():
                values = measure(*masks, spacing)
                for column in COLUMNS:
                    if column in values:
                        error = values[column] - truth[column]
                        share = error if column == "nsd1" else error / truth[column]
                        found[name].setdefault((column, letter), []).append(share)
    return {name: each for name, each in found.items() if each}


def _voxelised(solid: dict[str, Any], spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
    n = np.ceil(FIELD_MM / np.array(spacing)).astype(int)
    axes = [(np.arange(k) + 0.5) * s for k, s in zip(n, spacing, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1) - np.array(solid["centre_mm"])
    local = points @ np.array(solid["turn"]).reshape(3, 3) / np.array(solid["semi_axes_mm"])
    return np.square(local).sum(-1) <= 1


def _error_cell(errors: list[float] | None, column: str) -> str:
    if not errors:
        return "–"
    size, bias = float(np.mean(np.abs(errors))), float(np.mean(errors))
    return f"{size:.3f} ({bias:+.3f})" if column == "nsd1" else f"{100 * size:.1f} ({100 * bias:+.0f})"


def _print_ratios(errors: dict[str, dict[tuple[str, str], list[float]]]) -> None:
    """By column: medseg's error and that of the best other library."""
    cells = []
    for column in COLUMNS:
        for letter in SPACINGS:
            sizes = {n: np.mean(np.abs(e[column, letter])) for n, e in errors.items() if (column, letter) in e}
            ours = sizes.pop("medseg")
            best = min(sizes, key=lambda name: sizes[name])
            cells.append(f"{_title(column)} {letter}: {ours / sizes[best]:.2f} × {best}")
    print("medseg's error over that of the best other library: " + "; ".join(cells) + ".\n")


def _print_bodies(libraries: dict[str, Any]) -> None:
    """Spheres, tubes and plates: the truth and what each library says, HD95 and NSD."""
    print("| body | spacing | truth HD95 | " + " | ".join(libraries) + " |")
    print("| --- | --- | ---: |" + " ---: |" * len(libraries))
    for body, sides in _bodies().items():
        truth = _hd95_of_samples(*(side.samples() for side in sides))
        for letter, spacing in SPACINGS.items():
            masks = [side.voxelised(spacing) for side in sides]
            cells = [f"{measure(*masks, spacing).get('hd95', np.nan):.2f}" for measure in libraries.values()]
            print(f"| {body} | {letter} | {truth:.2f} | " + " | ".join(c.replace("nan", "–") for c in cells) + " |")
    print()


class _Ball:
    def __init__(self, centre: tuple[float, float, float], radius: float) -> None:
        self.centre, self.radius = np.array(centre), radius

    def inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.linalg.norm(points - self.centre, axis=-1) <= self.radius

    def samples(self, n: int = 100_000) -> NDArray[np.float64]:
        i = np.arange(n) + 0.5
        polar, turn = np.arccos(1 - 2 * i / n), np.pi * (1 + 5**0.5) * i
        unit = np.c_[np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)]
        return self.centre + self.radius * unit

    def voxelised(self, spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
        n = np.ceil(FIELD_MM / np.array(spacing)).astype(int)
        axes = [(np.arange(k) + 0.5) * s for k, s in zip(n, spacing, strict=True)]
        return self.inside(np.stack(np.meshgrid(*axes, indexing="ij"), -1))


class _Tube(_Ball):
    """An oblique tube with round ends: all points at most a radius from a line of some length."""

    def __init__(self, start: tuple[float, float, float], end: tuple[float, float, float], radius: float) -> None:
        self.start, self.end, self.radius = np.array(start), np.array(end), radius

    def inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        way = self.end - self.start
        along = np.clip((points - self.start) @ way / (way @ way), 0, 1)
        return np.linalg.norm(points - self.start - along[..., None] * way, axis=-1) <= self.radius

    def samples(self, n: int = 100_000) -> NDArray[np.float64]:
        way = self.end - self.start
        length = float(np.linalg.norm(way))
        axis = way / length
        across = np.linalg.svd(axis[None])[2][1:]
        n_side = round(n * length / (length + 2 * self.radius))
        i = np.arange(n_side) + 0.5
        turn = np.pi * (1 + 5**0.5) * i
        ring = np.cos(turn)[:, None] * across[0] + np.sin(turn)[:, None] * across[1]
        side = self.start + (i / n_side)[:, None] * way + self.radius * ring
        caps = _Ball((0, 0, 0), self.radius).samples(n - n_side)
        beyond = caps @ axis > 0
        return np.concatenate([side, self.end + caps[beyond], self.start + caps[~beyond]])


class _Plate(_Ball):
    """A box along the axes."""

    def __init__(self, low: tuple[float, float, float], high: tuple[float, float, float]) -> None:
        self.low, self.high = np.array(low), np.array(high)

    def inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        return ((points >= self.low) & (points < self.high)).all(axis=-1)

    def samples(self, n: int = 100_000) -> NDArray[np.float64]:
        sides = self.high - self.low
        areas = np.array([sides[1] * sides[2], sides[0] * sides[2], sides[0] * sides[1]])
        parts = []
        for axis, area in enumerate(areas):
            count = max(4, round(n * area / (2 * areas.sum())))
            draw = np.random.default_rng(axis).random((count, 3)) * sides + self.low
            for end in (self.low, self.high):
                face = draw.copy()
                face[:, axis] = end[axis]
                parts.append(face)
        return np.concatenate(parts)


def _bodies() -> dict[str, tuple[_Ball, _Ball]]:
    return {
        "sphere r 20, moved (3, 0, 2)": (_Ball((25, 26, 26), 20), _Ball((28, 26, 28), 20)),
        "sphere r 6, 1 mm larger": (_Ball((26, 26, 26), 6), _Ball((26, 26, 26), 7)),
        "tube r 3, oblique, moved 2": (_Tube((8, 10, 9), (42, 38, 40), 3), _Tube((10, 10, 9), (44, 38, 40), 3)),
        "plate 5 mm thick, 5 mm thicker": (_Plate((8, 8, 20), (44, 44, 25)), _Plate((8, 8, 20), (44, 44, 30))),
    }


def _hd95_of_samples(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Samples carry equal areas, so a percentile of samples is one of area."""
    return max(
        float(np.percentile(cKDTree(to).query(of)[0], 95, method="inverted_cdf"))
        for of, to in ((first, second), (second, first))
    )


def _draw_errors(errors: dict[str, dict[tuple[str, str], list[float]]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(12, 3.8), constrained_layout=True)
    for panel, column in zip(panels, COLUMNS, strict=True):
        names = [name for name, each in errors.items() if (column, "A") in each]
        for place, letter in enumerate(SPACINGS):
            values = [np.abs(errors[name][column, letter]) * (1 if column == "nsd1" else 100) for name in names]
            at = np.arange(len(names)) + (place - 1) * 0.26
            means = [v.mean() for v in values]
            panel.bar(
                at, means, 0.24, yerr=[v.std() / len(v) ** 0.5 for v in values], label=f"{letter} {SPACINGS[letter]} mm"
            )
        panel.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=8)
        panel.set_title(
            f"{_title(column)}: mean error " + ("[points]" if column == "nsd1" else "[% of truth]"), fontsize=10
        )
        panel.spines[["top", "right"]].set_visible(False)
    shown = panels[0].get_legend_handles_labels()
    figure.legend(*shown, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


# --- empty masks ----------------------------------------------------------------------------------------------------


def empty() -> None:
    libraries = installed()
    some = np.zeros((20, 20, 20), bool)
    some[5:12, 5:12, 5:12] = True
    nothing = np.zeros_like(some)
    situations = {
        "both empty": (nothing, nothing),
        "false alarm (reference empty)": (nothing, some),
        "missed (prediction empty)": (some, nothing),
    }
    print(f"HD95 / ASSD / NSD where a mask is empty; {_about(libraries)}\n")
    print("| library | " + " | ".join(situations) + " |\n| --- |" + " --- |" * len(situations))
    for name, measure in libraries.items():
        cells = []
        for masks in situations.values():
            try:
                values = measure(*masks, (1.0, 1.0, 1.0))
                cells.append(" / ".join(f"{values[c]:g}" if c in values else "–" for c in ("hd95", "assd", "nsd1")))
            except Exception as error:  # noqa: BLE001  how it fails is the answer
                cells.append(f"{type(error).__name__}")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print()


# --- speed ----------------------------------------------------------------------------------------------------------


def speed(patience_s: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        maps = Path(folder) / "maps.npz"
        _make_large(maps)
        runs = {("medseg evaluate", "all default metrics"): _in_child("medseg", maps, patience_s)}
        for name in installed():
            if name != "medseg":
                for how in ("whole", "cropped"):
                    runs[name, how] = _in_child("library", maps, patience_s, name, how)
    fastest = runs["medseg evaluate", "all default metrics"]["seconds"]
    print(f"{'×'.join(map(str, LARGE))}, {N_LABELS} labels: HD, HD95, ASSD, NSD of each; {_about(installed())}\n")
    print("| library | called | labels measured | seconds for all | × medseg | MB above the maps |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for (name, how), run in runs.items():
        if run["n"] == 0:
            print(f"| {name} | {how} | 0 | – | – | – |")
            continue
        print(
            f"| {name} | {how} | {run['n']} | {run['seconds']:.1f} | {run['seconds'] / fastest:.1f} | {run['mb']:.0f} |"
        )
    print()


def _make_large(path: Path) -> None:
    """Twenty organs: turned ellipsoids of 10 to 60 mm, and a prediction that is a little off, as predictions are."""
    generator = np.random.default_rng(11)
    reference, predicted = np.zeros(LARGE, np.uint8), np.zeros(LARGE, np.uint8)
    size = np.array(LARGE) * LARGE_SPACING
    for label in range(1, N_LABELS + 1):
        semi = generator.uniform(10, 45, 3)
        centre = generator.uniform(50, size - 50)
        _paint(reference, label, centre, semi)
        _paint(predicted, label, centre + generator.normal(0, 1, 3), semi * generator.uniform(0.95, 1.05, 3))
    np.savez(path, reference=reference, predicted=predicted)


def _paint(array: NDArray[np.uint8], label: int, centre: NDArray[np.float64], semi: NDArray[np.float64]) -> None:
    low = np.maximum(0, ((centre - semi) / LARGE_SPACING).astype(int))
    high = np.minimum(LARGE, ((centre + semi) / LARGE_SPACING).astype(int) + 2)
    axes = [
        ((np.arange(a, b) + 0.5) * s - c) / r
        for a, b, s, c, r in zip(low, high, LARGE_SPACING, centre, semi, strict=True)
    ]
    inside = axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2 <= 1
    array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))][inside] = label


def _in_child(job: str, maps: Path, patience_s: float, *arguments: str) -> dict[str, float]:
    """Run a job of this file in a process of its own, so that its peak of memory is its own."""
    command = [sys.executable, __file__, "--child", job, str(maps), str(patience_s), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{job} {arguments}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return {"n": 0, "seconds": np.nan, "mb": np.nan}
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _loaded(maps: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    with np.load(maps) as both:
        return both["reference"], both["predicted"]


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _child_medseg(maps: Path, _patience_s: float) -> dict[str, float]:
    from medseg import Geometry, LabelMap
    from medseg.evaluate import evaluate

    grid = Geometry.from_spacing(LARGE, LARGE_SPACING)
    reference, predicted = _loaded(maps)
    # Loads what is loaded late, so that the maps' process is compared with itself.
    evaluate(LabelMap(predicted[:40, :40, :40], grid.crop((0, 0, 0), (40, 40, 40))),
             LabelMap(reference[:40, :40, :40], grid.crop((0, 0, 0), (40, 40, 40))))  # fmt: skip
    before, seconds = max(_resident_mb(), 0), []
    for _ in range(3):
        start = time.perf_counter()
        found = evaluate(LabelMap(predicted, grid), LabelMap(reference, grid))
        sum(found.headline.values())  # the rows and the summary are part of the work
        seconds.append(time.perf_counter() - start)
    return {"n": N_LABELS, "seconds": median(seconds), "mb": _peak_mb() - before}


def _child_library(maps: Path, patience_s: float, name: str, how: str) -> dict[str, float]:
    measure = installed()[name]
    measure = cropped(measure) if how == "cropped" else measure
    reference, predicted = _loaded(maps)
    small = np.zeros((12, 12, 12), bool)
    small[3:8, 3:8, 3:8] = True
    measure(small, small, LARGE_SPACING)
    before, spent, n = _resident_mb(), 0.0, 0
    for label in range(1, N_LABELS + 1):
        start = time.perf_counter()
        measure(reference == label, predicted == label, LARGE_SPACING)
        spent += time.perf_counter() - start
        n += 1
        if spent > patience_s:
            break
    # Labels differ in size; the voxels measured say how much of the work was done.
    voxels = np.bincount(reference.reshape(-1), minlength=N_LABELS + 1)[1:]
    share = n / N_LABELS if how == "whole" else voxels[:n].sum() / voxels.sum()
    return {"n": n, "seconds": spent / share, "mb": _peak_mb() - before}


# --- many cases -----------------------------------------------------------------------------------------------------


def cases(data: Path, n: int = 1000) -> None:
    """So many pairs of a data set's label maps, each against another case of its shape or itself moved by a voxel."""
    from medseg import LabelMap, read_labels, write

    labels = sorted((data / "labelsTr").glob("[!.]*.nii.gz"))
    with tempfile.TemporaryDirectory() as folder:
        reference, predicted = (Path(folder) / name for name in ("reference", "predicted"))
        for number in range(n):
            source = read_labels(labels[number % len(labels)])
            write(source, reference / f"case_{number:04d}.nii.gz")
            moved = np.roll(source.array, 1, number % 3)
            write(LabelMap(moved, source.geometry, meta=source.meta), predicted / f"case_{number:04d}.nii.gz")
        start = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "medseg",
            "evaluate",
            str(predicted),
            str(reference),
            "-o",
            f"{folder}/out",
            "-q",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(f"{n} pairs of {data.name}, start-up included: {time.perf_counter() - start:.1f} s\n")


# --------------------------------------------------------------------------------------------------------------------


def _title(column: str) -> str:
    return {"assd": "ASSD", "hd95": "HD95", "nsd1": "NSD@1"}[column]


def _about(libraries: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version_of(LIBRARIES[name][0])}" for name in libraries)
    machine = f"{multiprocessing.cpu_count()} cores ({platform.machine()})"
    return f"{date.today()}, {machine}, numpy {np.__version__}; {versions}."


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        job, maps, patience_s, *arguments = sys.argv[2:]
        run = {"medseg": _child_medseg, "library": _child_library}[job]
        print(json.dumps(run(Path(maps), float(patience_s), *arguments)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("accuracy", "empty", "speed", "cases"))
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for the pictures of `accuracy`")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds after which a library is extrapolated")
    given = parser.parse_args()
    if given.what == "accuracy":
        accuracy(given.pictures)
    elif given.what == "empty":
        empty()
    elif given.what == "speed":
        speed(given.patience)
    elif given.data is None:
        parser.error("cases needs the folder of a data set")
    else:
        cases(given.data)


if __name__ == "__main__":
    main()
