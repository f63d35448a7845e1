"""First stage: E_GS and D_GS from rendered pictures of objects at rest (section 3.1, CONVENTIONS section 10)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gvf_core.gaussians import Gaussians
from gvf_core.models.posterior import Posterior
from gvf_core.models.static_vae import StaticVae
from gvf_core.training.appearance import AppearanceLoss, Target, draw
from gvf_core.training.draws import generator_of
from gvf_core.training.exported import IMAGE_ENCODER, STATIC_VAE, save_image_encoder, save_part
from gvf_core.training.losses import opacity_regulariser, volume_regulariser
from gvf_core.training.optimisation import ParameterGroup, trainable
from gvf_core.training.settings import StaticSettings
from gvf_core.training.static_examples import ShownVoxels, StaticExample

Losses = dict[str, Float[Tensor, ""]]


class StaticStage(nn.Module):
    """Networks of the first stage and their losses.

    Args:
        vae: E_GS and D_GS.
        image_encoder: The network of a small DINOv2 that is trained along; None where features are given.
        settings: Weights of the losses.
        appearance: The image loss.
    """

    def __init__(
        self, vae: StaticVae, image_encoder: nn.Module | None, settings: StaticSettings, appearance: AppearanceLoss
    ) -> None:
        super().__init__()
        self.vae, self.image_encoder = vae, image_encoder
        self._settings, self.appearance = settings, appearance
        if settings.freeze_encoder:
            freeze_encoder(vae)
        if image_encoder is not None:
            _freeze_what_no_token_needs(image_encoder)

    def groups(self) -> list[ParameterGroup]:
        """What is trained."""
        return [trainable(self.vae, self.image_encoder)]

    def forward(self, batch: Sequence[StaticExample]) -> Losses:
        """Losses of a batch, each times its weight, and their sum as "total"."""
        device = self.vae.input_layer.weight.device
        coordinates = batched_voxels([example.indices for example in batch]).to(device)
        features = torch.cat([self._features(example, device) for example in batch])
        posterior = self.vae.encode(features, coordinates)
        latents = sample_each(posterior, [len(example.indices) for example in batch], [e.seed for e in batch])
        gaussians = self.vae.decode(latents, coordinates)
        parts = [self._object_losses(*pair) for pair in zip(gaussians, batch, strict=True)]
        losses = {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
        losses["kl"] = self._settings.kl * posterior.kl_divergence().float().mean()
        return losses | {"total": sum(losses.values(), torch.zeros((), device=device))}

    def export(self, folder: Path, state: Mapping[str, Tensor]) -> None:
        """Write weights under official names, from the state dict of this module."""
        save_part(state, "vae.", folder / STATIC_VAE)
        if self.image_encoder is not None:
            save_image_encoder(self.image_encoder, state, folder / IMAGE_ENCODER)

    @torch.no_grad()
    def pictures(self, batch: Sequence[StaticExample]) -> Float[Tensor, "3 height width"]:
        """Each target beside its render."""
        rows = []
        for example in batch:
            device = self.vae.input_layer.weight.device
            coordinates = batched_voxels([example.indices]).to(device)
            posterior = self.vae.encode(self._features(example, device), coordinates)
            (gaussians,) = self.vae.decode(posterior.mean, coordinates)
            rows += [beside(target, draw(gaussians.activate(), target.camera)) for target in example.targets]
        return grid(rows)

    def _object_losses(self, gaussians: Gaussians, example: StaticExample) -> Losses:
        splats = gaussians.activate()
        renders = [draw(splats, target.camera) for target in example.targets]
        return self.appearance.parts(renders, example.targets) | {
            "volume": self._settings.volume * volume_regulariser(splats),
            "opacity": self._settings.opacity * opacity_regulariser(splats),
        }

    def _features(self, example: StaticExample, device: torch.device) -> Float[Tensor, "voxels channels"]:
        if example.shown is None:
            return cast(Tensor, example.features).to(device)
        return encoded_features(cast(nn.Module, self.image_encoder), example.shown, device)


def encoded_features(network: nn.Module, shown: ShownVoxels, device: torch.device) -> Float[Tensor, "voxels channels"]:
    """Mean over the views of the patch tokens at each voxel, with gradients."""
    registers: int = network.config.num_register_tokens  # type: ignore[union-attr, assignment]
    embedded = network.get_submodule("embeddings")(shown.images.to(device))
    tokens = network.get_submodule("encoder")(embedded).last_hidden_state[:, 1 + registers :].float()
    side = round(tokens.shape[1] ** 0.5)
    maps = tokens.transpose(1, 2).unflatten(2, (side, side))
    sampled = F.grid_sample(maps, shown.places.to(device)[:, None], mode="bilinear", align_corners=False)
    return sampled[:, :, 0].mean(dim=0).T


def sample_each(posterior: Posterior, sizes: Sequence[int], seeds: Sequence[int]) -> Tensor:
    """Latents of several objects, each with its own noise, so that it does not matter which others are in a batch.

    Args:
        posterior: Of all of them, one after the other along the first axis.
        sizes: How far each reaches.
        seeds: Of their noise.
    """
    parts = zip(posterior.mean.split(list(sizes)), posterior.logvar.split(list(sizes)), seeds, strict=True)
    return torch.cat([Posterior(mean, logvar).sample(generator_of(seed)) for mean, logvar, seed in parts])


def freeze_encoder(vae: StaticVae) -> None:
    """Keep all of E_GS, its first and last layer included, so that latents of released generators still fit."""
    for module in (vae.input_layer, vae.encoder, vae.to_latent):
        module.requires_grad_(False)


def batched_voxels(items: Sequence[Int[Tensor, "voxels 3"]]) -> Int[Tensor, "voxels 4"]:
    """Voxels of several objects, the number of the object in front."""
    parts = [F.pad(indices, (1, 0), value=item) for item, indices in enumerate(items)]
    return torch.cat(parts)


def beside(target: Target, render: Float[Tensor, "height width 3"]) -> Float[Tensor, "3 height two_widths"]:
    """A picture and its render."""
    return torch.cat([target.picture, render.cpu().clamp(0, 1)], dim=1).permute(2, 0, 1)


def grid(rows: Sequence[Float[Tensor, "3 height width"]]) -> Float[Tensor, "3 rows_height width"]:
    """Pictures one below the other, reduced to the smallest width."""
    width = min(row.shape[2] for row in rows)
    same = [row if row.shape[2] == width else _resized(row, width) for row in rows]
    return torch.cat(same, dim=1)


def _resized(row: Float[Tensor, "3 height width"], width: int) -> Float[Tensor, "3 height2 width2"]:
    height = round(row.shape[1] * width / row.shape[2])
    return F.interpolate(row[None], (height, width), mode="area")[0]


def _freeze_what_no_token_needs(network: nn.Module) -> None:
    """Tokens are read before the final norm, and nothing is masked: processes would wait for gradients of these."""
    for name, parameter in network.named_parameters():
        if name.startswith("layernorm.") or name.endswith("mask_token"):
            parameter.requires_grad_(False)
