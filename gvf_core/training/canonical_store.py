"""Canonical Gaussians of clips from trained networks, computed once."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor

from gvf_core.gaussians import Gaussians
from gvf_core.models.static_vae import StaticVae
from gvf_core.training.clip_record import ClipRecord
from gvf_core.training.kept_tensors import kept_tensors
from gvf_core.training.static_examples import FeatureStore, canonical_voxels
from gvf_core.training.static_stage import batched_voxels

IDENTITY = (1.0, 0.0, 0.0, 0.0)


class CanonicalStore:
    """Gaussians of clips, as at inference: the mean latent is decoded, rotations are normalised.

    Args:
        features: What E_GS reads.
        vae: E_GS and D_GS.
        folder: Where the files are; other networks need other folders.
    """

    def __init__(self, features: FeatureStore, vae: StaticVae, folder: Path) -> None:
        self._features, self._vae, self._folder = features, vae, folder

    def of(self, record: ClipRecord) -> Gaussians:
        """The Gaussians of frame 0, on the CPU."""
        return Gaussians(**kept_tensors(self._folder, record, lambda: self._decoded(record)))

    @torch.no_grad()
    def _decoded(self, record: ClipRecord) -> dict[str, Tensor]:
        device = self._vae.input_layer.weight.device
        indices = canonical_voxels(record)
        coordinates = batched_voxels([indices]).to(device)
        features = self._features.of(record, indices).to(device)
        (gaussians,) = self._vae.decode(self._vae.encode(features, coordinates).mean, coordinates)
        normalised = gaussians.to("cpu").rotated(torch.tensor(IDENTITY))
        return {field.name: getattr(normalised, field.name) for field in fields(Gaussians)}


def chosen_frames(count: int, wanted: int, generator: torch.Generator, *, first: bool) -> Sequence[int]:
    """Frames of a clip at random, some twice if there are too few, frame 0 in front if it must be among them."""
    start = [0] if first else []
    pool = torch.arange(len(start), count)
    if not len(pool):
        return [0] * wanted
    rounds = -(-wanted // len(pool))
    order = torch.cat([pool[torch.randperm(len(pool), generator=generator)] for _ in range(rounds)])
    return [*start, *order.tolist()][:wanted]
