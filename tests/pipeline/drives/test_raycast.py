"""Ray intersections of generated drives against closed forms."""

import numpy as np
import pytest
from numpy.typing import NDArray

from clever.pipeline.drives.cameras import CAMERAS
from clever.pipeline.drives.geometry import pose, quaternion, transform
from clever.pipeline.drives.lidar import LidarModel
from clever.pipeline.drives.raycast import Ellipsoid, Frustum, PinholeRays, Rays, Shape
from clever.pipeline.drives.shapes import box, extrusion, tube
from clever.pipeline.drives.street import KERB, Street
from clever.pipeline.drives.town import draw_world
from clever.pipeline.drives.world import cast

Array = NDArray[np.float64]


def random_rays(count: int, seed: int) -> tuple[Array, Rays]:
    """An origin outside of everything tested here, and rays of any length towards the neighbourhood
    of (0, 0, 0)."""
    rng = np.random.default_rng(seed)
    origin = rng.standard_normal(3)
    origin *= rng.uniform(4, 9) / np.linalg.norm(origin)
    directions = (rng.uniform(-2, 2, (count, 3)) - origin) * rng.uniform(0.1, 2, (count, 1))
    x, y, z = directions.T[:, :, None]
    return origin, Rays(pose(quaternion(0.0), (0, 0, 0)), x, y, z)


def first_hit(shape: Shape, origin: Array, rays: Rays) -> Array:
    """Ray parameter of the first hit, inf for a miss."""
    s = shape.intersect(origin, np.eye(3), rays)[:, 0]
    return np.where(s > 0, 1 / np.where(s > 0, s, 1), np.inf)


def directions_of(rays: Rays) -> Array:
    return np.column_stack([rays.x, rays.y, rays.z])


def slab_hit(origin: Array, directions: Array, low: Array, high: Array) -> Array:
    a, b = (low - origin) / directions, (high - origin) / directions
    enter, leave = np.minimum(a, b).max(axis=1), np.maximum(a, b).min(axis=1)
    return np.where((enter <= leave) & (enter > 0), enter, np.inf)


@pytest.mark.parametrize("seed", range(6))
def test_box_by_slabs(seed: int) -> None:
    origin, rays = random_rays(400, seed)
    expected = slab_hit(
        origin, directions_of(rays), np.array([-1.0, -0.75, 0.0]), np.array([1.0, 0.75, 1.25])
    )
    assert 20 < np.isfinite(expected).sum() < 380
    np.testing.assert_allclose(first_hit(box(2.0, 1.5, 1.25), origin, rays), expected, rtol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_ellipsoid_by_the_quadratic(seed: int) -> None:
    origin, rays = random_rays(400, seed)
    radii = np.array([1.4, 0.6, 0.9])
    o, d = origin / radii, directions_of(rays) / radii
    a, b, c = (d * d).sum(axis=1), d @ o, o @ o - 1
    with np.errstate(invalid="ignore"):
        expected = (-b - np.sqrt(b * b - a * c)) / a
    expected = np.where(expected > 0, expected, np.inf)
    assert 20 < np.isfinite(expected).sum() < 380
    np.testing.assert_allclose(first_hit(Ellipsoid(radii), origin, rays), expected, rtol=1e-8)


def test_unit_sphere_head_on() -> None:
    rays = Rays(np.eye(4), *(np.full((1, 1), part) for part in (0.0, 0.0, -2.0)))
    assert Ellipsoid(np.ones(3)).intersect(np.array([0, 0, 5.0]), np.eye(3), rays)[
        0, 0
    ] == pytest.approx(1 / 2)


@pytest.mark.parametrize(("bottom", "top"), [(0.8, 0.8), (1.0, 0.3), (0.2, 0.9)])
@pytest.mark.parametrize("seed", range(4))
def test_frustum_by_roots_and_caps(bottom: float, top: float, seed: int) -> None:
    origin, rays = random_rays(300, seed)
    height, slope = 1.3, (top - bottom) / 1.3
    expected = []
    for d in directions_of(rays):
        radius = np.array([slope * d[2], bottom + slope * origin[2]])
        square = np.polymul([d[0], origin[0]], [d[0], origin[0]]) + np.polymul(
            [d[1], origin[1]], [d[1], origin[1]]
        )
        roots = np.roots(np.polysub(square, np.polymul(radius, radius)))
        candidates = [
            t.real
            for t in roots
            if abs(t.imag) < 1e-12 and 0 <= origin[2] + t.real * d[2] <= height
        ]
        for level, rim in ((0.0, bottom), (height, top)):
            t = (level - origin[2]) / d[2]
            if np.hypot(*(origin + t * d)[:2]) <= rim:
                candidates.append(t)
        expected.append(min((t for t in candidates if t > 0), default=np.inf))
    assert 20 < np.isfinite(expected).sum() < 290
    np.testing.assert_allclose(
        first_hit(Frustum(bottom, top, height), origin, rays), expected, rtol=1e-7
    )


def test_extrusion_is_the_hull_of_its_outline() -> None:
    """Every corner of a leaning wedge lies on exactly the three planes that meet there."""
    outline = [(-1.0, 0.0), (1.0, 0.0), (1.0, 0.5), (-1.0, 1.5)]
    shape = extrusion(outline, 0.6, lean=0.2, base=0.25)
    corners = np.array(
        [[x, side * (0.6 - 0.2 * (z - 0.25)), z] for x, z in outline for side in (-1, 1)]
    )
    gaps = corners @ shape.planes[:, :3].T - shape.planes[:, 3]
    assert gaps.max() < 1e-12
    assert ((np.abs(gaps) < 1e-12).sum(axis=1) == 3).all()
    np.testing.assert_allclose(shape.low, corners.min(axis=0))
    np.testing.assert_allclose(shape.high, corners.max(axis=0))


def test_extrusion_refuses_concave_outlines() -> None:
    with pytest.raises(ValueError, match="not convex"):
        extrusion([(0, 0), (1, 0), (0.2, 0.2), (0, 1)], 1.0)


def test_tube_runs_from_start_to_end() -> None:
    start, end = (0.2, -0.4, 1.0), (-1.0, 0.5, 2.5)
    shape, where = tube(start, end, 0.1, 0.05)
    np.testing.assert_allclose(
        transform(where, np.array([[0, 0, 0], [0, 0, shape.height]])), [start, end], atol=1e-12
    )


@pytest.mark.parametrize(
    "shape", [box(1.5, 1.0, 0.8), Ellipsoid(np.array([1.2, 0.7, 0.9])), Frustum(0.9, 0.4, 1.1)]
)
def test_normals_are_unit_and_agree_with_the_shape(shape: Shape) -> None:
    """Each normal faces the ray, and a little way along it the shape no longer covers the point."""
    origin, rays = random_rays(500, 3)
    t = first_hit(shape, origin, rays)
    hit = np.isfinite(t)
    directions = directions_of(rays)[hit]
    points = origin + t[hit, None] * directions
    normals = np.column_stack(shape.normal(*points.T))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, rtol=1e-9)
    assert ((normals * directions).sum(axis=1) < 0).all()
    for point, normal in zip(points, normals, strict=True):
        x, y, z = -normal[:, None, None]
        s = shape.intersect(point + 1e-3 * normal, np.eye(3), Rays(np.eye(4), x, y, z))
        assert s[0, 0] == pytest.approx(1e3, rel=2e-2)


def test_float32_pixels_are_as_good_as_float64_far_away() -> None:
    """Nothing cancels: a pole 90 m away is hit within 2 mm in float32."""
    # Camera axes (right, down, forward) in a frame x forward, y left, z up, turned by 0.4 about z.
    where = pose(quaternion(0.4), (-80.0, -40.0, 1.6))
    where[:3, :3] = where[:3, :3] @ [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    coarse = PinholeRays.image(where, 4000.0, 319.5, 179.5, 640, 360)
    x, y, z = (part.astype(np.float64) for part in (coarse.x, coarse.y, coarse.z))
    for shape in (
        Frustum(0.5, 0.5, 6.0),
        Frustum(1.0, 0.2, 5.0),
        Ellipsoid(np.array([1.5, 0.5, 3.0])),
        box(1, 2, 3),
    ):
        single = shape.intersect(where[:3, 3], where[:3, :3], coarse)
        double = shape.intersect(where[:3, 3], where[:3, :3], Rays(where, x, y, z))
        hits = (single > 0) & (double > 0)
        assert hits.sum() > 100
        assert np.count_nonzero((single > 0) != (double > 0)) <= 0.01 * hits.sum()
        assert np.median(np.abs(1 / single[hits] - 1 / double[hits])) < 2e-3


STREET = Street(1 / 240, 2, 3.4, 2.3, 1.8, 2.6, (30.0,))


def test_street_coordinates_invert() -> None:
    for s, d in ((0.0, 0.0), (40.0, 7.5), (-63.0, -21.0), (120.0, 3.0)):
        x, y, _ = STREET.to_world(s, d)
        np.testing.assert_allclose(
            STREET.to_street(np.array([x]), np.array([y])), [[s], [d]], atol=1e-9
        )


def test_ground_is_plane_kerb_or_face() -> None:
    """On the roadway z = 0, beside it z = KERB, and in between only the kerb's face; flat hits as
    the plane says."""
    camera = CAMERAS[0].rays(pose(quaternion(0.3), (0.0, -5.0, 0.0)), 320)
    rays = Rays(camera.pose, *(part.astype(np.float64) for part in (camera.x, camera.y, camera.z)))
    s = STREET.intersect(rays, np.zeros(rays.shape))
    hit = s > 0
    down = rays.linear(rays.pose[2, :3])
    np.testing.assert_array_equal(hit, down < 0)
    x, y, z = (
        rays.pose[axis, 3] + rays.linear(rays.pose[axis, :3])[hit] / s[hit] for axis in range(3)
    )
    outside = STREET.outside(*STREET.to_street(x, y))
    road, raised = np.abs(z) < 1e-9, np.abs(z - KERB) < 1e-9
    face = ~road & ~raised
    assert min(road.sum(), raised.sum(), face.sum()) > 20
    assert (outside[road] < 0).all()
    assert (outside[raised] >= 0).all()
    assert np.abs(outside[face]).max() < 1e-5
    assert ((z[face] > 0) & (z[face] < KERB)).all()
    np.testing.assert_allclose((1 / s[hit])[road], (-rays.pose[2, 3] / down[hit])[road], rtol=1e-12)


def test_outside_is_the_distance_to_a_straight_kerb() -> None:
    d = np.array([0.0, STREET.half_width - 1, STREET.half_width + 2.5, -STREET.half_width - 0.5])
    np.testing.assert_allclose(
        STREET.outside(np.full(4, 80.0), d), np.abs(d) - STREET.half_width, atol=1e-12
    )
    far = STREET.half_width + 10
    np.testing.assert_allclose(
        STREET.outside(np.array([30.0, 35.0]), np.full(2, far)),
        [-STREET.side_half, 5 - STREET.side_half],
    )


def test_windows_lose_nothing() -> None:
    """Casting with bounding windows finds what casting every ray at every solid finds."""
    world = draw_world(3, 1, 2.0)
    ego, placement = world.ego.at(1.0), world.at(1.0)
    sweep = LidarModel(90).rays(ego)
    full_hits = cast(Rays(sweep.pose, sweep.x, sweep.y, sweep.z), placement, world.street)
    culled = cast(sweep, placement, world.street)
    np.testing.assert_array_equal(culled.solid, full_hits.solid)
    np.testing.assert_array_equal(culled.inverse, full_hits.inverse)
    for camera in CAMERAS[2:4]:
        image = camera.rays(ego, 64)
        full_hits = cast(Rays(image.pose, image.x, image.y, image.z), placement, world.street)
        culled = cast(image, placement, world.street)
        np.testing.assert_array_equal(culled.solid, full_hits.solid)
        np.testing.assert_array_equal(culled.inverse, full_hits.inverse)


def test_image_windows_bound_what_a_box_shows() -> None:
    """Rectangles of boxes by 15^3 points of each, also where they reach behind the camera."""
    camera = PinholeRays.image(np.eye(4), 60.0, 39.5, 22.5, 80, 45)
    rng = np.random.default_rng(4)
    steps = np.stack(np.meshgrid(*[np.linspace(0, 1, 15)] * 3, indexing="ij"), -1).reshape(-1, 3)
    lows = rng.uniform([-4, -3, -2], [3, 2, 6], (120, 3))
    sizes = rng.uniform(0.3, 3, (120, 3))
    units = np.array([[n >> 2 & 1, n >> 1 & 1, n & 1] for n in range(8)])
    windows, nearest = camera.windows(lows[:, None] + sizes[:, None] * units)
    np.testing.assert_array_equal(nearest, np.maximum(lows[:, 2], 0.05))
    straddling = 0
    for low, size, (top, bottom, left, right) in zip(lows, sizes, windows, strict=True):
        x, y, z = (low + size * steps).T
        front = z > 0.05
        u, v = x[front] / z[front] * 60 + 39.5, y[front] / z[front] * 60 + 22.5
        inside = (u >= 0) & (u <= 79) & (v >= 0) & (v <= 44)
        assert ((u[inside] >= left) & (u[inside] <= right - 1)).all()
        assert ((v[inside] >= top) & (v[inside] <= bottom - 1)).all()
        if low[2] > 0.05:
            for part, first, end, limit in ((u, left, right, 80), (v, top, bottom, 45)):
                assert first == np.clip(np.floor(part.min() + 1e-9), 0, limit)
                assert end == np.clip(np.ceil(part.max() - 1e-9) + 1, 0, limit)
        straddling += low[2] < 0.05 < low[2] + size[2]
    assert straddling > 10


def test_thinned_rays_are_every_fourth() -> None:
    rays = PinholeRays.image(np.eye(4), 60.0, 39.5, 22.5, 80, 45)
    thin = rays.thin(4)
    np.testing.assert_array_equal(thin.x, rays.x[:, ::4])
    np.testing.assert_array_equal(thin.y, rays.y[::4])
    column = np.arange(thin.x.shape[1])
    np.testing.assert_allclose((column - thin.cx) / thin.focal, thin.x[0], atol=1e-6)
    row = np.arange(len(thin.y))
    np.testing.assert_allclose((row - thin.cy) / thin.focal, thin.y[:, 0], atol=1e-6)
