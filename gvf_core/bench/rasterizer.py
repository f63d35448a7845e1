"""How fast this machine renders Gaussians."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from rich.table import Table

from gvf_core.errors import SettingsError
from gvf_core.gaussians import Splats
from gvf_core.rendering import BackendName, orbit_camera, rasterize

Operation = Literal["forward", "forward and backward"]

_RANGES = {"gaussians": (1, 1_000_000), "size": (1, 4096), "repeats": (1, 1000)}


@dataclass(frozen=True)
class BenchRow:
    """One measured operation of one backend.

    Attributes:
        backend: Which backend rendered.
        device: Where.
        operation: Without gradients, or with gradients of all five fields.
        best_ms: Shortest time in milliseconds.
        median_ms: Median time in milliseconds.
        speedup: Shortest time of the torch backend over this one's, from the same run. On a machine that does
            other work too, it says more than milliseconds do.
    """

    backend: BackendName
    device: str
    operation: Operation
    best_ms: float
    median_ms: float
    speedup: float


def bench_rasterizer(gaussians: int, size: int, repeats: int) -> list[BenchRow]:
    """Time the backends that work on this machine on the same picture.

    The backends take turns, so that a disturbance hits all of them. Compilation is not counted.

    Args:
        gaussians: Number of Gaussians on a closed surface.
        size: Width and height of the picture in pixels.
        repeats: Number of timed runs of each backend and operation.

    Raises:
        SettingsError: An argument is out of its range.
        RenderError: The GPU's backend cannot be compiled.
    """
    for name, value in {"gaussians": gaussians, "size": size, "repeats": repeats}.items():
        low, high = _RANGES[name]
        if not low <= value <= high:
            raise SettingsError(f"The setting {name} is {value}.", f"Choose a value from {low} to {high}.")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    backends: tuple[BackendName, ...] = ("torch", "gsplat" if device == "cuda" else "numba")
    splats = Splats(*(field.to(device).requires_grad_() for field in surface_splats(gaussians)))
    operations: tuple[tuple[Operation, Callable[..., None]], ...] = (
        ("forward", _forward),
        ("forward and backward", _forward_and_backward),
    )
    rows = []
    for operation, function in operations:
        runs = {backend: partial(function, splats, size, backend) for backend in backends}
        times: dict[BackendName, list[float]] = {backend: [] for backend in backends}
        for run in runs.values():
            _milliseconds(run, device)
        for _ in range(repeats):
            for backend, run in runs.items():
                times[backend].append(_milliseconds(run, device))
        for backend, measured in times.items():
            best = min(measured)
            speedup = min(times["torch"]) / best
            rows.append(BenchRow(backend, device, operation, best, statistics.median(measured), speedup))
    return rows


def bench_table(rows: list[BenchRow]) -> Table:
    """The rows as a table for the terminal."""
    table = Table("backend", "device", "operation")
    for title in ("best", "median", "speed-up over torch"):
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(
            *(row.backend, row.device, row.operation),
            *(f"{row.best_ms:.1f} ms", f"{row.median_ms:.1f} ms", f"{row.speedup:.1f}x"),
        )
    return table


def surface_splats(gaussians: int, seed: int = 0) -> Splats:
    """Flat Gaussians that cover a bumpy sphere of radius 0.45 about the origin, like those of a captured asset.

    Args:
        gaussians: How many.
        seed: Of positions, colours and opacities.
    """
    generator = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(gaussians, 3, generator=generator), dim=-1)
    radius = 0.45 * (1 + 0.1 * torch.sin(6 * direction[:, :1]) * torch.cos(5 * direction[:, 1:2]))
    # Turns the z axis into the direction: (1 + z . d, z x d), normalised.
    x, y, z = direction.unbind(-1)
    rotation = torch.stack([1 + z, -y, x, torch.zeros_like(x)], dim=-1)
    spacing = math.sqrt(4 * math.pi * 0.45**2 / gaussians)
    spread = torch.exp(0.2 * torch.randn(gaussians, 3, generator=generator))
    return Splats(
        means=radius * direction,
        quaternions=torch.nn.functional.normalize(rotation, dim=-1),
        scales=spacing * spread * torch.tensor([0.7, 0.7, 0.05]),
        opacities=torch.sigmoid(2 + torch.randn(gaussians, generator=generator)),
        colors=torch.rand(gaussians, 3, generator=generator),
    )


def _forward(splats: Splats, size: int, backend: BackendName) -> None:
    with torch.no_grad():
        rasterize(splats, orbit_camera(30, 20, size=size), backend=backend)


def _forward_and_backward(splats: Splats, size: int, backend: BackendName) -> None:
    rendering = rasterize(splats, orbit_camera(30, 20, size=size), backend=backend)
    loss = (rendering.color - 0.5).square().mean() + rendering.alpha.mean()
    torch.autograd.grad(loss, list(splats))


def _milliseconds(run: Callable[[], None], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)
