"""A learner as plan and configuration describe it, with fresh weights."""

import torch

from medseg.nn.losses import SegmentationLoss
from medseg.nn.networks import build
from medseg.predict.arithmetic import Arithmetic
from medseg.train.loop import Learner
from medseg.train.setup import Setup
from medseg.transforms.augment import Augmenter

__all__ = ["new_learner"]


def new_learner(setup: Setup, arithmetic: Arithmetic, strength: float = 1.0) -> Learner:
    """A learner with fresh weights, the same for a seed whatever was drawn before.

    `strength` in [0, 1] is that of augmentation (`schedule.augmentation_strength`).
    """
    plan, training = setup.plan, setup.config.training
    torch.manual_seed(setup.config.seed)
    network, ema = build(plan.network), build(plan.network)
    spacing = [mm or 1.0 for mm in plan.preprocessing.spacing_mm]
    axes = plan.network_axes
    augment = Augmenter(
        setup.config.augmentation,
        spacing=tuple(spacing[axis] for axis in axes),
        mirror=tuple(axes.index(axis) for axis in plan.mirror_axes),
        strength=strength,
    )
    return Learner(
        network=network,
        ema=ema,
        loss=SegmentationLoss(dice_weight=training.dice_weight, cross_entropy_weight=training.cross_entropy_weight),
        augment=augment if setup.config.augmentation.enabled else None,
        training=training,
        arithmetic=arithmetic,
        device=setup.device,
        dimensions=plan.dimensions,
        seed=setup.config.seed,
    )
