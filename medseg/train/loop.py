"""The race itself: step after step, a batch goes in and the weights move.

`Learner` holds what changes (weights, their moving average, the optimiser) and does one step; `fit` counts steps, keeps
to the end that the budget sets, and yields events. Neither knows files: who listens saves, validates and draws between
two steps, when everything is consistent.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from medseg.config.schema import TrainingConfig
from medseg.core.errors import InputError, ModelError
from medseg.core.events import EpochEnded, Event, StepEnded, Warned
from medseg.nn.losses import SegmentationLoss
from medseg.plan.plan import Correction
from medseg.predict.arithmetic import Arithmetic
from medseg.train.batches import Batch, step_generator, step_seed
from medseg.train.schedule import corrected_steps, learning_rate, progress
from medseg.transforms.augment import Augmenter

__all__ = ["Learner", "Race", "fit"]

CHECKS = ((0.1, 0.15), (0.5, 0.03), (0.85, 0.03))
"""When (as a share of the race that is done) the speed is looked at again, and by what share of the budget the end must
be missed for the number of steps to be corrected: a bad start is mended early, small errors once they are sure."""

GIVE_UP_AFTER = 25
"""So many steps in a row with a gradient that is not finite mean that training has diverged."""


@dataclass
class Race:
    """How far a run is. `corrections` change the number of steps that was planned."""

    planned_steps: int
    steps_an_epoch: int
    step: int = 0
    training_s: float = 0.0
    paused_s: float = 0.0
    """Seconds between steps that are planned for elsewhere (validations on the way); whoever pauses adds them."""
    corrections: tuple[Correction, ...] = ()

    @property
    def steps(self) -> int:
        return self.corrections[-1].steps if self.corrections else self.planned_steps

    @property
    def epochs(self) -> int:
        return math.ceil(self.steps / self.steps_an_epoch)

    @property
    def done(self) -> float:
        """The share of the race that is behind, in [0, 1]."""
        return progress(self.step, self.planned_steps, self.corrections)


@dataclass
class Learner:
    """A network that learns: the weights in training, their moving average (`ema`) and the optimiser."""

    network: nn.Module
    ema: nn.Module
    loss: SegmentationLoss
    augment: Augmenter | None
    training: TrainingConfig
    arithmetic: Arithmetic
    device: torch.device
    dimensions: int
    seed: int
    optimizer: torch.optim.Optimizer = field(init=False)
    scaler: torch.amp.GradScaler = field(init=False)

    def __post_init__(self) -> None:
        for module in (self.network, self.ema):
            self.arithmetic.place(module, self.device, self.dimensions)
        self.ema.load_state_dict(self.network.state_dict())
        self.ema.requires_grad_(False).eval()
        self.optimizer = _optimizer(self.network, self.training)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.arithmetic.dtype == "float16")

    def learn(self, batch: Batch, step: int, rate: float) -> tuple[Tensor, float]:
        """One step: the loss (0-d, on the device, detached) and the norm of the gradient before clipping.

        A step whose gradient is not finite leaves the weights as they are.
        """
        # Dropout draws from torch's own generator: seeded by the step, a run that was resumed draws alike.
        torch.manual_seed(step_seed(self.seed, step, 3))
        image, classes = self._on_device(batch, step)
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        with self.arithmetic.autocast(self.device):
            logits = self.network(image)
        loss = self.loss([head.float() for head in logits] if isinstance(logits, list) else logits.float(), classes)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = float(nn.utils.clip_grad_norm_(self.network.parameters(), self.training.clip_norm))
        if math.isfinite(norm):
            self.scaler.step(self.optimizer)
            self._average(step)
        self.scaler.update()
        return loss.detach(), norm

    def state(self) -> dict[str, dict[str, Any]]:
        return {
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(
        self, network: dict[str, Tensor], ema: dict[str, Tensor], optimizer: dict[str, Any], scaler: dict[str, Any]
    ) -> None:
        """Go on from a `state`.

        Raises:
            ModelError: It is that of another network or optimiser.
        """
        self._refuse_another(network, ema, optimizer)
        self.scaler.load_state_dict(scaler)
        self.network.load_state_dict(network)
        self.ema.load_state_dict(ema)
        self.optimizer.load_state_dict(optimizer)

    def _refuse_another(self, network: dict[str, Tensor], ema: dict[str, Tensor], optimizer: dict[str, Any]) -> None:
        expected = _forms(self.network.state_dict())
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        try:
            moments = {
                number: [value.shape for value in state.values() if isinstance(value, Tensor) and value.ndim]
                for number, state in optimizer["state"].items()
            }
            groups = [group["params"] for group in optimizer["param_groups"]]
            fits = (
                expected == _forms(network) == _forms(ema)
                and groups == [group["params"] for group in self.optimizer.state_dict()["param_groups"]]
                and all(shape == parameters[number].shape for number, found in moments.items() for shape in found)
            )
        except (AttributeError, IndexError, KeyError, TypeError):
            fits = False
        if not fits:
            raise ModelError(
                "The checkpoint (last.pt) is that of another network or optimiser than plan.json and config.yaml "
                "describe. Put the files of the run back, or train anew in another folder."
            )

    def _on_device(self, batch: Batch, step: int) -> Batch:
        image = batch[0].to(self.device, non_blocking=True)
        classes = batch[1].to(self.device, non_blocking=True)
        if self.augment is not None:
            image, classes = self.augment(image, classes, step_generator(self.seed, step))
        return image.contiguous(memory_format=self.arithmetic.layout(self.dimensions)), classes

    @torch.no_grad()
    def _average(self, step: int) -> None:
        # The first weights are noise: a short average forgets them (the warm-up of TensorFlow's moving average).
        decay = min(self.training.ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.network.parameters()), 1 - decay)
        for averaged, current in zip(self.ema.buffers(), self.network.buffers(), strict=True):
            averaged.copy_(current)


def _forms(state: dict[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in state.items()}


def fit(
    learner: Learner,
    batches: Iterable[Batch],
    race: Race,
    clock: Callable[[], float],
    end_s: Callable[[float], float] | None = None,
) -> Iterator[Event]:
    """Run the race to its end, from wherever it stands.

    Args:
        learner: What learns; between two events its state is that after `race.step` steps.
        batches: The batches from step `race.step` on; at least as many as the race may need.
        race: Progress, moved along.
        clock: Seconds of the budget that are used.
        end_s: For a share of the race that is done, when (in seconds of the budget) the last step should end; None
            where the number of steps was given and time is free.

    Yields:
        `StepEnded` after each step, before it `EpochEnded` where one has ended, and `Warned` for each correction.

    Raises:
        InputError: Training has diverged.
    """
    losses: list[Tensor] = []
    norms: list[float] = []
    first_step, begun_s, paused_before_s, diverging = race.step, clock(), race.paused_s, 0

    def seconds_per_step() -> float:
        """What a step has taken so far, with the saving and drawing between steps, but without pauses."""
        return (clock() - begun_s - race.paused_s + paused_before_s) / (race.step - first_step)

    waiting = iter(batches)
    checked = _checks_passed(race)
    while race.step < race.steps:
        step_begun_s = clock()
        rate = learning_rate(race.done, learner.training)
        loss, norm = learner.learn(next(waiting), race.step, rate)
        race.step += 1
        race.training_s += clock() - step_begun_s
        losses.append(loss)
        norms.append(norm)
        diverging = 0 if math.isfinite(norm) else diverging + 1
        if diverging >= GIVE_UP_AFTER:
            raise InputError(
                f"Training has diverged: {diverging} steps in a row had a gradient that is not finite "
                f"(step {race.step}). Lower training.learning_rate (now {rate:.1e}) or look at the intensities."
            )
        if end_s is not None and _checks_passed(race) > checked:
            checked = _checks_passed(race)
            tolerance = CHECKS[checked - 1][1]
            yield from _correct(race, seconds_per_step(), clock(), end_s(race.done), tolerance)
        remaining = (race.steps - race.step) * seconds_per_step()
        if race.step % race.steps_an_epoch == 0 or race.step == race.steps:
            yield EpochEnded(
                epoch=math.ceil(race.step / race.steps_an_epoch),
                epochs=race.epochs,
                step=race.step,
                loss=float(torch.stack(losses).mean()),
                learning_rate=rate,
                gradient_norm=_mean([norm for norm in norms if math.isfinite(norm)]),
                elapsed_s=clock(),
            )
            losses, norms = [], []
        shown = float(loss) if learner.device.type == "cpu" else None
        yield StepEnded(race.step, race.steps, shown, clock(), remaining)


def _checks_passed(race: Race) -> int:
    return sum(1 for share, _ in CHECKS if share <= race.done)


def _correct(race: Race, seconds_per_step: float, elapsed_s: float, end_s: float, tolerance: float) -> Iterator[Event]:
    steps = corrected_steps(race.step, race.steps, elapsed_s, seconds_per_step, end_s, tolerance)
    if steps is None:
        return
    when = "last counted" if race.corrections else "counted"
    planned, race.corrections = race.steps, (*race.corrections, Correction(at=race.step, steps=steps))
    yield Warned(
        f"This machine is {'slower' if steps < planned else 'faster'} than it was when the steps were {when} "
        f"({seconds_per_step:.2f} s a step): {steps} steps instead of {planned}, so that training ends with its budget."
    )


def _optimizer(network: nn.Module, training: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019) or SGD with Nesterov momentum; biases and normalisation do not decay."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": training.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=1.0)
    return torch.optim.SGD(groups, lr=1.0, momentum=training.momentum, nesterov=training.momentum > 0)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan
