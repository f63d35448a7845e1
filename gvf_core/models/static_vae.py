"""E_GS and D_GS: voxel features to the structured latent and on to canonical Gaussians (section 3.1, supplement A).

Two sets of names for the same networks: `StaticVae` is the file in which GVF trained both together; `SlatEncoder` and
`SlatGaussianDecoder` are the files of TRELLIS. `slat_encoder_weights` and `slat_decoder_weights` lead from the
first to the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gvf_core.gaussians import Gaussians
from gvf_core.models.gaussian_head import GaussianHeadParams, gaussians_from_rows
from gvf_core.models.layers import ZeroLinear, initialize
from gvf_core.models.posterior import Posterior
from gvf_core.models.sparse_transformer import SparseTransformerBlock, run_blocks


@dataclass(frozen=True)
class SlatParams:
    """Sizes of an encoder or decoder of structured latents.

    Attributes:
        feature_channels: Channels of the voxel features (DINOv2); of no meaning to a decoder.
        latent_channels: Channels of the structured latent.
        width: Channels of the transformer.
        blocks: Number of blocks.
        heads: Attention heads.
        mlp_ratio: Hidden channels of the feed-forward networks over the width.
        window: Edge of the attention windows in voxels.
        head: How a decoder makes Gaussians; of no meaning to an encoder.
    """

    feature_channels: int = 1024
    latent_channels: int = 8
    width: int = 768
    blocks: int = 12
    heads: int = 12
    mlp_ratio: float = 4
    window: int = 8
    head: GaussianHeadParams = field(default_factory=GaussianHeadParams)


class SlatEncoder(nn.Module):
    """E_GS under TRELLIS names."""

    def __init__(self, params: SlatParams) -> None:
        super().__init__()
        self.params = params
        self.input_layer = nn.Linear(params.feature_channels, params.width)
        self.blocks = _blocks(params)
        self.out_layer = ZeroLinear(params.width, 2 * params.latent_channels)
        initialize(self)

    def encode(
        self, features: Float[Tensor, "voxels feature_channels"], coordinates: Int[Tensor, "voxels 4"]
    ) -> Posterior:
        """Distribution of the latent of every voxel. The variance is not clamped, as officially."""
        return _posterior(_run(self.input_layer, self.blocks, self.out_layer, features, coordinates, self.params))


class SlatGaussianDecoder(nn.Module):
    """D_GS under TRELLIS names."""

    offset_perturbation: Tensor

    def __init__(self, params: SlatParams) -> None:
        super().__init__()
        self.params = params
        self.input_layer = nn.Linear(params.latent_channels, params.width)
        self.blocks = _blocks(params)
        self.out_layer = ZeroLinear(params.width, params.head.channels)
        self.register_buffer("offset_perturbation", params.head.perturbation())
        initialize(self)

    def decode_rows(
        self, latents: Float[Tensor, "voxels latent_channels"], coordinates: Int[Tensor, "voxels 4"]
    ) -> Float[Tensor, "voxels rows"]:
        """The numbers from which the Gaussians of every voxel are made."""
        return _run(self.input_layer, self.blocks, self.out_layer, latents, coordinates, self.params)

    def decode(
        self, latents: Float[Tensor, "voxels latent_channels"], coordinates: Int[Tensor, "voxels 4"]
    ) -> list[Gaussians]:
        """Canonical Gaussians of each batch item, voxel by voxel."""
        rows = self.decode_rows(latents, coordinates)
        return gaussians_from_rows(rows, coordinates, self.offset_perturbation, self.params.head)


class StaticVae(nn.Module):
    """E_GS and D_GS under the names of GVF's file."""

    MipGS_perturbation: Tensor

    def __init__(self, params: SlatParams) -> None:
        super().__init__()
        self.params = params
        self.input_layer = nn.Linear(params.feature_channels, params.width)
        self.encoder = _blocks(params)
        self.to_latent = ZeroLinear(params.width, 2 * params.latent_channels)
        self.from_latent = nn.Linear(params.latent_channels, params.width)
        self.decoder = _blocks(params)
        self.out_layer = ZeroLinear(params.width, params.head.channels)
        self.register_buffer("MipGS_perturbation", params.head.perturbation())
        initialize(self)

    def encode(
        self, features: Float[Tensor, "voxels feature_channels"], coordinates: Int[Tensor, "voxels 4"]
    ) -> Posterior:
        """Distribution of the latent of every voxel. The variance is not clamped, as officially."""
        return _posterior(_run(self.input_layer, self.encoder, self.to_latent, features, coordinates, self.params))

    def decode_rows(
        self, latents: Float[Tensor, "voxels latent_channels"], coordinates: Int[Tensor, "voxels 4"]
    ) -> Float[Tensor, "voxels rows"]:
        """The numbers from which the Gaussians of every voxel are made."""
        return _run(self.from_latent, self.decoder, self.out_layer, latents, coordinates, self.params)

    def decode(
        self, latents: Float[Tensor, "voxels latent_channels"], coordinates: Int[Tensor, "voxels 4"]
    ) -> list[Gaussians]:
        """Canonical Gaussians of each batch item, voxel by voxel."""
        rows = self.decode_rows(latents, coordinates)
        return gaussians_from_rows(rows, coordinates, self.MipGS_perturbation, self.params.head)


def slat_encoder_weights(static_vae: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder in the weights of a `StaticVae`, under the names of a `SlatEncoder`."""
    names = {"encoder.": "blocks.", "to_latent.": "out_layer.", "input_layer.": "input_layer."}
    return _renamed(static_vae, names)


def slat_decoder_weights(static_vae: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The decoder in the weights of a `StaticVae`, under the names of a `SlatGaussianDecoder` with 8 Gaussians."""
    names = {
        "decoder.": "blocks.",
        "from_latent.": "input_layer.",
        "out_layer.": "out_layer.",
        "MipGS_perturbation": "offset_perturbation",
    }
    return _renamed(static_vae, names)


def is_static_vae(state: Mapping[str, Tensor]) -> bool:
    """Whether weights go by the names of a `StaticVae`."""
    return "from_latent.weight" in state and "to_latent.weight" in state


def _renamed(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    return {
        new + name.removeprefix(old): tensor
        for old, new in names.items()
        for name, tensor in state.items()
        if name.startswith(old)
    }


def _blocks(params: SlatParams) -> nn.ModuleList:
    return nn.ModuleList(
        SparseTransformerBlock(params.width, params.heads, params.mlp_ratio) for _ in range(params.blocks)
    )


def _run(
    first: nn.Linear,
    blocks: nn.ModuleList,
    last: nn.Linear,
    x: Float[Tensor, "voxels in_channels"],
    coordinates: Int[Tensor, "voxels 4"],
    params: SlatParams,
) -> Float[Tensor, "voxels out_channels"]:
    """Linear, blocks, layer normalisation (eps 1e-5, without affine map), linear."""
    h = run_blocks(blocks, first(x.float()), coordinates, params.window)
    return last(F.layer_norm(h, h.shape[-1:]))


def _posterior(moments: Float[Tensor, "voxels moments"]) -> Posterior:
    return Posterior(*moments.chunk(2, dim=-1))
