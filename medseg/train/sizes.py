"""Cases that would not fit into the memory on the plan grid: known from the fingerprint, before any is prepared.

One case with a wrong spacing (40 mm among cases of 1 mm) becomes a thousand times larger than its fellows and would end
the training after minutes, without a word.
"""

from collections.abc import Iterator

from medseg.core.geometry import Geometry
from medseg.core.memory import in_words
from medseg.data.dataset import BadCase
from medseg.data.fingerprint import Fingerprint
from medseg.plan.plan import Plan
from medseg.transforms.preprocess import plan_grid, preprocess_bytes

__all__ = ["too_large"]


def too_large(fingerprint: Fingerprint, plan: Plan, limit: int | None, is_users: bool = False) -> Iterator[BadCase]:
    """The cases whose preparing takes more than `limit` bytes; none where that is None.

    Args:
        fingerprint: The grids of the cases.
        plan: Decides the plan grid.
        limit: What may be taken.
        is_users: Whether the user has set the limit.
    """
    for case in fingerprint.cases if limit is not None else ():
        grid = plan_grid(Geometry.from_spacing(case.shape, case.spacing_mm), plan.preprocessing)
        needed = preprocess_bytes(grid, len(plan.channels))
        if limit is not None and needed > limit:
            yield BadCase(
                case.case,
                f"It has {_by(case.shape)} voxels of {_by(case.spacing_mm)} mm, which are {_by(grid.grid.shape)} of "
                f"{_by(grid.grid.spacing_mm)} mm on the plan grid: preparing it takes {in_words(needed)} of memory, "
                f"but only {in_words(limit)} are {'allowed (--max-memory)' if is_users else 'free'}. Check its "
                "spacing; if it is right, crop the case, or choose a coarser plan.spacing_mm.",
            )


def _by(sides: tuple[int, ...] | tuple[float, ...]) -> str:
    return " × ".join(f"{side}" if isinstance(side, int) else f"{side:.3g}" for side in sides)
