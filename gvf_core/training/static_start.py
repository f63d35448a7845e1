"""Where E_GS and D_GS start: released weights under the names of GVF or of TRELLIS, or random ones."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from gvf_core.errors import SettingsError
from gvf_core.gaussians import Gaussians, Splats
from gvf_core.models.checkpoint import load_weights, read_state_dict
from gvf_core.models.static_vae import StaticVae, is_static_vae
from gvf_core.training.settings import StaticSettings

LOGGER = logging.getLogger(__name__)

_ENCODER = {"blocks.": "encoder.", "out_layer.": "to_latent.", "input_layer.": "input_layer."}
_DECODER = {"blocks.": "decoder.", "input_layer.": "from_latent.", "out_layer.": "out_layer."}
"""From the names of TRELLIS to those of a static VAE."""
_HEAD = "out_layer."
_SPACING_SCALE, _OPACITY = 0.4, 0.9
"""Of Gaussians, eight to a voxel: their deviation in voxels, nearly the half voxel between neighbours."""


def load_start(vae: StaticVae, settings: StaticSettings) -> None:
    """Put the weights that training starts from into a static VAE.

    Raises:
        SettingsError: E_GS is to stay as it is, but begins at random.
        WeightsError: They do not fit. Only the last layer of D_GS may differ: that of TRELLIS makes 32 Gaussians per
            voxel, not 8, and then the random one stays.
    """
    if settings.freeze_encoder and not settings.encoder_weights:
        raise SettingsError(
            "E_GS would stay random: static.freeze_encoder is on, and static.encoder_weights is empty.",
            "Name its weights (docs/training.md, Starting from released weights), or set static.freeze_encoder=false.",
        )
    if settings.encoder_weights:
        _load(vae, Path(settings.encoder_weights), _ENCODER)
    if settings.decoder_weights:
        _load(vae, Path(settings.decoder_weights), _DECODER)


@torch.no_grad()
def start_opaque(vae: StaticVae) -> None:
    """Let D_GS begin with a grey object without holes instead of a faint cloud, as its last layer starts at zero."""
    head = vae.params.head
    groups = vae.out_layer.bias.split([size * head.per_voxel for size in (3, 3, 3, 4, 1)])
    _, _, scales, _, opacities = groups
    wanted = Gaussians.from_splats(
        Splats(
            means=torch.zeros(1, 3),
            quaternions=torch.tensor([[1.0, 0, 0, 0]]),
            scales=torch.full((1, 3), _SPACING_SCALE / head.resolution),
            opacities=torch.full((1,), _OPACITY),
            colors=torch.full((1, 3), 0.5),
        )
    )
    scales.fill_(wanted.scales[0, 0] / head.scale_rate)
    opacities.fill_(wanted.opacities[0] / head.opacity_rate)


def _load(vae: StaticVae, path: Path, names: Mapping[str, str]) -> None:
    state = read_state_dict(path)
    if not is_static_vae(state):
        state = {_renamed(name, names): tensor for name, tensor in state.items()}
    own = vae.state_dict()
    wanted = [name for name in own if name.startswith(tuple(names.values()))]
    part = {name: state[name] for name in wanted if name in state}
    if _other_head(part, own):
        LOGGER.warning("%s makes another number of Gaussians per voxel: the last layer starts anew.", path.name)
        part |= {name: own[name] for name in wanted if name.startswith(_HEAD)}
    load_weights(_Part(vae, wanted), part, path.name)


def _other_head(part: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    return any(name.startswith(_HEAD) and part[name].shape != own[name].shape for name in part)


def _renamed(name: str, names: Mapping[str, str]) -> str:
    return next((new + name.removeprefix(old) for old, new in names.items() if name.startswith(old)), name)


class _Part(nn.Module):
    """Some tensors of a network, so that a checkpoint of one half is checked as strictly as one of the whole."""

    def __init__(self, network: nn.Module, names: list[str]) -> None:
        super().__init__()
        self._tensors = {name: tensor for name, tensor in network.state_dict().items() if name in names}

    def state_dict(self, *args: object, **kwargs: object) -> dict[str, Tensor]:  # type: ignore[override]
        return self._tensors

    def load_state_dict(self, state_dict: Mapping[str, Tensor], *args: object, **kwargs: object) -> None:  # type: ignore[override]
        for name, tensor in state_dict.items():
            self._tensors[name].copy_(tensor)
