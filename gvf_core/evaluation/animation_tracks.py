"""An animation file (docs/formats.md) as Gaussians to draw, and the camera that it was found under."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from gvf_core.errors import FileFormatError
from gvf_core.gaussians import Splats
from gvf_core.rendering import Camera, orbit_camera
from gvf_core.tensorfile import Expected, read_tensors

_TRACKS: Expected = {
    "means": ("F32", (None, None, 3)),
    "quaternions": ("F16", (None, None, 4)),
    "scales": ("F16", (None, None, 3)),
    "colors": ("F16", (None, None, 3)),
    "opacities": ("F16", (None, None)),
}


@dataclass(frozen=True)
class AnimationTracks:
    """What can be drawn of an animation.

    Attributes:
        tracks: Activated attributes; one that does not change has a single frame.
        frames: Length.
        azimuth: Degrees from which the driving video sees the asset.
        elevation: Of the driving video, degrees.
        distance: Of its camera from the origin of the unit frame.
        intrinsics: Of its camera, in units of width and height.
    """

    tracks: Splats
    frames: int
    azimuth: float
    elevation: float
    distance: float
    intrinsics: tuple[float, float, float, float]

    def splats(self, frame: int) -> Splats:
        """The Gaussians at one frame."""
        return Splats(*(track[min(frame, len(track) - 1)] for track in self.tracks))

    def camera(self, aside: float, width: int, height: int) -> Camera:
        """The camera of the driving video, carried around the vertical axis.

        The video tells where the asset lies across its line of sight, not along it. Seen from the side, the part of the
        shift that is across the new line of sight is kept, and the unknown one is taken as none.

        Args:
            aside: Degrees of azimuth from the driving video.
            width: Pixels.
            height: Pixels.
        """
        around = orbit_camera(self.azimuth + aside, self.elevation, self.distance)
        focal_x, focal_y, center_x, center_y = self.intrinsics
        center_x = 0.5 + (center_x - 0.5) * math.cos(math.radians(aside))
        return Camera(around.world_to_camera, (focal_x, focal_y, center_x, center_y), width, height)


def load_tracks(path: Path) -> AnimationTracks:
    """Read an animation file.

    Raises:
        FileFormatError: It is none, or was made before animations told their camera.
    """
    tensors, metadata = read_tensors(path, "gvf-animation", _TRACKS)
    try:
        told = json.loads(metadata["provenance"])
        focal_x, focal_y, center_x, center_y = (float(number) for number in told["camera"]["intrinsics"])
        view = float(told["azimuth"]), float(told["elevation"]), float(told["camera"]["distance"])
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(
            f"{path.name} does not tell the camera of its video ({error!r}).", "Animate again with this version."
        ) from error
    numbers = {name: torch.from_numpy(tensors[name].astype(np.float32)) for name in _TRACKS}
    numbers["colors"] = _srgb_from_linear(numbers["colors"].clamp(0, 1))
    frames = max(len(track) for track in numbers.values())
    return AnimationTracks(Splats(**numbers), frames, *view, (focal_x, focal_y, center_x, center_y))


def _srgb_from_linear(linear: Float[torch.Tensor, "*shape 3"]) -> Float[torch.Tensor, "*shape 3"]:
    """The sRGB transfer function (IEC 61966-2-1)."""
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)
