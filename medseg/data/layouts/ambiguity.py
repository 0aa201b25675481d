"""What can be read in more than one way is refused, with the table that settles it.

The table is a valid one (`layouts.table`): saved in the data set's folder it is found there. One way stands in rows,
the others in comments, so that who reads it need only choose.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from medseg.core.errors import AmbiguousError
from medseg.data.dataset import Case, LabelSource, listed
from medseg.data.layouts.sources import structure_names
from medseg.data.layouts.table import FILE_NAME, written
from medseg.data.scans import stem_of

__all__ = ["Candidates", "refuse", "refuse_unclear"]


@dataclass(frozen=True)
class Candidates:
    """The files that could be meant for a case: by channel, and as its label map."""

    id: str
    images: Mapping[str, Sequence[Path]]
    labels: Sequence[LabelSource]
    group: str = ""

    @property
    def is_clear(self) -> bool:
        return len(self.labels) <= 1 and all(len(paths) == 1 for paths in self.images.values())

    @property
    def as_structures(self) -> tuple[Mapping[str, Path], ...]:
        """The label maps taken for a mask of one structure each, if their names can be those of structures."""
        maps = [label for label in self.labels if isinstance(label, Path)]
        names = structure_names([stem_of(path) for path in maps], self.id)
        is_one_each = len(maps) > 1 and len(set(names)) == len(maps) and all(path.is_file() for path in maps)
        return (dict(zip(names, maps, strict=True)),) if is_one_each else ()


def refuse_unclear(root: Path, found: Sequence[Candidates], channels: Sequence[str] | None) -> NoReturn:
    """Refuse cases with images and label maps, some of which leave a choice, or which have no channels in common.

    Args:
        root: The folder of the data set.
        found: Its cases, each with at least one image and one label map.
        channels: Names of the channels of most cases, None where no set of them has a majority.

    Raises:
        AmbiguousError: Always.
    """
    unclear = [each.id for each in found if not each.is_clear]
    if unclear:
        reason = f"In {root}, more than one file could be the image or the label map of {listed(unclear)}."
    else:
        sets = Counter(" + ".join(each.images) for each in found).most_common(4)
        reason = f"The cases in {root} have different channels: {'; '.join(f'{n} × {names}' for names, n in sets)}."
    shared = [key for key in found[0].images if all(key in each.images for each in found)]
    columns = tuple(channels or shared or ("image",))
    chosen, others = list[Case](), list[Case]()
    for each in found:
        every = [path for paths in each.images.values() for path in paths]
        images = tuple(each.images[key][0] for key in columns if key in each.images) or (every[0],)
        chosen.append(Case(each.id, images, each.labels[0], each.group))
        others += [Case(each.id, images, label, each.group) for label in (*each.labels[1:], *each.as_structures)]
        unused = [path for path in every if path not in images]
        others += [Case(each.id, (path, *images[1:]), each.labels[0], each.group) for path in unused]
    refuse(reason, root, chosen, others, columns)


def refuse(
    reason: str, root: Path, cases: Iterable[Case], others: Iterable[Case], channels: Sequence[str] = ("image",)
) -> NoReturn:
    """Refuse a data set.

    Args:
        reason: What is ambiguous: a sentence.
        root: The folder of the data set; the table's paths are relative to it.
        cases: One way to read it, which would work.
        others: What else could be meant, as rows to choose instead.
        channels: Names of the channels.

    Raises:
        AmbiguousError: Always; it holds the table.
    """
    table = written(cases, channels, root, others)
    raise AmbiguousError(
        f"{reason} Correct this table (a line that begins with # is another choice and is not read), save it as "
        f"{root / FILE_NAME}, and give the folder again:\n\n{table}",
        table,
    )
