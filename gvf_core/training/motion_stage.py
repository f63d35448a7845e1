"""Second stage: the variation VAE, alone or jointly with D_GS (section 3.1, CONVENTIONS section 10)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gvf_core.gaussians import Gaussians
from gvf_core.models.posterior import Posterior
from gvf_core.models.static_vae import StaticVae
from gvf_core.models.variation_vae import AttentionAndFeedForward, VariationVae, pad_gaussians
from gvf_core.training.appearance import AppearanceLoss, draw
from gvf_core.training.draws import generator_of
from gvf_core.training.exported import STATIC_VAE, VARIATION_VAE, save_part
from gvf_core.training.losses import mesh_guided_loss, opacity_regulariser, volume_regulariser
from gvf_core.training.motion_examples import MotionExample, RestVoxels
from gvf_core.training.optimisation import ParameterGroup, trainable
from gvf_core.training.settings import MotionSettings, StaticSettings
from gvf_core.training.static_stage import Losses, batched_voxels, beside, freeze_encoder, grid, sample_each

_SMALL_MOTION = 0.005
"""Added to the mean displacement that relative errors are measured by, so that still frames count little."""
_REST = "rest_"


class MotionStage(nn.Module):
    """Networks of the second stage and their losses.

    Args:
        vae: The variation VAE.
        static_vae: E_GS, which is frozen, and D_GS, where it is trained along; else None.
        settings: What is done.
        static: Weights of the losses of D_GS.
        appearance: The image loss.
    """

    def __init__(
        self,
        vae: VariationVae,
        static_vae: StaticVae | None,
        settings: MotionSettings,
        static: StaticSettings,
        appearance: AppearanceLoss,
    ) -> None:
        super().__init__()
        self.vae, self.static_vae = vae, static_vae
        self._settings, self._static, self.appearance = settings, static, appearance
        if static_vae is not None:
            freeze_encoder(static_vae)
        for layer in vae.layers:
            if isinstance(layer, AttentionAndFeedForward):
                layer.drop_path = settings.drop_path

    def groups(self) -> list[ParameterGroup]:
        """What is trained; D_GS at a rate of its own."""
        groups = [trainable(self.vae)]
        if self.static_vae is not None:
            groups.append(trainable(self.static_vae, factor=self._settings.static_factor))
        return groups

    def forward(self, batch: Sequence[MotionExample]) -> Losses:
        """Losses of a batch, each times its weight, and their sum as "total"."""
        gaussians, losses = self._canonical(batch)
        posterior = self._encode(batch, gaussians)
        latents = sample_each(posterior, [1] * len(batch), [example.seed for example in batch])
        deltas, asked = self._decode(batch, gaussians, latents)
        losses["mesh_guided"] = self._settings.mesh_guided * self._mesh_guided(batch, gaussians, deltas, asked)
        losses["kl"] = self._settings.kl * posterior.kl_divergence().float().mean()
        for place, example in enumerate(batch):
            pictured = len(example.targets)
            splats = [gaussians[place].activate(frame) for frame in deltas[place][:pictured]]
            renders = [draw(*pair) for pair in zip(splats, (t.camera for t in example.targets), strict=True)]
            _add(losses, self.appearance.parts(renders, example.targets), 1 / len(batch))
        return losses | {"total": sum(losses.values(), torch.zeros((), device=posterior.mean.device))}

    def export(self, folder: Path, state: Mapping[str, Tensor]) -> None:
        """Write weights under official names, from the state dict of this module."""
        save_part(state, "vae.", folder / VARIATION_VAE)
        if self.static_vae is not None:
            save_part(state, "static_vae.", folder / STATIC_VAE)

    @torch.no_grad()
    def pictures(self, batch: Sequence[MotionExample]) -> Float[Tensor, "3 height width"] | None:
        """Each target beside its render, if any were chosen."""
        gaussians, _ = self._canonical(batch)
        deltas, _ = self._decode(batch, gaussians, self._encode(batch, gaussians).mean)
        rows = [
            beside(target, draw(own.activate(frame), target.camera))
            for example, own, frames in zip(batch, gaussians, deltas, strict=True)
            for target, frame in zip(example.targets, frames, strict=False)
        ]
        return grid(rows) if rows else None

    def _canonical(self, batch: Sequence[MotionExample]) -> tuple[list[Gaussians], Losses]:
        """Gaussians of each object, turned, and what D_GS has to answer for itself."""
        device = self.vae.proj.weight.device
        given = [example.gaussians.to(device) for example in batch if example.gaussians is not None]
        rest = [example.rest for example in batch if example.rest is not None]
        if self.static_vae is None or not rest:
            return given, {}
        coordinates = batched_voxels([voxels.indices for voxels in rest]).to(device)
        features = torch.cat([voxels.features for voxels in rest]).to(device)
        posterior = self.static_vae.encode(features, coordinates)
        latents = sample_each(posterior, [len(voxels.indices) for voxels in rest], [e.seed + 1 for e in batch])
        turns = [example.quaternion.to(device) for example in batch]
        decoded = self.static_vae.decode(latents, coordinates)
        gaussians = [own.rotated(turn) for own, turn in zip(decoded, turns, strict=True)]
        losses: Losses = {}
        for own, voxels in zip(gaussians, rest, strict=True):
            _add(losses, self._rest_losses(own, voxels), 1 / len(batch))
        return gaussians, losses

    def _rest_losses(self, gaussians: Gaussians, rest: RestVoxels) -> Losses:
        splats = gaussians.activate()
        parts = self.appearance.parts([draw(splats, target.camera) for target in rest.targets], rest.targets)
        parts["volume"] = self._static.volume * volume_regulariser(splats)
        parts["opacity"] = self._static.opacity * opacity_regulariser(splats)
        return {_REST + name: part for name, part in parts.items()}

    def _encode(self, batch: Sequence[MotionExample], gaussians: Sequence[Gaussians]) -> Posterior:
        device = self.vae.proj.weight.device
        vectors, counts = pad_gaussians([own.to_vector() for own in gaussians])
        points = torch.stack([example.points for example in batch]).to(device)
        displacements = torch.stack([example.displacements for example in batch]).to(device)
        starts = [example.start % len(own) for example, own in zip(batch, gaussians, strict=True)]
        return self.vae.encode(vectors, counts, points, displacements, starts=starts).posterior

    def _decode(
        self, batch: Sequence[MotionExample], gaussians: Sequence[Gaussians], latents: Tensor
    ) -> tuple[list[Float[Tensor, "frames asked 14"]], list[Int[Tensor, " asked"]]]:
        """Deltas of all Gaussians, or, where nothing is drawn, of as many as the mesh-guided loss looks at."""
        asked = []
        for example, own in zip(batch, gaussians, strict=True):
            order = torch.arange(len(own))
            if not example.targets and 0 < self._settings.guided < len(own):
                order = torch.randperm(len(own), generator=generator_of(example.guided))[: self._settings.guided]
            asked.append(order.to(latents.device))
        vectors, counts = pad_gaussians([own.to_vector()[index] for own, index in zip(gaussians, asked, strict=True)])
        deltas = self.vae.decode(latents, vectors).float()
        return [own[:, :count] for own, count in zip(deltas, counts.tolist(), strict=True)], asked

    def _mesh_guided(
        self,
        batch: Sequence[MotionExample],
        gaussians: Sequence[Gaussians],
        deltas: Sequence[Float[Tensor, "frames asked 14"]],
        asked: Sequence[Int[Tensor, " asked"]],
    ) -> Float[Tensor, ""]:
        positions = [own.means[index].detach() for own, index in zip(gaussians, asked, strict=True)]
        points = torch.stack([example.points for example in batch]).to(deltas[0])
        displacements = torch.stack([example.displacements for example in batch]).to(deltas[0])
        params = self.vae.params
        if not self._settings.relative:
            return mesh_guided_loss(list(deltas), positions, points, displacements, params.neighbors, params.decay)
        total = points.new_zeros(())
        for place in range(len(batch)):
            own = slice(place, place + 1)
            loss = mesh_guided_loss(
                list(deltas[own]), positions[own], points[own], displacements[own], params.neighbors, params.decay
            )
            total = total + loss / (displacements[place].abs().mean() + _SMALL_MOTION)
        return total / len(batch)


def _add(losses: Losses, parts: Losses, share: float) -> None:
    for name, part in parts.items():
        losses[name] = losses[name] + share * part if name in losses else share * part
