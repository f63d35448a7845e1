"""From which direction the first frame of the driving video sees the asset."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from gvf_core.canonical.alignment import FARTHEST, NEAREST
from gvf_core.gaussians import Splats
from gvf_core.rendering import Camera, orbit_camera, rasterize
from gvf_core.video import crop_square
from gvf_core.video.crop import MARGIN

SIZE = 64
COUNT = 5000
COARSE_STEP = 15.0
FINE_STEPS = ((8.0, 5), (4.0, 3), (2.0, 2), (1.0, 2))
DIFFERENT = 30.0
COLOR_WEIGHT = 3.0
LIT = True
NORM = "bbox"


@dataclass(frozen=True)
class FoundView:
    azimuth: float
    elevation: float
    confidence: float
    cost: float
    alternative: tuple[float, float] | None
    remark: str


@dataclass(frozen=True)
class _Target:
    color: np.ndarray
    alpha: np.ndarray
    lens: float


@dataclass(frozen=True)
class _Model:
    splats: Splats
    normals: np.ndarray
    points: np.ndarray


def find_view(gaussians, frame, fov, *, elevations=(-30.0, 60.0), similarity=None, on_progress=lambda fraction: None):
    target, model = _target(frame, fov), _model(gaussians)
    grid = _grid(elevations)
    found = []
    for i, d in enumerate(grid):
        on_progress(0.6 * i / len(grid))
        found.append((_cost(model, target, d), d))
    kept = _distinct(found, FINE_STEPS[0][1])
    for step, count in FINE_STEPS:
        kept = _distinct([_refined(model, target, f, step, elevations) for f in kept[:count]], count)
    return kept, found


def _target(frame, fov):
    height, width = frame.shape[:2]
    larger = max(height, width)
    lens = 0.5 / math.tan(math.radians(fov) / 2) * larger
    whole = Camera(np.eye(4), (lens / width, lens / height, 0.5, 0.5), width, height)
    cropped, window = crop_square(frame[None], whole, SIZE)
    alpha = cropped[0, ..., 3]
    return _Target(cropped[0, ..., :3] / np.maximum(alpha, 1e-3)[..., None], alpha, window.intrinsics[0])


def _model(gaussians):
    with torch.no_grad():
        splats = gaussians.activate()
    n = len(gaussians)
    points = splats.means.numpy().astype(np.float64)
    keep = torch.linspace(0, n - 1, min(n, COUNT)).round().long()
    grow = math.sqrt(n / len(keep))
    s = Splats(*(f[keep] for f in splats))
    thin = s.scales.min(dim=1, keepdim=True).values
    s = s._replace(scales=torch.where(s.scales > thin, s.scales * grow, s.scales))
    r = Rotation.from_quat(s.quaternions.numpy()[:, [1, 2, 3, 0]]).as_matrix()
    normals = r[np.arange(len(r)), :, s.scales.argmin(dim=1).numpy()]
    return _Model(s, normals, points)


def _grid(elevations):
    low, high = elevations
    rows = np.linspace(low, high, max(1, round((high - low) / COARSE_STEP)) + 1)
    out = []
    for el in rows:
        n = round(360 / COARSE_STEP * max(0.5, math.cos(math.radians(el))))
        out += [(-180 + 360 * i / n, float(el)) for i in range(n)]
    return out


def _camera(model, target, direction):
    radius = 2.0
    for _ in range(3):
        camera = replace(orbit_camera(*direction, radius, size=SIZE), intrinsics=(target.lens, target.lens, 0.5, 0.5))
        pixels, _ = camera.project(model.points)
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        zoom = (1 - 2 * MARGIN) * SIZE / (high - low).max()
        radius = float(np.clip(radius / zoom, NEAREST, FARTHEST))
    cx, cy = 0.5 - (low + high - SIZE) / 2 * zoom / SIZE
    return replace(camera, intrinsics=(target.lens * zoom, target.lens * zoom, float(cx), float(cy)))


def _cost(model, target, direction):
    camera = _camera(model, target, direction)
    with torch.no_grad():
        color, alpha = (x.numpy() for x in rasterize(model.splats, camera))
        if LIT:
            facing = np.sign((model.normals * (camera.position - model.splats.means.numpy())).sum(1, keepdims=True))
            n = rasterize(model.splats._replace(colors=torch.from_numpy(model.normals * facing).float()), camera).color.numpy()
            color = np.concatenate([color, n], 2)
    costs = []
    if NORM in ("bbox", "min"):
        costs.append(_compare(color, alpha, target))
    if NORM in ("moments", "min"):
        m = _moments(alpha, target.alpha)
        costs.append(_compare(cv2.warpAffine(color, m, (SIZE, SIZE)), cv2.warpAffine(alpha, m, (SIZE, SIZE)), target))
    return min(costs)


def _moments(alpha, wanted):
    def mom(a):
        s = a.sum()
        return math.sqrt(s), np.array([(a.sum(0) * np.arange(SIZE)).sum(), (a.sum(1) * np.arange(SIZE)).sum()]) / s
    (s0, c0), (s1, c1) = mom(alpha), mom(wanted)
    k = s1 / s0
    t = c1 - k * c0
    return np.array([[k, 0, t[0]], [0, k, t[1]]])


def _compare(color, alpha, target):
    inside = np.minimum(alpha, target.alpha) > 0.5
    iou = np.minimum(alpha, target.alpha).sum() / np.maximum(alpha, target.alpha).sum()
    if not inside.any():
        return 1 - iou + COLOR_WEIGHT
    w = np.minimum(alpha, target.alpha)[inside]
    pixels = color[inside] / alpha[inside, None]
    c, basis = pixels[:, :3], np.concatenate([np.ones((len(pixels), 1)), pixels[:, 3:]], 1)
    f = target.color[inside]
    X = c[:, :, None] * basis[:, None, :]
    A = np.einsum("nck,ncl->kl", X * w[:, None, None], X)
    b = np.einsum("nck,nc->k", X * w[:, None, None], f)
    reg = 0.02 * A[0, 0] * np.diag([0.0] + [1.0] * (len(A) - 1)) + 1e-6 * np.eye(len(A))
    L = np.linalg.solve(A + reg, b)
    diff = (w[:, None] * np.abs(X @ L - f)).sum() / w.sum() / 3
    return float(1 - iou + COLOR_WEIGHT * diff)


def angle_between(a, b):
    p, q = orbit_camera(*a, 1.0).position, orbit_camera(*b, 1.0).position
    return math.degrees(math.acos(np.clip(p @ q, -1, 1)))


def _distinct(found, count):
    kept = []
    for f in sorted(found):
        if all(angle_between(f[1], k[1]) > DIFFERENT for k in kept):
            kept.append(f)
        if len(kept) == count:
            break
    return kept


def _refined(model, target, start, step, elevations):
    best, cache = start, {}
    for _ in range(3):
        (az, el) = best[1]
        da = step / math.cos(math.radians(el))
        moved = best
        for d in (
            (az - da, el),
            (az + da, el),
            (az, max(elevations[0], el - step)),
            (az, min(elevations[1], el + step)),
        ):
            if d not in cache:
                cache[d] = _cost(model, target, d)
            if cache[d] < moved[0]:
                moved = (cache[d], d)
        if moved is best:
            break
        best = moved
    return best
