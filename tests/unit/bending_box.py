"""A coloured box that bends, as a clip to train on: small, known, rendered by the project's own rasterizer."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gvf_core.gaussians import Splats
from gvf_core.geometry.mesh import sample_surface
from gvf_core.rendering.camera import Camera, orbit_camera
from gvf_core.rendering.rasterize import rasterize
from gvf_core.training.clip_record import ClipRecord, ViewRole, write_clip

SIZE, FRAMES = 24, 3
_SPLATS = 1500


def box_mesh(cells: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """A closed box along x, 0.6 long, whose long sides are cut into cells."""
    x = np.linspace(-0.3, 0.3, cells + 1)
    corners = np.array([(-0.06, -0.06), (0.06, -0.06), (0.06, 0.06), (-0.06, 0.06)])
    vertices = np.array([(a, *corner) for a in x for corner in corners], np.float32)
    triangles = [(0, 1, 2), (0, 2, 3)]
    for cell in range(cells):
        for side in range(4):
            a, b = 4 * cell + side, 4 * cell + (side + 1) % 4
            triangles += [(a, b, a + 4), (b, b + 4, a + 4)]
    end = 4 * cells
    return vertices, np.array([*triangles, (end, end + 2, end + 1), (end, end + 3, end + 2)], np.int32)


def bent(points: np.ndarray, amount: float) -> np.ndarray:
    """Points whose z rises with the square of x."""
    return points + np.stack([0 * points[..., 0], 0 * points[..., 0], amount * points[..., 0] ** 2], axis=-1)


def bending_box(name: str = "box", amount: float = 1.5, azimuth: float = 0.0, seed: int = 0) -> ClipRecord:
    """Frames that bend more and more, seen by four cameras at rest and by two in every frame."""
    vertices, triangles = box_mesh()
    rng = np.random.default_rng(seed)
    surface = sample_surface(vertices, triangles, 512, rng)
    rest = surface.positions(vertices, triangles).astype(np.float32)
    splats = sample_surface(vertices, triangles, _SPLATS, rng).positions(vertices, triangles)
    cameras: list[Camera] = []
    pngs, frames, roles = [], [], []

    def take(camera: Camera, frame: int, role: ViewRole) -> None:
        cameras.append(camera)
        frames.append(frame)
        roles.append(role)
        pngs.append(_picture(bent(splats, amount * frame / FRAMES), splats, camera))

    for turn in range(4):
        take(orbit_camera(90.0 * turn, 20.0, fov=40.0, size=SIZE), 0, ViewRole.CANONICAL)
    for frame in range(FRAMES):
        take(orbit_camera(azimuth, 0.0, size=SIZE), frame, ViewRole.CONDITION)
        take(orbit_camera(100.0 * frame + 30, 10.0, size=SIZE), frame, ViewRole.TARGET)
    return ClipRecord(
        name=name,
        family=name,
        category="thing",
        origin="asset",
        fps=24.0,
        points=np.stack([bent(rest, amount * frame / FRAMES) for frame in range(FRAMES)]).astype(np.float32),
        vertices=vertices,
        triangles=triangles,
        cameras=tuple(cameras),
        view_frame=np.array(frames, np.int32),
        view_role=np.array(roles, np.int32),
        pngs=tuple(pngs),
    )


def write_boxes(folder: Path, count: int = 3) -> Path:
    """Prepared data: clips to train on that bend differently, and one to test on."""
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
    for number in range(count):
        write_clip(folder / "train", bending_box(f"box{number}", 0.8 + 0.4 * number, 40.0 * number, number))
    write_clip(folder / "test", replace(bending_box("other", -1.1, 15.0, 9), family="other"))
    return folder


def _picture(moved: np.ndarray, rest: np.ndarray, camera: Camera) -> bytes:
    count = len(moved)
    splats = Splats(
        means=torch.from_numpy(moved).float(),
        quaternions=torch.tensor([1.0, 0, 0, 0]).expand(count, 4).contiguous(),
        scales=torch.full((count, 3), 0.012),
        opacities=torch.full((count,), 0.95),
        colors=torch.from_numpy(0.5 + rest).float().clamp(0, 1),
    )
    color, alpha = rasterize(splats, camera)
    straight = color / alpha.clamp_min(1e-3)[..., None]
    rgba = torch.cat([straight, alpha[..., None]], dim=-1).clamp(0, 1)
    file = io.BytesIO()
    Image.fromarray(np.rint(255 * rgba.numpy()).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
