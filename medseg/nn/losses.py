"""How wrong are the logits: soft Dice plus cross-entropy, over all heads of deep supervision.

The sum of both, as nnU-Net has it (Isensee et al. 2021): Dice (Milletari et al. 2016; over all classes, Drozdzal et al.
2016) does not mind how small a structure is, cross-entropy has a gradient for every voxel. Logits are (b, n_classes,
*spatial), targets integer class indices (b, *spatial), class 0 the background. Voxels whose target is `ignore` count
nowhere. The module knows no label names and no network.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.core.labels import IGNORED

__all__ = ["SegmentationLoss", "head_weights", "shrink_classes", "soft_dice"]

SMOOTH = 1e-5
"""Added to numerator and denominator of Dice, in voxels: a class that neither side has scores 1, not 0/0."""


class SegmentationLoss(nn.Module):
    """`dice_weight` · (1 - mean Dice) + `cross_entropy_weight` · mean cross-entropy, a weighted mean over the heads.

    Args:
        dice_weight: Weight of the Dice term.
        cross_entropy_weight: Weight of the cross-entropy term.
        batch_dice: Dice of the batch taken as one image (steadier where a patch often lacks a structure) rather than
            the mean over its samples.
        ignore: Target value that is not judged, or None.
    """

    def __init__(
        self,
        dice_weight: float = 1.0,
        cross_entropy_weight: float = 1.0,
        *,
        batch_dice: bool = True,
        ignore: int | None = IGNORED,
    ) -> None:
        super().__init__()
        self.dice_weight = dice_weight
        self.cross_entropy_weight = cross_entropy_weight
        self.batch_dice = batch_dice
        self.ignore = ignore

    def forward(self, logits: Tensor | Sequence[Tensor], classes: Tensor) -> Tensor:
        """The loss (0-d). `logits`: one tensor, or one a head, finest first; each head is judged on its own grid."""
        heads = [logits] if isinstance(logits, Tensor) else list(logits)
        terms = [
            weight * self._of_head(head, shrink_classes(classes, head.shape[2:]))
            for head, weight in zip(heads, head_weights(len(heads)), strict=True)
        ]
        return torch.stack(terms).sum()

    def _of_head(self, logits: Tensor, classes: Tensor) -> Tensor:
        index, judged = _split_off(classes, self.ignore)
        log_probabilities = functional.log_softmax(logits, dim=1)
        of_truth = log_probabilities.gather(1, index.unsqueeze(1)).squeeze(1)
        loss = logits.new_zeros(())
        if self.cross_entropy_weight:
            loss = loss - self.cross_entropy_weight * _mean(of_truth, judged)
        if self.dice_weight:
            dice = _soft_dice(log_probabilities.exp(), of_truth.exp(), index, judged, self.batch_dice)
            loss = loss + self.dice_weight * (1 - dice[:, 1:].mean())
        return loss


def soft_dice(probabilities: Tensor, classes: Tensor, *, batch_dice: bool = False, ignore: int | None = None) -> Tensor:
    """Dice of each sample and class, (b, n_classes), or (1, n_classes) for the batch as one image.

    (2 Σ p·t + s) / (Σ p + Σ t + s), the sums over voxels, t the one-hot target and s = `SMOOTH`.

    Args:
        probabilities: (b, n_classes, *spatial).
        classes: Class indices (b, *spatial), any integer type.
        batch_dice: Sum over the batch too.
        ignore: Target value of voxels that count nowhere.
    """
    index, judged = _split_off(classes, ignore)
    of_truth = probabilities.gather(1, index.unsqueeze(1)).squeeze(1)
    return _soft_dice(probabilities, of_truth, index, judged, batch_dice)


def head_weights(n_heads: int) -> list[float]:
    """1, 1/2, 1/4 … divided by their sum: how much each head counts, finest first.

    As nnU-Net weighs its heads; nnU-Net leaves its coarsest head out, we keep it.

    >>> head_weights(2)
    [0.6666666666666666, 0.3333333333333333]
    """
    halving = [0.5**head for head in range(n_heads)]
    return [weight / sum(halving) for weight in halving]


def shrink_classes(classes: Tensor, sides: Sequence[int]) -> Tensor:
    """Class indices (b, *spatial) on a grid of these sides: those of the voxel under each coarse voxel's centre."""
    for axis, side in enumerate(sides, start=1):
        full = classes.shape[axis]
        if side != full:
            centres = (torch.arange(side, device=classes.device) * 2 + 1) * full // (2 * side)
            classes = classes.index_select(axis, centres)
    return classes


def _split_off(classes: Tensor, ignore: int | None) -> tuple[Tensor, Tensor | None]:
    """Class indices (int64) that are safe to gather by, and where they are to be judged: None if everywhere."""
    index = classes.long()
    ignored = index == ignore if ignore is not None else None
    if ignored is None or not bool(ignored.any()):
        return index, None
    return index.masked_fill(ignored, 0), ~ignored


def _soft_dice(probabilities: Tensor, of_truth: Tensor, index: Tensor, judged: Tensor | None, batch: bool) -> Tensor:
    """Dice without a one-hot target: what p is at the true class, summed by class, is Σ p·t."""
    if judged is not None:
        probabilities = probabilities * judged.unsqueeze(1)
        of_truth = of_truth * judged
    predicted = probabilities.flatten(2).sum(2)
    ones = torch.ones_like(of_truth) if judged is None else judged.to(of_truth.dtype)
    overlap = _sum_by_class(of_truth, index, predicted.shape[1])
    present = _sum_by_class(ones, index, predicted.shape[1])
    if batch:
        predicted, overlap, present = (sums.sum(0, keepdim=True) for sums in (predicted, overlap, present))
    return (2 * overlap + SMOOTH) / (predicted + present + SMOOTH)


def _sum_by_class(values: Tensor, index: Tensor, n_classes: int) -> Tensor:
    """The sum of `values` (b, *spatial) over the voxels of each class: (b, n_classes).

    Plane by plane first: one running float32 sum over millions of voxels would lose the small addends.
    """
    planes = index.flatten(0, 1).flatten(1)
    sums = values.new_zeros(len(planes), n_classes).scatter_add(1, planes, values.flatten(0, 1).flatten(1))
    return sums.reshape(*values.shape[:2], n_classes).sum(1)


def _mean(values: Tensor, judged: Tensor | None) -> Tensor:
    if judged is None:
        return values.mean()
    return (values * judged).sum() / judged.sum().clamp(min=1)
