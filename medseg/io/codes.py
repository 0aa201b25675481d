"""What a label is called where words are not enough: SNOMED CT codes and colours, found by a label's name.

DICOM says of each structure a category, a type and, for paired ones, a side. A name that the table knows
("kidney_left", "Left kidney", "Kidney (L)") gets its own; what a configuration declares goes first; any other name is
an anatomical structure of that name, for a code that is guessed is worse than none. Meanings are written from this
table: looking codes up backwards in a dictionary gives oddities ("Endo-renal" for the kidney). The module knows no file
and no voxel.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

__all__ = ["MEANINGS", "RGB", "Code", "Declaration", "Meaning", "meaning_of", "meanings"]

MEANINGS = "codes"
"""The key of `meta.header` of a label map under which the meaning of each name travels, where it is known."""

RGB = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


@dataclass(frozen=True, slots=True)
class Code:
    """A word of a coding scheme ("SCT" is SNOMED CT): its number, whose it is, and how people read it."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a label stands for; `color` is None where no table has one, `is_known` tells a code from a stopgap."""

    category: Code
    kind: Code
    side: Code | None = None
    color: RGB | None = None
    is_known: bool = True


class Declaration(Protocol):
    """What a configuration may say of a label; None is left to the label's name."""

    @property
    def code(self) -> str | None: ...
    @property
    def meaning(self) -> str | None: ...
    @property
    def scheme(self) -> str: ...
    @property
    def category(self) -> str | None: ...
    @property
    def side(self) -> str | None: ...
    @property
    def color(self) -> RGB | None: ...


CATEGORIES: Mapping[str, Code] = {
    "anatomy": Code("91723000", "SCT", "Anatomical Structure"),
    "tissue": Code("85756007", "SCT", "Tissue"),
    "abnormality": Code("49755003", "SCT", "Morphologically Abnormal Structure"),
}
"""Word of the configuration → category; readers also meet the older 123037004 for anatomy."""

SIDES: Mapping[str, Code] = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}

_ANATOMY = """
    Liver 10200004 221 130 101               Brain 12738006 250 250 225
    Spleen 78961009 157 108 162              Brain stem 119238007 85 160 155
    Kidney* 64033007 185 102 83              Cerebellum 113305005 194 195 164
    Pancreas 15776009 249 180 111            Hippocampus* 5366008 253 135 192
    Gallbladder 28231008 139 150 98          Thalamus* 42695009 166 113 137
    Stomach 69695003 216 132 105             Lateral ventricle* 66720007 88 106 215
    Esophagus 32849002 211 171 143           White matter 389080008 250 250 210
    Duodenum 38848004 255 253 229            Gray matter 389081007 200 200 235
    Small intestine 30315005 205 167 142     Spinal cord 2748008 244 214 49
    Colon 71854001 204 168 143               Optic nerve* 18234004 234 194 39
    Rectum 34402009 198 160 138              Optic chiasm 244453006 99 106 24
    Bladder 89837001 222 154 132             Eyeball* 79652003 194 142 0
    Prostate 41216001 230 158 140            Parotid gland* 45289007 196 181 140
    Uterus 35039007 255 181 158              Submandibular gland* 54019009 186 171 130
    Adrenal gland* 23451007 249 186 150      Thyroid 69748006 62 162 114
    Heart 80891009 206 110 84                Mandible 91609006 222 198 101
    Left ventricle 87878005 152 55 13        Skull 89546000 241 213 144
    Right ventricle 53085002 181 85 57       Vertebra 51282000 255 255 207
    Left atrium 82471001 203 108 81          Rib* 113197003 253 232 158
    Right atrium 73829009 210 115 89         Sternum 56873002 244 217 154
    Aorta 15825003 224 97 76                 Femur* 71341001 255 238 170
    Pulmonary artery 81040000 0 122 171      Sacrum 54735007 212 188 102
    Inferior vena cava 64131007 0 151 206    Hip* 29836001 227 206 143
    Portal vein 32764006 0 141 196           Lung* 39607008 197 165 145
    Trachea 44567001 182 228 255             Larynx 4596009 150 208 243
"""
_TISSUE = """
    Bone 272673000 241 214 145               Muscle 71616004 192 104 88
    Body fat 248300009 230 220 70            Lymph node 59441001 68 172 100
"""
_ABNORMALITY = """
    Neoplasm 108369006 144 238 144           Edema 79654002 140 224 228
    Mass 4147007 144 238 144                 Necrosis 6574001 216 191 216
    Nodule 27925004 150 98 83                Hemorrhage 50960005 188 65 28
"""
"""Structure, code, red, green, blue; * has a side. Checked against the tables of pydicom and dcmqi; the colours are
those that dcmqi recommends, or of the same family."""

_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "adrenal gland": ("adrenal", "suprarenal gland"),
    "bladder": ("urinary bladder",),
    "body fat": ("fat", "adipose tissue"),
    "brain stem": ("brainstem",),
    "edema": ("oedema",),
    "esophagus": ("oesophagus",),
    "eyeball": ("eye", "eye ball", "globe"),
    "femur": ("femora",),
    "gallbladder": ("gall bladder",),
    "gray matter": ("grey matter",),
    "hemorrhage": ("haemorrhage",),
    "hippocampus": ("hippocampi",),
    "inferior vena cava": ("ivc",),
    "left atrium": ("heart atrium left", "left atrium of heart"),
    "left ventricle": ("heart ventricle left", "left ventricle of heart"),
    "mass": ("masses",),
    "neoplasm": ("tumor", "tumour"),
    "optic chiasm": ("optic chiasma", "chiasm", "chiasma"),
    "parotid gland": ("parotid",),
    "prostate": ("prostate gland",),
    "right atrium": ("heart atrium right", "right atrium of heart"),
    "right ventricle": ("heart ventricle right", "right ventricle of heart"),
    "small intestine": ("small bowel",),
    "submandibular gland": ("submandibular",),
    "thalamus": ("thalami",),
    "thyroid": ("thyroid gland",),
    "vertebra": ("vertebrae",),
}
"""Name of the table → other words for the very same thing; plurals in -s are understood everywhere."""

_SIDE_WORDS = {"left": "left", "right": "right", "l": "left", "r": "right", "lt": "left", "rt": "right"}


def meaning_of(name: str, declared: Declaration | None = None) -> Meaning:
    """What a label of this name stands for, and what is declared of it instead.

    >>> meaning_of("Kidney (L)").kind.meaning, meaning_of("kidney_left").side.meaning
    ('Kidney', 'Left')
    >>> meaning_of("lung_upper_lobe_left").is_known
    False
    """
    found = _by_name(name) or Meaning(CATEGORIES["anatomy"], CATEGORIES["anatomy"], is_known=False)
    if declared is None:
        return found
    if declared.code is not None and declared.meaning is not None:
        found = replace(found, kind=Code(declared.code, declared.scheme, declared.meaning), is_known=True)
    if declared.category is not None:
        category = CATEGORIES[declared.category]
        found = replace(found, category=category, kind=found.kind if found.is_known else category)
    return replace(
        found,
        side=found.side if declared.side is None else SIDES[declared.side],
        color=found.color if declared.color is None else declared.color,
    )


def meanings(
    names: Iterable[str], declared: Mapping[str, Declaration] | None = None
) -> tuple[dict[str, Meaning], tuple[str, ...]]:
    """The meaning of each name, and a sentence if some of them have no code of their own."""
    declared = declared or {}
    found = {name: meaning_of(name, declared.get(name)) for name in names}
    unknown = [name for name, meaning in found.items() if not meaning.is_known]
    if not unknown:
        return found, ()
    more = f" and {len(unknown) - 4} more" if len(unknown) > 4 else ""
    return found, (
        f"No code is known for {', '.join(unknown[:4])}{more}: in DICOM they are called anatomical structures of these "
        f"names. What they are is said by --label '{unknown[0]}={{code: …, meaning: …}}', and in training by "
        f"--set 'data.labels.{unknown[0]}={{code: …, meaning: …}}'.",
    )


def _by_name(name: str) -> Meaning | None:
    words = tuple(re.findall(r"[^\W_]+", name.casefold()))
    whole = _lookup(words)
    if whole is not None:
        return whole[0]
    sides = [word for word in words if word in _SIDE_WORDS]
    rest = _lookup(tuple(word for word in words if word not in _SIDE_WORDS))
    if len(sides) != 1 or rest is None or not rest[1]:
        return None
    return replace(rest[0], side=SIDES[_SIDE_WORDS[sides[0]]])


def _lookup(words: tuple[str, ...]) -> tuple[Meaning, bool] | None:
    name = " ".join(words)
    return _table().get(name) or _table().get(name.removesuffix("s"))


@cache
def _table() -> Mapping[str, tuple[Meaning, bool]]:
    """Lower-case name or synonym → its meaning, and whether it has a left and a right one."""
    row = re.compile(r"([A-Z][a-z ]*[a-z])(\*?) (\d+) (\d+) (\d+) (\d+)")
    table: dict[str, tuple[Meaning, bool]] = {}
    for text, category in ((_ANATOMY, "anatomy"), (_TISSUE, "tissue"), (_ABNORMALITY, "abnormality")):
        for name, star, code, *color in row.findall(text):
            red, green, blue = map(int, color)
            meaning = Meaning(CATEGORIES[category], Code(code, "SCT", name), color=(red, green, blue))
            for word in (name.lower(), *_SYNONYMS.get(name.lower(), ())):
                table[word] = (meaning, bool(star))
    return table
