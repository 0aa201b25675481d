"""What `medseg train --dry-run` shows: the data, the plan with its reasons, the network stage by stage, the cost."""

from typing import TYPE_CHECKING

from medseg.cli.screen import duration
from medseg.core.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from medseg.train.dry_run import DryRun

__all__ = ["show"]


def show(found: "DryRun", out: "Console") -> None:
    """Print it."""
    _data(found, out)
    _plan(found, out)
    _network(found, out)
    _cost(found, out)


def _data(found: "DryRun", out: "Console") -> None:
    fingerprint = found.fingerprint
    shape, spacing = fingerprint["median_shape"], fingerprint["median_spacing_mm"]
    unit = "mm" if fingerprint["placed"] else "pixels"
    out.print("\nData", style="bold")
    out.print(
        f"  {counted(len(fingerprint['cases']), 'case')}; median {_by(shape)} voxels of {_by(spacing)} {unit} "
        f"(left-right, back-front, feet-head)"
    )
    for channel in fingerprint["channels"]:
        out.print(
            f"  channel {channel['name']}: {channel['low']:.4g} … {channel['high']:.4g} in the foreground; "
            f"{channel['ct_reason']}",
            markup=False,
        )
    for label in fingerprint["labels"]:
        out.print(
            f"  label {label['name']}: in {counted(label['n_cases'], 'case')}, median {label['median_ml']:.3g} ml, "
            f"{label['frequency']:.2%} of all voxels",
            markup=False,
        )


def _plan(found: "DryRun", out: "Console") -> None:
    plan = found.plan
    out.print("\nPlan", style="bold")
    spacing = [mm if mm is not None else "as it is" for mm in plan["preprocessing"]["spacing_mm"]]
    out.print(f"  patch {_by(plan['patch'])}, batch {plan['batch']}, plan grid {_by(spacing)}", markup=False)
    for what, why in plan["reasons"].items():
        out.print(f"  {what}: {why}", markup=False)


def _network(found: "DryRun", out: "Console") -> None:
    from rich.table import Table

    table = Table(title="Network", title_justify="left", title_style="bold", box=None, pad_edge=True)
    for column in ("path", "stage", "resolution", "features", "receptive field", "parameters", "FLOPs"):
        table.add_column(column, justify="left" if column in ("path", "stage") else "right")
    for row in found.network.rows:
        table.add_row(
            row.path,
            row.name,
            _by(row.resolution),
            str(row.features),
            _by(row.receptive_field),
            f"{row.parameters:,}",
            f"{row.share:.1%}",
        )
    out.print()
    out.print(table)
    out.print(
        f"  {found.network.parameters:,} parameters; {found.network.forward_gflop:.1f} GFLOP forward a patch",
        markup=False,
    )


def _cost(found: "DryRun", out: "Console") -> None:
    out.print("\nCost", style="bold")
    for name, seconds in sorted(found.tried.items(), key=lambda item: item[1]):
        out.print(f"  {name}: {seconds:.2f} s a step", markup=False)
    if found.memory_gib is not None:
        out.print(f"  {found.memory_gib:.2g} GiB of memory at most, so far")
    out.print(
        f"  {counted(found.steps, 'step')}; the expected end is in {duration(found.expected_s)}. Nothing was written."
    )


def _by(numbers: "Sequence[float | str] | None") -> str:
    if numbers is None:
        return ""
    return " × ".join(n if isinstance(n, str) else f"{n:.4g}" for n in numbers)
