"""Networks that compare pictures and videos, as far as their weights are installed; what is missing says why."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from gvf_core.errors import WeightsError
from gvf_core.evaluation.image_metrics import has_structural_similarity
from gvf_core.models.record import Installed
from gvf_core.models.registry import checkpoint
from gvf_core.models.store import Store, default_store

LOGGER = logging.getLogger(__name__)

PERCEPTUAL, EMBEDDING, VIDEO = "vgg16", "clip-vit-b32", "i3d-kinetics400"
METRICS = {EMBEDDING: ("clip",), PERCEPTUAL: ("lpips",), VIDEO: ("single_video_distance", "fvd")}
"""What each network is for."""
_BATCH = 4
"""Pictures at a time: VGG16 fills 0.3 GB with each of 512 pixels."""

Pictures = Float[Tensor, "frames 3 height width"]


@dataclass(frozen=True)
class Judges:
    """What is there to compare with.

    Attributes:
        perceptual: LPIPS.
        embedding: CLIP, from standardised pictures to embeddings.
        video: I3D.
        weights: Where the weights of each network come from.
        absent: Why a metric is not measured, by its name.
    """

    perceptual: nn.Module | None = None
    embedding: Callable[[Tensor], Tensor] | None = None
    video: nn.Module | None = None
    weights: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)


def judge_key(store: Store | None = None) -> str:
    """What tells the installed networks apart; kept figures were made with those of the same key."""
    found = [_found(store or default_store(), name) for name in METRICS]
    sums = [file.sha256 for record in found if record is not None for file in record.files]
    return " ".join([*sums, "ssim" if has_structural_similarity() else ""])


def installed_judges(store: Store | None = None) -> Judges:
    """Load what is installed.

    Weights that are damaged or do not fit leave their metrics out, with the reason; they never fail an evaluation.
    """
    from gvf_core.models.metric_networks import load_clip, load_video_features
    from gvf_core.models.perceptual import load_perceptual_distance

    store = store or default_store()
    loaders: dict[str, Callable[..., nn.Module]] = {
        PERCEPTUAL: load_perceptual_distance,
        EMBEDDING: load_clip,
        VIDEO: load_video_features,
    }
    networks: dict[str, nn.Module] = {}
    absent, weights = absent_metrics(store), {}
    for name, load in loaders.items():
        if METRICS[name][0] in absent:
            continue
        try:
            networks[name] = load(store.weights_file(name))
            weights[name] = _source(store, name)
        except WeightsError as error:
            absent |= dict.fromkeys(METRICS[name], str(error))
    clip = networks.get(EMBEDDING)
    return Judges(
        perceptual=networks.get(PERCEPTUAL),
        embedding=None if clip is None else lambda pictures: clip(pixel_values=pictures).image_embeds,
        video=networks.get(VIDEO),
        weights=weights,
        absent=absent,
    )


def absent_metrics(store: Store | None = None) -> dict[str, str]:
    """Why metrics are not measured, by name, without loading anything."""
    store = store or default_store()
    absent = {}
    if not has_structural_similarity():
        absent["ssim"] = 'torchmetrics is not installed: `pip install "gvf-blender[evaluate]"`.'
    for name, metrics in METRICS.items():
        if _found(store, name) is None:
            sentence = f"The weights {name} are not installed: `gvf models download {name}`, or `gvf models add`."
            absent |= dict.fromkeys(metrics, sentence)
    return absent


def perceptual_distances(network: nn.Module, pictures: Pictures, references: Pictures) -> Float[Tensor, " frames"]:
    """LPIPS of each picture."""
    pairs = zip(pictures.split(_BATCH), references.split(_BATCH), strict=True)
    return torch.cat([network(*pair) for pair in pairs])


def embedding_similarities(
    network: Callable[[Tensor], Tensor], pictures: Pictures, references: Pictures
) -> Float[Tensor, " frames"]:
    """Cosine of the embeddings of each picture and its reference, as in Consistent4D's evaluation."""
    found, true = (network(for_clip(part)) for part in (pictures, references))
    return torch.nn.functional.cosine_similarity(found, true)


def video_features(network: nn.Module, pictures: Pictures) -> Float[np.ndarray, " features"]:
    """What I3D says of a whole video: all frames at once, as in Consistent4D's evaluation."""
    from gvf_core.models.video_features import SIDE

    video = torch.from_numpy(_resized(pictures, SIDE)) * 2 - 1
    return network(video.permute(3, 0, 1, 2)[None])[0].numpy()


def for_clip(pictures: Pictures) -> Float[Tensor, "frames 3 224 224"]:
    """Square pictures as CLIP sees them: cubically resized, standardised."""
    from gvf_core.models.metric_networks import CLIP_DEVIATION, CLIP_MEAN, CLIP_SIDE

    # Clamped, as bytes are, which CLIP is given officially; I3D is given numbers that may leave the range.
    resized = torch.from_numpy(_resized(pictures, CLIP_SIDE)).movedim(-1, 1).clamp(0, 1)
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_DEVIATION))
    return (resized - mean) / deviation


def _resized(pictures: Pictures, side: int) -> Float[np.ndarray, "frames side side 3"]:
    """Cubically, by Pillow, which filters what it makes smaller, as both publishers' preparations do.

    Values may leave 0..1 a little at edges.
    """
    size = (side, side)
    planes = [
        [np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC)) for plane in picture]
        for picture in pictures.float().numpy()
    ]
    return np.moveaxis(np.asarray(planes, np.float32), 1, -1)


def _found(store: Store, name: str) -> Installed | None:
    try:
        return store.find(name)
    except WeightsError as error:
        LOGGER.warning("%s", error)
        return None


def _source(store: Store, name: str) -> dict[str, Any]:
    record = store.find(name)
    if record is None:
        raise WeightsError(f"{name} is not installed.", "Install it again.")
    # Of the user's own file nothing is known but its sum.
    page = checkpoint(name).page if record.origin == "official" else None
    return {"origin": record.origin, "page": page, "sha256": [source.sha256 for source in record.sources]}
