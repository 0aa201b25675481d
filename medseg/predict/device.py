"""Which device a word of the user means."""

from collections.abc import Callable

import torch

from medseg.core.errors import MachineError, UsageError

__all__ = ["resolve_device"]


def resolve_device(wish: str | torch.device = "auto") -> torch.device:
    """The device that "auto", "cpu", "cuda", "cuda:1" or "mps" stands for; "auto" takes a CUDA device if there is one.

    Raises:
        UsageError: The word names no device that medseg knows.
        MachineError: This machine has no such device.
    """
    if wish == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wish)
    except RuntimeError:
        raise UsageError(f"'{wish}' is no device; say auto, cpu, cuda, cuda:0 or mps.") from None
    present: dict[str, Callable[[], bool]] = {
        "cpu": lambda: True,
        "cuda": lambda: (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available,
    }
    if device.type not in present:
        raise UsageError(f"'{wish}' is no device that medseg runs on; say auto, cpu, cuda, cuda:0 or mps.")
    if not present[device.type]():
        raise MachineError(f"This machine has no device '{wish}' that torch can use. Leave --device out, or say cpu.")
    return device
