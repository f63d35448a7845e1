"""The one entry to rendering Gaussians: checks what comes in and picks a backend."""

import functools
import importlib
import logging
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from gvf_core.errors import RenderError
from gvf_core.gaussians import Splats
from gvf_core.rendering.camera import Camera

LOGGER = logging.getLogger(__name__)

BackendName = Literal["auto", "gsplat", "numba", "torch"]


class Rendering(NamedTuple):
    """A picture of Gaussians.

    Attributes:
        color: Sum of the colours weighted by coverage (premultiplied), over the background if one was given.
            In the encoding of the splats' colours, so sRGB: blending happens in sRGB, as in the training code.
        alpha: Coverage, 0..1.
    """

    color: Float[Tensor, "height width 3"]
    alpha: Float[Tensor, "height width"]

    @property
    def premultiplied(self) -> Float[Tensor, "height width 4"]:
        """Colour and alpha as one picture."""
        return torch.cat([self.color, self.alpha[..., None]], dim=-1)


def rasterize(
    splats: Splats,
    camera: Camera,
    *,
    background: Float[Tensor, "#height #width 3"] | Float[Tensor, "3"] | Sequence[float] | None = None,
    antialiased: bool = True,
    filter_2d: float = 0.1,
    backend: BackendName = "auto",
) -> Rendering:
    """Render Gaussians of one frame, differentiably in all five fields of the splats and in the background.

    The backends agree within 1e-4, except where rounding puts an alpha on the other side of a threshold
    (`gvf_core.rendering.limits`), and with filters below a hundredth of a square pixel within .01: single precision
    knows the place of a thin footprint only so well. The defaults are the filter of TRELLIS and Mip-Splatting (kernel
    size 0.1).

    Gaussians that are invisible, behind the camera or not finite in position, rotation, scale or opacity add
    nothing and get zero gradients (this is tested for numba and torch). Colours that are not finite show in the
    picture. Under `torch.no_grad`, or when no field requires gradients, the numba backend keeps nothing for a
    backward pass.

    Args:
        splats: Activated Gaussians without a frame axis, float32 or float64, all on one device.
        camera: The view; its size is the size of the picture.
        background: Colour or picture that shows where the Gaussians leave off.
        antialiased: Scale opacities so that the filter does not make small Gaussians brighter.
        filter_2d: Variance in square pixels that is added to every footprint.
        backend: "auto" takes gsplat for CUDA tensors and numba for float32 on the CPU, and torch, which is several
            times slower, where gsplat cannot be used and for float64.

    Raises:
        RenderError: Fields that do not fit each other, a filter below zero, a backend that cannot do this.
    """
    _check(splats, filter_2d)
    chosen = _choose_backend(splats, backend)
    module = importlib.import_module(f"gvf_core.rendering.{chosen}_backend")
    color, alpha = module.render(splats, camera, filter_2d=filter_2d, antialiased=antialiased)
    if background is not None:
        color = color + (1 - alpha)[..., None] * _background(background, color)
    return Rendering(color, alpha)


def _check(splats: Splats, filter_2d: float) -> None:
    means = splats.means
    if means.ndim != 2:
        raise RenderError(
            f"Means have the shape {list(means.shape)}, not [gaussians, 3].",
            "Render one frame at a time." if means.ndim == 3 else "",
        )
    for name, field, tail in zip(Splats._fields, splats, ([3], [4], [3], [], [3]), strict=True):
        if list(field.shape) != [len(means), *tail]:
            raise RenderError(f"The field {name} has the shape {list(field.shape)}, not {[len(means), *tail]}.")
        if field.dtype != means.dtype or field.device != means.device:
            raise RenderError(
                f"{name} are {field.dtype} on {field.device}, but means are {means.dtype} on {means.device}.",
                "Bring all fields to one type and device.",
            )
    if means.dtype not in (torch.float32, torch.float64):
        raise RenderError(f"Gaussians of {means.dtype} cannot be rendered.", "Convert them to float32.")
    if means.device.type not in ("cpu", "cuda"):
        raise RenderError(f"Gaussians on {means.device} cannot be rendered.", 'Move them to "cpu" or "cuda".')
    if not (math.isfinite(filter_2d) and filter_2d >= 0):
        raise RenderError(f"The 2D filter is {filter_2d}.", "Choose a variance of 0 square pixels or more.")


def _choose_backend(splats: Splats, backend: BackendName) -> str:
    """The name of a backend that can render these tensors."""
    if backend not in get_args(BackendName):
        raise RenderError(f"There is no backend {backend!r}.", f"Choose one of {', '.join(get_args(BackendName))}.")
    device, dtype = splats.means.device.type, splats.means.dtype
    needs = {"gsplat": ("cuda", torch.float32), "numba": ("cpu", torch.float32)}
    if backend in needs and needs[backend] != (device, dtype):
        raise RenderError(
            f"The backend {backend!r} renders {needs[backend][1]} on {needs[backend][0]}, not {dtype} on {device}.",
            'Convert the Gaussians or choose the backend "auto".',
        )
    if backend != "auto":
        return backend
    if dtype == torch.float64:
        return "torch"
    if device == "cpu":
        return "numba"
    return "gsplat" if _can_use_gsplat() else "torch"


@functools.cache
def _can_use_gsplat() -> bool:
    """Whether gsplat renders on this machine. Warns once."""
    from gvf_core.rendering import gsplat_backend

    problem = gsplat_backend.missing()
    if problem:
        LOGGER.warning("Rendering with plain torch, which is several times slower than gsplat: %s.", problem)
    return not problem


def _background(
    background: Tensor | Sequence[float], color: Float[Tensor, "height width 3"]
) -> Float[Tensor, "height width 3"]:
    """One colour or a picture, as a picture."""
    result = torch.as_tensor(background, dtype=color.dtype, device=color.device)
    try:
        return result.expand_as(color)
    except RuntimeError as error:
        raise RenderError(
            f"A background of shape {list(result.shape)} does not fit a picture of shape {list(color.shape)}.",
            "Give one colour or one picture of that shape.",
        ) from error
