"""Durations and amounts of memory as people write them."""

import re
from math import isfinite

from medseg.core.errors import UsageError

__all__ = ["parse_bytes", "parse_seconds"]

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNITS_BYTES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


LONGEST_SHOWN = 40
"""Characters of what was given that a sentence repeats."""

LONGEST_S = 10 * 365 * 86_400.0
MOST_BYTES = 2**60
"""Ten years and an exbibyte: beyond them a number is a slip."""


def parse_seconds(text: str, option: str) -> float:
    """A duration such as "90s", "15m", "2h", "1h30m" in seconds.

    >>> parse_seconds("1h30m", "--budget")
    5400.0
    """
    pattern = r"(\d+(?:\.\d+)?)\s*([smhd])"
    cleaned = text.strip().lower()
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in re.findall(pattern, cleaned))
    if re.sub(pattern, "", cleaned).strip() or seconds <= 0:
        raise UsageError(f"{option} {_shown(text)} is no duration: write 90s, 15m, 2h or 1h30m.")
    if not seconds <= LONGEST_S:
        raise UsageError(f"{option} {_shown(text)} is longer than ten years; write 90s, 15m, 2h or 1h30m.")
    return seconds


def parse_bytes(text: str, option: str) -> int:
    """An amount of memory such as "8G" or "500M" in bytes.

    >>> parse_bytes("2G", "--max-memory")
    2147483648
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if not found or float(found[1]) <= 0:
        raise UsageError(f"{option} {_shown(text)} is no amount of memory: write 8G or 500M.")
    n_bytes = float(found[1]) * _UNITS_BYTES[found[2].upper()]
    if not 1 <= n_bytes <= MOST_BYTES or not isfinite(n_bytes):
        raise UsageError(f"{option} {_shown(text)} is less than a byte or more than any machine has: write 8G or 500M.")
    return int(n_bytes)


def _shown(text: str) -> str:
    return repr(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…")
