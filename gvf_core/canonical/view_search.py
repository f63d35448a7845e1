"""From which direction the first frame of the driving video sees the asset."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8

from gvf_core.canonical.alignment import FARTHEST, NEAREST
from gvf_core.gaussians import Gaussians, Splats
from gvf_core.rendering import Camera, orbit_camera, rasterize
from gvf_core.video.crop import MARGIN, crop_square

SIZE = 64
"""Side in pixels of the pictures that are compared."""
GAUSSIANS = 5000
"""So many, widened to close the surface, are drawn everywhere: 8 ms a picture against 15 ms for 20,000."""
FINE_GAUSSIANS = 20000
"""So many are drawn in refinement, as widening swells silhouettes: 1.7 degrees of median error, 2.3 without."""
MAX_WIDTH = 2.0
"""Widest Gaussian in units of the median; a wide one at the tip of an antenna made a ball as large as a turret."""
COARSE_STEP = 15.0
"""Degrees between the directions that are tried everywhere."""
FINE_STEPS = ((8.0, 6), (4.0, 4), (2.0, 3), (1.0, 2))
"""Degrees of each round of refinement, and how many directions enter it."""
NEIGHBOURHOOD = 20.0
"""Directions closer than this are refined as one."""
DIFFERENT = 30.0
"""An alternative lies at least so many degrees from the found direction."""
COLOR_WEIGHT = 3.0
"""Of the mean colour difference (0..1) against the overlap. On the calibration half (48 lit frames, steps of 15
degrees) 90 % were found within 30 degrees by overlap alone, 92 % with weight 1, 98 % with weight 3."""
SIMILARITY_SIZE = 224
"""Side in pixels of the pictures that the image encoder sees."""
SIMILARITY_WEIGHT = 0.2
"""Of one minus the cosine, as in the official alignment; not tuned."""
POOR_COST, COST_SLOPE = 0.5, 20.0
"""Cost at which the found direction is as likely right as wrong, and how fast that changes. Calibration half: right
ones cost 0.16 to 0.45 (5th to 95th percentile), another asset's frames 0.55 to 1.04 (10th to 90th). The fitted slope
was 33; filmed pictures will be less clear-cut."""
CLEAR_MARGIN = 0.025
"""Scale on which the lead over the alternative makes a difference; right ones led by 0.05 and more (95 %)."""
CONFIDENCE_IF_ALIKE = 0.3
"""Part of the confidence that is left where the alternative is as good; fitted together with the scale."""
GOOD_OVERLAP = 0.75
"""Overlap from which on the silhouettes match, so that doubt comes from the alternative."""
SURE = 0.6
"""Confidence from which on there is no remark. Held-out half, lit frames in the captured pose: 56 of 56 directions
above are right within 15 degrees, 2 of 6 below; in another pose 16 of 18 and 1 of 13; 2 of 43 frames of other assets
are above."""
IF_CUT_OFF = 0.55
"""Part of the confidence left where the frame cuts the object off: with a fifth cut, 6 of 11 sure ones were right."""
MIN_OPACITY = 0.02
"""Gaussians below are invisible."""
WORST = 1.0 + COLOR_WEIGHT
"""Cost of two pictures that share nothing."""
STRAIGHT = ((-1, 0), (1, 0), (0, -1), (0, 1))
DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
"""Steps of refinement: to the right and up."""

Direction = tuple[float, float]
"""Azimuth and elevation in degrees, see `orbit_camera`."""
Similarity = Callable[
    [UInt8[np.ndarray, "views height width 3"], UInt8[np.ndarray, "height width 3"]], Float[np.ndarray, " views"]
]
"""Cosine similarity of an image encoder between pictures of the asset and the frame, all square and on white."""


@dataclass(frozen=True)
class FoundView:
    """From where the frame seems to see the asset.

    Attributes:
        azimuth: Degrees as in `orbit_camera`, within [-180, 180).
        elevation: Degrees.
        confidence: Estimated probability that the direction is right within 15 degrees, 0..1; low where the pictures
            differ, and where the alternative is nearly as good.
        cost: One minus the overlap of the silhouettes, plus `COLOR_WEIGHT` times the mean colour difference where
            they overlap (0..1): 0 for equal pictures, `WORST` at most.
        alternative: Azimuth and elevation of the best clearly different direction, None if there is none.
        remark: Empty, or one sentence for the artist: why the direction may be wrong.
    """

    azimuth: float
    elevation: float
    confidence: float
    cost: float
    alternative: Direction | None
    remark: str


def find_view(
    gaussians: Gaussians,
    frame: Float32[np.ndarray, "height width 4"],
    fov: float,
    *,
    elevations: tuple[float, float] = (-30.0, 60.0),
    similarity: Similarity | None = None,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> FoundView:
    """Compare the frame with pictures of the asset from all around, coarse to fine.

    Like the official alignment (`utils/inference_utils.py`, lines 36-177), but with the elevation, with an exposure
    fitted to each picture (Gaussians are unlit, videos are not), and without needing an image encoder. On 62 lit
    Blender frames of 31 assets by which no constant was chosen, azimuth was off by 1.5 and elevation by 0.9 degrees
    (medians); 94 % were right within 15 degrees, and all others had a remark. 3 s of CPU time each.

    Args:
        gaussians: The asset; the order must not follow the place, as only every n-th Gaussian is drawn.
        frame: Premultiplied colour and alpha of the first used frame.
        fov: Degrees across the larger side of the frame; being wrong by a fifth does little harm.
        elevations: Lowest and highest elevation to consider, within (-90, 90); equal if it is known.
        similarity: Decides between the best few directions together with the cost.
        on_progress: Called with the fraction done before each picture; may raise to stop.
    """
    low, high = elevations
    if not (frame[..., 3] > 0.5).any():
        return _nothing(low, high, "The first frame shows nothing in front of the background.")
    visible = _visible(gaussians)
    if visible is None:
        return _nothing(low, high, "The asset has no visible Gaussians, so its view cannot be found.")
    coarse, fine, target = _part(visible, GAUSSIANS), _part(visible, FINE_GAUSSIANS), _target(frame, fov)
    matches = []
    grid = _grid(low, high)
    for index, direction in enumerate(grid):
        on_progress(0.5 * index / len(grid))
        matches.append(_match(coarse, target, direction))
    for done, (step, count) in enumerate(FINE_STEPS):
        matches = _distinct(matches, count, DIFFERENT if done else NEIGHBOURHOOD)
        for index, match in enumerate(matches):
            on_progress(0.5 + 0.5 * (done + index / len(matches)) / len(FINE_STEPS))
            matches[index] = _refined(fine if done else coarse, target, match.direction, step, elevations)
    matches = _distinct(matches, count, DIFFERENT)
    unlike = _dissimilarity(visible, frame, fov, matches, similarity) if similarity else np.zeros(len(matches))
    on_progress(1.0)
    return _decide(matches, SIMILARITY_WEIGHT * unlike, _is_cut_off(frame[..., 3] > 0.5))


class _Match(NamedTuple):
    """How well a direction explains the frame; the smallest is the best."""

    cost: float
    direction: Direction
    overlap: float


@dataclass(frozen=True)
class _Target:
    """The frame cropped to its mask: straight colour, coverage, and the focal length in units of the crop's side."""

    color: Float32[np.ndarray, "size size 3"]
    alpha: Float32[np.ndarray, "size size"]
    focal: float


@dataclass(frozen=True)
class _Asset:
    """The Gaussians that are drawn, and their centres."""

    splats: Splats
    positions: Float[np.ndarray, "gaussians 3"]


def _visible(gaussians: Gaussians) -> Splats | None:
    """Activated Gaussians that can be seen, on the CPU."""
    with torch.no_grad():
        splats = Splats(*(field.detach().cpu().float() for field in gaussians.activate()))
    finite = [torch.isfinite(field).reshape(len(field), -1).all(dim=1) for field in splats]
    seen = torch.stack(finite).all(dim=0) & (splats.opacities > MIN_OPACITY)
    return Splats(*(field[seen] for field in splats)) if seen.any() else None


def _part(splats: Splats, count: int) -> _Asset:
    """Every n-th Gaussian, wide enough to close the surface."""
    kept = torch.linspace(0, len(splats.means) - 1, min(len(splats.means), count)).round().long()
    part = Splats(*(field[kept] for field in splats))
    largest = part.scales.amax(dim=1, keepdim=True)
    # One wide Gaussian at the end of an antenna would be a ball in the silhouette.
    limit = MAX_WIDTH * largest.median()
    wider = (part.scales * math.sqrt(len(splats.means) / len(kept))).clamp_max(limit)
    # Along the surface only: flat Gaussians stay flat.
    thinnest = part.scales == part.scales.amin(dim=1, keepdim=True)
    scales = torch.where(thinnest, part.scales, wider)
    return _Asset(part._replace(scales=scales), part.means.double().numpy())


def _target(frame: Float32[np.ndarray, "height width 4"], fov: float) -> _Target:
    cropped, focal = _cropped(frame, fov, SIZE)
    alpha = cropped[..., 3]
    return _Target(cropped[..., :3] / np.maximum(alpha, 1e-3)[..., None], alpha, focal)


def _cropped(
    frame: Float32[np.ndarray, "height width 4"], fov: float, size: int
) -> tuple[Float32[np.ndarray, "size size 4"], float]:
    """The square around the mask, and the focal length in units of its side."""
    height, width = frame.shape[:2]
    focal = orbit_camera(0, 0, fov=fov).intrinsics[0] * max(height, width)
    whole = replace(
        orbit_camera(0, 0), intrinsics=(focal / width, focal / height, 0.5, 0.5), width=width, height=height
    )
    cropped, window = crop_square(frame[None], whole, size)
    return cropped[0], window.intrinsics[0]


def _grid(low: float, high: float) -> list[Direction]:
    """Directions all around; fewer of them on the short circles towards the poles."""
    directions = []
    for elevation in np.linspace(low, high, math.ceil((high - low) / COARSE_STEP) + 1):
        count = math.ceil(360 / COARSE_STEP * max(0.25, math.cos(math.radians(elevation))))
        directions += [(360 * index / count - 180, float(elevation)) for index in range(count)]
    return directions


def _angle(first: Direction, second: Direction) -> float:
    """Degrees between two directions of view."""
    cosine = orbit_camera(*first, radius=1).position @ orbit_camera(*second, radius=1).position
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))


def _distinct(matches: Iterable[_Match], count: int, apart: float) -> list[_Match]:
    """The best ones that lie far enough from each other, best first."""
    kept: list[_Match] = []
    for match in sorted(matches):
        if len(kept) < count and all(_angle(match.direction, other.direction) >= apart for other in kept):
            kept.append(match)
    return kept


def _refined(asset: _Asset, target: _Target, start: Direction, step: float, elevations: tuple[float, float]) -> _Match:
    """Walk to a better neighbour up to three times."""
    best = _match(asset, target, start)
    tried = {start}
    for _ in range(3):
        here = best
        # The valley may run across: a turn and a tilt that only help together.
        for sides in (STRAIGHT, DIAGONAL):
            around = [_stepped(here.direction, step, *side, elevations) for side in sides] if best is here else []
            for direction in around:
                if direction not in tried:
                    tried.add(direction)
                    best = min(best, _match(asset, target, direction), key=lambda match: match.cost)
        if best is here:
            break
    return best


def _stepped(direction: Direction, step: float, right: int, up: int, elevations: tuple[float, float]) -> Direction:
    """Some degrees further on the sphere, within the elevations."""
    azimuth, elevation = direction
    turn = step / max(0.2, math.cos(math.radians(elevation)))
    return azimuth + right * turn, min(max(elevation + up * step, elevations[0]), elevations[1])


def _camera(positions: Float[np.ndarray, "gaussians 3"], focal: float, direction: Direction, size: int) -> Camera:
    """A camera whose picture the asset fills as the frame's object fills its crop.

    The focal length is the video's, so the distance follows from the size: perspective changes a silhouette.
    """
    radius = 2.0
    for _ in range(3):
        camera = replace(orbit_camera(*direction, radius, size=size), intrinsics=(focal, focal, 0.5, 0.5))
        pixels, _ = camera.project(positions)
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        zoom = float((1 - 2 * MARGIN) * size / max((high - low).max(), 1e-3 * size))
        radius = float(np.clip(radius / zoom, NEAREST, FARTHEST))
    cx, cy = (0.5 + zoom * (0.5 - (low + high) / 2 / size)).tolist()
    return replace(camera, intrinsics=(focal * zoom, focal * zoom, cx, cy))


def _match(asset: _Asset, target: _Target, direction: Direction) -> _Match:
    camera = _camera(asset.positions, target.focal, direction, SIZE)
    picture = _picture(asset.splats, camera)
    alpha = picture[..., -1]
    if alpha.sum() < 1:
        return _Match(WORST, direction, 0.0)
    # By the outline and by area and centroid: an antenna that the mask misses spoils the one, a limb in another
    # pose the other.
    shifted = cv2.warpAffine(picture, _same_moments(alpha, target.alpha), (SIZE, SIZE))
    cost, overlap = min(_difference(picture, target), _difference(shifted, target))
    return _Match(cost, direction, overlap)


def _picture(splats: Splats, camera: Camera) -> Float32[np.ndarray, "size size 4"]:
    """Premultiplied colour and alpha."""
    with torch.no_grad():
        color, alpha = rasterize(splats, camera)
    return torch.cat([color, alpha[..., None]], dim=-1).numpy()


def _same_moments(
    alpha: Float32[np.ndarray, "size size"], wanted: Float32[np.ndarray, "size size"]
) -> Float[np.ndarray, "2 3"]:
    """The scaling and shift (of pixel indices) that give one silhouette the area and centroid of the other."""

    def moments(mask: np.ndarray) -> tuple[float, np.ndarray]:
        index, area = np.arange(SIZE), mask.sum()
        return area, np.array([mask.sum(axis=0) @ index, mask.sum(axis=1) @ index]) / area

    (area, center), (wanted_area, wanted_center) = moments(alpha), moments(wanted)
    scale = math.sqrt(wanted_area / area)
    return np.array([[scale, 0, 0], [0, scale, 0]]) + np.outer(wanted_center - scale * center, [0, 0, 1])


def _difference(picture: Float32[np.ndarray, "size size 4"], target: _Target) -> tuple[float, float]:
    """Cost and overlap of a picture."""
    alpha = picture[..., -1]
    both = np.minimum(alpha, target.alpha)
    overlap = float(both.sum() / np.maximum(alpha, target.alpha).sum())
    inside = both > 0.5
    color = _color_difference(picture, target, inside) if inside.any() else 1.0
    return 1 - overlap + COLOR_WEIGHT * color, overlap


def _color_difference(
    picture: Float32[np.ndarray, "size size 4"], target: _Target, inside: Bool[np.ndarray, "size size"]
) -> float:
    """Mean absolute difference after the best exposure."""
    color, wanted = picture[inside, :3] / picture[inside, 3:], target.color[inside]
    exposure = (color * wanted).sum() / max((color * color).sum(), 1e-6)
    return float(np.abs(exposure * color - wanted).mean().clip(0, 1))


def _dissimilarity(
    splats: Splats,
    frame: Float32[np.ndarray, "height width 4"],
    fov: float,
    matches: list[_Match],
    similarity: Similarity,
) -> Float[np.ndarray, " matches"]:
    """One minus the cosine of the encoder, for pictures on white that are as large in theirs as the frame's object."""
    cropped, focal = _cropped(frame, fov, SIMILARITY_SIZE)
    positions = splats.means.double().numpy()
    pictures = []
    for match in matches:
        with torch.no_grad():
            camera = _camera(positions, focal, match.direction, SIMILARITY_SIZE)
            pictures.append(_bytes(rasterize(splats, camera, background=(1, 1, 1)).color.numpy()))
    shown = _bytes(cropped[..., :3] + 1 - cropped[..., 3:])
    return 1 - np.asarray(similarity(np.stack(pictures), shown), np.float64)


def _bytes(color: Float32[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    return np.round(255 * color.clip(0, 1)).astype(np.uint8)


def _is_cut_off(mask: Bool[np.ndarray, "height width"]) -> bool:
    return bool(max(edge.mean() for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1])) > 0.02)


def _decide(matches: list[_Match], penalties: Float[np.ndarray, " matches"], cut_off: bool) -> FoundView:
    totals = np.array([match.cost for match in matches]) + penalties
    order = np.argsort(totals, kind="stable")
    best = matches[order[0]]
    alternative = _wrapped(matches[order[1]].direction) if len(matches) > 1 else None
    margin = float(totals[order[1]] - totals[order[0]]) if alternative else WORST
    confidence = _confidence(best.cost, margin) * (IF_CUT_OFF if cut_off else 1)
    remark = "" if confidence >= SURE else _remark(best, margin, alternative, cut_off)
    return FoundView(*_wrapped(best.direction), confidence, best.cost, alternative, remark)


def _remark(best: _Match, margin: float, alternative: Direction | None, cut_off: bool) -> str:
    """Why the best match is doubtful."""
    if cut_off:
        return "The first frame cuts the object off, so its view is uncertain; check it, or start at another frame."
    if best.overlap < GOOD_OVERLAP:
        return (
            f"From no direction does the asset match the first frame well (silhouettes overlap by {best.overlap:.0%}); "
            "start where the video shows the asset's pose, or set the view by hand."
        )
    if alternative and margin < 2 * CLEAR_MARGIN:
        return (
            f"The first frame looks much the same from {_words(_wrapped(best.direction))} and from "
            f"{_words(alternative)}; if the motion comes out turned, set the view by hand."
        )
    return "The asset's colours differ from those in the first frame; check the view, or set it by hand."


def _confidence(cost: float, margin: float) -> float:
    """How sure it is that the frame shows the asset, times how much better the direction is than the next."""
    match = 1 / (1 + math.exp(COST_SLOPE * (cost - POOR_COST)))
    return match * (1 - (1 - CONFIDENCE_IF_ALIKE) * math.exp(-margin / CLEAR_MARGIN))


def _nothing(low: float, high: float, remark: str) -> FoundView:
    return FoundView(0.0, min(max(0.0, low), high), 0.0, WORST, None, remark)


def _wrapped(direction: Direction) -> Direction:
    return (direction[0] + 180) % 360 - 180, direction[1]


def _words(direction: Direction) -> str:
    return f"azimuth {direction[0]:.0f}, elevation {direction[1]:.0f}"
