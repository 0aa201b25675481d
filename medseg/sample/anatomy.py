"""The phantom's body: what it is made of, where, and how bright, as a function of points in space.

The body frame is RAS+ in mm, origin in the middle of the trunk at the height where liver, spleen and kidneys meet: x to
the patient's right, y to the front, z to the head. A `Patient` holds every random number; `layers` turns a patient and
points into structures in painter's order, and `paint` into intensities (HU, with partial volume) and labels (what
lies at the voxel's centre). The trunk is a small child's, so that a scan of 96 voxels a side shows all of it.

Liver and spleen have one intensity, and bowel, muscle and vessels come close to it: only place and shape tell them
apart. It is no real anatomy, and no person was scanned for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.core.geometry import Geometry
from medseg.core.labels import Labels
from medseg.sample.implicit import (
    Field,
    Warp,
    coverage,
    difference,
    ellipsoid,
    intersection,
    superellipse,
    tube,
    union,
)
from medseg.sample.scanner import rotation, texture

__all__ = ["LABELS", "Layer", "Patient", "layers", "paint"]

LABELS = Labels({"liver": (1,), "spleen": (2,), "kidneys": (3,)})
"""The organs that are labelled; all else is background."""

_LIVER, _SPLEEN, _KIDNEYS = 1, 2, 3

_AIR_HU, _FAT_HU, _SKIN_HU, _LUNG_HU = -1000.0, -95.0, 20.0, -820.0


@dataclass(frozen=True)
class Contrast:
    """Intensities in HU that depend on how long ago the contrast agent was given."""

    parenchyma: float
    kidneys: float
    arteries: float
    veins: float
    muscle: float


_PHASES = (
    Contrast(parenchyma=58, kidneys=38, arteries=42, veins=44, muscle=52),
    Contrast(parenchyma=76, kidneys=145, arteries=250, veins=70, muscle=58),
    Contrast(parenchyma=106, kidneys=175, arteries=150, veins=150, muscle=62),
)
"""Before the agent, arterial phase, portal venous phase."""


@dataclass(frozen=True)
class Patient:
    """Everything that differs from one phantom to the next.

    `turn`, `shift_mm` and `size` place the body in the room; `sizes` scales single organs; `shifts_mm` moves them.
    """

    turn: Field
    shift_mm: Field
    size: float
    warp: Warp
    contrast: Contrast
    fat_mm: float
    wall_mm: float
    sizes: dict[str, float]
    shifts_mm: dict[str, Field]
    cyst_mm: tuple[float, float, float] | None
    stomach_gas: float

    @classmethod
    def draw(cls, rng: np.random.Generator, phase: int) -> "Patient":
        """A patient of contrast phase 0, 1 or 2 (none, arterial, venous)."""
        organs = ("liver", "left lobe", "spleen", "right kidney", "left kidney", "stomach", "bowel")
        base = _PHASES[phase]
        return cls(
            turn=rotation(rng.normal(size=3), rng.uniform(0, 6)),
            shift_mm=rng.uniform(-3, 3, 3),
            size=rng.uniform(0.93, 1.05),
            warp=Warp.draw(rng, 4.0, (80, 170)),
            contrast=Contrast(
                parenchyma=base.parenchyma + rng.uniform(-6, 6),
                kidneys=base.kidneys + rng.uniform(-6, 12),
                arteries=base.arteries + rng.uniform(-15, 15),
                veins=base.veins + rng.uniform(-8, 8),
                muscle=base.muscle + rng.uniform(-4, 4),
            ),
            fat_mm=rng.uniform(2.5, 7.5),
            wall_mm=rng.uniform(5, 7.5),
            sizes={name: rng.uniform(0.88, 1.12) for name in organs},
            shifts_mm={name: rng.uniform(-4, 4, 3) for name in organs},
            cyst_mm=tuple(rng.uniform((24, -14, 2), (42, 14, 26))) if rng.random() < 0.35 else None,
            stomach_gas=rng.uniform(0.1, 0.8),
        )

    def body_points(self, geometry: Geometry) -> Field:
        """Voxel centres of a grid in the body's own, undeformed frame: (3, i, j, k) mm."""
        voxels = np.indices(geometry.shape, dtype=np.float64).reshape(3, -1)
        world = geometry.affine[:3, :3] @ voxels + geometry.affine[:3, 3:]
        body = self.turn.T @ (world - self.shift_mm[:, None]) / self.size
        return self.warp(body).reshape(3, *geometry.shape)


@dataclass(frozen=True, eq=False)
class Layer:
    """A structure: its implicit function on a grid, its HU there, and its label (None keeps the label below)."""

    shape: Field
    hu: float | Field
    label: int | None = 0


def paint(rng: np.random.Generator, patient: Patient, geometry: Geometry) -> tuple[Field, NDArray[np.uint8]]:
    """The patient on a grid: true intensities in HU with partial volume, and the label at each voxel's centre."""
    hu = np.full(geometry.shape, _AIR_HU)
    labels = np.zeros(geometry.shape, np.uint8)
    margin_mm = 2 * max(geometry.spacing_mm)
    for layer in layers(rng, patient, geometry):
        box = _box(layer.shape < margin_mm)
        shape, below = layer.shape[box], hu[box]
        below += coverage(shape) * ((layer.hu if isinstance(layer.hu, float) else layer.hu[box]) - below)
        if layer.label is not None:
            labels[box][shape < 0] = layer.label
    return hu, labels


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The smallest box around a mask, at least two voxels a side so that a gradient can be taken in it."""
    box = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        first, last = (int(hit[0]), int(hit[-1])) if hit.size else (0, 0)
        first = min(first, mask.shape[axis] - 2)
        box.append(slice(first, max(last, first + 1) + 1))
    return tuple(box)


def layers(rng: np.random.Generator, patient: Patient, geometry: Geometry) -> Iterator[Layer]:
    """The structures of a patient from the outside in: each covers those before it."""
    points = patient.body_points(geometry)
    spacing = np.array(geometry.spacing_mm)

    fine = texture(rng, geometry.shape, spacing, 5)
    coarse = texture(rng, geometry.shape, spacing, 9)

    skin = superellipse(points, (74, 55), 2.3)
    wall = skin + 2 + patient.fat_mm * (1 + 0.35 * np.tanh(points[1] / 20))
    cavity = wall + patient.wall_mm
    domes = union(
        ellipsoid(points, (33, 0, 0), (46, 56, 52)), ellipsoid(points, (-33, 0, -2), (46, 56, 48)), blend_mm=14
    )
    muscle = patient.contrast.muscle + 7 * fine
    organ = patient.contrast.parenchyma + 5 * coarse
    beans = _beans(points, patient)
    yield Layer(_couch(points), -250.0)
    yield Layer(skin, _SKIN_HU)
    yield Layer(skin + 2, _FAT_HU + 8 * coarse)
    yield Layer(wall, muscle)
    yield Layer(cavity, _FAT_HU + 16 * coarse)
    yield from _ribs(points, cavity)
    yield Layer(_back_muscles(points, wall), muscle)
    yield from _chest(points, patient, cavity, domes, fine)
    yield from _spine(points, fine)
    yield from _vessels(points, patient)
    yield from _bowel(points, patient, cavity, fine)
    yield from _stomach(points, patient, cavity, domes)
    yield from _kidneys(points, patient, beans, coarse)
    around = union(*beans) - 2
    yield Layer(difference(_spleen(points, patient, cavity, domes), around, blend_mm=3), organ, _SPLEEN)
    yield from _liver(points, patient, difference(intersection(cavity + 0.5, domes + 2), around, blend_mm=3), organ)


def _couch(points: Field) -> Field:
    """A thin curved table top under the back."""
    return np.asarray(np.abs(points[1] + 61 - (points[0] / 74) ** 2 * 8) - 1.5)


def _ribs(points: Field, cavity: Field) -> Iterator[Layer]:
    """Bars in the chest wall that fall towards the front, 19 mm apart; none at the breastbone and below the kidneys."""
    x, y, z = points
    rise = z + 0.45 * y
    bar = np.abs(np.mod(rise, 19) - 9.5) - 3.2
    rib = intersection(np.abs(cavity - 2.8) - 2.4, bar, -10 - z, 14 - np.hypot(x, np.minimum(y - 60, 0)), blend_mm=2)
    yield Layer(rib, 330.0)
    yield Layer(rib + 1.8, 140.0)


def _back_muscles(points: Field, wall: Field) -> Field:
    beside = points.copy()
    beside[0] = np.abs(beside[0])
    erector = ellipsoid(beside, (17, -42, 0), (17, 11, 400))
    psoas = ellipsoid(beside, (19, -21, -60), (8, 9, 55))
    return union(intersection(erector, wall, blend_mm=2), psoas)


def _chest(points: Field, patient: Patient, cavity: Field, domes: Field, grain: Field) -> Iterator[Layer]:
    """Lungs above the two domes of the diaphragm, and the heart between them."""
    heart = ellipsoid(points, (-8, 14, 82), (30, 27, 34))
    mediastinum = ellipsoid(points, (0, -12, 80), (13, 40, 60))
    lungs = difference(cavity + 1.5, domes, heart, mediastinum, points[2] - 4, blend_mm=4)
    yield Layer(difference(union(mediastinum, heart, blend_mm=5), domes), _FAT_HU + 25)
    yield Layer(difference(heart, domes), 0.6 * patient.contrast.arteries + 0.4 * patient.contrast.muscle)
    yield Layer(lungs, _LUNG_HU + 50 * grain)


def _spine(points: Field, grain: Field) -> Iterator[Layer]:
    """Vertebrae 21 mm high with discs between them, their arches and processes, and the canal behind the bodies."""
    x, y, z = points
    rest = np.mod(z, 21) - 10.5
    body = difference(
        ellipsoid(points, (0, -28, 0), (15, 11.5, 4000)), ellipsoid(points, (0, -42, 0), (8, 5, 4000)), blend_mm=3
    )
    level = np.stack((np.abs(x), y, rest))
    arch = union(
        tube(level, ((8, -34, 0), (8, -45, -1), (0, -47, -3), (0, -51, -5)), (3.5, 3, 3, 2.5)),
        tube(level, ((8, -40, 0), (21, -43, 1)), (3, 2)),
        blend_mm=2,
    )
    vertebra = union(intersection(body, np.abs(rest) - 8.5, blend_mm=2), arch, blend_mm=2)
    yield Layer(body, 85.0)
    yield Layer(vertebra, 420.0)
    yield Layer(vertebra + 1.6, 165.0 + 22 * grain)
    yield Layer(ellipsoid(points, (0, -41.5, 0), (6.5, 5, 4000)), 15.0)


def _vessels(points: Field, patient: Patient) -> Iterator[Layer]:
    aorta = tube(points, ((-9, -14, 90), (-7, -11, 20), (-4, -12, -30), (-3, -14, -90)), (6, 5.5, 5, 4.5))
    cava = tube(points, ((12, 2, 60), (13, -5, 25), (10, -11, -20), (8, -13, -90)), (6.5, 6.5, 6, 5.5))
    yield Layer(cava, patient.contrast.veins)
    yield Layer(aorta, patient.contrast.arteries)


def _bowel(points: Field, patient: Patient, cavity: Field, grain: Field) -> Iterator[Layer]:
    """The colon, one curved tube around the cavity, and loops of small bowel inside it; gas and stool in the colon."""
    moved = points - patient.shifts_mm["bowel"][:, None, None, None]
    size = patient.sizes["bowel"]
    colon_path = (
        (46, 2, -90),
        (48, 4, -45),
        (36, 26, -24),
        (8, 36, -26),
        (-22, 33, -14),
        (-46, 12, -8),
        (-50, -4, -45),
    )
    turns = np.linspace(0, 1, 28)
    loops_path = np.stack(
        (
            30 * np.sin(2 * np.pi * 3.5 * turns),
            12 + 13 * np.cos(2 * np.pi * 2.3 * turns),
            -28 - 52 * turns,
        ),
        axis=1,
    )
    colon = intersection(tube(moved, (*colon_path, (-46, -2, -95)), np.full(8, 9.5 * size)), cavity + 1, blend_mm=2)
    loops = intersection(tube(moved, loops_path, np.full(28, 7.5 * size)), cavity + 1, blend_mm=2)
    yield Layer(loops, patient.contrast.parenchyma - 8 + 9 * grain)
    yield Layer(loops + 3, 28.0 + 18 * grain)
    yield Layer(colon, patient.contrast.parenchyma - 6)
    yield Layer(colon + 2.5, 10.0 + 27 * grain)
    yield Layer(intersection(colon + 3, 3 * np.sin(moved[2] / 9) + 7 - (moved[1] - 12) / 2, blend_mm=2), -780.0)


def _stomach(points: Field, patient: Patient, cavity: Field, domes: Field) -> Iterator[Layer]:
    """A bent bag with a wall, fluid in it, and gas in front of a level: the patient lies on the back."""
    moved = points - patient.shifts_mm["stomach"][:, None, None, None]
    path = ((-30, 4, 34), (-34, 16, 16), (-22, 26, 0), (0, 25, -4), (12, 16, 0))
    radii = np.array((16, 17, 13, 9, 6)) * patient.sizes["stomach"]
    bag = intersection(tube(moved, path, radii), cavity + 2, domes + 3, blend_mm=4)
    yield Layer(bag, patient.contrast.parenchyma - 4)
    yield Layer(bag + 3, 18.0)
    yield Layer(intersection(bag + 3.2, 36 - 20 * patient.stomach_gas - points[1]), -950.0)


def _beans(points: Field, patient: Patient) -> tuple[Field, Field]:
    """The outlines of the right and left kidney with what fills their hilum: bent, leaning, the right one lower."""
    right, left = (
        ellipsoid(_beside_spine(points, patient, side), (2, 0, 0), np.array((16, 15.5, 28)) * patient.sizes[side])
        for side in ("right kidney", "left kidney")
    )
    return right, left


def _beside_spine(points: Field, patient: Patient, side: str) -> Field:
    """Coordinates of one kidney: first axis away from the spine, third along the bent, leaning organ."""
    moved = points - patient.shifts_mm[side][:, None, None, None]
    sign, height = (1, -26) if side == "right kidney" else (-1, -18)
    u, v, w = sign * moved[0] - 33, moved[1] + 16, moved[2] - height
    return np.stack((u + 0.25 * w + 0.012 * w**2, v + 0.15 * w, w))


def _kidneys(points: Field, patient: Patient, beans: tuple[Field, Field], grain: Field) -> Iterator[Layer]:
    """Beans in a capsule of fat, each with a hilum that faces the spine and holds fat."""
    for side, bean in zip(("right kidney", "left kidney"), beans, strict=True):
        place = _beside_spine(points, patient, side)
        hilum = ellipsoid(place, (-12, 3, 0), (9, 5, 9))
        pelvis = ellipsoid(place, (-4, 1, 0), (6, 3.5, 10))
        yield Layer(bean - 3.5, _FAT_HU)
        yield Layer(difference(bean, hilum, pelvis, blend_mm=3), patient.contrast.kidneys + 5 * grain, _KIDNEYS)


def _spleen(points: Field, patient: Patient, cavity: Field, domes: Field) -> Field:
    """A crescent against the left back wall, hollowed by stomach and kidney, with a notched upper edge."""
    moved = points - patient.shifts_mm["spleen"][:, None, None, None]
    size = patient.sizes["spleen"]
    whole = ellipsoid(moved, (-46, -14, 14), (25 * size, 31 * size, 33 * size))
    hollow = ellipsoid(moved, (-20, 0, 14), (19, 27, 36))
    notch = tube(moved, ((-42, 18, 30), (-54, 8, 22)), (4, 3))
    return intersection(difference(whole, hollow, notch, blend_mm=4), cavity + 0.5, domes + 3, blend_mm=4)


def _liver(points: Field, patient: Patient, room: Field, hu: Field) -> Iterator[Layer]:
    """Right lobe, left lobe across the midline and a caudate lobe; hollowed below; veins, perhaps a cyst inside."""
    moved = points - patient.shifts_mm["liver"][:, None, None, None]
    right, left = patient.sizes["liver"], patient.sizes["left lobe"]
    lobes = union(
        ellipsoid(moved, (38, -2, 14), (30 * right, 42 * right, 42 * right)),
        tube(moved, ((26, 14, 24), (4, 28, 27), (-16, 33, 27)), np.array((17, 13, 7)) * left),
        ellipsoid(moved, (14, -2, 24), (10, 9, 16)),
        blend_mm=9,
    )
    below = ellipsoid(moved, (16, 6, -24), (24, 34, 26))
    fissure = tube(moved, ((4, 40, 14), (6, 18, 12)), (4, 2.5))
    liver = intersection(difference(lobes, below, fissure, blend_mm=5), room, blend_mm=5)
    yield Layer(liver, hu, _LIVER)
    portal = union(
        tube(moved, ((13, 2, 10), (24, 4, 18), (38, 8, 24), (48, -4, 28)), (4.5, 3.8, 2.6, 1.6)),
        tube(moved, ((24, 4, 18), (40, -12, 12)), (3, 1.5)),
        tube(moved, ((20, 3, 17), (6, 22, 25), (-8, 29, 27)), (3, 2.5, 1.5)),
    )
    yield Layer(intersection(portal, liver + 2), patient.contrast.veins, None)
    if patient.cyst_mm is not None:
        yield Layer(intersection(ellipsoid(moved, patient.cyst_mm, (8, 7, 8)), liver + 2), 12.0, None)
