"""Colours and opacities that follow the video: eyes that close, lights that flicker, all that no motion explains.

The last step, when the motion is found. Only what changes from the first frame on is taken: the asset begins as it was
captured, whatever light the video shows it in, and its hidden side stays so.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gvf_core.gaussians import SH_DC, Gaussians, VariationField
from gvf_core.motion.body import Body
from gvf_core.motion.engine import DrivingView, Motion, MotionTask
from gvf_core.motion.first_frame import body_on_first_frame
from gvf_core.motion.picture_loss import pooled
from gvf_core.progress import Monitor
from gvf_core.rendering import rasterize

LOGGER = logging.getLogger(__name__)

_LOOK = slice(VariationField.COLORS.start, VariationField.OPACITY + 1)


@dataclass(frozen=True)
class RecolorOptions:
    """Strengths; raw units of the variation field (a step of 1 is 0.28 of a colour's range).

    Attributes:
        iterations: Sweeps over all frames.
        rate: Adam step, which falls to a fifth.
        cover: A Gaussian that is seen in fewer pixels takes shorter steps.
        scales: Widths in pixels over which pictures are averaged before they are compared, and weights.
        change: Squared change since the first frame.
        flicker: Squared change from frame to frame.
    """

    iterations: int = 15
    rate: float = 0.12
    cover: float = 0.5
    scales: tuple[tuple[int, float], ...] = ((1, 1.0), (7, 1.0))
    change: float = 0.002
    flicker: float = 0.01


def recolor(task: MotionTask[Any], motion: Motion, monitor: Monitor, options: RecolorOptions | None = None) -> Motion:
    """Let colours and opacities follow the video; the motion stays as it is, and so does everything in frame 0.

    Args:
        task: The asset and the video.
        motion: Found already.
        monitor: Takes the progress.
        options: Strengths.

    Returns:
        The motion with deltas of colours and opacities, or as it was where they bring the pictures no nearer.

    Raises:
        Cancelled: The caller asked to stop.
    """
    options = options or RecolorOptions()
    body, views = body_on_first_frame(task)
    looks = _Looks(task.canonical.gaussians, motion.variation, views, body.size, options)
    monitor(0)
    always = _light_of_first_frame(looks, task.canonical.gaussians, body, options)
    change = torch.zeros_like(motion.variation.deltas[..., _LOOK]).requires_grad_(True)
    optimizer, decay = looks.optimizer(change)
    for iteration in range(options.iterations):
        optimizer.zero_grad()
        for index in range(1, len(change)):
            monitor((iteration + index / len(change)) / options.iterations)
            looks.difference(always + change[index], index).backward()
        steps = change[1:] - change[:-1]
        hold = options.change * change.square().sum() + options.flicker * steps.square().sum()
        (hold / change.shape[1]).backward()
        assert change.grad is not None
        change.grad[0] = 0
        optimizer.step()
        decay.step()
    change = change.detach()
    # What the light of the first frame explains is no gain.
    before, after = (looks.mean_difference(look, monitor) for look in (always.expand_as(change), always + change))
    LOGGER.info("colours: picture difference %.5f without, %.5f with them", before, after)
    figures = motion.figures | {"recolored": {"before": round(before, 5), "after": round(after, 5)}}
    if after >= before:
        return replace(motion, figures=figures)
    deltas = motion.variation.deltas.clone()
    deltas[..., _LOOK] += change
    return replace(motion, variation=VariationField(deltas), figures=figures)


def _light_of_first_frame(
    looks: "_Looks", gaussians: Gaussians, body: Body, options: RecolorOptions
) -> Float[Tensor, "gaussians 4"]:
    """How the video differs from the capture from the beginning: its light, which is not the asset's."""
    colors = (torch.from_numpy(body.colors) - 0.5) / SH_DC - gaussians.colors
    always = F.pad(colors, (0, 1)).requires_grad_(True)
    optimizer, decay = looks.optimizer(always)
    for _ in range(options.iterations):
        optimizer.zero_grad()
        looks.difference(always, 0).backward()
        optimizer.step()
        decay.step()
    return always.detach()


class _Looks:
    """Pictures of the moving Gaussians beside the frames."""

    def __init__(
        self,
        gaussians: Gaussians,
        variation: VariationField,
        views: Sequence[DrivingView],
        size: float,
        options: RecolorOptions,
    ) -> None:
        self._gaussians, self._deltas, self._views, self._size = gaussians, variation.deltas, views, size
        self._options = options
        self._frames = [[torch.from_numpy(frame) for frame in view.frames] for view in views]

    def optimizer(self, look: Tensor) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        """Adam, with steps that grow shorter, for what is added to colours and opacities."""
        options, pixels = self._options, sum(view.camera.width * view.camera.height for view in self._views)
        # Adam would take full steps with Gaussians that hardly shine through others, too.
        optimizer = torch.optim.Adam([look], lr=options.rate, eps=options.cover * SH_DC / (4 * pixels))
        decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - 0.8 * step / options.iterations)
        return optimizer, decay

    def difference(self, look: Float[Tensor, "gaussians 4"], frame: int) -> Float[Tensor, ""]:
        """Mean absolute difference, summed over widths and views.

        Args:
            look: Added to the deltas of colours and opacities.
            frame: Which one.
        """
        deltas = self._deltas[frame]
        splats = self._gaussians.activate(torch.cat([deltas[:, : _LOOK.start], deltas[:, _LOOK] + look], dim=-1))
        splats = splats._replace(scales=splats.scales * self._size)
        total = look.new_zeros(())
        for view, frames in zip(self._views, self._frames, strict=True):
            drawn = rasterize(splats, view.camera)
            alpha = frames[frame][..., 3:]
            shown = frames[frame][..., :3] / alpha.clamp_min(1e-3)
            # Colours are compared inside the video's object only: what sticks out of it should fade, not turn black.
            colors = alpha * (drawn.color - drawn.alpha[..., None] * shown)
            off = torch.cat([colors, drawn.alpha[..., None] - alpha], dim=-1)
            for width, weight in self._options.scales:
                total = total + weight * pooled(off, width).abs().mean()
        return total

    def mean_difference(self, looks: Float[Tensor, "frames gaussians 4"], monitor: Monitor) -> float:
        """The same, mean over all frames."""
        differences = []
        for index, look in enumerate(looks):
            monitor(1)  # nothing is left of the stage, but it can still be cancelled
            with torch.no_grad():
                differences.append(float(self.difference(look, index)))
        return float(np.mean(differences))
