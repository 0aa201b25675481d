"""What a run looked like: `history.csv`, one row an epoch, and `curves.png`, drawn from it."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from medseg.core.errors import InputError
from medseg.core.events import EpochEnded
from medseg.io.files import replacing

__all__ = ["draw_curves", "read_history", "write_history"]


def write_history(path: Path, epochs: Sequence[EpochEnded]) -> None:
    """Write all rows anew, so that the file is whole at any moment; a value that was not measured is empty."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(EpochEnded)])
        writer.writeheader()
        for epoch in epochs:
            writer.writerow({name: "" if value is None else _short(value) for name, value in asdict(epoch).items()})


def read_history(path: Path, up_to_step: int) -> list[EpochEnded]:
    """The rows of a history up to a step (a run may have died after its last checkpoint); none without a file.

    Raises:
        InputError: The file is damaged.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [_row(row) for row in csv.DictReader(file)]
    except (ValueError, KeyError, TypeError, OverflowError, csv.Error, OSError) as error:
        raise InputError(f"{path.name} cannot be read: it is damaged or was edited.") from error
    return [row for row in rows if row.step <= up_to_step]


def draw_curves(path: Path, epochs: Sequence[EpochEnded]) -> None:
    """Loss, validation Dice and learning rate against steps, as a picture."""
    if not epochs:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    steps = [epoch.step for epoch in epochs]
    marker = "o" if len(epochs) == 1 else ""  # a line of one point cannot be seen
    upper.plot(steps, [epoch.loss for epoch in epochs], marker=marker, color="#1f5fa8", label="training loss")
    upper.set_xlim(0, 1.05 * steps[-1])
    upper.set_ylabel("loss")
    upper.grid(alpha=0.3)
    validated = [(epoch.step, epoch.validation_dice) for epoch in epochs if epoch.validation_dice is not None]
    if validated:
        right = upper.twinx()
        right.plot(*zip(*validated, strict=True), "o-", color="#c4571a", label="validation Dice")
        right.set(ylim=(0, 1), ylabel="mean Dice")
        right.annotate(
            f"{validated[-1][1]:.3f}", validated[-1], xytext=(-4, -12), textcoords="offset points", ha="right"
        )
    figure.legend(loc="upper center", ncols=2, bbox_to_anchor=(0.5, 1.0), frameon=False)
    lower.plot(steps, [epoch.learning_rate for epoch in epochs], marker=marker, color="#555555")
    lower.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
    lower.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _short(value: float) -> float:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _row(row: dict[str, str]) -> EpochEnded:
    return EpochEnded(
        epoch=int(row["epoch"]),
        epochs=int(row["epochs"]),
        step=int(row["step"]),
        loss=float(row["loss"]),
        learning_rate=float(row["learning_rate"]),
        gradient_norm=float(row["gradient_norm"]),
        elapsed_s=float(row["elapsed_s"]),
        validation_dice=float(row["validation_dice"]) if row["validation_dice"] else None,
    )
