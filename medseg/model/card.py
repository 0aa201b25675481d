"""The model card: what a person should know before trusting a model, as Markdown (Mitchell et al., FAT* 2019).

It says only what `model.json` says, so nothing of a patient and no path can come in by this door.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from medseg.core.escapes import for_markdown
from medseg.core.words import operations

__all__ = ["is_poor", "model_card"]

POOR_DICE = 0.3
"""A model that agrees less than this with the masks of people misses most of what it should find.

Published models of the hardest tasks (small lesions) reach 0.4 and more.
"""

_LIMITS = """\
- It was trained on the data summed up above and knows nothing else: other scanners, protocols, ages, species or
  diseases may give wrong results that look right.
- It always answers, with nothing but the labels above, also where an image shows none of them.
- Validation figures are those of held-out cases of the same data set; elsewhere expect less.
- It is no medical device. Whoever uses a result for a patient answers for it: look at the masks.
"""


def is_poor(dice: float | None) -> bool:
    """Whether a model of this mean validation Dice is better not used."""
    return dice is not None and dice < POOR_DICE


def model_card(description: Mapping[str, Any]) -> str:
    """The card of the model that `description` (the content of `model.json`) tells of."""
    plan = description["plan"]
    sections = {
        "What it does": _task(plan),
        "Labels": _table(("label", "value"), ((name, _listed(value)) for name, value in plan["labels"].items())),
        "Training": _folds(
            {fold: _training(facts) for fold, facts in description["training"].items()}, "Nothing was recorded."
        ),
        "Validation": _folds(
            {fold: _headline(metrics) for fold, metrics in description["metrics"].items()},
            "It was not validated: nothing is known about its accuracy.",
        )
        + _judgement(description),
        "Limits": _LIMITS,
        "How to use it": _use(plan),
    }
    versions = ", ".join(f"{name} {version}" for name, version in description["versions"].items())
    body = "".join(f"\n## {title}\n\n{text.rstrip()}\n" for title, text in sections.items())
    about = f"{for_markdown(description['description'])}\n\n" if description.get("description") else ""
    title = for_markdown(description["name"])
    return f"# {title}\n\n{about}A segmentation model made with {versions}.\n{body}"


def _task(plan: Mapping[str, Any]) -> str:
    channels = [for_markdown(name) for name in plan["channels"]]
    network = plan["network"]
    kind = "slices along one axis" if plan["dimensions"] == 2 else "volumes"
    normalised = [_intensities(how) for how in plan["preprocessing"]["normalisation"]]
    return (
        f"It labels each voxel of an image of {len(channels)} channel{'s' if len(channels) > 1 else ''} "
        f"({', '.join(channels)}), by {kind}.\n\n"
        f"- Grid it works on: {_spacing(plan['preprocessing']['spacing_mm'])}; "
        "results come back on the image's own grid.\n"
        f"{_own_grids(plan)}"
        f"- Intensities: {'; '.join(f'{c}: {words}' for c, words in zip(channels, normalised, strict=True))}.\n"
        f"- Network: {network['name']}, {network['dimensions']}-D, features {_listed(network['features'])}, "
        f"windows of {' × '.join(map(str, plan['patch']))} voxels.\n"
    )


def _intensities(how: Mapping[str, Any]) -> str:
    """What is done to the numbers of a channel, in words."""
    seen = ", zeros left out" if how.get("nonzero") else ""
    low, high = how.get("low"), how.get("high")
    between = "" if low is None or high is None else f"to {low:.4g} … {high:.4g}"
    words = {
        "zscore": f"mean 0 and standard deviation 1 in each image{seen}",
        "ct": f"as stored (Hounsfield units), cut off {between}, then scaled",
        "percentile": f"from the 0.5th to the 99.5th percentile of each image{seen}",
        "rescale": f"as stored, scaled {between}",
        "none": "as stored",
    }
    return words[how["scheme"]]


def _training(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The facts of a training for people: work in a unit that fits."""
    pflop = facts.get("pflop")
    if not isinstance(pflop, int | float):
        return facts
    return {name: value for name, value in facts.items() if name != "pflop"} | {"computation": operations(pflop)}


def _judgement(description: Mapping[str, Any]) -> str:
    """A word about folds that find little; figures alone are read as if every model were one to use."""
    poor = [fold for fold, metrics in description["metrics"].items() if is_poor(_dice_of(metrics))]
    if not poor:
        return ""
    folds = ", ".join(fold.replace("_", " ") for fold in poor)
    return f"\n\nWith a Dice below {POOR_DICE:g} in {folds} this model is not one to use as it is."


def _dice_of(metrics: Mapping[str, Any]) -> float | None:
    dice = metrics.get("headline", metrics).get("dice")
    return dice if isinstance(dice, int | float) else None


def _own_grids(plan: Mapping[str, Any]) -> str:
    channels = [for_markdown(name) for name in plan["channels"]]
    if len(channels) == 1:
        return ""
    return f"- Channels on grids of their own are brought to that of {channels[0]}, by linear interpolation.\n"


def _spacing(spacing_mm: Iterable[float | None]) -> str:
    sides = list(spacing_mm)
    if all(side is None for side in sides):
        return "the image's own voxels"
    return (
        " × ".join("own" if side is None else f"{side:.4g}" for side in sides)
        + " mm (right-left, back-front, feet-head)"
    )


def _folds(by_fold: Mapping[str, Mapping[str, Any]], otherwise: str) -> str:
    """A table with a row a fact and a column a fold; mappings become one row a key."""
    flat = {fold: dict(_flattened(facts)) for fold, facts in by_fold.items()}
    names = list(dict.fromkeys(name for facts in flat.values() for name in facts))
    if not names:
        return otherwise
    rows = ((name.replace("_", " "), *(_shown(facts.get(name)) for facts in flat.values())) for name in names)
    return _table(("", *(fold.replace("_", " ") for fold in flat)), rows)


def _headline(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a whole `summary.json`, what belongs on a card: the headline, and each label's Dice over all cases."""
    if "headline" not in metrics:
        return metrics
    by_label = {name: values.get("dice", {}).get("all") for name, values in metrics.get("labels", {}).items()}
    shown = {"cases": metrics.get("n_cases"), **metrics["headline"], "dice of": by_label}
    return {name: value for name, value in shown.items() if value is not None}


def _flattened(facts: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}: ")
        else:
            yield f"{prefix}{name}", value


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else _listed(value)


def _listed(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(for_markdown(cell) for cell in line) + " |" for line in lines)


def _use(plan: Mapping[str, Any]) -> str:
    several = len(plan["channels"]) > 1
    files = (
        "CASE_0000.nii.gz, CASE_0001.nii.gz, … (one file a channel, in the order above)" if several else "a file each"
    )
    return (
        "```\nmedseg predict SCANS -m MODEL -o OUT\n```\n\n"
        f"`MODEL` is this folder, `SCANS` a file, a folder of scans ({files}) or a DICOM series. From Python:\n\n"
        "```python\nimport medseg\n\n"
        'predictor = medseg.Predictor.load("MODEL")\n'
        'result = predictor(medseg.read("scan.nii.gz"))\n'
        'medseg.write(result.labels, "mask.nii.gz")\n```\n'
    )
