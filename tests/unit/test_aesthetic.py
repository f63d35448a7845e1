"""The aesthetic score sees four sides of frame 0 over white, through embeddings of length 1."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from weight_files import one_thread

from gvf_core.errors import WeightsError
from gvf_core.models.metric_networks import aesthetic_head
from gvf_core.models.store import Store
from gvf_core.rendering.camera import orbit_camera
from gvf_core.training.aesthetic import AestheticPredictor, installed_predictor
from gvf_core.training.clip_record import ClipRecord, ViewRole

COLORS = {0.0: (255, 0, 0), 90.0: (0, 255, 0), 180.0: (0, 0, 255), 270.0: (255, 255, 0), 45.0: (9, 9, 9)}
"""Of what is seen from each azimuth."""


@pytest.fixture(autouse=True)
def _seeded():
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def png(color: tuple[int, ...], alpha: int = 255) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", (16, 16), (*color, alpha)).save(file, "PNG")
    return file.getvalue()


def clip(pictures: dict[float, bytes]) -> ClipRecord:
    """Canonical pictures of some azimuths, and a black driving one."""
    count = len(pictures) + 1
    return ClipRecord(
        name="cube",
        family="cube",
        category="toy",
        origin="asset",
        fps=24.0,
        points=np.zeros((1, 3, 3), np.float32),
        vertices=np.zeros((3, 3), np.float32),
        triangles=np.array([[0, 1, 2]], np.int32),
        cameras=(*(orbit_camera(azimuth, 10.0, size=16) for azimuth in pictures), orbit_camera(0.0, 20.0, size=16)),
        view_frame=np.zeros(count, np.int32),
        view_role=np.array([ViewRole.CANONICAL] * len(pictures) + [ViewRole.CONDITION], np.int32),
        pngs=(*pictures.values(), png((0, 0, 0))),
    )


def small_predictor(scale: float = 1.0) -> AestheticPredictor:
    """Real networks of a few channels with random weights; the scale is that of the embeddings."""
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, patch_size=112, projection_dim=6
    )
    network, head = CLIPVisionModelWithProjection(config).eval(), aesthetic_head(6)
    with torch.no_grad():
        network.visual_projection.weight *= scale
    return AestheticPredictor(lambda pictures: network(pixel_values=pictures).image_embeds, head)


def test_four_sides_of_frame_0_are_seen():
    seen = []

    def embedding(pictures: torch.Tensor) -> torch.Tensor:
        seen.extend(pictures.mean(dim=(2, 3)).argmax(dim=1).tolist())
        return torch.ones(len(pictures), 6)

    AestheticPredictor(embedding, aesthetic_head(6)).score(clip({azimuth: png(COLORS[azimuth]) for azimuth in COLORS}))
    # Yellow is most above the mean of CLIP's pictures in green.
    assert seen == [0, 1, 2, 1]


def test_the_score_is_the_mean_over_the_sides():
    predictor = small_predictor()
    whole = predictor.score(clip({azimuth: png(COLORS[azimuth]) for azimuth in COLORS}))
    sides = [predictor.score(clip({azimuth: png(COLORS[azimuth])})) for azimuth in (0.0, 90.0, 180.0, 270.0)]
    assert np.ptp(sides) > 1e-4 and whole == pytest.approx(np.mean(sides), abs=1e-6)


def test_what_is_transparent_is_white():
    predictor = small_predictor()
    assert predictor.score(clip({0.0: png((7, 8, 9), alpha=0)})) == predictor.score(clip({0.0: png((255, 255, 255))}))


def test_the_length_of_embeddings_does_not_matter():
    record = clip({0.0: png(COLORS[0.0])})
    assert small_predictor(3.0).score(record) == pytest.approx(small_predictor().score(record), abs=1e-6)


def test_weights_that_are_not_installed_are_named(tmp_path):
    with pytest.raises(WeightsError, match="clip-vit-l14 is not installed"):
        installed_predictor(Store(tmp_path))
