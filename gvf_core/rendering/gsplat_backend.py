"""Rasterization with gsplat's CUDA kernels.

Nothing of gsplat is touched before a CUDA tensor arrives: without a GPU its functions do not fall back to the
CPU but start a build that fails with a misleading message. A test compares this backend with the CPU backends
where there is a GPU and skips elsewhere.
"""

import functools
from importlib.util import find_spec

import torch
from jaxtyping import Float
from torch import Tensor

from gvf_core.errors import RenderError
from gvf_core.gaussians import Splats
from gvf_core.rendering.camera import Camera
from gvf_core.rendering.limits import LIMITS

CAPABILITY = (7, 0)
"""The oldest compute capability that its kernels are written for."""


def render(
    splats: Splats, camera: Camera, *, filter_2d: float, antialiased: bool
) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"]]:
    """Premultiplied colour and alpha of CUDA Gaussians of one frame; see `gvf_core.rendering.rasterize`.

    Raises:
        RenderError: gsplat is missing or has no CUDA kernels.
    """
    problem = missing()
    if problem:
        raise RenderError(f"gsplat cannot render: {problem}.", 'Install the extra "cuda" or use the backend "torch".')
    from gsplat import rasterization

    fx, fy, cx, cy = camera.pixel_intrinsics
    color, alpha, _ = rasterization(
        means=splats.means,
        quats=splats.quaternions,
        scales=splats.scales,
        opacities=splats.opacities,
        colors=splats.colors,
        viewmats=torch.as_tensor(camera.world_to_camera).to(splats.means)[None],
        Ks=torch.tensor([[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]]).to(splats.means),
        width=camera.width,
        height=camera.height,
        near_plane=LIMITS.near,
        far_plane=LIMITS.far,
        eps2d=filter_2d,
        rasterize_mode="antialiased" if antialiased else "classic",
        # Unpacked is the faster layout where nearly every Gaussian is in view, as around one object.
        packed=False,
    )
    return color[0], alpha[0, ..., 0]


@functools.lru_cache(maxsize=1)
def missing() -> str:
    """What keeps gsplat from rendering, or an empty string.

    The first call on a machine with a CUDA toolkit compiles gsplat's kernels, which takes minutes.

    Raises:
        RenderError: The kernels could not be compiled.
    """
    for package in ("gsplat", "packaging"):
        if find_spec(package) is None:
            return f"the package {package} is not installed"
    if torch.cuda.get_device_capability() < CAPABILITY:
        return "the GPU is too old for its kernels"
    try:
        from gsplat.cuda._backend import _C
    except (ImportError, OSError, RuntimeError) as error:
        raise RenderError(
            f"gsplat's CUDA kernels could not be compiled: {error}.",
            'Install a CUDA toolkit that matches torch or use the backend "torch".',
        ) from error
    return "" if _C is not None else "there is no CUDA toolkit to compile its kernels with"
