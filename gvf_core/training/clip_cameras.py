"""From where the pictures of a clip are taken (CONVENTIONS of the official code, sections 8 and 9)."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from gvf_core.geometry.low_discrepancy import sphere_hammersley
from gvf_core.rendering.camera import Camera, orbit_camera
from gvf_core.training.clip_record import ViewRole
from gvf_core.training.preparation_settings import ConditionCamera

RADIUS = 2.0
"""Of all cameras but augmented ones, in units of the longest side of the box around all frames."""
CANONICAL_FOV = 40.0
"""Degrees; that of the views whose features E_GS was trained on."""
TARGET_ELEVATIONS = (-15.0, 45.0)
"""Degrees; uniform, as the azimuth is around the whole turn."""
AUGMENTED_FOVS, AUGMENTED_ELEVATIONS = (20.0, 60.0), (-15.0, 15.0)
AUGMENTED_AZIMUTH_SPREAD, AUGMENTED_AZIMUTH_LIMIT = 30.0, 25.0
"""Degrees: a normal distribution about the front, clipped."""


@dataclass(frozen=True)
class Viewpoints:
    """Cameras of the pictures of a clip, in the order of its file.

    Attributes:
        cameras: In the unit frame of the clip.
        frame: What each shows.
        role: `ViewRole` of each.
    """

    cameras: tuple[Camera, ...]
    frame: Int32[np.ndarray, " views"]
    role: Int32[np.ndarray, " views"]


def clip_viewpoints(
    frames: int,
    canonical: int,
    targets: int,
    size: int,
    condition: ConditionCamera,
    fov: float,
    rng: np.random.Generator,
) -> Viewpoints:
    """Frame 0 from all around, every frame from the condition camera, and every frame from random sides.

    Args:
        frames: Of the clip.
        canonical: Views of frame 0, Hammersley points on the sphere.
        targets: Views of each frame, drawn anew for each.
        size: Width and height of the pictures in pixels.
        condition: "front", or "augment": one camera for the clip, of another lens, distance and side.
        fov: Of the front and target cameras, degrees.
        rng: Of what is random.
    """
    around = canonical_cameras(canonical, size)
    film = orbit_camera(0.0, 0.0, RADIUS, fov, size) if condition == "front" else augmented_camera(size, rng)
    random = [target_camera(size, fov, rng) for _ in range(frames * targets)]
    counts = (len(around), frames, len(random))
    shown = [np.zeros(len(around)), np.arange(frames), np.repeat(np.arange(frames), targets)]
    roles = np.repeat([ViewRole.CANONICAL, ViewRole.CONDITION, ViewRole.TARGET], counts)
    return Viewpoints(
        (*around, *(film,) * frames, *random), np.concatenate(shown).astype(np.int32), roles.astype(np.int32)
    )


def canonical_cameras(count: int, size: int) -> list[Camera]:
    """Evenly spread on the sphere as captures have them: half a step away from the poles, where "up" has no meaning."""
    directions = np.degrees(sphere_hammersley(count, (0.5, 0.0)))
    return [orbit_camera(azimuth, elevation, RADIUS, CANONICAL_FOV, size) for azimuth, elevation in directions]


def target_camera(size: int, fov: float, rng: np.random.Generator) -> Camera:
    """Any azimuth, mostly from a little above."""
    return orbit_camera(rng.uniform(0, 360), rng.uniform(*TARGET_ELEVATIONS), RADIUS, fov, size)


def augmented_camera(size: int, rng: np.random.Generator) -> Camera:
    """The official augmentation of condition views: the lens varies, and the ball around the unit cube fills it."""
    fov = rng.uniform(*AUGMENTED_FOVS)
    radius = math.sqrt(3) / 2 / math.sin(math.radians(fov) / 2)
    aside = np.clip(rng.normal(0, AUGMENTED_AZIMUTH_SPREAD), -AUGMENTED_AZIMUTH_LIMIT, AUGMENTED_AZIMUTH_LIMIT)
    return orbit_camera(float(aside), rng.uniform(*AUGMENTED_ELEVATIONS), radius, fov, size)
