"""Networks that only measure: the backbone of LPIPS, CLIP and I3D. Their weights lie in the store like all others."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from gvf_core.models.checkpoint import load_weights, read_state_dict
from gvf_core.models.perceptual import PerceptualDistance, backbone_of
from gvf_core.models.registry import Part
from gvf_core.models.video_features import VideoFeatures, with_counters

_CLIP_PREFIXES = ("vision_model.", "visual_projection.")
_CLIP_BUFFER = "vision_model.embeddings.position_ids"
CLIP_SIDE = 224
"""Width and height of the pictures that CLIP sees."""
CLIP_MEAN, CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""What CLIP's pictures are standardised with (Radford et al., 2021; `preprocessor_config.json` of its release)."""


def metric_state(part: Part, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is used of a published file: of VGG16 nothing that classifies, of CLIP nothing that reads."""
    if part is Part.PERCEPTUAL:
        return backbone_of(state)
    if part is Part.PICTURE_EMBEDDING:
        return {name: state[name] for name in state if name.startswith(_CLIP_PREFIXES) and name != _CLIP_BUFFER}
    return with_counters(state)


def check_metric_state(part: Part, state: Mapping[str, Tensor], source: str) -> None:
    """Check names, shapes and values.

    Raises:
        WeightsError: They are those of another network, or not finite.
    """
    with torch.device("meta"):
        network = _network(part)
    load_weights(network, state, source)


def load_clip(path: Path) -> nn.Module:
    """The half of CLIP (ViT-B/32) that sees; gives `image_embeds`.

    Raises:
        WeightsError: The weights do not fit.
    """
    return _loaded(Part.PICTURE_EMBEDDING, path)


def load_video_features(path: Path) -> nn.Module:
    """I3D.

    Raises:
        WeightsError: The weights do not fit.
    """
    return _loaded(Part.VIDEO_FEATURES, path)


def _loaded(part: Part, path: Path) -> nn.Module:
    network = _network(part)
    load_weights(network, metric_state(part, read_state_dict(path)), path.name)
    return network.requires_grad_(False).eval()


def _network(part: Part) -> nn.Module:
    if part is Part.PERCEPTUAL:
        return nn.ModuleDict({"features": PerceptualDistance().features})
    if part is Part.VIDEO_FEATURES:
        return VideoFeatures()
    # Here, because the package takes seconds to import.
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    # These are the sizes of ViT-B/32, openai/clip-vit-base-patch32.
    config = CLIPVisionConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        image_size=CLIP_SIDE,
        patch_size=32,
        projection_dim=512,
        hidden_act="quick_gelu",
    )
    return CLIPVisionModelWithProjection(config)
