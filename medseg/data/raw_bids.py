"""What to predict in a BIDS tree: of each examination the images that the model's channels are called after.

A session holds many images (T1w, FLAIR, bold, dwi); a model of T1w wants the T1w. Where the model has no names for its
channels, every image is a case of a model of one channel, and for a model of several nothing says which is which. A
case is called by its entities without the suffix, as its label map is: sub-01_ses-1.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.core.errors import InputError
from medseg.data.channel_order import ModelChannels, channel_key
from medseg.data.dataset import BadCase, Case, listed, safe_id
from medseg.data.layouts.bids import Image, examinations

__all__ = ["RawCases", "raw_cases"]


@dataclass
class RawCases:
    """The cases of a raw tree, examinations that lack a channel, and what there is to say of the rest."""

    cases: list[Case] = field(default_factory=list)
    problems: list[BadCase] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def raw_cases(root: Path, model: ModelChannels | None, used: Collection[Path] = ()) -> RawCases | None:
    """The cases in the raw BIDS tree at `root`, but for examinations of which an image is `used`; None for no tree.

    Raises:
        InputError: No image is called as a channel of the model.
    """
    every = examinations(root)
    if not every:
        return None
    found = RawCases()
    left_out: Counter[str] = Counter()
    for images in every:
        if not any(image.path in used for image in images):
            _add(images, model, found, left_out)
    if not found.cases and not found.problems and not used and model is not None:
        suffixes = sorted({image.suffix for images in every for image in images})
        if model.n == len(suffixes) == 1:
            return RawCases(
                [_by_itself(image) for images in every for image in images],
                notes=[
                    f"{root} calls its images {suffixes[0]}, and the model its channel {model.names[0]}: are they one?"
                ],
            )
        raise InputError(
            f"{root} holds {listed(suffixes)}, and the model has {model}: no image is called so. If one is meant, "
            "give its files, or a table of the cases."
        )
    if left_out:
        kinds = ", ".join(f"{n} × {suffix}" for suffix, n in sorted(left_out.items()))
        found.remarks.append(f"Images that are no channel of the model were left out: {kinds}.")
    return found


def _add(images: Sequence[Image], model: ModelChannels | None, found: RawCases, left_out: Counter[str]) -> None:
    """Add the cases of one examination."""
    if model is None or (model.n == 1 and not model.are_named):
        found.cases += map(_by_itself, images)
        return
    mine = [image for image in images if channel_key(image.suffix) in model.keys]
    left_out.update(image.suffix for image in images if image not in mine)
    if model.n == 1:
        found.cases += [Case(safe_id(each.start), (each.path,)) for each in mine]
    elif mine:
        _add_channels(mine, model, found)


def _by_itself(image: Image) -> Case:
    """An image as a case that is called as its file."""
    return Case(safe_id(f"{image.start}_{image.suffix}"), (image.path,))


def _add_channels(images: Sequence[Image], model: ModelChannels, found: RawCases) -> None:
    """Add the one case whose channels are the images of an examination, or say why there is none."""
    case_id = safe_id(_shared_start([image.start for image in images]))
    paths = tuple(image.path for image in images)
    try:
        order = model.order([image.suffix for image in images], f"Case {case_id}") or ()
    except InputError as error:
        found.problems.append(BadCase(case_id, str(error), paths))
        return
    found.cases.append(Case(case_id, tuple(paths[n] for n in order)))


def _shared_start(starts: Sequence[str]) -> str:
    """The entities that all have in common.

    >>> _shared_start(["sub-01_ses-1_acq-a", "sub-01_ses-1_acq-b"]), _shared_start(["sub-01_run-1"])
    ('sub-01_ses-1', 'sub-01_run-1')
    """
    parts = [start.split("_") for start in starts]
    return "_".join(part for part in parts[0] if all(part in each for each in parts))
