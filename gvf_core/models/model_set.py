"""The networks that animating needs, from one set of weights, loaded and checked against each other."""

import hashlib
import logging
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from gvf_core.errors import WeightsError
from gvf_core.models.acceleration import prepare
from gvf_core.models.checkpoint import read_state_dict
from gvf_core.models.image_encoder import ImageEncoder, load_image_encoder
from gvf_core.models.presets import load
from gvf_core.models.record import Installed
from gvf_core.models.registry import FOR_ANIMATING, Part
from gvf_core.models.roles import Role
from gvf_core.models.static_vae import StaticVae
from gvf_core.models.store import Store, default_store
from gvf_core.models.variation_dit import VariationDit
from gvf_core.models.variation_vae import VariationVae

LOGGER = logging.getLogger(__name__)

_NEEDED = {entry.role: entry.name for entry in FOR_ANIMATING}
RANDOM_REMARK = "{} random and were never trained: this exercises the chain and is no result."


@dataclass(frozen=True)
class Statistics:
    """What the variation DiT's inputs and latents are standardised with.

    Attributes:
        static_mean: Of static tokens, 14 channels last.
        static_std: Of static tokens.
        latent_mean: Of latents, 16 channels last.
        latent_std: Of latents.
    """

    static_mean: Float[Tensor, "*tokens 14"]
    static_std: Float[Tensor, "*tokens 14"]
    latent_mean: Float[Tensor, "*tokens channels"]
    latent_std: Float[Tensor, "*tokens channels"]

    def standardise_static(self, tokens: Float[Tensor, "*batch tokens 14"]) -> Float[Tensor, "*batch tokens 14"]:
        """Activated 14-vectors as the network sees them."""
        return (tokens - self.static_mean.to(tokens)) / self.static_std.to(tokens)

    def standardise_positions(self, xyz: Float[Tensor, "*batch latents 3"]) -> Float[Tensor, "*batch latents 3"]:
        """Positions of latent tokens as the official training has them; the official inference leaves them as they are.

        Raises:
            WeightsError: The statistics differ from token to token, so none belong to these positions.
        """
        mean, std = self.static_mean[..., :3], self.static_std[..., :3]
        if max(mean.numel(), std.numel()) > mean.shape[-1]:
            raise WeightsError(
                "The static statistics differ from token to token, so positions cannot be standardised with them.",
                "Leave standardise_positions off.",
            )
        return (xyz - mean.reshape(-1).to(xyz)) / std.reshape(-1).to(xyz)

    def latents(self, standardised: Float[Tensor, "*batch latents channels"]) -> Tensor:
        """What the decoder takes, from what the sampler gives."""
        return standardised * self.latent_std.to(standardised) + self.latent_mean.to(standardised)


@dataclass(frozen=True)
class ModelSet:
    """Loaded networks, on their device, in evaluation mode.

    Attributes:
        name: Of the set of weights.
        records: What the store says about each part.
        device: Where the networks are.
        image_encoder: DINOv2.
        static_vae: E_GS and D_GS.
        variation_vae: Latents to variation fields.
        dit: Samples latents.
        statistics: Of the DiT.
    """

    name: str
    records: tuple[Installed, ...]
    device: torch.device
    image_encoder: ImageEncoder
    static_vae: StaticVae
    variation_vae: VariationVae
    dit: VariationDit
    statistics: Statistics

    @property
    def remark(self) -> str:
        """Why nothing that comes out is a result; empty if all weights were trained."""
        random = [record.name for record in self.records if record.origin == "random"]
        if not random:
            return ""
        return RANDOM_REMARK.format(f"The weights {', '.join(random)} are")

    def digest(self, *roles: Role | Part) -> str:
        """Hash of the stored files of some of the parts."""
        names = {_NEEDED[role] for role in roles}
        files = [file.sha256 for record in self.records if record.name in names for file in record.files]
        return hashlib.sha256(" ".join(files).encode()).hexdigest()


_open: list[ModelSet] = []
"""The last opened set, kept so that the next animation need not load it again."""


def open_model_set(name: str, device: torch.device) -> ModelSet:
    """Load all networks of a set; those that were loaded last are used again if nothing about them has changed.

    Raises:
        WeightsError: Something is missing or damaged, or the parts do not fit together.
    """
    store = default_store().of_set(name)
    records = store.for_animating()
    if _open and (_open[0].records, _open[0].device) == (records, device):
        return _open[0]
    _open.clear()
    presets = {record.name: record.preset for record in records if record.preset is not None}
    if len(set(presets.values())) > 1:
        sizes = ", ".join(f"{name} is {preset}" for name, preset in presets.items())
        raise WeightsError(f"The networks of the set {name} have different sizes: {sizes}.", "Install one size of all.")
    (preset,) = set(presets.values())

    def network(role: Role) -> torch.nn.Module:
        loaded = load(role, store.weights_file(_NEEDED[role]), preset)
        prepare(loaded, device)
        return loaded

    LOGGER.info("loading the set %s on %s", name, device)
    models = ModelSet(
        name=name,
        records=records,
        device=device,
        image_encoder=load_image_encoder(store.folder(_NEEDED[Part.IMAGE_ENCODER]), device, offline=True),
        static_vae=cast(StaticVae, network(Role.STATIC_VAE)),
        variation_vae=cast(VariationVae, network(Role.VARIATION_VAE)),
        dit=cast(VariationDit, network(Role.VARIATION_DIT)),
        statistics=_statistics(store),
    )
    width, wanted = models.image_encoder.sizes.width, models.dit.params.image_channels
    if width != wanted:
        raise WeightsError(
            f"The image encoder of the set {name} gives {width} channels; its networks take {wanted}.",
            "Install the image encoder that they were trained with.",
        )
    _open.append(models)
    return models


def _statistics(store: Store) -> Statistics:
    values = read_state_dict(store.weights_file(_NEEDED[Part.STATISTICS]))
    names = ("static_mean", "static_std", "deformation_mean", "deformation_std")
    missing = [name for name in names if name not in values]
    if missing:
        raise WeightsError(f"The statistics lack {', '.join(missing)}.", "Remove and install them again.")
    return Statistics(*(values[name].float() for name in names))
