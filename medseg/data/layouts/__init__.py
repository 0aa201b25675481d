"""How data sets lie on disk: a file a layout, and the one door that tries them in order.

A layout has a name, says whether it recognises a folder and why, and opens it. The order is that of the contract: what
declares itself (a table, `dataset.json`) comes before what is merely named alike. Names of labels and channels that a
`dataset.json` declares hold in every layout.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from medseg import io
from medseg.config.schema import DataConfig
from medseg.core.errors import InputError, UsageError
from medseg.data.dataset import Case, Dataset, listed, natural_key, too_long
from medseg.data.groups import by_patient, divided_patients, grouped
from medseg.data.layouts import bids, declaration, dicom, folders, msd, nnunet, paired, table
from medseg.data.leftovers import left_aside
from medseg.data.patients import patients_of
from medseg.data.pictures import is_rgb, of_one_kind
from medseg.io.listing import kind_of_special, listing

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
        is_quick: Whether recognising takes a look at names alone, so that it may be tried on folders near by.
    """

    name: str
    wants: str
    recognises: Callable[[Path], str | None]
    open: Callable[[Path, io.ReadOptions], Dataset]
    is_quick: bool = True


LAYOUTS = (
    Layout("table", "a table cases.csv", table.recognises, table.open_folder),
    Layout("msd", "an MSD dataset.json with its training list", msd.recognises, msd.open_folder),
    Layout("nnunet", "an nnU-Net dataset.json with imagesTr and labelsTr", nnunet.recognises, nnunet.open_folder),
    Layout("paired", "a folder images and a folder labels (or masks)", paired.recognises, paired.open_folder),
    Layout(
        "folders",
        "a folder a case with a scan and its *seg*, *label* or *mask*",
        folders.recognises,
        folders.open_folder,
        is_quick=False,
    ),
    Layout(
        "dicom",
        "DICOM series with SEG or RTSTRUCT",
        dicom.recognises,
        dicom.open_folder,
        is_quick=False,
    ),
    Layout("bids", "BIDS derivatives sub-…_dseg", bids.recognises, bids.open_folder, is_quick=False),
)
"""In the order in which they are tried."""


def open_dataset(path: Path, config: DataConfig) -> Dataset:
    """The data set in a folder (or of a table), its cases grouped; the first note says which layout it is and why.

    Cases are grouped by `config.group`, else as the layout says, else by patient where DICOM tells.

    Raises:
        UsageError: There is no such folder, or a key of `config` is wrong.
        InputError: No layout recognises the folder, it holds no pair of image and label map, or contradicts itself; a
            case's name is too long for its results.
        AmbiguousError: It can be read in more than one way.
    """
    root = existing(Path(path))
    options = io.ReadOptions.parse(config.read)
    layout, reason, dataset = _opened(root, config.layout, options)
    if not dataset.cases and not dataset.problems:
        n_images = len(dataset.unlabelled)
        raise InputError(
            f"{root} ({layout}: {reason}) holds {n_images} images without a label map and no pair of both. "
            + " ".join(("Put label maps of the same names beside them.", *dataset.notes, *left_aside(root)))
        )
    dataset = of_one_kind(_declared(dataset, config), options)
    _refuse_long_names(dataset)
    cases, group_notes = _grouped(dataset.cases, config.group)
    splits_path = dataset.root / SPLITS_FINAL
    notes = (
        f"Layout {layout}: {reason}.",
        *group_notes,
        *_unlabelled_note(dataset),
        *_both_sides_note(cases, dataset.unlabelled),
        *dataset.notes,
        *(left_aside(root) if root.is_dir() else ()),
    )
    return replace(dataset, cases=cases, notes=notes, splits_path=splits_path if splits_path.is_file() else None)


def _refuse_long_names(dataset: Dataset) -> None:
    """Refuse cases whose results could not be written, before any of them is read."""
    reasons = [reason for case in dataset.cases if (reason := too_long(case)) is not None]
    if reasons:
        more = f" ({len(reasons)} such cases in {dataset.root})" if len(reasons) > 1 else ""
        raise InputError(f"{reasons[0]}{more}")


def _opened(root: Path, wanted: str, options: io.ReadOptions) -> tuple[str, str, Dataset]:
    """The name of the layout, why it was taken, and what it found."""
    if table.is_table(root) and wanted in ("auto", "table"):
        return "table", f"{root.name} is one", table.open_table(root, options)
    if not root.is_dir():
        raise UsageError(f"{root} is a file; give the folder of a data set, with {_wanted()}.")
    if wanted == "auto":
        layout, reason = recognised(root) or _refuse(root)
    else:
        layout, reason = next(each for each in LAYOUTS if each.name == wanted), "as layout says"
    return layout.name, reason, layout.open(root, options)


def _declared(dataset: Dataset, config: DataConfig) -> Dataset:
    """With names of labels and channels from a `dataset.json`, and labels from the configuration, where there are none.

    The layout may have understood such a file already; then nothing changes.
    """
    if dataset.labels is not None:
        return dataset
    declared, path = declaration.read_declaration(dataset.root) or {}, dataset.root / declaration.DECLARATION
    channels = declaration.channel_names(declared, path)
    # Grey pictures are three channels where colours are declared.
    fits = len(channels) == len(dataset.channels) or (is_rgb(channels) and dataset.channels == ("image",))
    return replace(
        dataset,
        labels=declaration.labels(declared, path) or config.declared_labels,
        channels=channels if fits else dataset.channels,
    )


def _grouped(cases: tuple[Case, ...], rule: str | None) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """The cases in their groups: by the rule, else as they are, else by patient."""
    patients = patients_of(cases)
    found, notes = by_patient(cases, patients) if rule is None else grouped(cases, rule)
    return found, (*notes, *divided_patients(found, patients))


def recognised(root: Path, but: Collection[str] = ()) -> tuple[Layout, str] | None:
    """The first layout (`but` for some) that recognises a folder, and why; None if none does.

    A folder that merely holds data sets is none itself, whatever lies deep inside of them.
    """
    quick = [layout for layout in LAYOUTS if layout.is_quick]
    found = _first(quick, root)
    if found or _inner_dataset(root):
        return found
    return _first([layout for layout in LAYOUTS if not layout.is_quick and layout.name not in but], root)


def _inner_dataset(root: Path) -> Path | None:
    """A data set with a table or a description of its own in a folder."""
    declared = [layout for layout in LAYOUTS if layout.name in ("table", "msd", "nnunet")]
    inner = sorted(listing(root).folders, key=lambda path: natural_key(path.name))
    return next((path for path in inner if _first(declared, path)), None)


def _first(layouts: Iterable[Layout], root: Path) -> tuple[Layout, str] | None:
    for layout in layouts:
        reason = layout.recognises(root)
        if reason is not None:
            return layout, reason
    return None


def existing(path: Path) -> Path:
    """The path itself.

    Raises:
        UsageError: It does not exist; the message offers the nearest name beside it.
    """
    special = kind_of_special(path)
    if special is not None:
        raise UsageError(f"{path} is {special}; give a file or a folder.")
    if path.exists():
        return path
    around = listing(path.parent)
    beside = [each.name for each in (*around.files, *around.folders)]
    nearest = get_close_matches(path.name, beside, 1, 0.7)
    raise UsageError(f"{path} does not exist{f'; did you mean {path.parent / nearest[0]}?' if nearest else '.'}")


def _refuse(root: Path) -> tuple[Layout, str]:
    """Say what was looked for, and where near by it might be.

    Raises:
        InputError: Always.
    """
    quick = [layout for layout in LAYOUTS if layout.is_quick]
    inside = listing(root)
    inner = sorted(inside.folders, key=lambda path: natural_key(path.name))
    beside = (path for path in (*inner, root.resolve().parent) if _first(quick, path))
    nearby = _inner_dataset(root) or next(beside, None)
    if nearby is not None:
        advice = f"{nearby} is one: did you mean that?"
    elif not (everything := [*inside.files, *inside.folders, *inside.special]):
        advice = "The folder is empty." if inside.is_readable else "The folder may not be read: check its permissions."
    else:
        found = listed([path.name for path in everything], 4)
        advice = f"It holds {found}. Make folders images and labels in it, with files of equal names."
        advice = " ".join((advice, *left_aside(root)))
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


def _both_sides_note(cases: Iterable[Case], unlabelled: Iterable[Case]) -> tuple[str, ...]:
    """The note on patients who are trained on and kept for testing."""
    both = {c.group for c in cases} & {c.group for c in unlabelled if c.attributes.get("split") == "test"}
    if not both:
        return ()
    return (
        f"{len(both)} groups are trained on and kept for testing: {listed(both)}. Such a test tells too much good.",
    )
