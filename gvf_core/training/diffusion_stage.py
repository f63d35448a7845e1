"""Third stage: the diffusion transformer on encoded clips (section 3.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gvf_core.diffusion.schedule import STEPS, add_noise, cumulative_alphas, squared_cosine_betas, velocity_target
from gvf_core.models.model_set import Statistics
from gvf_core.models.variation_dit import VariationDit
from gvf_core.training.canonical_store import chosen_frames
from gvf_core.training.draws import generator_of
from gvf_core.training.encoded_clip import EncodedClip, read_encoded_clip
from gvf_core.training.exported import DIT, save_part
from gvf_core.training.optimisation import ParameterGroup, trainable
from gvf_core.training.settings import DiffusionSettings
from gvf_core.training.static_stage import Losses


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
    """

    def __init__(self, dit: VariationDit, statistics: Statistics, settings: DiffusionSettings) -> None:
        super().__init__()
        self.dit = dit
        self._statistics, self._settings = statistics, settings
        self._alphas = cumulative_alphas(squared_cosine_betas())

    def groups(self) -> list[ParameterGroup]:
        """What is trained."""
        return [trainable(self.dit)]

    def forward(self, batch: Sequence[DiffusionExample]) -> Losses:
        """Mean squared error of the velocity."""
        device = self.dit.input_layer.weight.device
        clean, noise = (torch.stack(x).to(device) for x in zip(*map(self._latents, batch), strict=True))
        steps = torch.tensor([example.step for example in batch], device=device)
        noisy = add_noise(clean, noise, steps, self._alphas)
        condition = self.dit.condition(*self._condition(batch, device))
        velocity = self.dit(noisy, steps.float(), [condition])
        error = (velocity.float() - velocity_target(clean, noise, steps, self._alphas)).square().mean()
        return {"velocity": error, "total": error}

    def export(self, folder: Path, state: Mapping[str, Tensor]) -> None:
        """Write weights under official names, from the state dict of this module."""
        save_part(state, "dit.", folder / DIT)

    def pictures(self, batch: Sequence[DiffusionExample]) -> None:
        """None: a noisy latent shows nothing."""

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
