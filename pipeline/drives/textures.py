"""Procedural textures: colour, gloss and LiDAR reflectance of surface points, one function a kind
of material."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .noise import cloudy, clumps, scramble
from .raycast import Floats
from .shapes import Colour, Material, scale_colour, srgb

Mask = NDArray[np.bool_] | Floats


@dataclass(slots=True)
class Surface:
    """Points of one solid.

    Attributes:
        x, y, z: (n,) metres in the solid's frame.
        nx, ny, nz: (n,) unit normals in the solid's frame.
        footprint: (n,) width in metres that a pixel covers; finer detail fades.
        material: what the solid is made of.
    """

    x: Floats
    y: Floats
    z: Floats
    nx: Floats
    ny: Floats
    nz: Floats
    footprint: Floats
    material: Material


@dataclass(slots=True)
class Skin:
    """Appearance: albedo (3, n) linear, gloss (n,) in 0..1, reflectance (n,) in 0..255."""

    albedo: Floats
    gloss: Floats
    reflectance: Floats

    def paint(
        self,
        where: Mask,
        colour: Colour,
        gloss: float | None = None,
        reflectance: float | None = None,
    ) -> None:
        """Cover a share `where` in 0..1 (or a mask) of each point."""
        share = where.astype(self.albedo.dtype)
        self.albedo += (np.array(colour, share.dtype)[:, None] - self.albedo) * share
        if gloss is not None:
            self.gloss += (gloss - self.gloss) * share
        if reflectance is not None:
            self.reflectance += (reflectance - self.reflectance) * share

    def shade(self, factor: Floats) -> None:
        """Multiply the albedo by `factor` (n,), limited to [0.1, 2]."""
        self.albedo *= np.clip(factor, 0.1, 2.0)


def texture(surface: Surface) -> Skin:
    """Appearance of the points of one solid."""
    material = surface.material
    skin = blank(material.colour, material.gloss, material.reflectance, surface.x)
    _KINDS[material.kind](surface, skin)
    return skin


def blank(colour: Colour, gloss: float, reflectance: float, like: Floats) -> Skin:
    """An even skin for as many points as `like` (n,) has, in its precision."""
    albedo = np.repeat(np.array(colour, like.dtype)[:, None], len(like), axis=1)
    return Skin(albedo, np.full_like(like, gloss), np.full_like(like, reflectance))


def stripe(x: Floats, half: float, footprint: Floats) -> Floats:
    """(n,) share of a pixel at `x` (n,) that lies within `half` of x = 0, softened over the pixel's
    `footprint` (n,); metres."""
    return np.clip((half - np.abs(x)) / footprint + 0.5, 0, 1) * np.minimum(1, 2 * half / footprint)


def fade(footprint: Floats, detail: float) -> Floats:
    """(n,) 1 where a pixel of width `footprint` (n,) resolves a detail of that many metres, falling
    to 0 where it does not."""
    return 1 / (1 + (footprint / detail) ** 2)


def _plain(surface: Surface, skin: Skin) -> None:
    grain, seed = surface.material.size[0] if surface.material.size else 0.05, surface.material.seed
    noise = cloudy((surface.x + 0.7 * surface.z) * 40 + seed, (surface.y + surface.z) * 40)
    skin.shade(1 + grain * noise * fade(surface.footprint, 0.2))


def _bark(surface: Surface, skin: Skin) -> None:
    around = np.arctan2(surface.y, surface.x)
    skin.shade(1 + 0.3 * clumps(around * 16, surface.z * 9) * fade(surface.footprint, 0.08))


def _leaves(surface: Surface, skin: Skin) -> None:
    seed, scale = surface.material.seed, 30.0
    leaf = clumps(
        (surface.x + 0.6 * surface.z + seed) * scale, (surface.y - 0.4 * surface.z) * scale
    )
    leaf = leaf + 0.7 * clumps(
        (surface.y + 0.3 * surface.x) * scale * 0.4, (surface.z + seed) * scale * 0.4
    )
    height = np.clip(0.85 + 0.25 * surface.nz, 0.5, 1.2)
    skin.shade(height * (1 + 0.42 * leaf * fade(surface.footprint, 0.25)))
    skin.reflectance *= np.clip(1 + 0.35 * leaf, 0.3, 2)


def _wheel(surface: Surface, skin: Skin) -> None:
    radius, rim = surface.material.size
    hub = stripe(np.hypot(surface.x, surface.y), radius * rim, surface.footprint) * (
        np.abs(surface.nz) > 0.5
    )
    spokes = np.abs(np.sin(2.5 * np.arctan2(surface.y, surface.x))) > 0.45
    skin.paint(hub * (0.35 + 0.65 * spokes), surface.material.accent, 0.3, 60)


_GLASS = srgb(28, 34, 38)


def _car_body(surface: Surface, skin: Skin) -> None:
    axle, half, radius, bonnet, boot = surface.material.size
    x, y, z, fp = surface.x, surface.y, surface.z, surface.footprint
    side = np.abs(surface.ny) > 0.6
    for centre in (-axle, axle):
        skin.paint(
            stripe(np.hypot(x - centre, z - radius), radius + 0.07, fp) * side,
            srgb(12, 12, 13),
            0.0,
            5,
        )
    skin.paint((z < 0.36) * (np.abs(surface.nz) < 0.9), srgb(30, 30, 32), 0.05, 10)
    seams = stripe(x + 0.95, 0.012, fp) + stripe(x - 0.15, 0.012, fp) + stripe(x - 1.15, 0.012, fp)
    skin.paint(0.8 * np.clip(seams, 0, 1) * side * (z > 0.3), srgb(15, 15, 16))
    handles = (
        (stripe(x + 0.7, 0.09, fp) + stripe(x - 0.4, 0.09, fp))
        * stripe(z - bonnet - 0.06, 0.018, fp)
        * side
    )
    skin.paint(handles, srgb(150, 150, 152))
    front, rear = surface.nx > 0.7, surface.nx < -0.7
    lamp = stripe(np.abs(y) - half + 0.2, 0.17, fp)
    skin.paint(lamp * stripe(z - bonnet + 0.1, 0.07, fp) * front, srgb(235, 238, 245), 0.6, 160)
    skin.paint(lamp * stripe(z - boot + 0.12, 0.09, fp) * rear, srgb(190, 16, 18), 0.5, 200)
    skin.paint(
        stripe(y, half * 0.52, fp) * stripe(z - bonnet + 0.12, 0.08, fp) * front,
        srgb(18, 18, 20),
        0.2,
        15,
    )
    skin.paint(
        stripe(y, 0.26, fp) * stripe(z - 0.48, 0.06, fp) * (front | rear),
        srgb(228, 228, 214),
        0.1,
        240,
    )


def _cabin(surface: Surface, skin: Skin) -> None:
    """Glass all round but for the roof and its pillars."""
    roof, half, lean, belt = surface.material.size
    x, y, z, fp = surface.x, surface.y, surface.z, surface.footprint
    side = np.abs(surface.ny) > 0.6
    edge = half - lean * (z - belt)
    pillars = np.where(side, np.maximum(stripe(x + 0.25, 0.045, fp), stripe(x + 1.25, 0.05, fp)), 0)
    ends = np.where(side, 0, np.clip((np.abs(y) - edge + 0.16) / fp + 0.5, 0, 1))
    rim = np.clip((z - roof + 0.09) / fp + 0.5, 0, 1)
    glass = (
        (1 - np.maximum(np.maximum(pillars, ends), rim)) * (surface.nz < 0.92) * (z > belt + 0.04)
    )
    body = surface.material.colour
    skin.paint(np.ones_like(x), body, 0.5, 45)
    skin.paint(glass, _GLASS, 0.95, 6)


def _truck_cab(surface: Surface, skin: Skin) -> None:
    base, half = surface.material.size
    x, y, z, fp = surface.x - base, surface.y, surface.z, surface.footprint
    side, front = np.abs(surface.ny) > 0.6, surface.nx > 0.6
    skin.paint(stripe(x - 1.15, 0.5, fp) * stripe(z - 1.75, 0.36, fp) * side, _GLASS, 0.9, 6)
    skin.paint(stripe(y, half - 0.14, fp) * stripe(z - 1.8, 0.42, fp) * front, _GLASS, 0.9, 6)
    skin.paint(stripe(y, 0.55, fp) * stripe(z - 1.0, 0.16, fp) * front, srgb(24, 24, 26), 0.1, 10)
    lamps = stripe(np.abs(y) - half + 0.24, 0.15, fp) * stripe(z - 0.85, 0.1, fp) * front
    skin.paint(lamps, srgb(236, 238, 244), 0.6, 170)
    skin.paint((z < 0.66) * (np.abs(surface.nz) < 0.9), srgb(36, 36, 38), 0.05, 12)


def _cargo(surface: Surface, skin: Skin) -> None:
    length, width, height = surface.material.size
    x, y, z, fp = surface.x, surface.y, surface.z, surface.footprint
    side, end = np.abs(surface.ny) > 0.6, np.abs(surface.nx) > 0.6
    rails = stripe(z - 0.06, 0.06, fp) + stripe(z - height + 0.06, 0.06, fp)
    rails += np.where(
        side, stripe(np.abs(x) - length / 2, 0.07, fp), stripe(np.abs(y) - width / 2, 0.07, fp)
    )
    skin.paint(
        stripe(z - height * 0.45, 0.34, fp) * stripe(x, length * 0.36, fp) * side,
        surface.material.accent,
    )
    letters = (scramble(np.floor(x * 4.5), np.floor(z * 0 + surface.material.seed)) > 0.3) & (
        np.abs(np.modf(x * 4.5)[0]) > 0.25
    )
    skin.paint(
        stripe(z - height * 0.45, 0.17, fp) * stripe(x, length * 0.3, fp) * side * letters,
        srgb(238, 238, 234),
    )
    skin.paint(stripe(y, 0.02, fp) * end, srgb(60, 60, 62))
    skin.paint(np.clip(rails, 0, 1) * (side | end), srgb(130, 132, 134), 0.2, 50)
    skin.paint(
        stripe(np.abs(y) - width / 2 + 0.2, 0.1, fp)
        * stripe(z - 0.16, 0.07, fp)
        * (surface.nx < -0.6),
        srgb(200, 20, 20),
        0.3,
        220,
    )
    skin.shade(1 + 0.07 * cloudy(x * 26 + surface.material.seed, z * 26) * fade(fp, 0.2))


def _bus(surface: Surface, skin: Skin) -> None:
    x, y, z, fp = surface.x, surface.y, surface.z, surface.footprint
    side, front, rear = np.abs(surface.ny) > 0.6, surface.nx > 0.6, surface.nx < -0.6
    skin.paint(stripe(z - 1.25, 0.1, fp) * side, surface.material.accent)
    pane = np.abs((x + 5.2) % 1.5 - 0.75)
    skin.paint(
        stripe(z - 2.05, 0.5, fp) * stripe(pane, 0.68, fp) * stripe(x, 5.1, fp) * side,
        _GLASS,
        0.9,
        6,
    )
    doors = np.minimum(np.abs(x - 4.4), np.abs(x + 0.4))
    skin.paint(
        stripe(doors, 0.6, fp) * stripe(z - 1.4, 1.0, fp) * (surface.ny < -0.6),
        srgb(44, 50, 54),
        0.7,
        10,
    )
    skin.paint(stripe(y, 1.05, fp) * stripe(z - 1.85, 0.65, fp) * front, _GLASS, 0.9, 6)
    skin.paint(stripe(y, 0.9, fp) * stripe(z - 2.1, 0.4, fp) * rear, _GLASS, 0.9, 6)
    skin.paint(stripe(y, 0.7, fp) * stripe(z - 2.75, 0.12, fp) * front, srgb(250, 180, 40), 0.1, 60)
    lamps = stripe(np.abs(y) - 0.95, 0.16, fp) * stripe(z - 0.8, 0.1, fp)
    skin.paint(lamps * front, srgb(236, 238, 244), 0.6, 170)
    skin.paint(lamps * rear, srgb(190, 16, 18), 0.5, 210)
    for centre in (-2.9, 3.2):
        skin.paint(
            stripe(np.hypot(x - centre, z - 0.48), 0.57, fp) * side, srgb(14, 14, 15), 0.0, 6
        )


def _vest(surface: Surface, skin: Skin) -> None:
    bands = stripe(surface.z + 0.12, 0.035, surface.footprint) + stripe(
        surface.z - 0.08, 0.035, surface.footprint
    )
    skin.paint(np.clip(bands, 0, 1), surface.material.accent, 0.2, 250)


def _cone(surface: Surface, skin: Skin) -> None:
    bands = stripe(surface.z - 0.45, 0.085, surface.footprint) + stripe(
        surface.z - 0.2, 0.05, surface.footprint
    )
    skin.paint(np.clip(bands, 0, 1), surface.material.accent, 0.1, 240)


def _awning(surface: Surface, skin: Skin) -> None:
    stripes = np.abs(surface.y % 0.7 - 0.35)
    skin.paint(stripe(stripes, 0.175, surface.footprint), surface.material.accent)


def _signal(surface: Surface, skin: Skin) -> None:
    y, z, fp, front = surface.y, surface.z, surface.footprint, surface.nx < -0.6
    for level, colour in (
        (0.78, srgb(90, 14, 12)),
        (0.48, srgb(90, 66, 10)),
        (0.18, surface.material.accent),
    ):
        skin.paint(stripe(np.hypot(y, z - level), 0.1, fp) * front, colour, 0.1)


def _sign(surface: Surface, skin: Skin) -> None:
    x, y, fp, front = surface.x, surface.y, surface.footprint, surface.nz > 0.6
    skin.paint(~front, srgb(120, 122, 124), 0.1, 40)
    radius = np.maximum(np.abs(x), np.abs(y)) if surface.material.seed < 4.5 else np.hypot(x, y)
    disc = stripe(radius, 0.24, fp) * front
    if surface.material.seed < 4.5:
        arrow = stripe(y, 0.05, fp) * stripe(x, 0.2, fp) + stripe(
            np.abs(y) - x + 0.02, 0.05, fp
        ) * stripe(x - 0.12, 0.1, fp)
        skin.paint(np.clip(arrow, 0, 1) * disc, surface.material.accent)
    else:
        skin.paint(disc, surface.material.accent)
        skin.paint(stripe(x, 0.05, fp) * stripe(y, 0.16, fp) * disc, srgb(20, 20, 22))


def _bricks(surface: Surface, skin: Skin) -> None:
    along = np.where(np.abs(surface.nx) > np.abs(surface.ny), surface.y, surface.x)
    _masonry(along, surface.z, surface.footprint, skin, surface.material.seed)


def _masonry(u: Floats, v: Floats, footprint: Floats, skin: Skin, seed: float) -> None:
    course = np.floor(v / 0.125)
    brick = u / 0.38 + 0.5 * (course % 2)
    tone = scramble(np.floor(brick), course) - 0.5
    mortar = stripe(np.abs(v % 0.125 - 0.0625) - 0.0625, 0.01, footprint)
    skin.shade(1 + 0.3 * tone * fade(footprint, 0.15))
    skin.paint(mortar * 0.5 * fade(footprint, 0.05), srgb(186, 180, 170))
    skin.shade(1 + 0.07 * cloudy(u * 12 + seed, v * 12))


def _tiles(surface: Surface, skin: Skin) -> None:
    rows = np.abs((surface.z % 0.3) / 0.3 - 0.5) * fade(surface.footprint, 0.15)
    skin.shade(
        0.85 + 0.5 * rows + 0.12 * cloudy(surface.y * 20 + surface.material.seed, surface.z * 20)
    )


def _facade(surface: Surface, skin: Skin) -> None:
    length, depth, height, style, shop = surface.material.size
    seed, fp, z = surface.material.seed, surface.footprint, surface.z
    flank = np.abs(surface.nx) > np.abs(surface.ny)
    u = np.where(flank, surface.y + depth / 2, surface.x + length / 2)
    wall = np.where(flank, depth, length)
    top = np.abs(surface.nz) > 0.7
    if style == 0:
        _masonry(u, z, fp, skin, seed)
    else:
        skin.shade(1 + 0.07 * cloudy(u * 10 + seed, z * 10) - 0.12 * np.clip(1 - z / 1.2, 0, 1))
    storeys = max(1, round((height - 0.6) / 3.1))
    rise = (height - 0.6) / storeys
    bay = (2.7, 3.4, 2.2, 1.5)[int(style)]
    pitch = wall / np.maximum(np.round(wall / bay), 1)
    storey, column = np.floor(z / rise), np.floor(u / pitch)
    fu, fv = (u / pitch - column - 0.5) * pitch, (z / rise - storey - 0.5) * rise
    half = (0.27, 0.5, 0.34, 0.47)[int(style)] * pitch
    tall = (0.3, 0.22, 0.3, 0.45)[int(style)] * rise
    window = _soft(fu, half, fp) * stripe(fv - 0.1, tall, fp) * (storey < storeys) * ~top
    frame = (
        _soft(fu, half + 0.09, fp) * stripe(fv - 0.1, tall + 0.09, fp) * (storey < storeys) * ~top
    )
    ground = (storey == 0) & ~top
    if shop:
        front = ground & ~flank
        window, frame = np.where(front, 0, window), np.where(front, 0, frame)
    skin.paint(
        frame,
        srgb(222, 220, 214) if style == 0 else scale_colour(surface.material.colour, 0.6),
        0.05,
        40,
    )
    curtain = scramble(column + 7 * flank, storey + seed)
    _panes(skin, window, curtain, fv, rise)
    skin.paint(stripe(fu, 0.03, fp) * window, srgb(190, 190, 186))
    _entrance(surface, skin, u, ground & ~flank, bool(shop))
    skin.paint(
        stripe(z - rise * np.round(z / rise), 0.06, fp) * (style == 1) * ~top, srgb(150, 148, 144)
    )


def _soft(x: Floats, half: Floats, footprint: Floats) -> Floats:
    return np.clip((half - np.abs(x)) / footprint + 0.5, 0, 1)


def _panes(skin: Skin, window: Floats, curtain: Floats, fv: Floats, rise: float) -> None:
    """Dark glass, some of it behind curtains or blinds, a few rooms lit."""
    skin.paint(window, srgb(44, 56, 66), 0.75, 7)
    skin.paint(
        window * (curtain > 0.72) * (fv > (curtain - 0.86) * 4), srgb(186, 180, 166), 0.35, 14
    )
    skin.paint(window * (curtain < 0.05), srgb(170, 146, 100), 0.4)


def _entrance(
    surface: Surface, skin: Skin, u: Floats, ground: NDArray[np.bool_], shop: bool
) -> None:
    """Shop windows under a sign board, or a door."""
    z, fp = surface.z, surface.footprint
    length = surface.material.size[0]
    front = ground & (surface.ny < 0)
    if shop:
        pane = np.abs(u % 2.6 - 1.3)
        skin.paint(
            stripe(z - 1.45, 1.1, fp) * stripe(pane, 1.2, fp) * ground, srgb(40, 46, 52), 0.7, 7
        )
        goods = clumps(u * 9 + surface.material.seed, z * 9) > 0.6
        skin.paint(
            stripe(z - 1.1, 0.6, fp) * stripe(pane, 1.1, fp) * ground * goods * 0.35,
            surface.material.accent,
        )
        board = stripe(z - 2.95, 0.26, fp) * ground
        skin.paint(board, surface.material.accent, 0.1, 50)
        letters = (scramble(np.floor(u * 3), np.full_like(u, surface.material.seed)) > 0.35) & (
            u * 3 % 1 > 0.25
        )
        skin.paint(
            stripe(z - 2.95, 0.13, fp) * letters * ground * (np.abs(u - length / 2) < length / 4),
            srgb(240, 238, 230),
        )
    else:
        door = stripe(u - length * 0.31, 0.55, fp) * stripe(z - 1.1, 1.1, fp) * front
        skin.paint(door, surface.material.accent, 0.15, 30)


_KINDS: dict[str, Callable[[Surface, Skin], None]] = {
    "plain": _plain, "bark": _bark, "leaves": _leaves, "wheel": _wheel, "car_body": _car_body,
    "cabin": _cabin,
    "truck_cab": _truck_cab, "cargo": _cargo, "bus": _bus, "vest": _vest, "cone": _cone,
    "awning": _awning,
    "signal": _signal, "sign": _sign, "bricks": _bricks, "tiles": _tiles, "facade": _facade,
}  # fmt: skip
