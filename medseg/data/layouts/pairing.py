"""Images and label maps that belong together by name: whole cases, those without a label, those without an image."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.data.dataset import BadCase, Case, LabelSource, listed, natural_key, safe_id
from medseg.data.layouts.unread import unread_channels

__all__ = ["Pairing", "pair"]

Channels = Mapping[str, Path]
"""The files of one case by their channel suffix ("0000", "t1"; "" where there is one file without a suffix)."""


@dataclass
class Pairing:
    """What came of pairing; each list in natural order of the names."""

    cases: list[Case] = field(default_factory=list)
    unlabelled: list[Case] = field(default_factory=list)
    problems: list[BadCase] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def pair(
    images: Mapping[str, Channels],
    labels: Mapping[str, LabelSource],
    suffixes: Sequence[str],
    foreign: Mapping[str, Channels] | None = None,
) -> Pairing:
    """Pair the channels of each case, in the order of `suffixes`, with its label map.

    `foreign` are files of channels that medseg does not read: a case that lacks one of them cannot be used.
    """
    result = Pairing()
    incomplete: list[str] = []
    for name in sorted({*images, *labels}, key=natural_key):
        files, label, case_id = images.get(name, {}), labels.get(name), safe_id(name)
        absent = [suffix for suffix in suffixes if suffix not in files]
        paths = tuple(files[suffix] for suffix in suffixes if suffix in files)
        unread = {s: path for s, path in (foreign or {}).get(name, {}).items() if s in absent}
        if unread and label is not None:
            result.problems.append(unread_channels(case_id, unread, paths))
        elif label is None:
            names = tuple(suffix for suffix in suffixes if suffix in files) or tuple(files)
            paths = paths or tuple(files.values())
            result.unlabelled.append(Case(case_id, paths, channels=names if absent else ()))
            incomplete += [name] if absent else []
        elif not absent:
            result.cases.append(Case(case_id, paths, label))
        elif not files:
            called = label.name if isinstance(label, Path) else f"folder {name}"
            result.problems.append(BadCase(case_id, f"Label map {called} has no image of the same name."))
        else:
            reason = f"Case {case_id} lacks channel {listed(absent)}; it has {listed(files)}."
            result.problems.append(BadCase(case_id, reason, paths))
    if incomplete:
        result.notes.append(f"{len(incomplete)} cases without a label map lack a channel: {listed(incomplete)}.")
    _note_surplus(images, suffixes, result.notes)
    return result


def _note_surplus(images: Mapping[str, Channels], suffixes: Collection[str], notes: list[str]) -> None:
    surplus = {suffix for files in images.values() for suffix in files if suffix not in suffixes}
    if surplus:
        notes.append(f"Files of channels that the data set does not have were left out: {listed(surplus)}.")
