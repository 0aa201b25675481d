"""`medseg.train(...)`: the verb as one call, for notebooks and programs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medseg.config.load import load_config
from medseg.config.units import parse_seconds
from medseg.core.errors import UsageError
from medseg.core.events import Event, Finished
from medseg.train.run import run
from medseg.train.setup import TrainOptions

__all__ = ["Run", "train"]


@dataclass(frozen=True)
class Run:
    """A training that has ended.

    Attributes:
        folder: The RUN folder.
        model: The model in it, for `Predictor.load`.
        summary: Its main figures: "steps", "pflop", "training_s", "validation" (as summary.json) and others.
    """

    folder: Path
    model: Path
    summary: Mapping[str, Any]


def train(
    data: Path | str,
    out: Path | str,
    *,
    config: Path | str | None = None,
    overrides: Sequence[str] = (),
    budget: float | str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    fold: int | Literal["all"] = 0,
    resume: bool = False,
    skip_bad: bool = False,
    device: str = "auto",
    threads: int | None = None,
    listener: Callable[[Event], object] = lambda _: None,
) -> Run:
    """Train a model on a folder of scans and masks; what `medseg train` does.

    Args:
        data: A data set folder.
        out: The RUN folder.
        config: A preset's name or a YAML file.
        overrides: "key=value" each, as `--set`.
        budget: Seconds, or a duration such as "15m"; by default an hour on a CPU, two on a GPU.
        epochs: Epochs instead of a budget.
        seed: Of everything random.
        fold: Which fold validates.
        resume: Go on with the run in `out`.
        skip_bad: Leave bad cases out instead of stopping.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        threads: Threads of the CPU; torch's choice by default.
        listener: Called with every event.

    Raises:
        MedsegError: As the command; its text says what to do.
    """
    words = [f"{key}={value}" for key, value in (("training.epochs", epochs), ("seed", seed)) if value is not None]
    if isinstance(budget, int | float) and budget <= 0:
        raise UsageError(f"budget is {budget}; it is a number of seconds above 0, or a duration such as '15m'.")
    options = TrainOptions(
        config=load_config(config, [*overrides, *words]),
        fold=fold,
        budget_s=parse_seconds(budget, "budget") if isinstance(budget, str) else budget,
        resume=resume,
        skip_bad=skip_bad,
        device=device,
        threads=threads,
    )
    finished = None
    for event in run(Path(data), Path(out), options):
        listener(event)
        finished = event if isinstance(event, Finished) else finished
    if finished is None:
        raise AssertionError("a training ends with its result")
    return Run(Path(out), Path(out) / "model", finished.summary)
