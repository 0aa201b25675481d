"""How accurate medseg is after some minutes on MSD Task04 (hippocampus), beside nnU-Net's published 1000 epochs.

    python benchmarks/hippocampus.py DATA OUT --budget 10m        trains fold 0, predicts and evaluates it
    python benchmarks/hippocampus.py DATA OUT                     a run that is there: predicts and evaluates only

DATA is the data set in MSD layout with nnU-Net's `splits_final.json`; `nnunet_dice.json` beside it (case → label → Dice
of nnU-Net v2 in its own cross-validation) is compared with where it exists. Every Dice is also computed here, with
nibabel and numpy alone. Prints the lines that docs/benchmarks.md quotes.
"""

import argparse
import csv
import json
import platform
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from medseg._version import __version__


def medseg(*arguments: object) -> float:
    """Run a verb; the seconds it took."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "medseg", *map(str, arguments)], check=True)
    return time.perf_counter() - start


def independent_dice(predicted: Path, reference: Path, value: int) -> float:
    left, right = (np.asanyarray(nib.load(path).dataobj) == value for path in (predicted, reference))
    return 2 * np.count_nonzero(left & right) / (np.count_nonzero(left) + np.count_nonzero(right))


def largest_difference(metrics: Path, masks: Path, data: Path, labels: dict[str, int]) -> float:
    """Between medseg's Dice and the independent one, over all cases and labels."""
    rows = [row for row in csv.DictReader(metrics.read_text(encoding="utf-8").splitlines()) if row["metric"] == "dice"]
    return max(
        abs(
            float(row["value"])
            - independent_dice(
                masks / f"{row['case']}.nii.gz", data / "labelsTr" / f"{row['case']}.nii.gz", labels[row["label"]]
            )
        )
        for row in rows
    )


def beside_nnunet(data: Path, metrics: Path) -> None:
    """Mean Dice of both on the same cases, and the mean of the differences with its standard error."""
    path = data / "nnunet_dice.json"
    if not path.is_file():
        return
    theirs = {case: list(scores.values()) for case, scores in json.loads(path.read_text()).items()}
    ours: dict[str, list[float]] = {}
    for row in csv.DictReader(metrics.read_text(encoding="utf-8").splitlines()):
        if row["metric"] == "dice":
            ours.setdefault(row["case"], []).append(float(row["value"]))
    pairs = np.array([(np.mean(ours[case]), np.mean(theirs[case])) for case in ours if case in theirs])
    difference = pairs[:, 0] - pairs[:, 1]
    error = difference.std(ddof=1) / np.sqrt(len(pairs))
    print(
        f"nnU-Net v2, 1000 epochs, same {len(pairs)} cases: {pairs[:, 1].mean():.4f}; "
        f"medseg minus nnU-Net: {difference.mean():+.4f} ± {error:.4f} (standard error of the paired difference)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--budget")
    parser.add_argument("--seed", default="0")
    given = parser.parse_args()
    run = given.out / "run"
    if given.budget:
        seconds = medseg(
            "train", given.data, "-o", run, "--budget", given.budget, "--device", "cpu", "--seed", given.seed
        )
        print(f"train --budget {given.budget}: {seconds / 60:.2f} minutes")
    fold = json.loads((run / "splits.json").read_text())["folds"][0]["validation"]
    scans = [given.data / "imagesTr" / f"{case}.nii.gz" for case in fold]
    masks, figures = given.out / "predicted", given.out / "figures"
    whole = medseg("predict", *scans, "-m", run, "-o", masks, "--device", "cpu", "--overwrite")
    seconds = [case["seconds"] for case in json.loads((masks / "predictions.json").read_text())["cases"]]
    references = given.out / "references"
    references.mkdir(exist_ok=True)
    for case in fold:
        target = references / f"{case}.nii.gz"
        target.unlink(missing_ok=True)
        target.symlink_to((given.data / "labelsTr" / f"{case}.nii.gz").resolve())
    medseg("evaluate", masks, references, "-o", figures, "-q", "--labels", "Anterior=1,Posterior=2")

    model = json.loads((run / "model/model.json").read_text())
    facts = model["training"]["fold_0"]
    dice = json.loads((figures / "summary.json").read_text())["headline"]["dice"]
    versions = f"torch {torch.__version__}, medseg {__version__}"
    minutes = facts["training_s"] / 60
    print(f"\n{date.today()}, {platform.machine()}, {torch.get_num_threads()} threads, {versions}")
    print(f"{facts['steps']} steps, {facts['pflop']:.3f} PFLOP, {facts['arithmetic']}, {minutes:.1f} minutes of steps")
    print(f"mean Dice of fold 0 ({len(fold)} cases): {dice:.4f}")
    print(f"predict: {np.median(seconds):.2f} s a case (median), {max(seconds):.2f} s at most, {whole:.1f} s in all")
    difference = largest_difference(figures / "metrics.csv", masks, given.data, {"Anterior": 1, "Posterior": 2})
    print(f"largest difference to an independent Dice: {difference:.1e}")
    beside_nnunet(given.data, figures / "metrics.csv")


if __name__ == "__main__":
    main()
