"""Networks that only measure: the backbone of LPIPS, two CLIPs, I3D, an aesthetic predictor."""

from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gvf_core.models.checkpoint import load_weights, read_state_dict
from gvf_core.models.perceptual import PerceptualDistance, backbone_of
from gvf_core.models.registry import Part
from gvf_core.models.video_features import VideoFeatures, with_counters

_CLIP_PREFIXES = ("vision_model.", "visual_projection.")
_CLIP_SIZES: dict[Part, dict[str, Any]] = {
    Part.PICTURE_EMBEDDING: {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "patch_size": 32,
        "projection_dim": 512,
    },
    Part.AESTHETIC_EMBEDDING: {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
        "projection_dim": 768,
    },
}
"""Of ViT-B/32 (openai/clip-vit-base-patch32) and ViT-L/14 (openai/clip-vit-large-patch14)."""
_CLIP_BUFFER = "vision_model.embeddings.position_ids"
CLIP_SIDE = 224
"""Width and height of the pictures that CLIP sees."""
CLIP_MEAN, CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""What CLIP's pictures are standardised with (Radford et al., 2021; `preprocessor_config.json` of its release)."""


def metric_state(part: Part, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is used of a published file: of VGG16 nothing that classifies, of CLIP nothing that reads."""
    if part is Part.PERCEPTUAL:
        return backbone_of(state)
    if part in _CLIP_SIZES:
        return {name: state[name] for name in state if name.startswith(_CLIP_PREFIXES) and name != _CLIP_BUFFER}
    return with_counters(state) if part is Part.VIDEO_FEATURES else dict(state)


def check_metric_state(part: Part, state: Mapping[str, Tensor], source: str) -> None:
    """Check names, shapes and values.

    Raises:
        WeightsError: They are those of another network, or not finite.
    """
    with torch.device("meta"):
        network = _network(part)
    load_weights(network, state, source)


def load_clip(path: Path, part: Part = Part.PICTURE_EMBEDDING) -> nn.Module:
    """The half of a CLIP that sees; gives `image_embeds`.

    Args:
        path: Its weights.
        part: `PICTURE_EMBEDDING` (ViT-B/32) or `AESTHETIC_EMBEDDING` (ViT-L/14).

    Raises:
        WeightsError: The weights do not fit.
    """
    return _loaded(part, path)


def load_video_features(path: Path) -> nn.Module:
    """I3D.

    Raises:
        WeightsError: The weights do not fit.
    """
    return _loaded(Part.VIDEO_FEATURES, path)


def load_aesthetic_head(path: Path) -> nn.Module:
    """LAION's predictor (version 2): from a CLIP embedding of length 1, 768 channels, to a score of about 1 to 10.

    Raises:
        WeightsError: The weights do not fit.
    """
    return _loaded(Part.AESTHETIC, path)


def aesthetic_head(channels: int = 768) -> nn.Module:
    """Five linear layers and nothing between them, as the published weights (`linearMSE`) were trained.

    Args:
        channels: Of the embedding; fewer are for tests.
    """
    widths = (channels, 1024, 128, 64, 16, 1)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    # The published network has dropouts at the places that are left out here.
    for place, sizes in zip((0, 2, 4, 6, 7), pairwise(widths), strict=True):
        layers[str(place)] = nn.Linear(*sizes)
    return nn.Sequential(OrderedDict(layers=nn.Sequential(layers)))


def _loaded(part: Part, path: Path) -> nn.Module:
    network = _network(part)
    load_weights(network, metric_state(part, read_state_dict(path)), path.name)
    return network.requires_grad_(False).eval()


def _network(part: Part) -> nn.Module:
    if part is Part.PERCEPTUAL:
        return nn.ModuleDict({"features": PerceptualDistance().features})
    if part is Part.VIDEO_FEATURES:
        return VideoFeatures()
    if part is Part.AESTHETIC:
        return aesthetic_head()
    # Here, because the package takes seconds to import.
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(image_size=CLIP_SIDE, hidden_act="quick_gelu", **_CLIP_SIZES[part])
    )
