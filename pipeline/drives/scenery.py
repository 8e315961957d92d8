"""Things that stay and carry no box: buildings, trees, street furniture."""

import numpy as np

from .models import LEAVES, MANMADE, METAL, VEGETATION, Model, pick
from .raycast import Ellipsoid, Frustum
from .shapes import Foliage, Material, Solid, box, extrusion, placed, scaled, srgb, tube

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
    trim = Material("plain", scaled(wall, 0.8), reflectance=35, seed=seed, size=(0.1,))
    solids = [placed(box(length, depth, height), face, 0, 0, 0)]
    if height < 9 and style == 0:
        half = depth / 2 + 0.4
        gable = extrusion([(-half, 0), (half, 0), (0, depth * 0.36)], length / 2 + 0.3)
        tiles = Material(
            "tiles",
            pick(rng, ((140, 66, 48), (88, 78, 76), (112, 88, 66))),
            reflectance=30,
            seed=seed,
        )
        solids.append(placed(gable, tiles, 0, 0, height, np.pi / 2))
        solids.append(
            placed(box(0.8, 0.8, 1.6), trim, length * 0.28, depth * 0.2, height + depth * 0.16)
        )
    else:
        solids.append(placed(box(length + 0.5, depth + 0.5, 0.5), trim, 0, 0, height - 0.15))
        solids.append(
            placed(box(length * 0.3, depth * 0.4, 2.2), roof, length * 0.15, 0, height + 0.35)
        )
    if shop:
        awning = extrusion([(0, 0.5), (1.3, 0.0), (1.3, 0.12), (0, 0.95)], length * 0.32)
        cloth = Material("awning", accent, srgb(236, 232, 222), reflectance=40, seed=seed)
        solids.append(placed(awning, cloth, length * 0.1, -depth / 2, 2.7, -np.pi / 2))
    return Model(MANMADE, tuple(solids), boxed=False)


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
            placed(
                Foliage(np.array([0.8, 0.8, height / 2 - 0.4]), 0.22, seed),
                leaves,
                0,
                0,
                height / 2 + 0.6,
            )
        ]
        return Model(
            VEGETATION, (placed(Frustum(0.14, 0.1, 1.4), bark, 0, 0, 0), *crown), boxed=False
        )
    stem, spread = float(rng.uniform(2.3, 3.2)), float(rng.uniform(1.3, 2.1))
    crown = [
        placed(
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
        crown.append(placed(shape, leaves, reach * np.cos(angle), reach * np.sin(angle), level))
    trunk = placed(Frustum(0.1 + spread * 0.06, 0.08, stem + spread * 0.5), bark, 0, 0, 0)
    return Model(VEGETATION, (trunk, *crown), boxed=False)


def bush(rng: np.random.Generator) -> Model:
    """A bush of two or three clumps."""
    colour, seed = pick(rng, LEAVES, 0.25), float(rng.uniform(0, 30))
    leaves, solids = Material("leaves", colour, reflectance=22, seed=seed), []
    for part in range(int(rng.integers(2, 4))):
        size = float(rng.uniform(0.45, 0.8))
        shape = Foliage(np.array([size * 1.2, size, size]), 0.2, seed + part)
        solids.append(
            placed(shape, leaves, part * 0.8 - 0.8, float(rng.uniform(-0.3, 0.3)), size * 0.7)
        )
    return Model(VEGETATION, tuple(solids), boxed=False)


def hedge(rng: np.random.Generator, length: float) -> Model:
    """A clipped hedge along x."""
    leaves = Material(
        "leaves", pick(rng, LEAVES, 0.2), reflectance=22, seed=float(rng.uniform(0, 30))
    )
    outline = [(-0.42, 0.0), (0.42, 0.0), (0.36, 1.05), (-0.36, 1.05)]
    return Model(
        VEGETATION,
        (placed(extrusion(outline, length / 2), leaves, 0, 0, 0, np.pi / 2),),
        boxed=False,
    )


def fence(length: float, seed: float) -> Model:
    """A low wall of masonry along x."""
    stone = Material("bricks", srgb(158, 128, 108), reflectance=35, seed=seed)
    cap = Material("plain", srgb(186, 182, 174), reflectance=35, seed=seed, size=(0.1,))
    return Model(
        MANMADE,
        (
            placed(box(length, 0.3, 0.95), stone, 0, 0, 0),
            placed(box(length, 0.4, 0.1), cap, 0, 0, 0.95),
        ),
        boxed=False,
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
        MANMADE,
        (*arm, placed(Ellipsoid(np.array([0.16, 0.42, 0.09])), head, 0, -2.0, 7.8)),
        boxed=False,
    )


def traffic_light() -> Model:
    """A signal that faces -x."""
    case = Material("signal", srgb(30, 32, 32), srgb(30, 200, 90), reflectance=40)
    return Model(
        MANMADE,
        (
            *_posts(((0, 0, 0), (0, 0, 3.4), 0.07)),
            placed(box(0.28, 0.32, 0.95), case, -0.05, 0, 2.6),
        ),
        boxed=False,
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
            placed(shape, plate, -0.06, 0, 2.35, 0.0, -np.pi / 2),
        ),
        boxed=False,
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
    return Model(MANMADE, (placed(Frustum(0.26, 0.3, 0.95), metal, 0, 0, 0),), boxed=False)


def bus_stop(rng: np.random.Generator) -> Model:
    """A bus shelter along x, open towards -y."""
    glass = Material("plain", srgb(120, 150, 160), gloss=0.6, reflectance=12, size=(0.02,))
    roof = Material("plain", pick(rng, SIGNS), gloss=0.1, reflectance=40, size=(0.05,))
    return Model(MANMADE, (
        *_posts(((-1.9, 0.6, 0), (-1.9, 0.6, 2.4), 0.05), ((1.9, 0.6, 0), (1.9, 0.6, 2.4), 0.05)),
        placed(box(3.8, 0.05, 1.9), glass, 0, 0.6, 0.3),
        placed(box(4.2, 1.6, 0.12), roof, 0, 0.0, 2.4),
        placed(box(2.4, 0.4, 0.08), roof, 0, 0.35, 0.45),
    ), boxed=False)  # fmt: skip
