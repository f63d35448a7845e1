"""Rasterization on the CPU: numba kernels over bands of the image, side by side.

Same bytes for the same input, whatever the number of threads. Safe to call from several threads at once, in
spawned processes, and in a process forked after a render.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int32, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable

from gvf_core.gaussians import Splats
from gvf_core.rendering.camera import Camera
from gvf_core.rendering.limits import LIMITS
from gvf_core.rendering.numba_compositing import composite, composite_backward
from gvf_core.rendering.numba_projection import project, project_backward
from gvf_core.side_by_side import side_by_side, thread_count

BANDS = 16
"""Most bands an image is cut into. More balance the threads better, but every band walks all footprints."""
MIN_BAND_ROWS = 8
"""Fewest rows in a band, but for the last."""
MIN_GAUSSIANS_PER_TASK = 2048
"""Projecting fewer costs less than handing them to another thread."""


class Arrays(NamedTuple):
    """The fields of `Splats`, or their gradients, as the kernels take them."""

    means: Float32[np.ndarray, "gaussians 3"]
    quaternions: Float32[np.ndarray, "gaussians 4"]
    scales: Float32[np.ndarray, "gaussians 3"]
    opacities: Float32[np.ndarray, " gaussians"]
    colors: Float32[np.ndarray, "gaussians 3"]


class Footprints(NamedTuple):
    """The visible Gaussians on the image plane, nearest first, as the kernels take them.

    Attributes:
        centers: Pixels.
        conics: Inverse covariances (a, b, c).
        opacities: With the compensation of the filter.
        colors: As in the splats.
        reaches: Twice the sigma beyond which alpha is too small to count.
        rows: First and one past the last row touched.
    """

    centers: Float32[np.ndarray, "visible 2"]
    conics: Float32[np.ndarray, "visible 3"]
    opacities: Float32[np.ndarray, " visible"]
    colors: Float32[np.ndarray, "visible 3"]
    reaches: Float32[np.ndarray, " visible"]
    rows: Int32[np.ndarray, "visible 2"]


@dataclass(frozen=True)
class _View:
    """What the kernels need to know of a camera and of the filter."""

    matrix: Float32[np.ndarray, "3 4"]
    lens: Float32[np.ndarray, "4"]
    width: int
    height: int
    filter_2d: float
    antialiased: bool

    @property
    def band_rows(self) -> int:
        """Rows in a band."""
        return max(MIN_BAND_ROWS, -(-self.height // BANDS))

    @property
    def bands(self) -> list[tuple[int, int]]:
        """First and one past the last row of every band."""
        return [(top, min(top + self.band_rows, self.height)) for top in range(0, self.height, self.band_rows)]

    @property
    def projection_arguments(self) -> tuple[Any, ...]:
        """The arguments that both projection kernels share."""
        return self.matrix, self.lens, self.width, self.height, self.filter_2d, self.antialiased, LIMITS


def render(
    splats: Splats, camera: Camera, *, filter_2d: float, antialiased: bool
) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"]]:
    """Premultiplied colour and alpha of float32 CPU Gaussians of one frame; see `gvf_core.rendering.rasterize`."""
    view = _View(
        matrix=np.ascontiguousarray(camera.world_to_camera[:3], dtype=np.float32),
        lens=np.array(camera.pixel_intrinsics, dtype=np.float32),
        width=int(camera.width),
        height=int(camera.height),
        filter_2d=float(filter_2d),
        antialiased=bool(antialiased),
    )
    splats = Splats(*(field.contiguous() for field in splats))
    if torch.is_grad_enabled() and any(field.requires_grad for field in splats):
        return _Rasterize.apply(view, *splats)
    arrays = _arrays(splats)
    _, footprints = _project(arrays, view)
    color, transmittance = _composite(footprints, view, last=None)
    return _to_rendering(color, transmittance)


class _Rasterize(torch.autograd.Function):
    """The kernels with their hand-written derivative."""

    @staticmethod
    def forward(ctx: Any, view: _View, *fields: Tensor) -> tuple[Tensor, Tensor]:
        indices, footprints = _project(_arrays(fields), view)
        last = np.full((view.height, view.width), -1, np.int32)
        color, transmittance = _composite(footprints, view, last)
        # The fields go through autograd's own keeping, which notices when they are changed before backward.
        ctx.save_for_backward(*fields)
        ctx.kept = view, indices, footprints, transmittance, last
        return _to_rendering(color, transmittance)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_color: Tensor, grad_alpha: Tensor) -> tuple[Tensor | None, ...]:
        view, indices, footprints, transmittance, last = ctx.kept
        planes = grad_color.permute(2, 0, 1).contiguous().numpy()
        grad_light = -grad_alpha.contiguous().numpy()
        first_band = footprints.rows[:, 0] // view.band_rows
        end_band = (footprints.rows[:, 1] - 1) // view.band_rows + 1
        partial_ends = np.cumsum(end_band - first_band, dtype=np.int64)
        partial_offsets = partial_ends - end_band
        partials = np.empty((partial_ends[-1] if len(partial_ends) else 0, 9), np.float32)
        _run(
            lambda band: composite_backward(
                *(*view.bands[band], band, footprints, LIMITS, transmittance, last),
                *(planes, grad_light, partial_offsets, partials),
            ),
            range(len(view.bands)),
        )
        arrays = _arrays(ctx.saved_tensors)
        gradients = Arrays(*(np.zeros_like(field) for field in arrays))
        _run(
            lambda part: project_backward(
                *(*part, indices, partial_ends, partials, arrays, *view.projection_arguments, gradients)
            ),
            _parts(len(indices)),
        )
        return None, *(torch.from_numpy(field) for field in gradients)


def _project(splats: Arrays, view: _View) -> tuple[Int64[np.ndarray, " visible"], Footprints]:
    """Footprints of the visible Gaussians and which Gaussian each one is."""
    count = len(splats.means)
    centers, conics = np.empty((count, 2), np.float32), np.empty((count, 3), np.float32)
    opacities, depths = np.empty(count, np.float32), np.empty(count, np.float32)
    rows = np.empty((count, 2), np.int32)
    outputs = centers, conics, opacities, rows, depths
    _run(lambda part: project(*part, splats, *view.projection_arguments, *outputs), _parts(count))

    visible = np.flatnonzero(rows[:, 1] > rows[:, 0])
    # Bits of positive floats sort like the floats. With the index below them every key differs, so that the fast
    # unstable sort gives the order of a stable sort by depth.
    keys = np.sort(depths[visible].view(np.uint32).astype(np.uint64) << np.uint64(32) | visible.astype(np.uint64))
    indices = (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
    # A margin for the rounding of the logarithm: pixels beyond it are tested one by one anyway.
    reaches = 2 * np.log(opacities[indices] * np.float32(1 / LIMITS.min_alpha)) + np.float32(1e-3)
    footprints = Footprints(
        centers[indices], conics[indices], opacities[indices], splats.colors[indices], reaches, rows[indices]
    )
    return indices, footprints


def _composite(
    footprints: Footprints, view: _View, last: Int32[np.ndarray, "height width"] | None
) -> tuple[Float32[np.ndarray, "3 height width"], Float32[np.ndarray, "height width"]]:
    """Premultiplied colour and transmittance; fills `last`, which only the derivative needs."""
    color = np.zeros((3, view.height, view.width), np.float32)
    transmittance = np.ones((view.height, view.width), np.float32)
    _run(lambda band: composite(*band, footprints, LIMITS, color, transmittance, last), view.bands)
    return color, np.abs(transmittance, out=transmittance)


def _to_rendering(color: np.ndarray, transmittance: np.ndarray) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(color).permute(1, 2, 0), torch.from_numpy(1 - transmittance)


def _arrays(fields: Iterable[Tensor]) -> Arrays:
    """The same memory as numpy arrays."""
    return Arrays(*(field.detach().numpy() for field in fields))


def _parts(count: int) -> list[tuple[int, int]]:
    """Cut `count` Gaussians into ranges for the threads."""
    size = max(MIN_GAUSSIANS_PER_TASK, -(-count // thread_count()))
    return [(first, min(first + size, count)) for first in range(0, count, size)]


def _run(task: Callable[[Any], None], parts: Iterable[Any]) -> None:
    """Run a task on every part, side by side.

    Not on torch's number of threads: callers limit that to one where torch's own operations are small.
    """
    for _ in side_by_side(task, parts):
        pass
