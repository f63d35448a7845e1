"""The result: canonical Gaussians, their variation field, moved vertices. File format in docs/formats.md."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import save_file

from gvf_core.errors import FileNotWrittenError, SamplingError
from gvf_core.gaussians import Gaussians, VariationField
from gvf_core.tensorfile import FORMAT_VERSION


@dataclass(frozen=True)
class Animation:
    """An asset in motion, in the unit frame of its capture.

    Attributes:
        gaussians: Canonical Gaussians, the asset as captured.
        variation: Their deltas per frame; `fit` leaves frame 0 at zero, networks come near it.
        vertices: The capture's vertices per frame.
        world_from_unit: From the unit frame to the scene, metres.
        fps: Frames per second.
        confidence: How far each Gaussian can be trusted in each frame, 0..1; None where nobody estimated it.
        provenance: How it came about, ready for JSON: engine, version, settings, warnings, figures.
    """

    gaussians: Gaussians
    variation: VariationField
    vertices: Float[np.ndarray, "frames vertices 3"]
    world_from_unit: Float[np.ndarray, "4 4"]
    fps: float
    provenance: dict[str, Any]
    confidence: Float[np.ndarray, "frames gaussians"] | None = None


def save_animation(path: Path, animation: Animation) -> None:
    """Write activated, render-ready tracks; a track that never changes is stored once.

    The file appears complete or not at all.

    Raises:
        FileNotWrittenError: For example because the disk is full.
        SamplingError: The animation is not finite.
    """
    with torch.no_grad():
        splats = animation.gaussians.activate(animation.variation.deltas)
    linear = _linear_from_srgb(splats.colors.numpy())
    tracks: dict[str, np.ndarray] = {
        "means": splats.means.numpy().astype(np.float32),
        "quaternions": splats.quaternions.numpy().astype(np.float16),
        "scales": splats.scales.numpy().astype(np.float16),
        "colors": linear.astype(np.float16),
        "opacities": splats.opacities.numpy().astype(np.float16),
        "vertices": animation.vertices.astype(np.float32),
    }
    if animation.confidence is not None:
        tracks["confidence"] = animation.confidence.astype(np.float16)
    if broken := [name for name, track in tracks.items() if not np.isfinite(track).all()]:
        raise SamplingError(f"Not finite in the animation: {', '.join(broken)}.", "Try another seed or preset.")
    tensors = {name: np.ascontiguousarray(_once_if_constant(track)) for name, track in tracks.items()}
    tensors["world_from_unit"] = np.ascontiguousarray(animation.world_from_unit, dtype=np.float64)
    metadata = {
        "format": "gvf-animation",
        "version": FORMAT_VERSION,
        "fps": repr(float(animation.fps)),
        "provenance": json.dumps(animation.provenance, sort_keys=True),
    }
    partial = path.with_name(path.name + ".partial")
    try:
        save_file(tensors, partial, metadata)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise FileNotWrittenError(
            f"The animation could not be written to {path} ({error}).", "Free some disk space or choose another place."
        ) from error


def _once_if_constant(track: np.ndarray) -> np.ndarray:
    return track[:1] if (track == track[:1]).all() else track


def _linear_from_srgb(srgb: np.ndarray) -> np.ndarray:
    """The sRGB transfer function (IEC 61966-2-1), inverted."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0.04045) + 0.055) / 1.055) ** 2.4)
