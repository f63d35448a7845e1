"""Refinement: any engine's variation field, made to look more like the video by the polish of `fit`.

The field is followed by control nodes as well as they can; what the nodes gain by polishing is added to it, so detail
that they cannot follow stays.
"""

import logging
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float

from gvf_core.canonical.gaussians import CanonicalGaussians
from gvf_core.gaussians import VariationField
from gvf_core.motion.body import Body, Pose
from gvf_core.motion.engine import Motion, MotionTask
from gvf_core.motion.first_frame import body_on_first_frame
from gvf_core.motion.node_poses import poses_from_points
from gvf_core.motion.polish import PolishOptions, polish
from gvf_core.motion.video_agreement import picture_difference
from gvf_core.progress import Monitor

LOGGER = logging.getLogger(__name__)

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
    body, views = body_on_first_frame(task)
    frames, camera = views[0].frames, views[0].camera
    start = poses_of(body, task.canonical, motion.variation)
    better = polish(body, views, start, options or PolishOptions(), monitor.part(0, _POLISHED))
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
    means = canonical.gaussians.means.double().numpy()
    return poses_from_points(body.graph.nodes, means, variation.deltas[..., VariationField.MEANS].double().numpy())


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
