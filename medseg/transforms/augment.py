"""Random changes of training patches, a whole batch at a time, on the device that trains.

A batch is an image (batch, channels, *spatial), about standardised, and class indices (batch, *spatial); spatial axes
are those the network sees, in array order. Each change is drawn for each sample with its own probability and then runs
as tensor work over all samples drawn, and over no others. Samples keep their shape; classes keep their type and get no
new values. The changes and their order are nnU-Net's (Isensee et al., Nature Methods 2021).

All random numbers come from the generator that is passed in, on the CPU, in an order that does not depend on what was
drawn: the same generator gives the same changes on every device, and changing one probability does not reshuffle the
other changes. The module must never know of files, cases, steps or losses.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from medseg.config.schema import AugmentationConfig
from medseg.core.errors import UsageError

__all__ = ["Augmenter"]

THICK = 3.0
"""An axis of a volume whose spacing is this many times the finest one is thick: turning or blurring across it would mix
slices that lie far apart, so patches change only within their slices."""

MIRRORED = 0.5
"""Probability of a flip along each axis that may be mirrored. It is an exact symmetry: `strength` does not touch it."""

GAMMA_INVERTED = 0.25
"""Share of the gamma changes that bend the inverted image (nnU-Net: 0.1 beside 0.3)."""

Range = tuple[float, float]
Change = Callable[[Tensor, Tensor], Tensor]
"""Patches (n, channels, *spatial) and one amount for each patch and channel (n, channels) → changed patches."""


class _Step(NamedTuple):
    probability: float
    amounts: Range
    change: Change


@dataclass(frozen=True)
class Augmenter:
    """Changes batches at random: `augmenter(image, classes, generator)` → new image, new classes.

    Attributes:
        config: Probabilities and ranges.
        spacing: Millimetres (or any unit) between voxels along each axis of the network, so that a rotation turns and
            does not shear.
        mirror: Axes of the network along which flips are allowed.
        strength: In [0, 1]: the share of every probability that applies; how far a change goes is not touched. At 0
            there is nothing but mirroring.

    Raises:
        UsageError: A range that must be positive is not, or a mirror axis is not an axis of the network.
    """

    config: AugmentationConfig
    spacing: tuple[float, ...]
    mirror: tuple[int, ...] = ()
    strength: float = 1.0
    _in_plane: tuple[int, ...] = field(init=False, repr=False)
    _steps: tuple[_Step, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("scale_range", "gamma_range"):
            low, high = getattr(self.config, name)
            if low <= 0:
                raise UsageError(f"augmentation.{name} is [{low}, {high}], but factors are greater than 0.")
        if not set(self.mirror) <= set(range(len(self.spacing))):
            raise UsageError(
                f"Mirror axes {list(self.mirror)} do not fit a network of {len(self.spacing)} axes (0 first)."
            )
        object.__setattr__(self, "_in_plane", _in_plane(self.spacing))
        object.__setattr__(self, "_steps", tuple(self._intensity_steps()))

    def __call__(self, image: Tensor, classes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """New tensors of the same shapes, types and device; the arguments are left as they are."""
        image, classes = image.clone(), classes.clone()
        if not self.config.enabled:
            return image, classes
        draws = _Draws(len(image), generator)
        self._flip(image, classes, draws)
        self._turn_and_scale(image, classes, draws)
        self._add_noise(image, draws)
        for step in self._steps:
            chosen = draws.chosen(step.probability * self.strength)
            amounts = draws.factors(step.amounts, image.shape[1])
            if len(chosen):
                image[chosen] = step.change(image[chosen], amounts[chosen].to(image))
        return image, classes

    def _intensity_steps(self) -> list[_Step]:
        config = self.config
        plain = config.gamma * (1 - GAMMA_INVERTED)
        return [
            _Step(config.blur, config.blur_sigma_range, partial(_mixed, axes=self._in_plane, matrix=_blur)),
            _Step(config.brightness, config.brightness_range, _brightness),
            _Step(config.contrast, config.contrast_range, _contrast),
            _Step(
                config.low_resolution,
                config.low_resolution_range,
                partial(_mixed, axes=self._in_plane, matrix=_low_resolution),
            ),
            _Step(config.gamma * GAMMA_INVERTED, config.gamma_range, _gamma_inverted),
            _Step(plain, config.gamma_range, _gamma),
        ]

    def _flip(self, image: Tensor, classes: Tensor, draws: "_Draws") -> None:
        for axis in self.mirror:
            chosen = draws.chosen(MIRRORED)
            if len(chosen):
                image[chosen] = image[chosen].flip(axis + 2)
                classes[chosen] = classes[chosen].flip(axis + 1)

    def _turn_and_scale(self, image: Tensor, classes: Tensor, draws: "_Draws") -> None:
        """One resampling for both: the image linearly, the classes by the nearest voxel.

        Beyond the patch both go on as at its border: a voxel never has the label of another place than its intensity.
        """
        planes = list(combinations(self._in_plane, 2))
        turned = draws.happens(self.config.rotation * self.strength)
        angles = torch.deg2rad(draws.between((-self.config.rotation_deg, self.config.rotation_deg), len(planes)))
        scaled = draws.happens(self.config.scale * self.strength)
        zoom = draws.factors(self.config.scale_range, 1)[:, 0]
        chosen = torch.nonzero(turned | scaled).flatten()
        if not len(chosen):
            return
        angles = torch.where(turned[:, None], angles, 0.0)[chosen]
        zoom = torch.where(scaled, zoom, 1.0)[chosen]
        theta = self._affine(planes, angles, zoom, image.shape[2:]).to(image)
        grid = functional.affine_grid(theta, [len(chosen), 1, *image.shape[2:]], align_corners=False)
        sample = partial(functional.grid_sample, grid=grid, padding_mode="border", align_corners=False)
        image[chosen] = sample(image[chosen], mode="bilinear")
        numbers = sample(classes[chosen].unsqueeze(1).to(image.dtype), mode="nearest")
        classes[chosen] = numbers.squeeze(1).round().to(classes.dtype)

    def _affine(self, planes: list[tuple[int, int]], angles: Tensor, zoom: Tensor, shape: torch.Size) -> Tensor:
        """From the changed patch back to where its values come from, as `affine_grid` wants it: (n, axes, axes + 1).

        Turned in millimetres about the patch's centre; then in torch's units, half a patch along each axis, whose order
        is the reverse of the array's.
        """
        n, axes = len(zoom), len(self.spacing)
        matrix = torch.eye(axes, dtype=torch.float64).repeat(n, 1, 1)
        for (a, b), angle in zip(planes, angles.unbind(1), strict=True):
            turn = torch.eye(axes, dtype=torch.float64).repeat(n, 1, 1)
            turn[:, a, a] = turn[:, b, b] = torch.cos(angle)
            turn[:, b, a] = torch.sin(angle)
            turn[:, a, b] = -turn[:, b, a]
            matrix = matrix @ turn
        matrix[:, list(self._in_plane)] /= zoom[:, None, None]
        half = torch.tensor([side * mm / 2 for side, mm in zip(shape, self.spacing, strict=True)], dtype=torch.float64)
        matrix = matrix * half / half[:, None]
        return functional.pad(matrix.flip(1, 2), (0, 1))

    def _add_noise(self, image: Tensor, draws: "_Draws") -> None:
        chosen = draws.chosen(self.config.noise * self.strength)
        sd = draws.between(self.config.noise_sd_range, 1)
        # A generator of its own: how much noise was drawn must not move the draws that follow.
        generator = torch.Generator().manual_seed(draws.seed())
        if len(chosen):
            noise = torch.randn((len(chosen), *image.shape[1:]), generator=generator)
            noise *= _beside(sd[chosen].to(noise), noise)
            image[chosen] += noise.to(image)


class _Draws:
    """Random numbers for a batch: always for every sample, whether it will use them or not."""

    def __init__(self, batch: int, generator: torch.Generator) -> None:
        self._batch = batch
        self._generator = generator

    def happens(self, probability: float) -> Tensor:
        """Whether something happens to each sample, bool (batch,)."""
        return self.between((0.0, 1.0), 1)[:, 0] < probability

    def chosen(self, probability: float) -> Tensor:
        """The samples to which something happens, indices on the CPU."""
        return torch.nonzero(self.happens(probability)).flatten()

    def between(self, bounds: Range, n: int) -> Tensor:
        """`n` numbers a sample, uniform in `bounds`: float64 (batch, n) on the CPU."""
        low, high = bounds
        return low + (high - low) * torch.rand((self._batch, n), generator=self._generator, dtype=torch.float64)

    def factors(self, bounds: Range, n: int) -> Tensor:
        """Like `between`, but where `bounds` hold 1, as often below 1 as above it."""
        low, high = bounds
        if not low < 1 < high:
            return self.between(bounds, n)
        share = self.between((-1.0, 1.0), n)
        return 1 + torch.where(share < 0, share * (1 - low), share * (high - 1))

    def seed(self) -> int:
        return int(torch.randint(2**62, (), generator=self._generator))


def _in_plane(spacing: tuple[float, ...]) -> tuple[int, ...]:
    """The axes that may be mixed: all of a picture's, and those of a volume that are not thick."""
    finest = min(spacing)
    return tuple(axis for axis, mm in enumerate(spacing) if len(spacing) < 3 or mm < THICK * finest)


def _beside(amounts: Tensor, patches: Tensor) -> Tensor:
    """(n, channels) as (n, channels, 1, …), to be multiplied with `patches`."""
    return amounts.reshape(*amounts.shape, *[1] * (patches.ndim - 2))


def _space(patches: Tensor) -> tuple[int, ...]:
    return tuple(range(2, patches.ndim))


def _brightness(patches: Tensor, factors: Tensor) -> Tensor:
    return patches * _beside(factors, patches)


def _contrast(patches: Tensor, factors: Tensor) -> Tensor:
    """Distances from the mean multiplied, within the range that the channel had."""
    space = _space(patches)
    mean = patches.mean(space, keepdim=True)
    changed = mean + (patches - mean) * _beside(factors, patches)
    return changed.clamp(patches.amin(space, keepdim=True), patches.amax(space, keepdim=True))


def _gamma(patches: Tensor, exponents: Tensor) -> Tensor:
    """The channel's range to [0, 1], to the power of the exponent, back to the mean and deviation it had."""
    space = _space(patches)
    low, high = patches.amin(space, keepdim=True), patches.amax(space, keepdim=True)
    # A constant channel has no range and no deviation: both divisions then give 0, and it stays what it is.
    tiny = torch.finfo(patches.dtype).tiny
    bent = ((patches - low) / (high - low).clamp_min(tiny)).pow(_beside(exponents, patches))
    sd, mean = torch.std_mean(patches, space, correction=0, keepdim=True)
    bent_sd, bent_mean = torch.std_mean(bent, space, correction=0, keepdim=True)
    return mean + (bent - bent_mean) * (sd / bent_sd.clamp_min(tiny))


def _gamma_inverted(patches: Tensor, exponents: Tensor) -> Tensor:
    return -_gamma(-patches, exponents)


def _mixed(patches: Tensor, amounts: Tensor, axes: tuple[int, ...], matrix: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Voxels mixed along each of `axes` by `matrix(amounts, side)`, (n, channels, side, side), rows summing to 1.

    A patch is small, so a full matrix an axis is the quickest way to give each sample and channel its own kernel.
    """
    for axis in axes:
        lines = patches.movedim(axis + 2, -1)
        mixed = lines.flatten(2, -2) @ matrix(amounts, lines.shape[-1]).mT
        patches = mixed.reshape(lines.shape).movedim(-1, axis + 2)
    return patches


def _blur(sigma: Tensor, side: int) -> Tensor:
    """A Gaussian of `sigma` voxels; at the border it weighs what there is."""
    place = torch.arange(side, device=sigma.device, dtype=sigma.dtype)
    # Far below a voxel a Gaussian is the voxel itself; at 0 it would be 0/0.
    distance = (place[:, None] - place) / sigma.clamp_min(0.05)[..., None, None]
    return torch.softmax(-(distance**2) / 2, dim=-1)


def _low_resolution(share: Tensor, side: int) -> Tensor:
    """The nearest voxels at `share` of the resolution, and linearly back; edge to edge, as `transforms.grid` does."""
    place = torch.arange(side, device=share.device, dtype=share.dtype) + 0.5
    n_low = (share * side).round().clamp(1, side)[..., None]
    position = (place * n_low / side - 0.5).clamp_min(0).minimum(n_low - 1)
    below = position.floor()
    above = (below + 1).minimum(n_low - 1)
    weight = position - below
    matrix = share.new_zeros((*share.shape, side, side))
    for index, part in ((below, 1 - weight), (above, weight)):
        seen = ((index + 0.5) * side / n_low).long().clamp(max=side - 1)
        matrix.scatter_add_(-1, seen[..., None], part[..., None])
    return matrix
