"""Things of a street, one function each: vehicles, people, cones and barriers, which carry a 3D
box, then buildings, trees and street furniture, which do not.

Frame of a thing: x forward, y left, z up, origin on the ground, metres.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .geometry import transform
from .raycast import Ellipsoid, Frustum
from .shapes import (
    Colour,
    Foliage,
    Material,
    Solid,
    box,
    extrusion,
    scale_colour,
    solid_at,
    srgb,
    tube,
)

ADULT, CHILD, WORKER = 2, 3, 4
BARRIER, CONE, BICYCLE, BUS, CAR, MOTORCYCLE, TRUCK = 9, 12, 14, 16, 17, 21, 23
MANMADE, VEGETATION = 28, 30
"""Raw nuScenes categories."""

PAINTS = (
    (236, 236, 234),
    (24, 25, 28),
    (168, 172, 176),
    (88, 92, 98),
    (150, 24, 26),
    (26, 54, 112),
    (40, 78, 60),
    (196, 150, 40),
)
CLOTHES = (
    (32, 40, 66),
    (150, 36, 40),
    (210, 205, 195),
    (44, 92, 76),
    (224, 160, 50),
    (92, 62, 108),
    (40, 40, 42),
    (90, 130, 170),
)
SKIN = ((226, 182, 150), (170, 120, 86), (98, 66, 46))
LEAVES = ((64, 92, 34), (84, 108, 40), (48, 80, 44), (104, 112, 44))
WALLS = (
    (186, 120, 92),
    (214, 200, 172),
    (160, 84, 66),
    (202, 202, 198),
    (226, 214, 186),
    (138, 142, 148),
    (176, 152, 128),
    (196, 168, 120),
)
SIGNS = ((40, 92, 170), (180, 30, 34), (30, 120, 80), (210, 150, 40), (90, 50, 110))
RUBBER, METAL = srgb(34, 34, 36), srgb(120, 124, 126)


@dataclass(frozen=True)
class Model:
    """Solids of a thing and its raw nuScenes category."""

    category: int
    solids: tuple[Solid, ...]

    @property
    def has_box(self) -> bool:
        """Whether it is annotated with a 3D box."""
        return self.category not in (MANMADE, VEGETATION)

    @cached_property
    def poses(self) -> NDArray[np.float64]:
        """(S, 4, 4) thing_from_solid."""
        return np.stack([solid.pose for solid in self.solids])

    @cached_property
    def corners(self) -> NDArray[np.float64]:
        """(S, 8, 3) corners of the solids' bounding boxes in the thing's frame."""
        return np.stack([transform(solid.pose, solid.corners()) for solid in self.solids])


def pick(
    rng: np.random.Generator, colours: tuple[tuple[int, int, int], ...], vary: float = 0.12
) -> Colour:
    """One of the sRGB colours, linear, a little lighter or darker."""
    return scale_colour(
        srgb(*colours[rng.integers(len(colours))]), float(rng.uniform(1 - vary, 1 + vary))
    )


def _plain(
    colour: Colour,
    gloss: float = 0.0,
    reflectance: float = 25.0,
    grain: float = 0.06,
    seed: float = 0.0,
) -> Material:
    return Material("plain", colour, gloss=gloss, reflectance=reflectance, seed=seed, size=(grain,))


def _wheels(axles: tuple[float, ...], side: float, radius: float, width: float) -> list[Solid]:
    """Wheels at both ends of each axle; `side` is the distance of their outer faces from the
    middle."""
    tyre = Material(
        "wheel", RUBBER, srgb(150, 152, 156), gloss=0.1, reflectance=8, size=(radius, 0.62)
    )
    return [
        solid_at(
            Frustum(radius, radius, width), tyre, x, sign * side, radius, 0.0, 0.0, sign * np.pi / 2
        )
        for x in axles
        for sign in (-1, 1)
    ]


def _outline(points: tuple[tuple[float, float], ...], scale: float) -> list[tuple[float, float]]:
    return [(x * scale, z) for x, z in points]


_CARS = (
    # hull, cabin, axles: sedan, hatchback, sport utility vehicle, van
    (((-2.2, 0.26), (2.15, 0.26), (2.3, 0.5), (2.18, 0.7), (1.05, 0.9), (-1.7, 0.95), (-2.24, 0.86),
      (-2.3, 0.5)),
     ((-1.75, 0.85), (1.15, 0.85), (0.35, 1.4), (-0.2, 1.46), (-0.9, 1.42)), 1.36),
    (((-1.85, 0.26), (1.85, 0.26), (2.0, 0.5), (1.9, 0.74), (0.95, 0.92), (-1.85, 0.96),
      (-1.95, 0.5)),
     ((-1.85, 0.85), (1.1, 0.85), (0.3, 1.44), (-0.3, 1.5), (-1.5, 1.44)), 1.24),
    (((-2.2, 0.34), (2.2, 0.34), (2.32, 0.6), (2.24, 0.92), (1.0, 1.08), (-2.2, 1.1), (-2.3, 0.6)),
     ((-2.15, 1.0), (1.15, 1.0), (0.45, 1.66), (-0.3, 1.74), (-1.9, 1.68)), 1.4),
    (((-2.4, 0.34), (2.3, 0.34), (2.45, 0.6), (2.36, 0.98), (1.55, 1.18), (-2.4, 1.2),
      (-2.45, 0.6)),
     ((-2.4, 1.1), (1.65, 1.1), (0.9, 1.9), (0.4, 1.96), (-2.3, 1.94)), 1.5),
)  # fmt: skip


def car(rng: np.random.Generator) -> Model:
    """A saloon, hatchback, SUV or van."""
    kind = int(rng.choice(4, p=[0.4, 0.25, 0.25, 0.1]))
    hull, cabin, axle = _CARS[kind]
    scale, half = float(rng.uniform(0.96, 1.06)), (0.9, 0.87, 0.94, 0.98)[kind]
    paint, seed = pick(rng, PAINTS), float(rng.uniform(0, 99))
    body = extrusion(_outline(hull, scale), half, lean=0.14, base=hull[2][1] + 0.15)
    belt = cabin[0][1] + 0.05
    waist = half - 0.14 * (belt - hull[2][1] - 0.15)
    glass = extrusion(_outline(cabin, scale), waist, lean=0.26, base=belt)
    size = (axle * scale, half, 0.33 if kind < 2 else 0.37, hull[3][1], hull[-2][1])
    roof = max(z for _, z in cabin)
    windows = Material(
        "cabin", paint, gloss=0.7, reflectance=18, seed=seed, size=(roof, waist, 0.26, belt)
    )
    return Model(CAR, (
        solid_at(
            body,
            Material("car_body", paint, gloss=0.55, reflectance=45, seed=seed, size=size), 0, 0, 0,
        ),
        solid_at(glass, windows, 0, 0, 0),
        *_wheels((-axle * scale, axle * scale), half + 0.015, size[2], 0.22),
    ))  # fmt: skip


def truck(rng: np.random.Generator) -> Model:
    """A delivery truck: cab, chassis and cargo body."""
    paint, cargo = (
        pick(rng, PAINTS),
        pick(
            rng, ((226, 226, 220), (210, 214, 216), (188, 150, 60), (70, 110, 150), (176, 60, 48))
        ),
    )
    length, seed = float(rng.uniform(4.6, 6.2)), float(rng.uniform(0, 99))
    front = length / 2 + 0.15
    cab = extrusion(
        [(front, 0.5), (front + 2.0, 0.5), (front + 2.05, 1.3), (front + 1.75, 2.35), (front, 2.5)],
        1.08,
        lean=0.06,
        base=1.4,
    )
    accent = pick(rng, CLOTHES)
    load = Material(
        "cargo", cargo, accent, gloss=0.15, reflectance=55, seed=seed, size=(length, 2.4, 2.5)
    )
    return Model(TRUCK, (
        solid_at(
            cab,
            Material("truck_cab", paint, gloss=0.5, reflectance=45, seed=seed, size=(front, 1.08)),
            0, 0, 0,
        ),
        solid_at(box(length, 2.4, 2.5), load, 0, 0, 0.95),
        solid_at(
            box(length + 1.6, 0.9, 0.4), _plain(srgb(40, 40, 42), reflectance=10), 0.6, 0, 0.55,
        ),
        *_wheels((-length / 2 + 0.9, -length / 2 + 2.0, front + 1.0), 1.14, 0.46, 0.3),
    ))  # fmt: skip


def bus(rng: np.random.Generator) -> Model:
    """A city bus."""
    paint = pick(rng, ((190, 40, 36), (236, 190, 50), (60, 130, 90), (70, 120, 180)))
    accent, seed = srgb(235, 235, 232), float(rng.uniform(0, 99))
    skin = Material("bus", paint, accent, gloss=0.45, reflectance=50, seed=seed)
    outline = [
        (-5.4, 0.35),
        (5.3, 0.35),
        (5.5, 0.7),
        (5.4, 2.7),
        (5.1, 3.05),
        (-5.3, 3.05),
        (-5.5, 2.6),
        (-5.5, 0.7),
    ]
    return Model(BUS, (
        solid_at(extrusion(outline, 1.25, lean=0.02, base=1.0), skin, 0, 0, 0),
        solid_at(box(3.0, 1.7, 0.25), _plain(srgb(220, 220, 218)), -1.5, 0, 3.0),
        *_wheels((-2.9, 3.2), 1.27, 0.48, 0.3),
    ))  # fmt: skip


def pedestrian(rng: np.random.Generator, category: int, walking: bool) -> Model:
    """A standing or walking person in a fixed posture."""
    tall = float(rng.uniform(0.92, 1.06)) * (0.66 if category == CHILD else 1.0)
    stride = 0.24 if walking else 0.04
    coat, trousers, skin = (
        pick(rng, CLOTHES),
        pick(rng, ((36, 42, 60), (60, 56, 52), (90, 98, 116), (30, 30, 32))),
        pick(rng, SKIN),
    )
    hair = pick(rng, ((30, 24, 20), (84, 58, 36), (150, 120, 70), (120, 118, 116)))
    jacket = _plain(coat, reflectance=22, grain=0.12, seed=float(rng.uniform(0, 99)))
    if category == WORKER:
        hair = srgb(240, 200, 40)
        jacket = Material(
            "vest", srgb(250, 110, 20), srgb(235, 240, 200), reflectance=120, size=(tall,)
        )
    legs = [(side * stride, side * 0.09) for side in (-1, 1)]
    limbs = [
        (tube((x, y, 0.0), (0, y, 0.9), 0.06, 0.1), _plain(trousers, grain=0.1)) for x, y in legs
    ]
    limbs += [
        (tube((-x * 0.9, y * 3.1, 0.8), (0, y * 2.3, 1.42), 0.045, 0.065), jacket) for x, y in legs
    ]
    parts = [Solid(shape, where, material) for (shape, where), material in limbs]
    parts += [
        solid_at(Ellipsoid(np.array([0.15, 0.22, 0.36])), jacket, 0, 0, 1.17),
        solid_at(Ellipsoid(np.array([0.14, 0.19, 0.2])), _plain(trousers, grain=0.1), 0, 0, 0.88),
        solid_at(Ellipsoid(np.array([0.1, 0.085, 0.13])), _plain(skin), 0.02, 0, 1.61),
        solid_at(
            Ellipsoid(np.array([0.115, 0.1, 0.11])), _plain(hair, reflectance=15), -0.015, 0, 1.66
        ),
    ]
    return Model(category, tuple(_resize(part, tall) for part in parts))


def _resize(part: Solid, factor: float) -> Solid:
    """A part of a person at another size."""
    where = part.pose.copy()
    where[:3, 3] *= factor
    if isinstance(part.shape, Frustum):
        shape = Frustum(
            part.shape.bottom * factor, part.shape.top * factor, part.shape.height * factor
        )
    elif isinstance(part.shape, Ellipsoid):
        shape = Ellipsoid(part.shape.radii * factor)
    else:
        raise TypeError(f"cannot scale {part.shape}")
    return Solid(shape, where, part.material)


def two_wheeler(rng: np.random.Generator, category: int) -> Model:
    """A parked bicycle or motorcycle."""
    heavy = category == MOTORCYCLE
    paint = _plain(pick(rng, PAINTS[1:]), gloss=0.4, reflectance=40)
    reach, radius, bar = (0.68, 0.31, 0.09) if heavy else (0.52, 0.34, 0.022)
    tyre = Material("wheel", RUBBER, METAL, reflectance=10, size=(radius, 0.7 if heavy else 0.88))
    width = 0.12 if heavy else 0.04
    parts = [
        solid_at(Frustum(radius, radius, width), tyre, x, width / 2, radius, 0, 0, np.pi / 2)
        for x in (-reach, reach)
    ]
    corners = (
        (-reach, 0.0, radius),
        (-0.12, 0.0, 0.32),
        (-0.2, 0.0, 0.82),
        (reach - 0.2, 0.0, 0.86),
        (reach, 0.0, radius),
    )
    for start, end in ((0, 1), (1, 2), (0, 2), (2, 3), (1, 3), (3, 4)):
        shape, where = tube(corners[start], corners[end], bar / 2, bar / 2)
        parts.append(Solid(shape, where, paint))
    shape, where = tube((reach - 0.25, -0.3, 1.0), (reach - 0.25, 0.3, 1.0), 0.018, 0.018)
    parts.append(Solid(shape, where, _plain(RUBBER)))
    saddle = np.array([0.34, 0.14, 0.07]) if heavy else np.array([0.13, 0.07, 0.04])
    parts.append(solid_at(Ellipsoid(saddle), _plain(RUBBER), -0.24, 0, 0.87))
    if heavy:
        parts.append(solid_at(Ellipsoid(np.array([0.34, 0.16, 0.2])), paint, 0.22, 0, 0.74))
    return Model(category, tuple(parts))


def cone() -> Model:
    """A traffic cone, 0.75 m tall."""
    stripes = Material("cone", srgb(250, 92, 24), srgb(240, 240, 236), reflectance=130)
    return Model(CONE, (
        solid_at(Frustum(0.17, 0.03, 0.72), stripes, 0, 0, 0.03),
        solid_at(box(0.42, 0.42, 0.04), _plain(srgb(40, 36, 34)), 0, 0, 0),
    ))  # fmt: skip


def barrier(index: int) -> Model:
    """A jersey barrier of 2 m across the x axis, red and white in turn."""
    plastic = _plain(srgb(214, 66, 40) if index % 2 else srgb(232, 230, 224), 0.05, 60, 0.1, index)
    foot = extrusion(
        [(-0.3, 0.0), (0.3, 0.0), (0.28, 0.14), (0.13, 0.42), (-0.13, 0.42), (-0.28, 0.14)], 0.99
    )
    wall = extrusion([(-0.14, 0.3), (0.14, 0.3), (0.08, 0.98), (-0.08, 0.98)], 0.97)
    return Model(BARRIER, (solid_at(foot, plastic, 0, 0, 0), solid_at(wall, plastic, 0, 0, 0)))


def building(rng: np.random.Generator, length: float, depth: float, height: float) -> Model:
    """A building with its front on the -y side, length along x, base centre at the origin."""
    wall, accent, seed = pick(rng, WALLS), pick(rng, SIGNS), float(rng.uniform(0, 99))
    style = int(rng.choice(4, p=[0.4, 0.25, 0.2, 0.15]))
    shop = float(rng.random() < 0.5)
    face = Material(
        "facade",
        wall,
        accent,
        reflectance=38,
        seed=seed,
        size=(length, depth, height, float(style), shop),
    )
    roof = Material("plain", srgb(96, 92, 88), reflectance=25, seed=seed, size=(0.2,))
    trim = Material("plain", scale_colour(wall, 0.8), reflectance=35, seed=seed, size=(0.1,))
    solids = [solid_at(box(length, depth, height), face, 0, 0, 0)]
    if height < 9 and style == 0:
        half = depth / 2 + 0.4
        gable = extrusion([(-half, 0), (half, 0), (0, depth * 0.36)], length / 2 + 0.3)
        tiles = Material(
            "tiles",
            pick(rng, ((140, 66, 48), (88, 78, 76), (112, 88, 66))),
            reflectance=30,
            seed=seed,
        )
        solids.append(solid_at(gable, tiles, 0, 0, height, np.pi / 2))
        solids.append(
            solid_at(box(0.8, 0.8, 1.6), trim, length * 0.28, depth * 0.2, height + depth * 0.16)
        )
    else:
        solids.append(solid_at(box(length + 0.5, depth + 0.5, 0.5), trim, 0, 0, height - 0.15))
        solids.append(
            solid_at(box(length * 0.3, depth * 0.4, 2.2), roof, length * 0.15, 0, height + 0.35)
        )
    if shop:
        awning = extrusion([(0, 0.5), (1.3, 0.0), (1.3, 0.12), (0, 0.95)], length * 0.32)
        cloth = Material("awning", accent, srgb(236, 232, 222), reflectance=40, seed=seed)
        solids.append(solid_at(awning, cloth, length * 0.1, -depth / 2, 2.7, -np.pi / 2))
    return Model(MANMADE, tuple(solids))


def tree(rng: np.random.Generator) -> Model:
    """A broad-leaved tree of 5 to 9 m, sometimes a cypress."""
    colour, seed = pick(rng, LEAVES, 0.25), float(rng.uniform(0, 30))
    leaves = Material("leaves", colour, reflectance=22, seed=seed)
    bark = Material(
        "bark", srgb(*((92, 76, 60), (120, 108, 94))[rng.integers(2)]), reflectance=18, seed=seed
    )
    if rng.random() < 0.2:
        height = float(rng.uniform(4.5, 7))
        crown = [
            solid_at(
                Foliage(np.array([0.8, 0.8, height / 2 - 0.4]), 0.22, seed),
                leaves,
                0,
                0,
                height / 2 + 0.6,
            )
        ]
        return Model(VEGETATION, (solid_at(Frustum(0.14, 0.1, 1.4), bark, 0, 0, 0), *crown))
    stem, spread = float(rng.uniform(2.3, 3.2)), float(rng.uniform(1.3, 2.1))
    crown = [
        solid_at(
            Foliage(np.array([spread, spread, spread * 0.85]), 0.36, seed),
            leaves,
            0,
            0,
            stem + spread * 0.9,
        )
    ]
    for part, angle in enumerate(rng.uniform(0, 2 * np.pi) + np.arange(5) * 2 * np.pi / 5):
        size = spread * float(rng.uniform(0.55, 0.8))
        reach, level = (
            spread * float(rng.uniform(0.6, 0.85)),
            stem + spread * float(rng.uniform(0.4, 1.4)),
        )
        shape = Foliage(np.array([size, size, size * 0.8]), 0.38, seed + part + 1)
        crown.append(solid_at(shape, leaves, reach * np.cos(angle), reach * np.sin(angle), level))
    trunk = solid_at(Frustum(0.1 + spread * 0.06, 0.08, stem + spread * 0.5), bark, 0, 0, 0)
    return Model(VEGETATION, (trunk, *crown))


def bush(rng: np.random.Generator) -> Model:
    """A bush of two or three clumps."""
    colour, seed = pick(rng, LEAVES, 0.25), float(rng.uniform(0, 30))
    leaves, solids = Material("leaves", colour, reflectance=22, seed=seed), []
    for part in range(int(rng.integers(2, 4))):
        size = float(rng.uniform(0.45, 0.8))
        shape = Foliage(np.array([size * 1.2, size, size]), 0.2, seed + part)
        solids.append(
            solid_at(shape, leaves, part * 0.8 - 0.8, float(rng.uniform(-0.3, 0.3)), size * 0.7)
        )
    return Model(VEGETATION, tuple(solids))


def hedge(rng: np.random.Generator, length: float) -> Model:
    """A clipped hedge along x."""
    leaves = Material(
        "leaves", pick(rng, LEAVES, 0.2), reflectance=22, seed=float(rng.uniform(0, 30))
    )
    outline = [(-0.42, 0.0), (0.42, 0.0), (0.36, 1.05), (-0.36, 1.05)]
    return Model(
        VEGETATION, (solid_at(extrusion(outline, length / 2), leaves, 0, 0, 0, np.pi / 2),)
    )


def fence(length: float, seed: float) -> Model:
    """A low wall of masonry along x."""
    stone = Material("bricks", srgb(158, 128, 108), reflectance=35, seed=seed)
    cap = Material("plain", srgb(186, 182, 174), reflectance=35, seed=seed, size=(0.1,))
    return Model(
        MANMADE,
        (
            solid_at(box(length, 0.3, 0.95), stone, 0, 0, 0),
            solid_at(box(length, 0.4, 0.1), cap, 0, 0, 0.95),
        ),
    )


def _posts(
    *parts: tuple[tuple[float, float, float], tuple[float, float, float], float],
) -> list[Solid]:
    steel = Material("plain", METAL, gloss=0.1, reflectance=35, size=(0.04,))
    tubes = [tube(start, end, radius, radius * 0.8) for start, end, radius in parts]
    return [Solid(shape, where, steel) for shape, where in tubes]


def street_lamp() -> Model:
    """A lamp with its arm towards -y."""
    head = Material("plain", srgb(60, 62, 66), reflectance=30, size=(0.0,))
    arm = _posts(((0, 0, 0), (0, 0, 7.4), 0.1), ((0, 0, 7.3), (0, -1.8, 7.8), 0.05))
    return Model(
        MANMADE, (*arm, solid_at(Ellipsoid(np.array([0.16, 0.42, 0.09])), head, 0, -2.0, 7.8))
    )


def traffic_light() -> Model:
    """A signal that faces -x."""
    case = Material("signal", srgb(30, 32, 32), srgb(30, 200, 90), reflectance=40)
    return Model(
        MANMADE,
        (
            *_posts(((0, 0, 0), (0, 0, 3.4), 0.07)),
            solid_at(box(0.28, 0.32, 0.95), case, -0.05, 0, 2.6),
        ),
    )


def sign(rng: np.random.Generator) -> Model:
    """A traffic sign that faces -x: a round or square plate on a post."""
    plate = Material(
        "sign",
        pick(rng, SIGNS),
        srgb(240, 240, 240),
        reflectance=230,
        seed=float(rng.uniform(0, 9)),
    )
    shape = Frustum(0.34, 0.34, 0.04) if rng.random() < 0.5 else box(0.62, 0.62, 0.04)
    return Model(
        MANMADE,
        (
            *_posts(((0, 0, 0), (0, 0, 2.7), 0.035)),
            solid_at(shape, plate, -0.06, 0, 2.35, 0.0, -np.pi / 2),
        ),
    )


def litter_bin(rng: np.random.Generator) -> Model:
    """A litter bin."""
    metal = Material(
        "plain",
        pick(rng, ((52, 84, 60), (70, 72, 76), (40, 60, 90))),
        gloss=0.1,
        reflectance=40,
        size=(0.05,),
    )
    return Model(MANMADE, (solid_at(Frustum(0.26, 0.3, 0.95), metal, 0, 0, 0),))


def bus_stop(rng: np.random.Generator) -> Model:
    """A bus shelter along x, open towards -y."""
    glass = Material("plain", srgb(120, 150, 160), gloss=0.6, reflectance=12, size=(0.02,))
    roof = Material("plain", pick(rng, SIGNS), gloss=0.1, reflectance=40, size=(0.05,))
    return Model(MANMADE, (
        *_posts(((-1.9, 0.6, 0), (-1.9, 0.6, 2.4), 0.05), ((1.9, 0.6, 0), (1.9, 0.6, 2.4), 0.05)),
        solid_at(box(3.8, 0.05, 1.9), glass, 0, 0.6, 0.3),
        solid_at(box(4.2, 1.6, 0.12), roof, 0, 0.0, 2.4),
        solid_at(box(2.4, 0.4, 0.08), roof, 0, 0.35, 0.45),
    ))  # fmt: skip
