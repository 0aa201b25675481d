"""`medseg.train(...)`: the verb as one call, for notebooks and programs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medseg.config.load import load_config
from medseg.config.units import parse_seconds
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
    fold: int | Literal["all"] = 0,
    resume: bool = False,
    skip_bad: bool = False,
    device: str = "auto",
    listener: Callable[[Event], object] = lambda _: None,
) -> Run:
    """Train a model on a folder of scans and masks; what `medseg train` does.

    Args:
        data: A data set folder.
        out: The RUN folder.
        config: A preset's name or a YAML file.
        overrides: "key=value" each, as `--set`.
        budget: Seconds, or a duration such as "15m"; by default an hour on a CPU, two on a GPU.
        fold: Which fold validates.
        resume: Go on with the run in `out`.
        skip_bad: Leave bad cases out instead of stopping.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        listener: Called with every event.

    Raises:
        MedsegError: As the command; its text says what to do.
    """
    options = TrainOptions(
        config=load_config(config, overrides),
        fold=fold,
        budget_s=parse_seconds(budget, "budget") if isinstance(budget, str) else budget,
        resume=resume,
        skip_bad=skip_bad,
        device=device,
    )
    finished = None
    for event in run(Path(data), Path(out), options):
        listener(event)
        finished = event if isinstance(event, Finished) else finished
    if finished is None:
        raise AssertionError("a training ends with its result")
    return Run(Path(out), Path(out) / "model", finished.summary)
