"""Refinement: any engine's variation field, made to look more like the video by the polish of `fit`.

The field is followed by control nodes as well as they can; what the nodes gain by polishing is added to it, so detail
that they cannot follow stays.
"""

import logging
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree

from gvf_core.canonical.gaussians import CanonicalGaussians
from gvf_core.canonical.surface import SurfaceGaussians, bound_to_surface
from gvf_core.gaussians import VariationField
from gvf_core.geometry import interpolation_weights
from gvf_core.geometry.rotations import nearest_rotations
from gvf_core.motion.appearance import colors_in_video
from gvf_core.motion.body import Body, Pose
from gvf_core.motion.engine import Motion, MotionTask
from gvf_core.motion.polish import PolishOptions, polish
from gvf_core.motion.video_agreement import picture_difference
from gvf_core.progress import Monitor

LOGGER = logging.getLogger(__name__)

WORKING_SIZE = 256
"""Side in pixels at which pictures are compared; larger ones take longer and gain little."""
_NEIGHBOURS = 48
"""Gaussians around a node that tell how it turns."""
_POLISHED = 0.95
_WORTH_IT = 0.999
"""Smaller gains are rounding."""


def refine(task: MotionTask[Any], motion: Motion, monitor: Monitor, options: PolishOptions | None = None) -> Motion:
    """Polish a motion; it comes back as it was where that does not bring it nearer to the video.

    Args:
        task: The asset and the video.
        motion: What an engine found.
        monitor: Takes the progress.
        options: How to polish, within which time.

    Raises:
        Cancelled: The caller asked to stop.
    """
    canonical = task.canonical
    if not isinstance(canonical, SurfaceGaussians):
        canonical = bound_to_surface(task.capture, canonical.gaussians, np.random.default_rng(task.seed))
    size = min(WORKING_SIZE, task.camera.width)
    camera = task.camera.resized(size, size)
    frames = np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in task.frames])
    body = Body(task.capture, canonical)
    body.colors = colors_in_video(body, frames[0], camera)
    start = poses_of(body, task.canonical, motion.variation)
    better = polish(body, camera, frames, start, options or PolishOptions(), monitor.part(0, _POLISHED))
    variation = _with_gain(body, motion.variation, task.canonical, start, better)
    everything = range(len(frames))
    before, after = (
        picture_difference(task.canonical.gaussians, field, frames, camera, everything)
        for field in (motion.variation, variation)
    )
    monitor(1)
    LOGGER.info("refinement: picture difference %.5f before, %.5f after", before, after)
    figures = motion.figures | {"refinement": {"before": round(before, 5), "after": round(after, 5)}}
    if after > _WORTH_IT * before:
        return replace(motion, figures=figures)
    return replace(motion, variation=variation, figures=figures)


def poses_of(body: Body, canonical: CanonicalGaussians, variation: VariationField) -> list[Pose]:
    """Poses of the control nodes that follow a variation field: moved and turned as the Gaussians around them."""
    nodes = body.graph.nodes
    means = canonical.gaussians.means.double()
    shifts = variation.deltas[..., VariationField.MEANS].double()
    positions = nodes + interpolation_weights(torch.from_numpy(nodes), means).apply(shifts).numpy()
    _, near = cKDTree(means.numpy()).query(nodes, k=min(_NEIGHBOURS, len(means)))
    rest = means.numpy()[near] - nodes[:, None]
    poses = []
    for moved, position in zip((means + shifts).numpy(), positions, strict=True):
        arms = moved[near] - position[:, None]
        poses.append(Pose(nearest_rotations(np.einsum("nki,nkj->nij", arms, rest)), position))
    return poses


def _with_gain(
    body: Body, variation: VariationField, canonical: CanonicalGaussians, start: list[Pose], better: list[Pose]
) -> VariationField:
    """The field with what the nodes gained: places shifted, rotations turned."""
    deltas = variation.deltas.clone()
    rest = canonical.gaussians.rotations + torch.tensor([1.0, 0.0, 0.0, 0.0])
    for index, (before, after) in enumerate(zip(start, better, strict=True)):
        old, new = body.splats(before), body.splats(after)
        deltas[index, :, VariationField.MEANS] += new.means - old.means
        turn = _product(new.quaternions, old.quaternions * torch.tensor([1.0, -1.0, -1.0, -1.0]))
        turned = _product(turn, rest + deltas[index, :, VariationField.ROTATIONS])
        deltas[index, :, VariationField.ROTATIONS] = turned - rest
    return VariationField(deltas)


def _product(left: Float[torch.Tensor, "n 4"], right: Float[torch.Tensor, "n 4"]) -> Float[torch.Tensor, "n 4"]:
    """Hamilton products."""
    lw, lv, rw, rv = left[:, :1], left[:, 1:], right[:, :1], right[:, 1:]
    vector = lw * rv + rw * lv + torch.linalg.cross(lv, rv)
    return torch.cat([lw * rw - (lv * rv).sum(-1, keepdim=True), vector], dim=1)
