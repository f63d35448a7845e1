"""The truth as Gaussians: surface Gaussians that the true mesh carries, and the driving video made of them."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gvf_core.canonical.surface import SurfaceGaussians, gaussians_on_surface
from gvf_core.capture import Capture
from gvf_core.errors import CaptureError, FileNotWrittenError
from gvf_core.evaluation.clip_file import AssetClip
from gvf_core.evaluation.triangle_motion import triangle_motion
from gvf_core.gaussians import Splats
from gvf_core.geometry import quaternion_from_matrix
from gvf_core.rendering import Camera, orbit_camera, rasterize

RADIUS = 2.0
"""Distance of the camera in units of the asset's longest side, if the motion has room in the picture."""
MARGIN = 0.03
"""Part of the picture at its border that stays free in every frame."""
FARTHEST = 6.0
"""Farther away the asset would be too small to tell anything."""
BACKGROUNDS = ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.35, 0.47, 0.66), (0.38, 0.55, 0.42))
"""sRGB colours to lay pictures over."""
SAME_COLOR = 0.02
"""Part of an asset that may look like the background."""
NOVEL_VIEWS = ((45.0, 15.0), (135.0, 30.0), (225.0, 0.0), (315.0, 15.0))
"""The other views: degrees of azimuth from the driving view, and elevation."""


@dataclass(frozen=True)
class TrueMotion:
    """Gaussians that move with the true mesh.

    Attributes:
        clip: The true mesh.
        canonical: Gaussians on its rest surface.
    """

    clip: AssetClip
    canonical: SurfaceGaussians

    def splats(self, frame: int) -> Splats:
        """The Gaussians at one frame: carried by their triangles, and turned and stretched with them.

        Without the stretching, gaps open in skin that expands, through which the other side is seen.
        """
        rest, moved = self.clip.vertices[0], self.clip.vertices[frame]
        points = self.canonical.points
        motion = triangle_motion(rest, moved, self.clip.triangles)
        splats = self.canonical.gaussians.activate()
        along = torch.from_numpy(motion.stretches[points.triangle]).float()
        return splats._replace(
            means=torch.from_numpy(points.positions(moved, self.clip.triangles)).float(),
            quaternions=torch.from_numpy(quaternion_from_matrix(motion.axes)[points.triangle]).float(),
            # Surface Gaussians are round along the surface; their third axis is across.
            scales=torch.cat([splats.scales[:, :2] * along, splats.scales[:, 2:]], dim=1),
        )


def true_motion(clip: AssetClip, capture: Capture, gaussians: int, rng: np.random.Generator) -> TrueMotion:
    """Cover the rest pose with Gaussians.

    Raises:
        CaptureError: The capture is not that of the clip's first frame.
    """
    if capture.vertices.shape != clip.vertices[0].shape or np.abs(capture.vertices - clip.vertices[0]).max() > 1e-3:
        raise CaptureError("The capture is not that of the clip's first frame.", "Read the clip again with views.")
    return TrueMotion(clip, gaussians_on_surface(capture, gaussians, rng))


def driving_camera(
    vertices: Float[np.ndarray, "frames vertices 3"], azimuth: float, elevation: float, fov: float, size: int
) -> Camera:
    """The orbit camera around the rest pose, as far away as the motion needs, at least `RADIUS`.

    Raises:
        CaptureError: The asset moves too far away from where it starts.
    """
    radius = RADIUS
    while radius <= FARTHEST:
        camera = orbit_camera(azimuth, elevation, radius, fov, size)
        pixels, depth = camera.project(vertices.astype(np.float64))
        if depth.min() > 0 and np.abs(pixels / size - 0.5).max() < 0.5 - MARGIN:
            return camera
        radius *= 1.02
    raise CaptureError("The asset moves too far away for one picture.", "Choose another clip, or less of it.")


def novel_cameras(driving: Camera, azimuth: float, fov: float) -> tuple[Camera, ...]:
    """Cameras at other sides, as far away as the driving one."""
    radius = float(np.linalg.norm(driving.position))
    return tuple(
        orbit_camera(azimuth + aside, elevation, radius, fov, driving.width) for aside, elevation in NOVEL_VIEWS
    )


def draw(splats: Splats, camera: Camera) -> Float[Tensor, "height width 4"]:
    """Premultiplied colour and alpha."""
    with torch.no_grad():
        return rasterize(splats, camera).premultiplied


def over(picture: Float[Tensor, "*batch 4"], background: Float[Tensor, "3"]) -> Float[Tensor, "*batch 3"]:
    """A premultiplied picture over a colour, 0..1."""
    return (picture[..., :3] + (1 - picture[..., 3:]) * background).clamp(0, 1)


def contrasting_color(colors: Float[Tensor, "gaussians 3"]) -> Float[Tensor, "3"]:
    """The background that nearly all colours of an asset stand out from: white things would vanish on white."""
    backgrounds = torch.tensor(BACKGROUNDS)
    distances = torch.cdist(colors.clamp(0, 1), backgrounds)
    return backgrounds[torch.quantile(distances, SAME_COLOR, dim=0).argmax()]


def straight_bytes(picture: Float[Tensor, "*batch 4"]) -> UInt8[np.ndarray, "*batch 4"]:
    """A premultiplied picture with straight alpha, as files hold it."""
    alpha = picture[..., 3:].clamp(0, 1)
    color = (picture[..., :3] / alpha.clamp_min(1e-6)).clamp(0, 1) * (alpha > 0)
    return (255 * torch.cat([color, alpha], dim=-1)).round().to(torch.uint8).numpy()


def write_alpha_video(path: Path, frames: UInt8[np.ndarray, "frames height width 4"], fps: float) -> None:
    """Write frames with straight alpha without loss (FFV1 in Matroska).

    Raises:
        FileNotWrittenError: For example because the disk is full.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with av.open(str(partial), "w", format="matroska") as container:
            stream = container.add_stream("ffv1", rate=Fraction(fps).limit_denominator(1001))
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "bgra"
            for frame in frames:
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[..., [2, 1, 0, 3]]), format="bgra")
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        partial.replace(path)
    except (OSError, av.error.FFmpegError) as error:
        raise FileNotWrittenError(f"{path} could not be written ({error}).", "Free some disk space.") from error
    finally:
        partial.unlink(missing_ok=True)
