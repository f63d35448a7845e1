"""The motion prior: from 2D tracks of surface points to the 3D displacement of every point, hidden ones too.

What the caller needs: the shipped network, and `predict_motion` in the frames and units of the rest of the package.
docs/motion-prior.md says how it was trained and how good it is.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gvf_core.errors import WeightsError
from gvf_core.models.checkpoint import load_weights, read_state_dict
from gvf_core.models.motion_prior_network import MotionPrior, MotionPriorParams, PointMotion, PointTracks
from gvf_core.rendering.camera import Camera

__all__ = [
    "MotionPrior",
    "MotionPriorParams",
    "encode_motion_prior",
    "load_motion_prior",
    "predict_motion",
    "shipped_prior_sha256",
]

SHIPPED = "data/motion_prior.safetensors"
"""Where this package keeps the trained weights, as float16."""
FORMAT = "gvf-motion-prior"
SUBSET = 512
"""Points at a time; training saw 48 to 144."""
WINDOW = 16
"""Frames at a time: training saw 8 that span as long."""


def load_motion_prior(path: Path | None = None) -> MotionPrior:
    """The trained network, on the CPU, ready to use.

    Args:
        path: A file that `save_motion_prior` wrote; the shipped one if not given.

    Raises:
        WeightsError: There is no such file, it is damaged, or its tensors are not those of its parameters.
    """
    if path is None:
        with resources.as_file(resources.files("gvf_core.models").joinpath(SHIPPED)) as shipped:
            return load_motion_prior(shipped)
    state = read_state_dict(path)
    network = MotionPrior(_read_params(path))
    load_weights(network, state, path.name)
    return network.eval().requires_grad_(False)


def shipped_prior_sha256() -> str:
    """Hash of the shipped weights; empty where this package comes without."""
    shipped = resources.files("gvf_core.models").joinpath(SHIPPED)
    return hashlib.sha256(shipped.read_bytes()).hexdigest() if shipped.is_file() else ""


def encode_motion_prior(network: MotionPrior) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors (float16) and metadata of the file of a network."""
    state = {name: tensor.detach().half().contiguous() for name, tensor in network.state_dict().items()}
    # One entry only: safetensors writes several in a random order, and equal networks should have equal files.
    return state, {FORMAT: json.dumps(asdict(network.params))}


def predict_motion(
    prior: MotionPrior,
    positions: Float[np.ndarray, "points 3"],
    normals: Float[np.ndarray, "points 3"],
    pixels: Float[np.ndarray, "frames points 2"],
    confidence: Float[np.ndarray, "frames points"],
    camera: Camera,
    *,
    at_rest: Bool[np.ndarray, " points"] | None = None,
    up: tuple[float, float, float] = (0, 0, 1),
) -> tuple[Float32[np.ndarray, "frames points 3"], Float32[np.ndarray, "frames points"]]:
    """Where all points go, from the tracks of those that are seen.

    Long videos are cut into overlapping windows and many points into interleaved subsets. The answer is the mean of
    that for the clip and that for its mirror image, turned back.

    Args:
        prior: The trained network.
        positions: Surface points of the rest pose in the unit frame, evenly spread by area; 512 or more are best.
        normals: Their outward normals.
        pixels: Where each point is in each frame, in pixels of the camera; the centre of the top left pixel is
            (0.5, 0.5). What confidence 0 stands beside is ignored and may be NaN.
        confidence: 1 for a track as good as the flow of a sharp picture, 0 for a hidden or lost point. Noisy tracks of
            2 pixels in 256 should have about .4.
        camera: The camera of the video, in the unit frame.
        at_rest: Whether the camera sees the point in the rest pose; by default, whether it has a track in frame 0.
        up: The world's up direction in the unit frame.

    Returns:
        Displacements from the rest pose in the unit frame, and the expected lengths of their errors.

    Raises:
        ValueError: There is no point or frame, shapes do not fit, or the asset reaches behind the camera.
    """
    frames, points = confidence.shape
    if not frames or not points or pixels.shape != (frames, points, 2) or positions.shape != normals.shape:
        raise ValueError(f"Tracks {pixels.shape} and confidences {confidence.shape} do not fit {positions.shape}.")
    frame = _view_frame(positions, camera)
    tracks = _tracks_in_view(frame, positions, normals, pixels, confidence, camera, at_rest, up)
    order = torch.randperm(points, generator=torch.Generator().manual_seed(0))
    displacement, sigma = torch.empty(frames, points, 3), torch.empty(frames, points)
    with torch.no_grad():
        for subset in order.tensor_split(-(-points // SUBSET)):
            motion = _over_windows(prior, tracks.select(subset))
            displacement[:, subset], sigma[:, subset] = motion.displacement[0], motion.sigma[0]
    in_world = displacement.numpy() @ frame.rotation.astype(np.float32) * np.float32(frame.size)
    return in_world, sigma.numpy() * np.float32(frame.size)


def window_indices(frames: int, length: int = WINDOW) -> Int[Tensor, "windows length"]:
    """Frames of windows that overlap by half at least; one window for a clip that is not longer.

    Args:
        frames: Of the clip.
        length: Of a window.
    """
    if frames <= length:
        return torch.arange(frames)[None]
    starts = torch.linspace(0, frames - length, 1 + math.ceil((frames - length) / (length / 2))).round().long()
    return starts[:, None] + torch.arange(length)


@dataclass(frozen=True)
class _ViewFrame:
    """Unit frame -> view frame: rotation (p - centre) / size."""

    rotation: Float[np.ndarray, "3 3"]
    centre: Float[np.ndarray, "3"]
    size: float
    distance: float


def _view_frame(positions: Float[np.ndarray, "points 3"], camera: Camera) -> _ViewFrame:
    low, high = positions.min(axis=0), positions.max(axis=0)
    centre, size = (low + high) / 2, max(float((high - low).max()), 1e-6)
    forward = centre - camera.position
    distance = float(np.linalg.norm(forward))
    if distance < size / 2:
        raise ValueError(f"The camera is {distance:.2f} away from the middle of an asset that is {size:.2f} wide.")
    forward /= distance
    right = camera.world_to_camera[0, :3] - forward * (camera.world_to_camera[0, :3] @ forward)
    right /= np.linalg.norm(right)
    return _ViewFrame(np.stack([right, np.cross(forward, right), forward]), centre, size, distance / size)


def _tracks_in_view(
    frame: _ViewFrame,
    positions: Float[np.ndarray, "points 3"],
    normals: Float[np.ndarray, "points 3"],
    pixels: Float[np.ndarray, "frames points 2"],
    confidence: Float[np.ndarray, "frames points"],
    camera: Camera,
    at_rest: Bool[np.ndarray, " points"] | None,
    up: tuple[float, float, float],
) -> PointTracks:
    """One clip as the network sees it."""
    fx, fy, cx, cy = camera.pixel_intrinsics
    rays = np.stack([(pixels[..., 0] - cx) / fx, (pixels[..., 1] - cy) / fy, np.ones(pixels.shape[:2])], axis=-1)
    rays = rays @ (frame.rotation @ camera.world_to_camera[:3, :3].T).T
    points = (positions - frame.centre) @ frame.rotation.T / frame.size
    depth = points[:, 2] + frame.distance
    if depth.min() <= 0:
        raise ValueError("The asset reaches behind the camera.")
    lifted = depth[:, None] * rays[..., :2] / rays[..., 2:] - points[:, :2]
    lifted = np.where(confidence[..., None] > 0, lifted, 0)
    seen = confidence[0] > 0 if at_rest is None else at_rest

    def batch(values: object) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float32))[None]

    return PointTracks(
        positions=batch(points),
        normals=batch(normals @ frame.rotation.T),
        up=batch(frame.rotation @ np.asarray(up, float)),
        distance=batch(frame.distance),
        lifted=batch(lifted),
        confidence=batch(confidence),
        at_rest=batch(seen),
    )


def _over_windows(prior: MotionPrior, tracks: PointTracks) -> PointMotion:
    """The network's answer for one clip of any length: means over windows and over the mirror image."""
    frames = tracks.confidence.shape[1]
    indices = window_indices(frames)
    shape = torch.zeros(1, frames, tracks.confidence.shape[2])
    displacement, sigma, weight = shape[..., None].expand(-1, -1, -1, 3).clone(), shape.clone(), torch.zeros(frames)
    # Frames near the ends of a window count less there: they have neighbours on one side only.
    ramp = torch.arange(1, indices.shape[1] + 1).float()
    ramp = torch.minimum(ramp, ramp.flip(0))
    flip = torch.tensor([-1.0, 1.0, 1.0])
    for index in indices:
        window = replace(tracks, lifted=tracks.lifted[:, index], confidence=tracks.confidence[:, index])
        seen, mirrored = prior(window), prior(window.mirrored())
        mean = (seen.displacement + mirrored.displacement * flip) / 2 * ramp[:, None, None]
        displacement.index_add_(1, index, mean)
        sigma.index_add_(1, index, (seen.sigma + mirrored.sigma) / 2 * ramp[:, None])
        weight.index_add_(0, index, ramp)
    return PointMotion(displacement / weight[:, None, None], sigma / weight[:, None])


def _read_params(path: Path) -> MotionPriorParams:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        if FORMAT not in metadata:
            raise WeightsError(f"{path.name} is not a {FORMAT} file.", "Choose another file.")
        return MotionPriorParams(**{name: int(value) for name, value in json.loads(metadata[FORMAT]).items()})
    except (SafetensorError, OSError, AttributeError, TypeError, ValueError) as error:
        raise WeightsError(f"{path.name} does not say its network's sizes ({error}).", "Train it again.") from error
