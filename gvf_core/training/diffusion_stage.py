"""Third stage: the diffusion transformer on encoded clips (section 3.2)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gvf_core.diffusion.schedule import (
    STEPS,
    add_noise,
    cumulative_alphas,
    squared_cosine_betas,
    velocity_target,
    without_noise,
)
from gvf_core.gaussians import Gaussians
from gvf_core.models.model_set import Statistics
from gvf_core.models.variation_dit import VariationDit
from gvf_core.rendering.camera import orbit_camera
from gvf_core.training.appearance import draw
from gvf_core.training.canonical_store import chosen_frames
from gvf_core.training.draws import generator_of
from gvf_core.training.encoded_clip import EncodedClip, read_encoded_clip
from gvf_core.training.exported import save_dit
from gvf_core.training.optimisation import ParameterGroup, trainable
from gvf_core.training.settings import DiffusionSettings
from gvf_core.training.static_stage import Losses, grid

_CAMERA = orbit_camera(20.0, 15.0, size=256)


@dataclass(frozen=True)
class DiffusionExample:
    """Frames of an encoded clip with their noise.

    Attributes:
        clip: With the frames and static tokens that were chosen.
        step: Of the noise schedule.
        dropped: Its images are not shown.
        seed: Of the latents and of the noise.
    """

    clip: EncodedClip
    step: int
    dropped: bool
    seed: int


@dataclass(frozen=True)
class DiffusionExamples:
    """See `gvf_core.training.draws.Examples`.

    Attributes:
        paths: Encoded clips.
        settings: What is chosen of them.
    """

    paths: list[Path]
    settings: DiffusionSettings

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.paths)

    def example(self, index: int, seed: int) -> DiffusionExample:
        """A clip with frames, tokens and noise level that the seed chooses."""
        clip, generator, settings = read_encoded_clip(self.paths[index]), generator_of(seed), self.settings
        frames = list(chosen_frames(len(clip.latents.mean), settings.frames, generator, first=True))
        tokens = torch.randperm(len(clip.static_tokens), generator=generator)[: settings.static_tokens]
        step = int(torch.randint(STEPS, (), generator=generator))
        dropped = bool(torch.rand((), generator=generator) < settings.drop_image)
        return DiffusionExample(clip.reduced(frames, tokens), step, dropped, seed)


class DiffusionStage(nn.Module):
    """The DiT and its loss.

    Args:
        dit: The network.
        statistics: That inputs and latents are standardised with.
        settings: What is done.
        decode: From latents and Gaussians to variations, as the variation VAE does; None draws no pictures.
        vaes: `vaes_digest` of what made the latents.
    """

    def __init__(
        self,
        dit: VariationDit,
        statistics: Statistics,
        settings: DiffusionSettings,
        decode: Callable[[Tensor, Tensor], Tensor] | None = None,
        vaes: str = "",
    ) -> None:
        super().__init__()
        self.dit = dit
        self._statistics, self._settings, self._decode, self._vaes = statistics, settings, decode, vaes
        self._alphas = cumulative_alphas(squared_cosine_betas())

    def groups(self) -> list[ParameterGroup]:
        """What is trained."""
        return [trainable(self.dit)]

    def forward(self, batch: Sequence[DiffusionExample]) -> Losses:
        """Mean squared error of the velocity."""
        clean, noise, steps = self._drawn(batch)
        velocity = self._velocity(batch, add_noise(clean, noise, steps, self._alphas), steps)
        error = (velocity - velocity_target(clean, noise, steps, self._alphas)).square().mean()
        return {"velocity": error, "total": error}

    def export(self, folder: Path, state: Mapping[str, Tensor]) -> None:
        """Write weights under official names, from the state dict of this module."""
        save_dit(state, "dit.", folder, self._vaes, self._statistics)

    @torch.no_grad()
    def pictures(self, batch: Sequence[DiffusionExample]) -> Float[Tensor, "3 height width"] | None:
        """A frame of each clip from its latents, beside what the network makes of the noisy ones at once.

        Only the Gaussians that the network is told about are drawn.
        """
        if self._decode is None:
            return None
        clean, noise, steps = self._drawn(batch)
        noisy = add_noise(clean, noise, steps, self._alphas)
        found = without_noise(noisy, self._velocity(batch, noisy, steps), steps, self._alphas)
        rows = []
        for example, *pair in zip(batch, clean, found, strict=True):
            tokens = example.clip.static_tokens.to(clean.device)
            both = [self._drawn_frame(tokens, latents[-1:]) for latents in pair]
            rows.append(torch.cat(both, dim=1).clamp(0, 1).permute(2, 0, 1).cpu())
        return grid(rows)

    def _drawn_frame(
        self, tokens: Float[Tensor, "gaussians 14"], latents: Float[Tensor, "1 latents channels"]
    ) -> Float[Tensor, "height width 3"]:
        assert self._decode is not None
        variations = self._decode(self._statistics.latents(latents)[None], tokens[None])[0, 0]
        return draw(Gaussians.from_vector(tokens).activate(variations.float()), _CAMERA)

    def _drawn(self, batch: Sequence[DiffusionExample]) -> tuple[Tensor, Tensor, Int[Tensor, " batch"]]:
        """Latents, noise and the steps at which they are mixed."""
        device = self.dit.input_layer.weight.device
        clean, noise = (torch.stack(x).to(device) for x in zip(*map(self._latents, batch), strict=True))
        return clean, noise, torch.tensor([example.step for example in batch], device=device)

    def _velocity(self, batch: Sequence[DiffusionExample], noisy: Tensor, steps: Tensor) -> Tensor:
        condition = self.dit.condition(*self._condition(batch, noisy.device))
        return self.dit(noisy, steps.float(), [condition]).float()

    def _latents(self, example: DiffusionExample) -> tuple[Tensor, Tensor]:
        """Standardised latents, drawn anew each time, and noise."""
        generator = generator_of(example.seed)
        drawn = example.clip.latents.sample(generator)
        noise = torch.randn(drawn.shape, generator=generator)
        mean, std = self._statistics.latent_mean, self._statistics.latent_std
        return (drawn - mean) / std, noise

    def _condition(
        self, batch: Sequence[DiffusionExample], device: torch.device
    ) -> tuple[
        Float[Tensor, "batch frames tokens image_channels"],
        Float[Tensor, "batch gaussians 14"],
        Float[Tensor, "batch latents 3"],
    ]:
        shown = [0.0 if example.dropped else 1.0 for example in batch]
        images = torch.stack([e.clip.image_tokens.float() * keep for e, keep in zip(batch, shown, strict=True)])
        static = torch.stack([self._statistics.standardise_static(e.clip.static_tokens) for e in batch])
        positions = torch.stack([e.clip.positions for e in batch])
        if self._settings.standardise_positions:
            positions = self._statistics.standardise_positions(positions)
        return images.to(device), static.to(device), positions.to(device)
