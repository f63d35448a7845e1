"""Canonical Gaussians by networks: voxel features, E_GS, the structured latent, D_GS (section 3.1, supplement A.1)."""

import hashlib
import logging
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor

from gvf_core.canonical.cache import fits, read_latents, write_latents
from gvf_core.canonical.gaussians import CanonicalGaussians
from gvf_core.canonical.voxel_features import FeatureMean, visibility, voxel_centers
from gvf_core.capture import Capture
from gvf_core.errors import CaptureError
from gvf_core.geometry.voxels import active_voxels
from gvf_core.models.image_encoder import IMAGE_SIZE
from gvf_core.models.model_set import ModelSet
from gvf_core.models.registry import Part
from gvf_core.models.roles import Role
from gvf_core.progress import Monitor
from gvf_core.settings import VoxelFeatures

LOGGER = logging.getLogger(__name__)

STATIC_TOKENS = 4096
"""Gaussians that the variation DiT is told about."""
_FEATURES_DONE, _LATENTS_DONE = 0.9, 0.95
_IDENTITY = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class SlatGaussians(CanonicalGaussians):
    """Canonical Gaussians of a structured latent, 8 per voxel; their rotations are normalised.

    Attributes:
        indices: The voxels, in the order of the Gaussians.
    """

    indices: Int[Tensor, "voxels 3"]


def voxels_for_networks(capture: Capture, per_voxel: int) -> Int32[np.ndarray, "voxels 3"]:
    """The voxels of the captured surface, of which the networks need a certain number.

    Raises:
        CaptureError: There are too few; E_GS and D_GS give so many Gaussians per voxel, the DiT takes 4096 of them.
    """
    indices = active_voxels(capture.vertices, capture.triangles)
    count = per_voxel * len(indices)
    if count < STATIC_TOKENS:
        raise CaptureError(
            f"The asset fills {len(indices)} voxels of 64 x 64 x 64, which gives {count} Gaussians; the networks need "
            f"{STATIC_TOKENS}, or {-(-STATIC_TOKENS // per_voxel)} voxels.",
            "It is too thin beside its length: use the engine fit, or capture a part of it.",
        )
    return indices


def gaussians_from_slat(
    capture: Capture,
    indices: Int32[np.ndarray, "voxels 3"],
    models: ModelSet,
    weighting: VoxelFeatures,
    monitor: Monitor,
) -> SlatGaussians:
    """E_GS and D_GS on a captured asset; the posterior's mean is decoded.

    The latents are kept on disk, by the hashes of views and networks.

    Args:
        capture: The asset with its views.
        indices: Its voxels.
        models: The networks.
        weighting: How the features of the views become one feature of a voxel.
        monitor: Takes the progress.

    Raises:
        Cancelled: The caller asked to stop.
    """
    places = torch.from_numpy(indices)
    coordinates = torch.cat([torch.zeros(len(places), 1, dtype=places.dtype), places], dim=1).to(models.device)
    key = _key(capture, indices, models, weighting)
    stored = read_latents(key)
    cached = stored is not None and fits(stored, len(places), models.static_vae.params.latent_channels)
    if stored is not None and cached:
        latents = stored["latents"].to(models.device)
    else:
        features = voxel_features(capture, places, models, weighting, monitor.part(0, _FEATURES_DONE))
        with torch.no_grad():
            latents = models.static_vae.encode(features, coordinates).mean
        write_latents(key, {"latents": latents.cpu(), "indices": places})
    monitor(_LATENTS_DONE)
    # Not in inference mode: a refinement may want gradients with respect to them.
    with torch.no_grad():
        (gaussians,) = models.static_vae.decode(latents, coordinates)
        # Officially the alignment normalises them, and deltas are meant for normalised ones.
        gaussians = gaussians.rotated(torch.tensor(_IDENTITY, device=models.device))
    figures = {"voxels": len(places), "views": len(capture.views), "latents_from_cache": cached}
    return SlatGaussians(gaussians.to("cpu"), places, figures=figures)


def voxel_features(
    capture: Capture, indices: Int[Tensor, "voxels 3"], models: ModelSet, weighting: VoxelFeatures, monitor: Monitor
) -> Float[Tensor, "voxels channels"]:
    """Mean image features of voxels over the views, on the networks' device.

    Args:
        capture: The asset with its views.
        indices: Its voxels.
        models: The networks.
        weighting: "mean" as officially, hidden or not; "visible" counts views that see a voxel.
        monitor: Takes the progress.

    Raises:
        Cancelled: The caller asked to stop.
    """
    mean = FeatureMean(voxel_centers(indices).to(models.device))
    for index, view in enumerate(capture.views):
        monitor(index / len(capture.views))
        tokens = models.image_encoder.voxel_tokens(view.rgba[None])[0]
        weight = visibility(capture, view.camera, voxel_centers(indices)) if weighting == "visible" else None
        mean.add(tokens, view.camera, weight)
    return mean.result()


def _key(capture: Capture, indices: Int32[np.ndarray, "voxels 3"], models: ModelSet, weighting: VoxelFeatures) -> str:
    digest = hashlib.sha256(f"1 {IMAGE_SIZE} {weighting}".encode())
    digest.update(models.digest(Part.IMAGE_ENCODER, Role.STATIC_VAE).encode())
    digest.update(indices.tobytes())
    if weighting == "visible":
        digest.update(capture.vertices.tobytes())
        digest.update(capture.triangles.tobytes())
    for view in capture.views:
        digest.update(repr((view.camera.intrinsics, view.rgba.shape)).encode())
        digest.update(np.ascontiguousarray(view.camera.world_to_camera).tobytes())
        digest.update(np.ascontiguousarray(view.rgba).tobytes())
    return digest.hexdigest()
