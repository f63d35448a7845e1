"""Training examples of the motion prior: windows of animated assets under random cameras, with simulated tracks.

What a fit engine knows of a video is imitated: which points the camera sees, and their 2D motion with the errors that
optical flow makes at 256 pixels.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gvf_core.errors import FileFormatError
from gvf_core.models.motion_prior_network import PointTracks
from gvf_core.training.motion_clips import NORMAL_SCALE, AssetMotion

FRAMING = 4 * math.tan(math.radians(49.1) / 2)
"""Width of the image at the asset, over the longest side of its union box: field of view 49.1 degrees, radius 2."""
IMAGE_SIZE = 256
"""Pixels that noise levels refer to."""
_CELL = 1.2
"""Width of a z-buffer's cell over the square root of the number of points, for an asset 1 wide: 1/38 for 2048."""
_GRID = 96
_DEPTH_TOLERANCE = 0.04
_SHEET_TOLERANCE = 0.02
_STEEPEST = 4.0


@dataclass(frozen=True)
class ClipPool:
    """All windows as tensors.

    Attributes:
        positions: As in `AssetMotion`, float16.
        normals: Times `NORMAL_SCALE`, int8.
        weights: How often to draw each window, relatively.
        names: Asset and window.
    """

    positions: Float[Tensor, "windows times points 3"]
    normals: Int[Tensor, "windows times points 3"]
    weights: Float[Tensor, " windows"]
    names: tuple[str, ...]

    def digest(self) -> str:
        """Hash of everything in it; 100 MB take about a tenth of a second."""
        digest = hashlib.sha256(repr(self.names).encode())
        for values in (self.positions, self.normals, self.weights):
            digest.update(values.contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Placement:
    """How windows are played and seen; one entry per clip of a batch.

    Attributes:
        window: Index into the pool.
        times: Where in the window each frame lies, in its stored frames; fractions are interpolated.
        rest_time: The same for the rest pose.
        stretch: Scale along the world's axes; negative for a mirror.
        amplitude: Factor on the displacement.
        turn: Additional rotation about the world's z axis at the last frame, radians.
        travel: Additional translation at the last frame, over the longest side.
        azimuth: Of the camera, radians; 0 looks along +y.
        elevation: Radians.
        roll: Radians.
        radius: Distance from the camera to the union box's centre, over its longest side.
    """

    window: Int[Tensor, " batch"]
    times: Float[Tensor, "batch frames"]
    rest_time: Float[Tensor, " batch"]
    stretch: Float[Tensor, "batch 3"]
    amplitude: Float[Tensor, " batch"]
    turn: Float[Tensor, " batch"]
    travel: Float[Tensor, "batch 3"]
    azimuth: Float[Tensor, " batch"]
    elevation: Float[Tensor, " batch"]
    roll: Float[Tensor, " batch"]
    radius: Float[Tensor, " batch"]


@dataclass(frozen=True)
class ClipViews:
    """Clips in the view frame (see `PointTracks`) with all that is true about them.

    Attributes:
        positions: Of the rest pose.
        normals: Of the rest pose.
        displacement: From the rest pose.
        visible: In each frame.
        at_rest: Visible in the rest pose.
        up: World's up direction.
        distance: From the camera to the centre of the rest pose.
        pixel: Size of a pixel at the depth of the asset.
    """

    positions: Float[Tensor, "batch points 3"]
    normals: Float[Tensor, "batch points 3"]
    displacement: Float[Tensor, "batch frames points 3"]
    visible: Bool[Tensor, "batch frames points"]
    at_rest: Bool[Tensor, "batch points"]
    up: Float[Tensor, "batch 3"]
    distance: Float[Tensor, " batch"]
    pixel: Float[Tensor, " batch"]


def clip_pool(assets: Sequence[AssetMotion], starts_only: bool = False) -> ClipPool:
    """Windows of some assets; a family is drawn as often as the square root of its windows.

    Args:
        assets: With equal numbers of frames and points.
        starts_only: Take only windows at the start of a clip.

    Raises:
        FileFormatError: There are no such windows, or they have different numbers of frames or points.
    """
    chosen = [
        (asset, index)
        for asset in assets
        for index, name in enumerate(asset.windows)
        if not starts_only or name.endswith("@0.00")
    ]
    if not chosen:
        what = "the start of a clip" if starts_only else "a clip"
        raise FileFormatError(
            f"None of the assets {', '.join(asset.asset for asset in assets)} has {what}.", "Prepare them again."
        )
    if len(sizes := {asset.positions.shape[1:3] for asset, _ in chosen}) > 1:
        listed = ", ".join(f"{frames} x {points}" for frames, points in sorted(sizes))
        raise FileFormatError(f"The clips have different numbers of frames x points: {listed}.", "Prepare them again.")
    count = Counter(asset.family for asset, _ in chosen)
    return ClipPool(
        torch.stack([torch.from_numpy(asset.positions[index]) for asset, index in chosen]),
        torch.stack([torch.from_numpy(asset.normals[index]) for asset, index in chosen]),
        torch.tensor([count[asset.family] ** -0.5 for asset, _ in chosen]),
        tuple(f"{asset.asset} {asset.windows[index]}" for asset, index in chosen),
    )


def random_placement(pool: ClipPool, batch: int, frames: int, generator: torch.Generator) -> Placement:
    """A batch of windows played forward or backward, 16 frames' worth at half to double speed, seen from anywhere.

    Half of the clips start at the rest pose, as a video does; in the others it is any moment, so that later windows
    of a long video are known, too.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(batch, *shape, generator=generator)

    def chance(probability: float) -> Tensor:
        return (torch.rand(batch, generator=generator) < probability).float()

    last = pool.positions.shape[1] - 1
    start, speed = uniform(0, last), uniform(0.5, 2.0) * 16 / frames
    way = 1 - 2 * chance(0.3)
    # A window is left where it ends by going back: half of all motion returns the way it came anyway.
    times = _fold(start[:, None] + (way * speed)[:, None] * torch.arange(frames), last)
    mirror = torch.stack([1 - 2 * chance(0.5), torch.ones(batch), torch.ones(batch)], dim=1)
    moves = chance(0.25)
    return Placement(
        window=torch.multinomial(pool.weights, batch, replacement=True, generator=generator),
        times=times,
        rest_time=torch.where(chance(0.5) > 0, times[:, 0], uniform(0, last)),
        stretch=mirror * uniform(0.75, 1.3, 3),
        amplitude=uniform(0.6, 1.3),
        turn=moves * torch.randn(batch, generator=generator) * 0.6,
        travel=moves[:, None] * torch.randn(batch, 3, generator=generator) * torch.tensor([0.25, 0.25, 0.1]),
        azimuth=uniform(0, 2 * math.pi),
        elevation=uniform(math.radians(-20), math.radians(60)),
        roll=torch.randn(batch, generator=generator) * math.radians(4),
        radius=uniform(1.5, 3.5),
    )


def evaluation_placement(pool: ClipPool, windows: Int[Tensor, " batch"], frames: int) -> Placement:
    """Windows as they are, rest at their start, from azimuth 45, elevation 15, radius 2."""
    batch = len(windows)
    zero = torch.zeros(batch)
    return Placement(
        window=windows,
        times=torch.linspace(0, pool.positions.shape[1] - 1, frames).expand(batch, -1),
        rest_time=zero,
        stretch=torch.ones(batch, 3),
        amplitude=torch.ones(batch),
        turn=zero,
        travel=torch.zeros(batch, 3),
        azimuth=zero + math.radians(45),
        elevation=zero + math.radians(15),
        roll=zero,
        radius=zero + 2,
    )


def view_clips(pool: ClipPool, placement: Placement, points: slice = slice(None)) -> ClipViews:
    """Play windows and look at them.

    Args:
        pool: The windows.
        placement: How.
        points: Which of the pool's points, at least a thousand, as they hide one another; any slice is a fair sample.
    """
    pool = replace(pool, positions=pool.positions[:, :, points], normals=pool.normals[:, :, points])
    times = torch.cat([placement.rest_time[:, None], placement.times], dim=1)
    poses, normals = _play(pool, placement, times)
    low, high = poses.flatten(1, 2).aminmax(dim=1)
    rest_low, rest_high = poses[:, 0].aminmax(dim=1)
    size = (rest_high - rest_low).amax(dim=1).clamp_min(1e-3)
    union = (high - low).amax(dim=1)
    rotation, camera = _look_at((low + high) / 2, (rest_low + rest_high) / 2, union, placement)

    def seen(vectors: Tensor) -> Tensor:
        return (vectors.flatten(1, 2) @ rotation.mT).view(vectors.shape)

    centre = (rest_low + rest_high) / 2
    posed = seen((poses - centre[:, None, None]) / size[:, None, None, None])
    normals = seen(normals)
    distance = (centre - camera).norm(dim=-1) / size
    visible = visible_points(posed, normals, distance)
    return ClipViews(
        positions=posed[:, 0],
        normals=normals[:, 0],
        displacement=posed[:, 1:] - posed[:, :1],
        visible=visible[:, 1:],
        at_rest=visible[:, 0],
        up=rotation[:, :, 2],
        distance=distance,
        pixel=FRAMING * union / size / IMAGE_SIZE,
    )


def visible_points(
    points: Float[Tensor, "batch frames points 3"],
    normals: Float[Tensor, "batch frames points 3"],
    distance: Float[Tensor, " batch"],
) -> Bool[Tensor, "batch frames points"]:
    """Which points the camera sees, by a z-buffer of the points themselves.

    A point is hidden behind the nearest one of its cell and the eight around it: one cell alone often has no point at
    all, and 40 % of a ball's far side would be seen through the near one. It is allowed to lie 0.04 deeper, more where
    the surface is steep. A point that faces away is hidden by any point there that faces the camera and is not clearly
    behind it. So the inner side of a thin limb is hidden, but a wing that is a single sheet is seen from both sides.

    Args:
        points: In the view frame.
        normals: Likewise; a point faces the camera if its normal does.
        distance: From the camera to the origin.
    """
    offset = torch.zeros(3).expand(len(distance), 3).clone()
    offset[:, 2] = distance
    rays = points + offset[:, None, None]
    depth = rays[..., 2]
    flat = rays[..., :2] / depth[..., None].clamp_min(1e-2) * distance[:, None, None, None]
    flat = flat - flat.mean(dim=2, keepdim=True)
    cell = (flat / (_CELL / points.shape[2] ** 0.5) + _GRID / 2).long().clamp(0, _GRID - 1)
    cell = cell[..., 0] * _GRID + cell[..., 1]
    towards = -(normals * rays).sum(dim=-1) / rays.norm(dim=-1)
    facing = towards > 0
    slope = ((1 - towards.square()).clamp_min(0).sqrt() / towards.abs().clamp_min(1e-3)).clamp(max=_STEEPEST)
    allowance = _DEPTH_TOLERANCE + 1.5 * _CELL / points.shape[2] ** 0.5 * slope
    near = depth < _nearest_around(cell, depth) + allowance
    return near & (facing | (depth < _nearest_around(cell, torch.where(facing, depth, torch.inf)) - _SHEET_TOLERANCE))


def _nearest_around(
    cell: Int[Tensor, "batch frames points"], depth: Float[Tensor, "batch frames points"]
) -> Float[Tensor, "batch frames points"]:
    """Smallest depth in the cell of each point and its eight neighbours."""
    empty = torch.full((*depth.shape[:2], _GRID * _GRID), torch.inf)
    nearest = empty.scatter_reduce(2, cell, depth, "amin").unflatten(2, (_GRID, _GRID))
    around = -torch.nn.functional.max_pool2d(-nearest, 3, stride=1, padding=1)
    return around.flatten(2).gather(2, cell)


def exact_tracks(views: ClipViews) -> PointTracks:
    """Perfect tracks of the points that are visible both in the rest pose and in the frame."""
    confidence = (views.visible & views.at_rest[:, None]).float()
    return _tracks(views, lifted_displacement(views) * confidence[..., None], confidence)


def noisy_tracks(
    views: ClipViews, generator: torch.Generator, level: Float[Tensor, " batch"] | None = None
) -> PointTracks:
    """Tracks with the faults of optical flow.

    Errors that neighbours share, jitter, drift that grows with the time from the start, lost points, lost moments and
    lost regions, a few tracks that slid off to elsewhere, and a confidence that tells only roughly.

    Args:
        views: The clips.
        generator: Source of all randomness.
        level: Deviation in pixels of 256; drawn if not given: none for half of the clips, else 0.25 to 2.5.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    batch, frames, points = views.visible.shape
    drawn = level is None
    if level is None:
        level = torch.exp(math.log(0.25) + math.log(10) * uniform(batch)) * (uniform(batch) > 0.5)
    of_point = level[:, None] * torch.exp(0.5 * normal(batch, points))
    shared = normal(batch, frames, 1, 2) + views.positions[:, None] @ (2 * normal(batch, frames, 3, 2))
    age = torch.linspace(0, 1, frames)[:, None, None].sqrt()
    drift = age * (normal(batch, 1, points, 2) + normal(batch, 1, 1, 2))
    scatter = 0.5 * normal(batch, frames, points, 2) + 0.4 * drift
    error = of_point[:, None, :, None] * scatter + 0.3 * level[:, None, None, None] * shared

    # Faults go with the level: perfect tracks have none.
    faults = (level / 2).clamp(max=1)
    stray = uniform(batch, points) < 0.04 * faults[:, None] * uniform(batch, 1) * 2
    onset = torch.arange(frames)[:, None] >= frames * uniform(batch, 1, points)
    slid = stray[:, None] & onset
    error = error * views.pixel[:, None, None, None] + slid[..., None] * 0.15 * normal(batch, 1, points, 2)

    tracked = views.visible & views.at_rest[:, None]
    if drawn:
        # A tracker that knows the shape may follow points that come into view later.
        tracked = torch.where((uniform(batch) < 0.25)[:, None, None], views.visible, tracked)
    lost = uniform(batch, frames, points) < 0.15 * uniform(batch, 1, 1)
    lost |= uniform(batch, 1, points) < 0.3 * uniform(batch, 1, 1)
    hole = views.positions - views.positions[:, :1]
    lost |= (hole.norm(dim=-1) < 0.3 * uniform(batch, 1) * (uniform(batch, 1) < 0.25))[:, None]
    confidence = (tracked & ~lost).float()
    told = torch.exp(-0.4 * of_point)[:, None] * (0.7 + 0.3 * uniform(batch, frames, points))
    told = torch.where(slid, uniform(batch, frames, points), told)
    tells = uniform(batch) < 0.5
    confidence = confidence * torch.where(tells[:, None, None], told, 1.0)
    lifted = lifted_displacement(views) + error
    return _tracks(views, lifted * (confidence[..., None] > 0), confidence)


def lifted_displacement(views: ClipViews) -> Float[Tensor, "batch frames points 2"]:
    """True 2D displacement at the depth of the rest pose."""
    rest_depth = (views.positions[..., 2] + views.distance[:, None])[:, None, :, None]
    moved = views.positions[:, None] + views.displacement
    depth = (moved[..., 2:] + views.distance[:, None, None, None]).clamp_min(1e-2)
    return rest_depth * moved[..., :2] / depth - views.positions[:, None, :, :2]


def select_points(views: ClipViews, points: Int[Tensor, " chosen"]) -> ClipViews:
    """The same clips with some of the points."""
    return ClipViews(
        views.positions[:, points],
        views.normals[:, points],
        views.displacement[:, :, points],
        views.visible[:, :, points],
        views.at_rest[:, points],
        views.up,
        views.distance,
        views.pixel,
    )


def _tracks(views: ClipViews, lifted: Tensor, confidence: Tensor) -> PointTracks:
    at_rest = views.at_rest.float()
    return PointTracks(views.positions, views.normals, views.up, views.distance, lifted, confidence, at_rest)


def _play(pool: ClipPool, placement: Placement, times: Float[Tensor, "batch frames"]) -> tuple[Tensor, Tensor]:
    """Poses and normals in the world, the rest pose first, with all that a placement changes about them."""
    last = pool.positions.shape[1] - 1
    before = times.floor().long().clamp(0, last)
    after = (before + 1).clamp(max=last)
    window = placement.window[:, None]
    part = (times - before)[..., None, None]
    poses = torch.lerp(pool.positions[window, before].float(), pool.positions[window, after].float(), part)
    normals = pool.normals[window, torch.where(part[..., 0, 0] < 0.5, before, after)].float() / NORMAL_SCALE

    stretch = placement.stretch[:, None, None]
    poses, normals = poses * stretch, torch.nn.functional.normalize(normals / stretch, dim=-1)
    rest = poses[:, :1]
    poses = rest + placement.amplitude[:, None, None, None] * (poses - rest)

    # The rest pose counts as the start of the additional motion.
    progress = torch.cat(
        [torch.zeros(len(times), 1), torch.linspace(0, 1, times.shape[1] - 1).expand(len(times), -1)], 1
    )
    angle = progress * placement.turn[:, None]
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    turn = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1], dim=-1).unflatten(-1, (3, 3))
    size = (rest.amax(dim=2) - rest.amin(dim=2)).amax(dim=-1)
    shift = progress[..., None] * placement.travel[:, None] * size[..., None]
    return poses @ turn.mT + shift[:, :, None], normals @ turn.mT


def _look_at(
    target: Float[Tensor, "batch 3"], centre: Float[Tensor, "batch 3"], union: Float[Tensor, " batch"], place: Placement
) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, "batch 3"]]:
    """Rotation of the view frame (rows are its axes in the world) and position of a camera that looks at the target."""
    azimuth, elevation = place.azimuth, place.elevation
    backward = torch.stack([azimuth.sin() * elevation.cos(), -azimuth.cos() * elevation.cos(), elevation.sin()], dim=-1)
    camera = target + backward * (place.radius * union)[:, None]
    right = torch.stack([azimuth.cos(), azimuth.sin(), torch.zeros_like(azimuth)], dim=-1)
    down = torch.linalg.cross(-backward, right)
    right = right * place.roll.cos()[:, None] + down * place.roll.sin()[:, None]
    forward = torch.nn.functional.normalize(centre - camera, dim=-1)
    right = torch.nn.functional.normalize(right - forward * (right * forward).sum(dim=-1, keepdim=True), dim=-1)
    return torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1), camera


def _fold(times: Float[Tensor, "batch frames"], last: int) -> Float[Tensor, "batch frames"]:
    """Times beyond either end turned back into 0..last."""
    around = times % (2 * last)
    return last - (around - last).abs()
