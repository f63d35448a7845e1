"""How well a run reconstructs and samples motion, on the surface of clips and relative to the unmoved asset."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import torch
from jaxtyping import Float
from torch import Tensor

from gvf_core.gaussians import Gaussians, VariationField
from gvf_core.geometry import InterpolationWeights, interpolation_weights
from gvf_core.models.model_set import Statistics
from gvf_core.models.variation_dit import VariationDit
from gvf_core.motion.latent_sampling import LatentCondition, sample_latents
from gvf_core.progress import Monitor
from gvf_core.settings import AnimateSettings
from gvf_core.training.clip_record import ClipRecord
from gvf_core.training.encoded_clip import EncodedClip
from gvf_core.training.latent_encoding import ClipEncoder

LEAST_MOTION = 0.005
"""Mean displacement below which a clip says nothing: its errors are divided by almost nothing."""


@dataclass(frozen=True)
class ClipScore:
    """Mean distance to the true positions over that of the unmoved asset: 1 is useless, 0 is the truth.

    Attributes:
        name: Of the clip.
        family: Of its asset.
        category: Of its asset.
        motion: Mean displacement of the surface after frame 0, in the unit frame.
        reconstructed: By the variation VAE from the true motion.
        sampled: By the diffusion from the driving video, one for each sample.
    """

    name: str
    family: str
    category: str
    motion: float
    reconstructed: float
    sampled: tuple[float, ...]


@dataclass(frozen=True)
class Sampler:
    """What draws latents of clips.

    Attributes:
        dit: The network.
        statistics: Of its inputs and latents.
        settings: Of the solver and of the positions.
    """

    dit: VariationDit
    statistics: Statistics
    settings: AnimateSettings

    def draw(self, clip: EncodedClip, seed: int) -> Float[Tensor, "frames latents channels"]:
        """Latents from the driving video, as the engine draws them; not standardised."""
        device = self.dit.input_layer.weight.device
        positions = clip.positions.to(device)
        if self.settings.standardise_positions:
            positions = self.statistics.standardise_positions(positions)
        static = self.statistics.standardise_static(clip.static_tokens.to(device))
        condition = LatentCondition(clip.image_tokens, static, positions)
        monitor = Monitor(lambda fraction: None, lambda: False)
        return self.statistics.latents(sample_latents(self.dit, condition, self.settings, seed, monitor).latents)


def score_clip(
    encoder: ClipEncoder, record: ClipRecord, sampler: Sampler | None = None, samples: int = 1
) -> ClipScore | None:
    """Errors on a clip; None if it hardly moves.

    Args:
        encoder: Networks of the first two stages.
        record: The clip.
        sampler: The third stage; without it only the reconstruction is scored.
        samples: Motions to draw.
    """
    gaussians, points, displacements = encoder.seen_from_the_front(record)
    truth = displacements[1:]
    motion = float(truth.norm(dim=-1).mean()) if len(truth) else 0.0
    if motion < LEAST_MOTION:
        return None
    clip = encoder.encode(record)
    weights = interpolation_weights(points, gaussians.means)

    def ratio(latents: Tensor) -> float:
        moved = _moved_points(encoder, gaussians, weights, latents)[1:]
        return float((moved - truth).norm(dim=-1).mean()) / motion

    drawn = [] if sampler is None else [ratio(sampler.draw(clip, seed)) for seed in range(samples)]
    reconstructed = ratio(clip.latents.mean)
    return ClipScore(record.name, record.family, record.category, motion, reconstructed, tuple(drawn))


@torch.no_grad()
def _moved_points(
    encoder: ClipEncoder, gaussians: Gaussians, weights: InterpolationWeights, latents: Tensor
) -> Float[Tensor, "frames points 3"]:
    """Displacements of surface points with the Gaussians around them (equations 3 and 4); only these are decoded."""
    device = encoder.vae.proj.weight.device
    around, place = weights.index.unique(return_inverse=True)
    vectors = gaussians.to_vector()[around].to(device)
    deltas = encoder.vae.decode(latents[None].to(device), vectors[None])[0].float().cpu()
    return InterpolationWeights(place, weights.weight).apply(deltas[..., VariationField.MEANS])


def score_clips(
    encoder: ClipEncoder,
    records: Sequence[Callable[[], ClipRecord]],
    sampler: Sampler | None,
    samples: int,
    on_clip: Callable[[int, ClipScore | None], None] = lambda number, score: None,
) -> list[ClipScore]:
    """Errors on clips, read one at a time; those that hardly move are left out."""
    scores = []
    for number, read in enumerate(records):
        score = score_clip(encoder, read(), sampler, samples)
        on_clip(number, score)
        if score is not None:
            scores.append(score)
    return scores


def summary(scores: Sequence[ClipScore]) -> list[str]:
    """Lines for people: over all clips, then by family."""
    if not scores:
        return ["No clip moves enough to be scored."]
    lines = [f"{len(scores)} clips of {len({score.family for score in scores})} families"]
    lines.append(_line("reconstructed", [score.reconstructed for score in scores]))
    sampled = [ratio for score in scores for ratio in score.sampled]
    if sampled:
        lines.append(_line("sampled", sampled))
    for family in sorted({score.family for score in scores}):
        own = [score for score in scores if score.family == family]
        line = f"{family} ({len(own)}): reconstructed {fmean(score.reconstructed for score in own):.3f}"
        drawn = [ratio for score in own for ratio in score.sampled]
        lines.append(f"{line}, sampled {fmean(drawn):.3f}" if drawn else line)
    return lines


def _line(name: str, ratios: Sequence[float]) -> str:
    worse = sum(ratio > 1 for ratio in ratios) / len(ratios)
    return f"{name}: mean {fmean(ratios):.3f}, median {median(ratios):.3f}, worse than unmoved {worse:.0%}"
