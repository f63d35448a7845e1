"""The engine `diffusion`, the method of the paper: networks make the Gaussians and sample how they vary."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gvf_core.canonical.slat import STATIC_TOKENS, SlatGaussians, gaussians_from_slat, voxels_for_networks
from gvf_core.capture import Capture
from gvf_core.errors import SamplingError, SettingsError
from gvf_core.gaussians import Gaussians, VariationField, about_vertical
from gvf_core.geometry import farthest_points
from gvf_core.memory import free_memory_mb
from gvf_core.models.model_set import ModelSet, open_model_set
from gvf_core.models.variation_dit import VariationDit
from gvf_core.motion.clip_windows import clip_segments
from gvf_core.motion.engine import Frames, Motion, MotionTask
from gvf_core.motion.latent_sampling import LatentCondition, LatentSample, sample_latents
from gvf_core.motion.polish import PolishOptions
from gvf_core.motion.refine import refine
from gvf_core.motion.video_agreement import overlap_figures, picture_difference
from gvf_core.progress import Monitor
from gvf_core.rendering.camera import Camera
from gvf_core.settings import AnimateSettings, Background, EngineName
from gvf_core.video.crop import crop_for_networks

LOGGER = logging.getLogger(__name__)

Sampler = Callable[[VariationDit, LatentCondition, AnimateSettings, int, Monitor], LatentSample]
"""`sample_latents`, or something in its place."""

_TOKENS_DONE, _SAMPLED_TO_REFINE, _REFINED = 0.15, 0.7, 0.95
_MOST_SWEEPS = 60
"""Of a refinement, if the time allows."""
_COMPARED = 12
"""Frames of each sample that are compared with the video."""
_WORKING_COPIES = 4
"""Copies of the variation field in memory at once: the decoder's chunks, their sum, the turned field, the result."""


def open_diffusion(settings: AnimateSettings) -> "Diffusion":
    """The engine with its networks, on the GPU where there is one.

    Raises:
        WeightsError: Weights are missing or damaged, or do not fit together.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Diffusion(open_model_set(settings.weights, device), settings)


@dataclass(frozen=True)
class Diffusion:
    """See `gvf_core.motion.engine.MotionEngine`.

    Attributes:
        models: The networks.
        settings: How to use them.
        sampler: What draws latents.
        name: As in the settings.
    """

    models: ModelSet
    settings: AnimateSettings
    sampler: Sampler = sample_latents
    name: EngineName = "diffusion"

    @property
    def provenance(self) -> dict[str, Any]:
        """Which weights."""
        weights = {
            record.name: {
                "origin": record.origin,
                "preset": record.preset,
                "sha256": {file.name: file.sha256 for file in record.files},
            }
            for record in self.models.records
        }
        return {"weights": weights, "device": str(self.models.device)}

    @property
    def remark(self) -> str:
        """Random weights give no result."""
        return self.models.remark

    def similarity(
        self, pictures: UInt8[np.ndarray, "pictures height width 3"], picture: UInt8[np.ndarray, "height width 3"]
    ) -> Float[np.ndarray, " pictures"]:
        """Cosine similarity of DINOv2's class tokens."""
        encode = self.models.image_encoder.prenorm_tokens
        classes = torch.stack([encode(one[None], "white", 1)[0, 0] for one in (*pictures, picture)]).float()
        return torch.cosine_similarity(classes[:-1], classes[-1:], dim=1).cpu().numpy()

    def check(self, capture: Capture, frames: int) -> None:
        """There must be enough voxels, and memory for the variation field.

        Raises:
            CaptureError: The asset is too thin for the networks.
            SettingsError: The clip is too long for the memory, or the statistics do not suit the settings.
        """
        per_voxel = self.models.static_vae.params.head.per_voxel
        gaussians = per_voxel * len(voxels_for_networks(capture, per_voxel))
        needed_mb = _WORKING_COPIES * frames * gaussians * 14 * 4 / 2**20
        # The result comes back to the host, whatever computes it.
        free_mb = min(free_memory_mb(device) for device in (torch.device("cpu"), self.models.device))
        if needed_mb > free_mb:
            raise SettingsError(
                f"{frames} frames of {gaussians} Gaussians take about {needed_mb / 1024:.1f} GB of memory, and "
                f"{free_mb / 1024:.1f} GB are free.",
                f"Use at most {int(frames * free_mb / needed_mb)} frames at once.",
            )
        if self.settings.standardise_positions:
            self.models.statistics.standardise_positions(torch.zeros(1, 3))

    def canonical(self, capture: Capture, monitor: Monitor) -> SlatGaussians:
        """E_GS and D_GS."""
        indices = voxels_for_networks(capture, self.models.static_vae.params.head.per_voxel)
        return gaussians_from_slat(capture, indices, self.models, self.settings.voxel_features, monitor)

    def crop(self, frames: Frames, camera: Camera) -> tuple[Frames, Camera]:
        """The official crop."""
        return crop_for_networks(frames, camera)

    def find_motion(self, task: MotionTask[SlatGaussians], monitor: Monitor) -> Motion:
        """Sample latents under the video and the Gaussians, and decode them.

        The networks see the asset turned so that the video sees it from the front, as in their training; the result is
        turned back. The official alignment turns about the vertical axis only, and so does this.
        """
        settings, device = self.settings, self.models.device
        away, back = (about_vertical(sign * _azimuth(task.camera)).to(device) for sign in (-1, 1))
        gaussians = task.canonical.gaussians
        turned = gaussians.to(device).rotated(away)
        tokens = self._image_tokens(task.frames, monitor.part(0, _TOKENS_DONE))
        best: tuple[float, VariationField, dict[str, Any]] | None = None
        differences = {}
        sampled = _SAMPLED_TO_REFINE if settings.refine_seconds else _REFINED
        sampling = monitor.part(_TOKENS_DONE, sampled)
        for index in range(settings.samples):
            part = sampling.part(index / settings.samples, (index + 1) / settings.samples)
            deltas, figures = self._sample(turned, tokens, task.seed + index, part)
            variation = VariationField(VariationField(deltas).rotated(back).deltas.cpu())
            compared = np.unique(np.linspace(0, len(task.frames) - 1, _COMPARED).astype(int)).tolist()
            difference = picture_difference(
                gaussians, variation, task.frames, task.camera, compared, monitor.on_preview
            )
            differences[task.seed + index] = round(difference, 5)
            if best is None or difference < best[0]:
                best = (difference, variation, figures | {"seed": task.seed + index})
        assert best is not None
        _, variation, figures = best
        motion = Motion(variation, figures | {"picture_differences": differences})
        if settings.refine_seconds:
            options = PolishOptions(iterations=_MOST_SWEEPS, seconds=settings.refine_seconds)
            motion = refine(task, motion, monitor.part(sampled, _REFINED), options)
        checking = monitor.part(_REFINED, 1)
        agreement = overlap_figures(gaussians, motion.variation, task.frames, task.camera, checking, monitor.on_preview)
        return replace(motion, figures=motion.figures | agreement)

    def _image_tokens(self, frames: Frames, monitor: Monitor) -> Float[Tensor, "frames tokens channels"]:
        """Tokens of every frame, in float16 and on the host, as the official scripts keep them."""
        pictures = on_background(frames, self.settings.background)
        encoder = self.models.image_encoder
        tokens = []
        for index in range(len(pictures)):
            monitor(index / len(pictures))
            tokens.append(encoder.video_tokens(pictures[index : index + 1], self.settings.background, 1).cpu().half())
        return torch.cat(tokens)

    def _sample(
        self, gaussians: Gaussians, tokens: Tensor, seed: int, monitor: Monitor
    ) -> tuple[Float[Tensor, "frames gaussians 14"], dict[str, Any]]:
        """Raw deltas of one sample."""
        if self.settings.long_clips == "windows" or len(tokens) <= self.settings.window:
            return self._sample_clip(gaussians, tokens, seed, monitor)
        segments = clip_segments(len(tokens), self.settings.window)
        parts: list[Tensor] = []
        start = gaussians
        figures: dict[str, Any] = {}
        for index, segment in enumerate(segments):
            part = monitor.part(index / len(segments), (index + 1) / len(segments))
            deltas, figures = self._sample_clip(start, tokens[segment.start : segment.stop], seed, part)
            total = deltas + _difference(start, gaussians)
            parts.append(total if index == 0 else total[1:])
            start = _moved(gaussians, total[-1])
        return torch.cat(parts), figures | {"segments": len(segments)}

    def _sample_clip(
        self, gaussians: Gaussians, tokens: Tensor, seed: int, monitor: Monitor
    ) -> tuple[Float[Tensor, "frames gaussians 14"], dict[str, Any]]:
        models, settings = self.models, self.settings
        with torch.inference_mode():
            vectors = gaussians.to_vector()
            static = vectors[farthest_points(vectors[:, :3], STATIC_TOKENS)]
            positions = vectors[farthest_points(vectors[:, :3], models.variation_vae.params.latents), :3]
            if settings.standardise_positions:
                positions = models.statistics.standardise_positions(positions)
            condition = LatentCondition(tokens, models.statistics.standardise_static(static), positions)
            drawn = self.sampler(models.dit, condition, settings, seed, monitor.part(0, 0.9))
            monitor(0.9)
            latents = models.statistics.latents(drawn.latents.float())
            deltas = models.variation_vae.decode(latents[None], vectors[None])[0].float()
        if not deltas.isfinite().all():
            raise SamplingError(
                "The motion that the networks decoded is not finite.",
                "Try another seed, and check the weights with `gvf models verify`.",
            )
        return deltas, drawn.figures


def on_background(frames: Frames, background: Background) -> UInt8[np.ndarray, "frames height width 3"]:
    """Premultiplied frames on white or black, as sRGB bytes."""
    behind = 1.0 if background == "white" else 0.0
    return np.rint(255 * np.clip(frames[..., :3] + (1 - frames[..., 3:]) * behind, 0, 1)).astype(np.uint8)


def _azimuth(camera: Camera) -> float:
    """Radians around the vertical axis from which a camera sees the origin, as `orbit_camera` counts."""
    x, y, _ = camera.position
    return math.atan2(x, -y)


def _moved(gaussians: Gaussians, deltas: Float[Tensor, "gaussians 14"]) -> Gaussians:
    """Gaussians at one frame, as the canonical ones of what follows: rotations normalised."""
    moved = Gaussians(
        means=gaussians.means + deltas[:, VariationField.MEANS],
        scales=gaussians.scales + deltas[:, VariationField.SCALES],
        rotations=gaussians.rotations + deltas[:, VariationField.ROTATIONS],
        colors=gaussians.colors + deltas[:, VariationField.COLORS],
        opacities=gaussians.opacities + deltas[:, VariationField.OPACITY],
    )
    return replace(moved, rotations=moved.rotated(about_vertical(0.0).to(deltas)).rotations)


def _difference(gaussians: Gaussians, canonical: Gaussians) -> Float[Tensor, "gaussians 14"]:
    """Raw deltas that lead from canonical Gaussians to others."""
    return torch.cat(
        [
            gaussians.means - canonical.means,
            gaussians.scales - canonical.scales,
            gaussians.rotations - canonical.rotations,
            gaussians.colors - canonical.colors,
            (gaussians.opacities - canonical.opacities)[:, None],
        ],
        dim=1,
    )
