"""Which prediction belongs to which reference: by case id, or by a table; nobody is left out.

A case id is a file's name without its suffix, as nnU-Net, MSD and medseg write predictions. A reference without a
prediction and a prediction without a reference are pairs too, with one side None: they end as a status in the table.
The module looks at names and at tables; it reads no image.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medseg.core.errors import InputError, MedsegError, UsageError
from medseg.core.labels import Labels
from medseg.core.volume import LabelMap
from medseg.data.case_ids import has_digest, plain_name
from medseg.data.dataset import Case, LabelSource, listed, natural_key, safe_id, shortened
from medseg.data.groups import grouped
from medseg.data.layouts.declaration import labels as declared_labels
from medseg.data.layouts.declaration import read_declaration
from medseg.io import ReadOptions, catalogue, kind_of, stem
from medseg.io.files import read_json
from medseg.io.listing import is_regular, listing

__all__ = [
    "PROBABILITIES",
    "Drawn",
    "Pair",
    "References",
    "Source",
    "files_of",
    "find_label_maps",
    "is_table",
    "lossy_note",
    "match",
    "modality_predicted",
    "read_table",
    "references",
]


@dataclass(frozen=True)
class Drawn:
    """A label map of a data set that must know its image: an RTSTRUCT has no grid, and masks of structures have names.

    Attributes:
        label: The file, or by name a mask of each structure.
        image: What it was drawn on.
        read: How this case is read, as `ReadOptions.updated` takes it.
    """

    label: LabelSource
    image: Path
    read: Mapping[str, str]


Source = Path | LabelMap | Drawn
"""Where a label map comes from: a file, memory, or a data set."""

_LABEL_MAP_KINDS = frozenset({"nifti", "mgh", "mha", "nrrd", "png", "tiff", "bmp", "gif", "dicom"})
"""Kinds that can hold a label map; JPEG cannot: it changes values."""

PROBABILITIES = "_probabilities"

_BESIDE = (PROBABILITIES, "_uncertainty", "_preview")
"""Endings of what `medseg predict` writes beside a case's mask."""


@dataclass(frozen=True)
class Pair:
    """A case with its prediction and its reference; one of them may be None.

    Attributes:
        case: The case id.
        predicted: The predicted label map.
        reference: The label map to judge it by.
        group: What is one to an interval (a patient); the case itself where nothing says otherwise.
        annotated: The labels that the reference was annotated with; None: all of them.
        readers: Further readers of the same case by name; with the reference they make a consensus.
        scan: The image under the masks, where it is known; no number depends on it.
    """

    case: str
    predicted: Source | None
    reference: Source | None
    group: str = ""
    annotated: frozenset[str] | None = None
    readers: Mapping[str, Source] = field(default_factory=dict)
    scan: Case | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "group", self.group or self.case)

    @property
    def probabilities(self) -> Path | None:
        """What `medseg predict --probabilities` wrote beside the prediction, if it did."""
        if not isinstance(self.predicted, Path):
            return None
        path = self.predicted.with_name(f"{stem(self.predicted)}{PROBABILITIES}.nii.gz")
        return path if path.is_file() else None


@dataclass(frozen=True)
class References:
    """The label maps to judge by, and what is known about them.

    Attributes:
        maps: Case id → label map.
        labels: The labels that a data set declares; None where nothing does.
        groups: Case id → group, where a data set says so.
        notes: How they were found: one sentence each.
        scans: Case id → the image under its masks, where it is known.
    """

    maps: Mapping[str, Source]
    labels: Labels | None = None
    groups: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()
    scans: Mapping[str, Case] = field(default_factory=dict)


def is_table(path: Path) -> bool:
    """Whether a file lists cases, and is no label map."""
    return path.suffix.lower() in (".csv", ".tsv")


def files_of(source: Source | None) -> tuple[Path, ...]:
    """The files that a label map and its image lie in."""
    if isinstance(source, Path):
        return (source,)
    if not isinstance(source, Drawn):
        return ()
    masks = (source.label,) if isinstance(source.label, Path) else tuple(source.label.values())
    return (*masks, source.image)


def find_label_maps(folder: Path, *, with_lossy: bool = False) -> dict[str, Path]:
    """The label maps that lie directly in a folder, by case id, in natural order; JPEG masks `with_lossy` alone.

    Hidden files, other kinds of file, DICOM images, and what medseg writes beside a mask (CASE_probabilities, …) do not
    count; of the forms of one prediction (NIfTI, DICOM SEG, RTSTRUCT, …) that `predictions.json` lists, the first does.

    Raises:
        UsageError: There is no such folder.
        InputError: Two files have one case id.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} does not exist." if not folder.exists() else f"{folder} is a file, not a folder.")
    files = listing(folder).files
    found: dict[str, Path] = {}
    stems = {safe_id(stem(file)) for file in files}
    recorded = _recorded(folder)
    for file in sorted(files, key=lambda file: natural_key(file.name)):
        case = recorded.get(file.name, safe_id(stem(file)))
        if case is None or any(case.endswith(ending) and case.removesuffix(ending) in stems for ending in _BESIDE):
            continue
        kind = kind_of(file)
        if not (kind in _LABEL_MAP_KINDS or (with_lossy and kind == "jpeg")) or (
            kind == "dicom" and not _holds_labels(file)
        ):
            continue
        twin = found.setdefault(case, file)
        if twin is not file:
            raise InputError(
                f"Two files of {folder} have the case id '{case}': {twin.name} and {file.name}. "
                "Move one of them, or say which one counts with --pairs pairs.csv."
            )
    return found


def lossy_note(folder: Path) -> tuple[str, ...]:
    """The note on JPEG files among label maps, if there are any."""
    n = sum(kind_of(file) == "jpeg" for file in listing(folder).files)
    if not n:
        return ()
    are = "1 file is a JPEG, which holds no label map, and was" if n == 1 else f"{n} files are JPEG and were"
    return (f"{are} left aside. For masks of black and white, --read lossy=threshold takes them.",)


def _holds_labels(file: Path) -> bool:
    """Whether a DICOM file or archive holds a segmentation or a structure set; one that is damaged does not."""
    try:
        return bool(catalogue(file).objects)
    except InputError:
        return False


def _recorded(folder: Path) -> dict[str, str | None]:
    """Name of a file that `medseg predict` wrote → its case; None for what says the same as another of its files."""
    try:
        cases = read_json(folder / "predictions.json", "the record of predictions")["cases"]
        outputs = {str(facts["case"]): [str(name) for name in facts["outputs"]] for facts in cases}
    except (InputError, KeyError, TypeError):
        return {}  # no record, or somebody else's: names say what they say everywhere
    found: dict[str, str | None] = {}
    for case, names in outputs.items():
        there = [name for name in names if is_regular(folder / name) and kind_of(folder / name) in _LABEL_MAP_KINDS]
        masks = [name for name in there if not any(name.startswith(f"{case}{ending}") for ending in _BESIDE)]
        found.update(dict.fromkeys(masks[1:]))
        found.update(dict.fromkeys(masks[:1], case))
    return found


def modality_predicted(folder: Path) -> str | None:
    """The modality of the images that all predictions in a folder were made from, as `--read modality` said it."""
    try:
        cases = read_json(folder / "predictions.json", "the record of predictions")["cases"]
        said = {str(facts["options"]["read"].get("modality", "")) for facts in cases}
    except (InputError, KeyError, TypeError, AttributeError):
        return None
    return next(iter(said)) or None if len(said) == 1 else None


def references(path: Path, options: ReadOptions | None = None, group: str | None = None) -> References:
    """The references in a file, in a folder of label maps, or in a data set (a folder of any layout, or its table).

    A folder `labelsTr` whose parent declares labels in a dataset.json has those. `group` is what cases of one patient
    have in common, as `data.group` says it: a column of the data set's table, or a pattern of ids.

    Raises:
        UsageError: There is no such path.
        InputError: The folder holds no label map and is no data set.
    """
    if path.is_file() and not is_table(path):
        return References({stem(path): path}, _declared_beside(path.parent))
    with_lossy = options is not None and options.lossy == "threshold"
    maps = {} if path.is_file() else find_label_maps(path, with_lossy=with_lossy)
    if maps:
        groups, notes = _groups(maps, group) if group else (None, ())
        return References(maps, _declared_beside(path), groups, notes, _scans_beside(path))
    from medseg.config.schema import DataConfig
    from medseg.data.layouts import open_dataset

    dataset = open_dataset(path, DataConfig(read=(options or ReadOptions()).to_pairs(), group=group))
    return References(
        {case.id: _of(case.label, case) for case in dataset.cases if case.label is not None},
        dataset.labels,
        {case.id: case.group for case in dataset.cases},
        dataset.notes,
        {case.id: _scan(case) for case in dataset.cases},
    )


def _scan(case: Case) -> Case:
    """What is looked at of a case: its first channel, and how it is read."""
    # Plain dictionaries, for a proxy cannot be sent to another process.
    return Case(case.id, case.images[:1], stacked=case.stacked, attributes={}, read=dict(case.read))


def _scans_beside(folder: Path) -> dict[str, Case]:
    """The images of a folder of label maps that is part of a data set: imagesTs beside labelsTs; empty if unsure."""
    name = folder.resolve().name
    prefix = next((each for each in ("labels", "masks") if name.lower().startswith(each)), None)
    images = folder.resolve().with_name(f"images{name[len(prefix) :]}") if prefix else None
    if images is None or not images.is_dir():
        return {}
    from medseg.data.inputs import find_cases

    try:
        return {case.id: _scan(case) for case in find_cases([images])}
    except MedsegError:
        return {}  # nothing is measured on them: what cannot be told apart is not shown


def _groups(maps: Mapping[str, Path], group: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The groups of a folder of label maps, by a pattern of their ids."""
    cases, notes = grouped([Case(case, (path,)) for case, path in maps.items()], group)
    return {case.id: case.group for case in cases}, notes


def _of(label: LabelSource, case: Case) -> Source:
    # The colours of an image say nothing of its label map.
    read = {key: value for key, value in case.read.items() if key != "colour"}
    if isinstance(label, Path) and not read and kind_of(label) != "dicom":
        return label
    # Plain dictionaries, for a proxy cannot be sent to another process.
    return Drawn(label if isinstance(label, Path) else dict(label), case.images[0], read)


def match(
    predicted: Mapping[str, Source],
    reference: Mapping[str, Source],
    groups: Mapping[str, str] | None = None,
    scans: Mapping[str, Case] | None = None,
) -> tuple[Pair, ...]:
    """Pairs by case id, in natural order: all references, and all predictions that have none.

    An id with the digest of a DICOM series also meets the plain name, and case_0000 meets case, where that leaves no
    choice; the pair is called as the reference is.

    Raises:
        InputError: Not a single case id is on both sides: then the names must be wrong, not the predictions.
    """
    predicted = _renamed(predicted, reference)
    if reference and predicted and not predicted.keys() & reference.keys():
        raise InputError(
            f"No prediction has the name of a reference: predicted are {listed(predicted.keys(), 3)}, references are "
            f"{listed(reference.keys(), 3)}. Give files of one case the same name, or settle it with --pairs pairs.csv "
            "(columns case,predicted,reference)."
        )
    cases = sorted(predicted.keys() | reference.keys(), key=natural_key)
    known, seen = groups or {}, scans or {}
    return tuple(
        Pair(case, predicted.get(case), reference.get(case), known.get(case, ""), scan=seen.get(case)) for case in cases
    )


def _renamed(predicted: Mapping[str, Source], reference: Mapping[str, Source]) -> Mapping[str, Source]:
    """The predictions; those without a namesake under the name of the one reference that is called alike."""
    called: dict[str, tuple[list[str], list[str]]] = {}
    for side, names in enumerate((predicted.keys() - reference.keys(), reference.keys() - predicted.keys())):
        for name in names:
            called.setdefault(plain_name(name), ([], []))[side].append(name)
    pairs = [(mine[0], theirs[0]) for mine, theirs in called.values() if len(mine) == len(theirs) == 1]
    # Of two series, whose digests differ, none is the other's reference.
    new_names = {mine: theirs for mine, theirs in pairs if not (has_digest(mine) and has_digest(theirs))}
    return {new_names.get(name, name): source for name, source in predicted.items()}


def read_table(path: Path, group: str = "group") -> tuple[Pair, ...]:
    """Pairs from a CSV or TSV with the columns case, predicted, reference, perhaps group, annotated and image.

    `group` names the column that says what belongs together (a patient).

    Paths are relative to the table; an empty cell is a prediction or a reference that there is not. `annotated` lists
    the names of the labels that the reference was annotated with, separated by ";"; an empty cell means all. `image` is
    what the report shows under the masks.

    Raises:
        UsageError: There is no such file.
        InputError: A column is missing, a case occurs twice or has neither path.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a table: {error}.") from error
    reader = csv.DictReader(text.splitlines(), delimiter="\t" if "\t" in text.partition("\n")[0] else ",")
    try:
        fields, rows = reader.fieldnames or (), list(reader)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num + 1}: {error}.") from error
    wanted = {"case", "predicted", "reference"} | ({group} if group != "group" else set())
    missing = wanted - set(fields)
    if missing:
        raise InputError(
            f"{path} has no column {' and no column '.join(sorted(missing))}. Its first line should be "
            "case,predicted,reference (group, annotated and image may follow)."
        )
    pairs: dict[str, Pair] = {}
    for number, row in enumerate(rows, start=2):
        cells = {key: (value or "").strip() for key, value in row.items() if isinstance(key, str)}
        pair = _pair(cells, path.parent, group)
        if not pair.case or (pair.predicted is None and pair.reference is None):
            raise InputError(f"{path}, line {number}: a row needs a case and at least one of predicted and reference.")
        if pair.case in pairs:
            case = shortened(pair.case)
            raise InputError(f"{path}, line {number}: the case '{case}' stands there for the second time.")
        pairs[pair.case] = pair
    if not pairs:
        raise InputError(f"{path} lists no case.")
    return tuple(pairs.values())


def _pair(cells: Mapping[str, str], folder: Path, group: str) -> Pair:
    names = _split(cells.get("annotated", ""))
    return Pair(
        cells["case"],
        folder / cells["predicted"] if cells["predicted"] else None,
        folder / cells["reference"] if cells["reference"] else None,
        cells.get(group, ""),
        frozenset(names) or None,
        scan=_scan(Case(cells["case"], (folder / cells["image"],))) if cells.get("image") else None,
    )


def _split(text: str) -> Iterable[str]:
    return (name.strip() for name in text.split(";") if name.strip())


def _declared_beside(folder: Path) -> Labels | None:
    """The labels of the dataset.json in a folder of label maps (nnU-Net writes one there) or beside it."""
    root = folder if (folder / "dataset.json").is_file() else folder.resolve().parent
    if root != folder and not folder.name.lower().startswith(("labels", "masks")):
        return None
    declared = read_declaration(root)
    return None if declared is None else declared_labels(declared, root / "dataset.json")
