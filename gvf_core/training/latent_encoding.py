"""Between the stages: clips to latents, static tokens and image tokens, and the statistics of these."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gvf_core.canonical.slat import STATIC_TOKENS
from gvf_core.errors import FileFormatError
from gvf_core.gaussians import Gaussians, about_vertical, turned
from gvf_core.geometry import farthest_points
from gvf_core.models.image_encoder import ImageEncoder
from gvf_core.models.model_set import Statistics
from gvf_core.models.posterior import Posterior
from gvf_core.models.variation_vae import VariationVae
from gvf_core.motion.diffusion import on_background
from gvf_core.training.canonical_store import CanonicalStore
from gvf_core.training.clip_record import ClipRecord, ViewRole, read_clip
from gvf_core.training.draws import generator_of
from gvf_core.training.encoded_clip import EncodedClip, Origin, origin_of, read_encoded_clip, write_encoded_clip
from gvf_core.training.motion_examples import moving_points
from gvf_core.training.settings import EncodeSettings
from gvf_core.video.crop import crop_for_networks

_FRAMES = 8
"""Encoded at once."""
_POINTS_SEED = 0


@dataclass(frozen=True)
class ClipEncoder:
    """Networks of the first two stages, and how clips are encoded with them.

    Attributes:
        canonical: Gaussians of clips.
        vae: The variation VAE.
        image_encoder: DINOv2.
        settings: Of the frames.
        points: Of the surface that the variation VAE sees.
        vaes: Hash of the static and the variation VAE.
    """

    canonical: CanonicalStore
    vae: VariationVae
    image_encoder: ImageEncoder
    settings: EncodeSettings
    points: int
    vaes: str = ""

    def origin(self, record: ClipRecord) -> Origin:
        """What a clip is encoded from; equal ones give equal files."""
        inputs = f"{self.image_encoder.digest} {self.settings} {self.points}"
        return Origin(record.digest, self.vaes, hashlib.sha256(inputs.encode()).hexdigest())

    @torch.no_grad()
    def encode(self, record: ClipRecord) -> EncodedClip:
        """A clip, turned so that its frames see it from the front, as the engine turns assets."""
        device = self.vae.proj.weight.device
        gaussians, points, displacements = self.seen_from_the_front(record)
        vectors = gaussians.to_vector().to(device)
        parts = [self._latents(vectors, points, part) for part in displacements.split(_FRAMES)]
        chosen = farthest_points(vectors[:, :3], self.vae.params.latents)
        return EncodedClip(
            latents=Posterior(torch.cat([part.mean for part in parts]), torch.cat([part.logvar for part in parts])),
            static_tokens=vectors[farthest_points(vectors[:, :3], min(STATIC_TOKENS, len(vectors)))].cpu(),
            positions=vectors[chosen, :3].cpu(),
            image_tokens=self.image_tokens(record),
        )

    def seen_from_the_front(
        self, record: ClipRecord
    ) -> tuple[Gaussians, Float[Tensor, "points 3"], Float[Tensor, "frames points 3"]]:
        """Gaussians, points and their displacements in all frames, turned about the vertical axis."""
        away = about_vertical(-_azimuth(record))
        frames = range(len(record.points))
        points, displacements = moving_points(record, frames, self.points, generator_of(_POINTS_SEED))
        return self.canonical.of(record).rotated(away), turned(away, points), turned(away, displacements)

    def image_tokens(self, record: ClipRecord) -> Float[Tensor, "frames tokens channels"]:
        """Tokens of every frame of the driving video, float16."""
        views = [record.view(index) for index in condition_views(record)]
        frames = np.stack([view.rgba for view in views]).astype(np.float32) / 255
        frames[..., :3] *= frames[..., 3:]
        if self.settings.crop:
            frames, _ = crop_for_networks(frames, views[0].camera)
        pictures = on_background(frames, self.settings.background)
        return self.image_encoder.video_tokens(pictures, self.settings.background).half().cpu()

    def _latents(self, vectors: Tensor, points: Tensor, displacements: Tensor) -> Posterior:
        device = vectors.device
        counts = torch.tensor([len(vectors)])
        given = (vectors[None], counts, points[None].to(device), displacements[None].to(device))
        posterior = self.vae.encode(*given).posterior
        return Posterior(posterior.mean[0].cpu(), posterior.logvar[0].cpu())


def condition_views(record: ClipRecord) -> list[int]:
    """The picture of each frame that belongs to the driving video.

    Raises:
        FileFormatError: A frame has none.
    """
    views = []
    for frame in range(len(record.points)):
        of_frame = record.views(ViewRole.CONDITION, frame)
        if not of_frame:
            raise FileFormatError(f"{record.name} has no driving picture of frame {frame}.", "Prepare it again.")
        views.append(of_frame[0])
    return views


def encode_clips(
    encoder: ClipEncoder,
    paths: Sequence[Path],
    folder: Path,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Write the encoded clip of each of some clips that has none yet, or one of other networks or contents.

    Args:
        encoder: How.
        paths: Prepared clips.
        folder: Where to.
        on_progress: Called with the finished part before each clip.
    """
    for number, path in enumerate(paths):
        on_progress(number / len(paths))
        record = read_clip(path)
        origin = encoder.origin(record)
        if origin_of(folder / path.name) != origin:
            write_encoded_clip(folder / path.name, encoder.encode(record), origin)


def latent_statistics(paths: Sequence[Path]) -> Statistics:
    """Mean and deviation by channel of static tokens, and of latents as they are drawn, over encoded clips.

    Sums are kept in float64, so that any number of clips fits into memory.
    """
    static, latents = _Moments(), _Moments()
    for path in paths:
        clip = read_encoded_clip(path)
        static.add(clip.static_tokens)
        # What is drawn varies by what the means differ in and by the variance of each.
        latents.add(clip.latents.mean.flatten(0, 1), clip.latents.logvar.exp().flatten(0, 1))
    return Statistics(*static.result(), *latents.result())


class _Moments:
    def __init__(self) -> None:
        self._count, self._sum, self._squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, values: Float[Tensor, "rows channels"], variance: Tensor | None = None) -> None:
        own = values.double()
        squares = own.square() if variance is None else own.square() + variance.double()
        self._count += len(own)
        self._sum, self._squares = self._sum + own.sum(dim=0), self._squares + squares.sum(dim=0)

    def result(self) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]:
        mean = self._sum / self._count
        deviation = (self._squares / self._count - mean.square()).clamp_min(1e-8).sqrt()
        return mean.float(), deviation.float()


def _azimuth(record: ClipRecord) -> float:
    """Radians around the vertical axis from which the driving video sees the clip, as `orbit_camera` counts."""
    x, y, _ = record.cameras[condition_views(record)[0]].position
    return math.atan2(x, -y)
