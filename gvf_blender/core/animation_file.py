"""Reading the result of a job: the `gvf-animation` file of docs/formats.md, checked at the door."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .errors import FileError
from .safetensors_file import read_tensors

FORMAT = "gvf-animation"
VERSION = "1"

# Components per element (None: the track has no component axis) and type of every track.
_TRACKS: dict[str, tuple[int | None, np.dtype]] = {
    "means": (3, np.dtype("<f4")),
    "quaternions": (4, np.dtype("<f2")),
    "scales": (3, np.dtype("<f2")),
    "colors": (3, np.dtype("<f2")),
    "opacities": (None, np.dtype("<f2")),
    "vertices": (3, np.dtype("<f4")),
}
_OPTIONAL = {"confidence": (None, np.dtype("<f2"))}
_DAMAGED = "Compute the animation again."
# float16 leaves the length of a unit quaternion and a sum to 1 correct to about 1e-3.
_HALF_TOLERANCE = 0.01
_SIMILARITY_TOLERANCE = 1e-4
# A server takes whatever rate the video has, divided by the stride. Blender makes one of two keys that are less than a
# hundredth of a frame apart.
_SLOWEST_FPS, _FASTEST_FPS = 1e-3, 1e3


@dataclass(frozen=True, eq=False)
class Animation:
    """Activated, render-ready tracks in the unit frame of the capture.

    A track that does not change over time has one frame; all others have the same number of frames.

    Attributes:
        means: Centres of the Gaussians, float32 [T or 1, N, 3].
        quaternions: Rotations (w, x, y, z) of unit length to within float16, float16 [T or 1, N, 4].
        scales: Standard deviations along the Gaussian's axes, float16 [T or 1, N, 3].
        colors: Linear Rec. 709, float16 [T or 1, N, 3].
        opacities: 0..1, float16 [T or 1, N].
        vertices: The captured vertices, moved, float32 [T or 1, V, 3].
        world_from_unit: Unit frame to scene in metres: a rotation, one scale and a translation, float64 [4, 4].
        fps: Frames per second of the tracks.
        provenance: How the animation came about.
        confidence: How far each Gaussian can be trusted, 0..1, float16 [T or 1, N]; 1 where the file does not say.
    """

    means: np.ndarray
    quaternions: np.ndarray
    scales: np.ndarray
    colors: np.ndarray
    opacities: np.ndarray
    vertices: np.ndarray
    world_from_unit: np.ndarray
    fps: float
    provenance: dict[str, Any]
    confidence: np.ndarray

    @property
    def frame_count(self) -> int:
        """Number of frames T; 1 if nothing changes over time."""
        return max(len(getattr(self, name)) for name in _TRACKS)

    @property
    def gaussian_count(self) -> int:
        """Number of Gaussians N."""
        return self.means.shape[1]

    @property
    def vertex_count(self) -> int:
        """Number of captured vertices V."""
        return self.vertices.shape[1]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the artist should know about how the animation came about, one sentence each."""
        sentences = self.provenance.get("warnings")
        return tuple(map(str, sentences)) if isinstance(sentences, list) else ()

    @cached_property
    def unit_scale(self) -> float:
        """Metres per unit of the unit frame."""
        return float(np.cbrt(np.linalg.det(self.world_from_unit[:3, :3])))

    @cached_property
    def placement(self) -> np.ndarray:
        """`world_from_unit` without its scale: where a result in metres belongs, float64 [4, 4]."""
        placement = self.world_from_unit.copy()
        placement[:3, :3] /= self.unit_scale
        return placement


def read_animation(path: Path) -> Animation:
    """Read and validate an animation; large tracks stay memory-mapped.

    Raises:
        FileError: The file cannot be read, is of another kind or version, or holds tracks that are
            missing, misshapen or not meaningful.
    """
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != FORMAT:
        raise FileError(f"{path.name} is not an animation of this add-on.", "Choose the result of an Animate job.")
    if metadata.get("version") != VERSION:
        raise FileError(
            f"{path.name} is an animation of version {metadata.get('version')}, expected {VERSION}.",
            "Update the add-on and the server to the same version.",
        )
    tracks = {name: _track(path, tensors, name) for name in _TRACKS}
    if "confidence" in tensors:
        tracks["confidence"] = _track(path, tensors, "confidence")
    else:
        tracks["confidence"] = np.ones((1, tracks["means"].shape[1]), np.float16)
    _check_shapes(path, tracks)
    _check_values(path, tracks)
    return Animation(
        **tracks,
        world_from_unit=_world_from_unit(path, tensors),
        fps=_fps(path, metadata),
        provenance=_provenance(path, metadata),
    )


def _track(path: Path, tensors: dict[str, np.ndarray], name: str) -> np.ndarray:
    components, dtype = (_TRACKS | _OPTIONAL)[name]
    if name not in tensors:
        raise FileError(f"{path.name} lacks the track {name}.", _DAMAGED)
    track = tensors[name]
    dimensions = 2 if components is None else 3
    if track.dtype != dtype or track.ndim != dimensions or (components is not None and track.shape[2] != components):
        expected = "frames x count" + ("" if components is None else f" x {components}")
        raise FileError(
            f"The track {name} in {path.name} is {track.dtype} {list(track.shape)}, expected {dtype} {expected}.",
            _DAMAGED,
        )
    if 0 in track.shape:
        raise FileError(f"The track {name} in {path.name} is empty.", _DAMAGED)
    return track


def _check_shapes(path: Path, tracks: dict[str, np.ndarray]) -> None:
    frame_count = max(len(track) for track in tracks.values())
    gaussian_count = tracks["means"].shape[1]
    for name, track in tracks.items():
        if len(track) not in (1, frame_count):
            raise FileError(f"The track {name} in {path.name} has {len(track)} frames, others {frame_count}.", _DAMAGED)
        if name != "vertices" and track.shape[1] != gaussian_count:
            raise FileError(
                f"The track {name} in {path.name} has {track.shape[1]} Gaussians, means {gaussian_count}.", _DAMAGED
            )


def _check_values(path: Path, tracks: dict[str, np.ndarray]) -> None:
    for name, track in tracks.items():
        if not np.isfinite(track).all():
            raise FileError(f"The track {name} in {path.name} holds values that are not finite.", _DAMAGED)
    lengths = np.linalg.norm(tracks["quaternions"].astype(np.float32), axis=-1)
    if np.abs(lengths - 1).max() > _HALF_TOLERANCE:
        raise FileError(
            f"A rotation in {path.name} is a quaternion of length {_farthest(lengths, 1):.3g}, not 1.", _DAMAGED
        )
    for name in ("scales", "colors", "opacities", "confidence"):
        if tracks[name].min() < 0:
            raise FileError(
                f"The track {name} in {path.name} holds the negative value {tracks[name].min():.3g}.", _DAMAGED
            )
    for name, what in (("opacities", "An opacity"), ("confidence", "A confidence")):
        if tracks[name].max() > 1 + _HALF_TOLERANCE:
            raise FileError(f"{what} in {path.name} is {tracks[name].max():.3g}, above 1.", _DAMAGED)


def _world_from_unit(path: Path, tensors: dict[str, np.ndarray]) -> np.ndarray:
    if "world_from_unit" not in tensors:
        raise FileError(f"{path.name} lacks the matrix world_from_unit.", _DAMAGED)
    matrix = tensors["world_from_unit"]
    if matrix.dtype != np.float64 or matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise FileError(f"world_from_unit in {path.name} is not a finite 4 x 4 matrix of doubles.", _DAMAGED)
    linear = matrix[:3, :3]
    volume = np.linalg.det(linear)
    squared_scale = np.cbrt(max(volume, 0.0)) ** 2
    similar = volume > 0 and np.allclose(
        linear.T @ linear, squared_scale * np.eye(3), atol=_SIMILARITY_TOLERANCE * squared_scale
    )
    if not similar or not np.array_equal(matrix[3], (0, 0, 0, 1)):
        raise FileError(f"world_from_unit in {path.name} is not a rotation, one scale and a translation.", _DAMAGED)
    return np.array(matrix)


def _fps(path: Path, metadata: dict[str, str]) -> float:
    try:
        fps = float(metadata["fps"])
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(
            f"{path.name} does not say its frames per second ({metadata.get('fps')!r}).", _DAMAGED
        ) from error
    if not _SLOWEST_FPS <= fps <= _FASTEST_FPS:
        raise FileError(
            f"{path.name} has {fps} frames per second.",
            "Export the video with its usual frame rate, then compute the animation again.",
        )
    return fps


def _provenance(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    try:
        provenance = json.loads(metadata["provenance"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise FileError(f"The provenance in {path.name} is not readable ({error}).", _DAMAGED) from error
    if not isinstance(provenance, dict):
        raise FileError(f"The provenance in {path.name} is not a JSON object.", _DAMAGED)
    return provenance


def _farthest(values: np.ndarray, target: float) -> float:
    return float(values.flat[np.abs(values - target).argmax()])
