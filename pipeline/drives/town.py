"""Draws a scene from a seed: which street, what stands along it, who moves through it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from . import things
from .geometry import Pose, pose, quaternion
from .light import draw_light
from .street import KERB, Street
from .things import Model
from .world import Along, Ego, Speed, Still, Thing, World

_MARGIN = 95.0
"""Metres of furnished street behind the start and beyond the end of the drive."""


def draw_world(seed: int, scene: int, duration: float) -> World:
    """The world of scene number `scene` for a drive of `duration` seconds; the same for the same
    arguments."""
    rng = np.random.default_rng([seed, scene])
    speed = Speed(float(rng.uniform(5, 9)), float(rng.uniform(-2, 2)), float(rng.uniform(7, 12)))
    end = speed.distance(duration) + _MARGIN
    street = _draw_street(rng, end)
    lane = -(street.lanes - 0.5) * street.lane_width
    plan = _Plan(rng, street, speed, -_MARGIN, end)
    for side in (-1, 1):
        _kerbside(plan, side)
        _furniture(plan, side)
        _frontage(plan, side)
        _walkers(plan, side)
    _side_streets(plan)
    _traffic(plan, lane)
    place = pose(
        quaternion(plan.any_turn()),
        (float(rng.uniform(300, 900)), float(rng.uniform(300, 900)), 0.0),
    )
    return World(
        street,
        _number_instances(plan.things),
        Ego(street, lane, speed),
        draw_light(rng, scene),
        place,
    )


def _number_instances(all_things: list[Thing]) -> tuple[Thing, ...]:
    """Give boxed things their instance numbers."""
    numbers = np.cumsum([thing.model.has_box for thing in all_things])
    return tuple(
        Thing(thing.model, thing.motion, int(number) if thing.model.has_box else 0, thing.state)
        for thing, number in zip(all_things, numbers, strict=True)
    )


def _draw_street(rng: np.random.Generator, end: float) -> Street:
    radius = max(float(rng.uniform(160, 900)), (end + _MARGIN) / 2.2)
    crossing = float(rng.uniform(22, 48))
    crossings = tuple(np.arange(crossing - 85, end, 85).tolist())
    return Street(
        curvature=float(rng.choice([-1, 1])) / radius,
        lanes=int(rng.choice([1, 2], p=[0.6, 0.4])),
        lane_width=float(rng.uniform(3.2, 3.6)),
        parking=2.3,
        verge=float(rng.choice([0.0, 1.8, 2.4])),
        pavement=float(rng.uniform(2.2, 3.4)),
        crossings=crossings,
    )


@dataclass(slots=True)
class _Plan:
    """A scene in the making: its random numbers, its street from s = `start` to `end`, what stands
    there so far."""

    rng: np.random.Generator
    street: Street
    speed: Speed
    start: float
    end: float
    things: list[Thing] = field(default_factory=list)

    def put(self, model: Model, s: float, d: float, turn: float = 0.0, state: str = "") -> None:
        """Stand a model at street coordinates; `turn` is relative to the street's heading there."""
        self.things.append(Thing(model, Still(self.where(s, d, turn)), state=state))

    def send(self, model: Model, s: float, d: float, direction: int, speed: Speed) -> None:
        """Let a model move along the street."""
        self.things.append(Thing(model, Along(self.street, s, d, direction, speed), state="moving"))

    def any_turn(self) -> float:
        """A random heading."""
        return float(self.rng.uniform(0, 2 * np.pi))

    @staticmethod
    def driving(side: int) -> float:
        """Heading of the traffic on a side of the street: with s on the right (-1), against it on
        the left."""
        return 0.0 if side < 0 else np.pi

    @staticmethod
    def facing(side: int) -> float:
        """Turn that makes the -y side of something that stands on a side of the street look at the
        street."""
        return np.pi if side < 0 else 0.0

    def where(self, s: float, d: float, turn: float) -> Pose:
        """Pose on the ground at street coordinates."""
        x, y, heading = self.street.to_world(s, d)
        on_kerb = float(self.street.outside(np.array([s]), np.array([d]))[0]) >= 0
        return pose(quaternion(heading + turn), (x, y, KERB if on_kerb else 0.0))

    def clear(self, s: float, gap: float) -> bool:
        """Whether s is at least `gap` metres from every side street's kerb."""
        return all(
            abs(s - centre) >= self.street.side_half + gap for centre in self.street.crossings
        )

    def steps(self, low: float, high: float, gap: float = 0.0) -> Iterator[float]:
        """Places along the street at random spacings between `low` and `high`, clear of side
        streets."""
        s = self.start + float(self.rng.uniform(0, high))
        while s < self.end:
            if self.clear(s, gap):
                yield s
            s += float(self.rng.uniform(low, high))


def _kerbside(plan: _Plan, side: int) -> None:
    """Parked vehicles; on one stretch a site closed off by barriers and cones instead, and near it
    a large vehicle."""
    rng, street = plan.rng, plan.street
    d = side * (street.half_width - street.parking / 2)
    site = (
        float(rng.uniform(8, plan.end - _MARGIN + 12)) if side < 0 else float(rng.uniform(-25, 5))
    )
    while not plan.clear(site, 14):
        site += 3
    _site(plan, site, d, side)
    spot = site - side * 23
    while not plan.clear(spot, 8):
        spot -= side * 4
    vehicle = things.truck(rng) if rng.random() < 0.5 else things.bus(rng)
    plan.put(vehicle, spot, d - side * 0.12, plan.driving(side), "parked")
    occupancy = rng.uniform(0.45, 0.8)
    for s in plan.steps(6.3, 7.5, 7):
        if abs(s - site) > 14 and abs(s - spot) > 10 and rng.random() < occupancy:
            turn = plan.driving(side) + float(rng.normal(0, 0.02))
            plan.put(things.car(rng), s, d + float(rng.normal(0, 0.06)), turn, "parked")


def _site(plan: _Plan, site: float, d: float, side: int) -> None:
    """A row of barriers towards the traffic, cones before and behind it, two workers."""
    rng, edge = plan.rng, d - side * 0.7
    for index in range(int(rng.integers(4, 7))):
        turn = np.pi / 2 + float(rng.normal(0, 0.03))
        plan.put(
            things.barrier(index),
            site + (index - 2.5) * 2.1,
            edge + float(rng.normal(0, 0.04)),
            turn,
        )
    for index in range(int(rng.integers(6, 10))):
        s = site - 7.5 - index * 1.1 if index % 2 else site + 7 + index * 0.9
        plan.put(things.cone(), s, edge + side * (0.4 + 0.06 * index))
    for _ in range(2):
        worker = things.pedestrian(rng, things.WORKER, walking=False)
        plan.put(
            worker, site + float(rng.uniform(-4, 4)), d + side * 0.4, plan.any_turn(), "standing"
        )


def _furniture(plan: _Plan, side: int) -> None:
    """Lamps, signs, bins, shelters and two-wheelers near the kerb; street trees."""
    rng, street, half = plan.rng, plan.street, plan.street.half_width
    for s in plan.steps(24, 32, 3):
        plan.put(things.street_lamp(), s, side * (half + 0.55), plan.facing(side))
    for s in plan.steps(18, 40, 5):
        plan.put(things.sign(rng), s, side * (half + 0.55), plan.driving(side))
    for s in plan.steps(25, 60, 6):
        plan.put(things.litter_bin(rng), s, side * (half + street.frontage - 0.5))
    for s in plan.steps(50, 90, 8):
        plan.put(things.bus_stop(rng), s, side * (half + street.frontage - 1.0), plan.facing(side))
    for s in plan.steps(16, 40, 6):
        kind = things.BICYCLE if rng.random() < 0.6 else things.MOTORCYCLE
        turn = float(rng.normal(0, 0.5))
        plan.put(
            things.two_wheeler(rng, kind),
            s,
            side * (half + street.verge + 0.6),
            turn,
            "without_rider",
        )
    spacing, d = ((7, 13), street.verge * 0.55) if street.verge else ((12, 20), 0.8)
    for s in plan.steps(*spacing, 4):
        plan.put(things.tree(rng), s, side * (half + d), plan.any_turn())


def _frontage(plan: _Plan, side: int) -> None:
    """Buildings, with gardens before them and parks between them."""
    rng, street = plan.rng, plan.street
    garden = float(rng.choice([0.0, 3.0, 6.0])) if street.verge else float(rng.choice([2.5, 6.0]))
    tall = float(rng.choice([6.5, 11.0, 16.0], p=[0.4, 0.35, 0.25]))
    edge, s = street.half_width + street.frontage, plan.start
    while s < plan.end:
        length = float(rng.uniform(9, 22))
        middle = s + length / 2
        if not plan.clear(middle, length / 2 + street.frontage + 1.0):
            s += 2
            continue
        if rng.random() < 0.22:
            _park(plan, s, length, side, edge)
        else:
            depth, height = float(rng.uniform(9, 14)), tall * float(rng.uniform(0.8, 1.35))
            d = side * (edge + garden + 0.2 + depth / 2)
            plan.put(things.building(rng, length, depth, height), middle, d, plan.facing(side))
            if garden:
                _garden(plan, s, length, side, edge, garden)
        s += length + float(rng.choice([0.3, 3.0, 7.0], p=[0.5, 0.3, 0.2]))


def _garden(plan: _Plan, s: float, length: float, side: int, edge: float, depth: float) -> None:
    rng, choice = plan.rng, plan.rng.random()
    if choice < 0.35:
        plan.put(things.hedge(rng, length * 0.7), s + length / 2, side * (edge + 0.6))
    elif choice < 0.6:
        plan.put(
            things.fence(length * 0.8, float(rng.uniform(0, 99))),
            s + length / 2,
            side * (edge + 0.4),
        )
    for _ in range(int(rng.integers(1, 4))):
        plant = things.tree(rng) if depth > 4 and rng.random() < 0.35 else things.bush(rng)
        plan.put(
            plant,
            s + length * float(rng.uniform(0.1, 0.9)),
            side * (edge + depth * 0.55),
            plan.any_turn(),
        )


def _park(plan: _Plan, s: float, length: float, side: int, edge: float) -> None:
    rng = plan.rng
    for _ in range(int(length / 3)):
        plant = things.tree(rng) if rng.random() < 0.6 else things.bush(rng)
        d = side * (edge + float(rng.uniform(2.5, 16)))
        plan.put(plant, s + length * float(rng.random()), d, plan.any_turn())


def _walkers(plan: _Plan, side: int) -> None:
    rng, street = plan.rng, plan.street
    inner = street.half_width + street.verge
    for s in plan.steps(4, 14, 5):
        d = side * float(rng.uniform(inner + 1.2, inner + street.pavement - 0.5))
        walking, direction = rng.random() < 0.7, int(rng.choice([-1, 1]))
        person = things.pedestrian(
            rng, things.CHILD if rng.random() < 0.12 else things.ADULT, walking
        )
        if walking:
            plan.send(person, s, d, direction, Speed(float(rng.uniform(0.7, 1.5))))
        else:
            plan.put(person, s, d, plan.any_turn(), "standing")


def _side_streets(plan: _Plan) -> None:
    """A signal at each corner, waiting cars, and buildings that close the view."""
    rng, half = plan.rng, plan.street.half_width
    for centre in plan.street.crossings:
        if not plan.start < centre < plan.end:
            continue
        for side in (-1, 1):
            signal = centre + side * (plan.street.side_half + 3.2)
            plan.put(things.traffic_light(), signal, side * (half + 1.0), plan.driving(side))
            if rng.random() < 0.7:
                plan.put(
                    things.car(rng),
                    centre - side * 1.8,
                    side * (half + 7.0),
                    -side * np.pi / 2,
                    "stopped",
                )
            house = things.building(rng, 26, 10, float(rng.uniform(8, 15)))
            plan.put(house, centre, side * (half + 62), plan.facing(side))


def _traffic(plan: _Plan, lane: float) -> None:
    """Cars before and behind at the ego's own speed, others passing and oncoming; gaps keep them
    apart."""
    rng, street = plan.rng, plan.street
    rate = 1 - lane * street.curvature
    along = Speed(plan.speed.mean * rate, plan.speed.swing * rate, plan.speed.period)
    plan.send(things.car(rng), float(rng.uniform(13, 20)), lane, 1, along)
    plan.send(things.car(rng), float(rng.uniform(-18, -11)), lane, 1, along)
    if rng.random() < 0.6:
        plan.send(_large(rng), float(rng.uniform(34, 44)), lane, 1, along)
    for number in range(street.lanes):
        d = (number + 0.5) * street.lane_width
        speed, s = Speed(float(rng.uniform(6, 11))), plan.start + float(rng.uniform(0, 12))
        while s < plan.end + 60:
            plan.send(things.car(rng) if rng.random() < 0.82 else _large(rng), s, d, -1, speed)
            s += float(rng.uniform(16, 34))
        if number + 1 < street.lanes:
            speed, s = Speed(float(rng.uniform(7, 11))), plan.start + float(rng.uniform(-40, 12))
            while s < plan.end:
                plan.send(things.car(rng), s, -d, 1, speed)
                s += float(rng.uniform(18, 40))


def _large(rng: np.random.Generator) -> Model:
    return things.truck(rng) if rng.random() < 0.6 else things.bus(rng)
