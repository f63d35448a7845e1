"""How pleasing a clip looks: the score by which the paper's data were chosen (appendix B), for `gvf train prepare`."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gvf_core.evaluation.judges import for_clip
from gvf_core.models.metric_networks import load_aesthetic_head, load_clip
from gvf_core.models.registry import Part
from gvf_core.models.store import Store, default_store
from gvf_core.rendering.camera import orbit_camera
from gvf_core.training.clip_record import ClipRecord, ViewRole

NETWORKS = EMBEDDING, HEAD = "clip-vit-l14", "laion-aesthetic"
_AZIMUTHS, _ELEVATION = (0.0, 90.0, 180.0, 270.0), 20.0
"""Degrees; the paper says only that there are four views."""


@dataclass(frozen=True)
class AestheticPredictor:
    """LAION's predictor, version 2, as its scripts apply it.

    Attributes:
        embedding: CLIP, from standardised pictures to embeddings.
        head: From embeddings of length 1 to scores.
    """

    embedding: Callable[[Tensor], Float[Tensor, "pictures channels"]]
    head: nn.Module

    @torch.inference_mode()
    def score(self, record: ClipRecord) -> float:
        """Mean over four pictures of frame 0 from a quarter turn each, over white; about 1 to 10."""
        pictures = torch.cat([_picture(record, azimuth) for azimuth in _AZIMUTHS])
        embeddings = nn.functional.normalize(self.embedding(for_clip(pictures)), dim=-1)
        return float(self.head(embeddings).mean())


def installed_predictor(store: Store | None = None) -> AestheticPredictor:
    """Load what is installed.

    Raises:
        WeightsError: Something is missing, damaged or does not fit.
    """
    store = store or default_store()
    clip = load_clip(store.weights_file(EMBEDDING), Part.AESTHETIC_EMBEDDING)
    head = load_aesthetic_head(store.weights_file(HEAD))
    return AestheticPredictor(lambda pictures: clip(pixel_values=pictures).image_embeds, head)


def _picture(record: ClipRecord, azimuth: float) -> Float[Tensor, "1 3 height width"]:
    """The canonical picture nearest to a side."""
    side = orbit_camera(azimuth, _ELEVATION).position
    index = max(record.views(ViewRole.CANONICAL), key=lambda view: float(record.cameras[view].position @ side))
    rgba = torch.from_numpy(record.view(index).rgba.copy()).movedim(-1, 0)[None] / 255
    return rgba[:, :3] * rgba[:, 3:] + 1 - rgba[:, 3:]
