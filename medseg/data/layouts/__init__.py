"""How data sets lie on disk: a file a layout, and the one door that tries them in order.

A layout has a name, says whether it recognises a folder and why, and opens it. The order is that of the contract: what
declares itself (`dataset.json`) comes before what is merely named alike.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from medseg import io
from medseg.config.schema import DataConfig
from medseg.core.errors import InputError, UsageError
from medseg.data.dataset import Dataset, listed, natural_key
from medseg.data.groups import grouped
from medseg.data.layouts import msd, nnunet, paired

__all__ = ["LAYOUTS", "Layout", "existing", "open_dataset", "recognised"]

SPLITS_FINAL = "splits_final.json"
"""nnU-Net's file of folds, honoured in any data set folder."""


@dataclass(frozen=True)
class Layout:
    """One way for a data set to lie on disk.

    Attributes:
        name: As `layout:` in the configuration says it.
        wants: What it looks for, for a sentence.
        recognises: Why a folder is of this layout, or None.
        open: The data set in a folder; its cases not yet grouped.
    """

    name: str
    wants: str
    recognises: Callable[[Path], str | None]
    open: Callable[[Path, io.ReadOptions], Dataset]


LAYOUTS = (
    Layout("msd", "an MSD dataset.json with its training list", msd.recognises, msd.open_folder),
    Layout("nnunet", "an nnU-Net dataset.json with imagesTr and labelsTr", nnunet.recognises, nnunet.open_folder),
    Layout("paired", "a folder images and a folder labels (or masks)", paired.recognises, paired.open_folder),
)
"""In the order in which they are tried."""


def open_dataset(path: Path, config: DataConfig) -> Dataset:
    """The data set in a folder, its cases grouped by `config.group`; the first note says which layout it is and why.

    Raises:
        UsageError: There is no such folder, or a key of `config` is wrong.
        InputError: No layout recognises the folder, it holds no pair of image and label map, or contradicts itself.
    """
    root = existing(Path(path))
    if not root.is_dir():
        raise UsageError(f"{root} is a file; give the folder of a data set, with {_wanted()}.")
    options = io.ReadOptions.parse(config.read)
    if config.layout == "auto":
        layout, reason = recognised(root) or _refuse(root)
    else:
        layout, reason = next(each for each in LAYOUTS if each.name == config.layout), "as layout says"
    dataset = layout.open(root, options)
    if not dataset.cases and not dataset.problems:
        n_images = len(dataset.unlabelled)
        raise InputError(
            f"{root} ({layout.name}: {reason}) holds {n_images} images without a label map and no pair of both. "
            "Put label maps of the same names beside them."
        )
    cases, group_notes = grouped(dataset.cases, config.group) if config.group else (dataset.cases, ())
    splits_path = root / SPLITS_FINAL
    notes = (f"Layout {layout.name}: {reason}.", *group_notes, *_unlabelled_note(dataset), *dataset.notes)
    return replace(dataset, cases=cases, notes=notes, splits_path=splits_path if splits_path.is_file() else None)


def recognised(root: Path) -> tuple[Layout, str] | None:
    """The first layout that recognises a folder, and why; None if none does."""
    for layout in LAYOUTS:
        reason = layout.recognises(root)
        if reason is not None:
            return layout, reason
    return None


def existing(path: Path) -> Path:
    """The path itself.

    Raises:
        UsageError: It does not exist; the message offers the nearest name beside it.
    """
    if path.exists():
        return path
    beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    nearest = get_close_matches(path.name, beside, 1, 0.7)
    raise UsageError(f"{path} does not exist{f'; did you mean {path.parent / nearest[0]}?' if nearest else '.'}")


def _refuse(root: Path) -> tuple[Layout, str]:
    """Say what was looked for, and where near by it might be.

    Raises:
        InputError: Always.
    """
    folders = sorted((p for p in root.iterdir() if p.is_dir() and p.name[0] != "."), key=lambda p: natural_key(p.name))
    nearby = next((p for p in (*folders, root.resolve().parent) if recognised(p)), None)
    if nearby is not None:
        advice = f"{nearby} is one: did you mean that?"
    elif not any(p.name[0] != "." for p in root.iterdir()):
        advice = "The folder is empty."
    else:
        found = listed([p.name for p in root.iterdir() if p.name[0] != "."], 4)
        advice = f"It holds {found}. Make folders images and labels in it, with files of equal names."
    raise InputError(f"{root} is no data set that medseg knows (looked for {_wanted()}). {advice}")


def _wanted() -> str:
    *others, last = (layout.wants for layout in LAYOUTS)
    return f"{', '.join(others)} or {last}"


def _unlabelled_note(dataset: Dataset) -> tuple[str, ...]:
    in_test = [case.id for case in dataset.unlabelled if case.attributes.get("split") == "test"]
    others = [case.id for case in dataset.unlabelled if case.id not in set(in_test)]
    notes = [f"{len(in_test)} images are kept for testing."] if in_test else []
    if others:
        notes.append(f"{len(others)} images have no label map and are not trained on: {listed(others)}.")
    return tuple(notes)
