"""Durations and amounts of memory as people write them."""

import re

from medseg.core.errors import UsageError

__all__ = ["parse_bytes", "parse_seconds"]

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNITS_BYTES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_seconds(text: str, option: str) -> float:
    """A duration such as "90s", "15m", "2h", "1h30m" in seconds.

    >>> parse_seconds("1h30m", "--budget")
    5400.0
    """
    pattern = r"(\d+(?:\.\d+)?)\s*([smhd])"
    cleaned = text.strip().lower()
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in re.findall(pattern, cleaned))
    if re.sub(pattern, "", cleaned).strip() or seconds <= 0:
        raise UsageError(f"{option} {text!r} is no duration: write 90s, 15m, 2h or 1h30m.")
    return seconds


def parse_bytes(text: str, option: str) -> int:
    """An amount of memory such as "8G" or "500M" in bytes.

    >>> parse_bytes("2G", "--max-memory")
    2147483648
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if not found or float(found[1]) <= 0:
        raise UsageError(f"{option} {text!r} is no amount of memory: write 8G or 500M.")
    return int(float(found[1]) * _UNITS_BYTES[found[2].upper()])
