"""How fast this machine runs the networks, and how much the shortcuts gain over plain implementations.

Weights are random and mean nothing; only times, memory and the equality of both implementations are reported.
"""

import importlib.util
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

import gvf_core
from gvf_core.diffusion import Guidance, discrete_vp_schedule, sample_multistep, squared_cosine_betas
from gvf_core.errors import SettingsError
from gvf_core.memory import extra_memory_mb
from gvf_core.models.acceleration import fastest_dtype, prepare
from gvf_core.models.attention import KeysValues
from gvf_core.models.guided_dit import dit_conditions, guided_noise
from gvf_core.models.presets import create
from gvf_core.models.roles import PresetName, Role
from gvf_core.models.variation_vae import GAUSSIAN_CHANNELS
from gvf_core.models.voxels import partition, windowed_attention

IMAGE_TOKENS, STATIC_TOKENS = 1370, 4096
"""Of one frame and of one asset, as in the official configuration."""
EVALUATIONS = 18
"""Of the network per sample; what the adaptive solver takes as a rule (supplement of the paper)."""
_WINDOW, _HEADS, _CHANNELS = 8, 12, 64
_PLAIN = Path(gvf_core.__file__).parents[1] / "tests" / "plain" / "plain_networks.py"
_LIMITS = {"frames": (1, 512), "gaussians": (1, 1_000_000), "voxels": (1, 25_000), "repeats": (1, 100)}


@dataclass(frozen=True)
class NetworkSizes:
    """What the benchmark computes.

    Attributes:
        preset: Size of the networks.
        frames: Frames of the clip.
        gaussians: Gaussians that are decoded.
        voxels: Voxels of the asset.
        repeats: Timed runs of each case; the shortest counts.
        compiled: Also time the DiT compiled.

    Raises:
        SettingsError: A number is out of its range.
    """

    preset: PresetName = "full"
    frames: int = 24
    gaussians: int = 50_000
    voxels: int = 20_000
    repeats: int = 1
    compiled: bool = False

    def __post_init__(self) -> None:
        """Check every number."""
        for name, (low, high) in _LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise SettingsError(
                    f"The setting {name} is {getattr(self, name)}.", f"Choose a value from {low} to {high}."
                )


@dataclass(frozen=True)
class NetworkRow:
    """One measured case.

    Attributes:
        case: What ran.
        dtype: Number type of the layers that do the work.
        seconds: Shortest time.
        extra_mb: Peak of memory beyond what was there before, in a run of its own.
        plain_seconds: Shortest time of the plain implementation on the same inputs, in the same run.
        difference: Largest difference to its result over its largest value.
    """

    case: str
    dtype: str
    seconds: float = 0.0
    extra_mb: float | None = None
    plain_seconds: float | None = None
    difference: float | None = None

    @property
    def speedup(self) -> float | None:
        """How many times faster than the plain implementation."""
        return self.plain_seconds / self.seconds if self.plain_seconds else None


@torch.inference_mode()
def bench_networks(
    sizes: NetworkSizes, device: torch.device, on_case: Callable[[str], None] = lambda case: None
) -> list[NetworkRow]:
    """Time every case; the plain implementations take turns with ours.

    Args:
        sizes: What to compute.
        device: Where.
        on_case: Called with the name of each case before it runs.
    """
    rows = []
    for group in (_dit_rows, _decoder_rows, _attention_rows):
        for row in group(sizes, device, on_case):
            rows.append(row)
            _release(device)
    return rows


def networks_table(rows: list[NetworkRow]) -> Table:
    """The rows as a table for the terminal."""
    table = Table("case", "numbers")
    for title in ("seconds", "extra memory", "plain", "speed-up", "difference"):
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(
            *(row.case, row.dtype, f"{row.seconds:.3g}"),
            "-" if row.extra_mb is None else f"{row.extra_mb:,.0f} MB",
            "-" if row.plain_seconds is None else f"{row.plain_seconds:.3g}",
            "-" if row.speedup is None else f"{row.speedup:.2f}x",
            "-" if row.difference is None else f"{row.difference:.0e}",
        )
    return table


def networks_report(rows: list[NetworkRow], sizes: NetworkSizes, device: torch.device) -> dict[str, Any]:
    """Everything about the run, ready for JSON."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": {"type": device.type, "name": name, "threads": torch.get_num_threads()},
        "torch": torch.__version__,
        "sizes": asdict(sizes),
        "rows": [asdict(row) | {"speedup": row.speedup} for row in rows],
    }


def _dit_rows(sizes: NetworkSizes, device: torch.device, on_case: Callable[[str], None]) -> Iterator[NetworkRow]:
    """The variation DiT: what is computed once per sample, one step, a whole sample."""
    dit: Any = _random_network(Role.VARIATION_DIT, sizes.preset, device)
    params = dit.params
    x = _random(1, sizes.frames, 512, params.latent_channels, device=device)
    image = _random(1, sizes.frames, IMAGE_TOKENS, params.image_channels, device=device)
    static = _random(1, STATIC_TOKENS, params.static_channels, device=device)
    positions = _random(1, 512, 3, device=device)
    t = torch.full((1,), 500.0, device=device)

    def timed(label: str, dtype: torch.dtype) -> Iterator[NetworkRow]:
        on_case(label)
        seconds = _seconds(lambda: dit.condition(image, static, positions), device, sizes.repeats)
        condition = dit.condition(image, static, positions)
        yield NetworkRow("tokens to keys and values, once per sample", _name(dtype), seconds)
        yield _measured(
            NetworkRow(label, _name(dtype)),
            lambda: dit(x, t, [condition]),
            lambda plain: plain.variation_dit(dit.state_dict(), params.heads, x, t, image, static, positions),
            device,
            sizes.repeats,
        )

    step = f"DiT step, {sizes.frames} frames"
    yield from timed(step, torch.float32)
    dtype = fastest_dtype(device)
    if dtype != torch.float32:
        prepare(dit, device, dtype=dtype)
        yield from timed(step, dtype)
    if sizes.compiled:
        prepare(dit, device, dtype=dtype, compiled=True)
        yield from timed(f"{step}, compiled", dtype)
    if device.type == "cuda" or sizes.preset == "nano":
        case = f"sample, {sizes.frames} frames, {EVALUATIONS} evaluations"
        on_case(case)
        guidance, schedule = Guidance(), discrete_vp_schedule(squared_cosine_betas())

        def sample() -> Tensor:
            conditions = dit_conditions(dit, image, static, positions, guidance)
            return sample_multistep(guided_noise(dit, conditions, guidance, schedule), x, schedule, EVALUATIONS)

        memory = extra_memory_mb(sample, device)
        yield NetworkRow(case, _name(dtype), _seconds(sample, device, sizes.repeats), memory)


def _decoder_rows(sizes: NetworkSizes, device: torch.device, on_case: Callable[[str], None]) -> Iterator[NetworkRow]:
    """The decoder of the variation VAE."""
    vae: Any = _random_network(Role.VARIATION_VAE, sizes.preset, device)
    params = vae.params
    latents = _random(1, sizes.frames, params.latents, params.latent_channels, device=device)
    gaussians = _random(1, sizes.gaussians, GAUSSIAN_CHANNELS, device=device)
    case = f"decoder, {sizes.gaussians:,} Gaussians, {sizes.frames} frames"

    def reference(plain: ModuleType) -> Tensor:
        # Frame by frame, or the plain implementation would need 30 GB at full size.
        weights, frames = vae.state_dict(), latents.split(1, dim=1)
        return torch.cat([plain.variation_vae_decode(weights, params.heads, z, gaussians) for z in frames], dim=1)

    for dtype in dict.fromkeys((torch.float32, fastest_dtype(device))):
        on_case(case)
        prepare(vae, device, dtype=dtype)
        row = NetworkRow(case, _name(dtype))
        yield _measured(row, lambda: vae.decode(latents, gaussians), reference, device, sizes.repeats)


def _attention_rows(sizes: NetworkSizes, device: torch.device, on_case: Callable[[str], None]) -> Iterator[NetworkRow]:
    """Windowed attention against the attention calls of its windows alone."""
    case = f"windowed attention (plain: its calls alone), {sizes.voxels:,} voxels"
    on_case(case)
    coordinates = surface_voxels(sizes.voxels).to(device)
    windows = partition(coordinates, _WINDOW, shift=0)
    parts = [_random(len(coordinates), _HEADS, _CHANNELS, device=device) for _ in range(3)]
    queries, context = parts[0], KeysValues(parts[1], parts[2])
    separate = [
        tuple(part[None].transpose(1, 2).contiguous() for part in window)
        for window in zip(*(part.split(windows.sizes) for part in parts), strict=True)
    ]

    def calls(_plain: ModuleType) -> Tensor:
        # What each call needs lies ready, and only the last result is kept.
        return [nn.functional.scaled_dot_product_attention(*window) for window in separate][-1]

    row = NetworkRow(case, _name(torch.float32))
    own = lambda: windowed_attention(queries, context, windows)  # noqa: E731
    yield _measured(row, own, calls, device, max(sizes.repeats, 5))


def surface_voxels(count: int, seed: int = 0) -> Tensor:
    """About as many voxels on a bumpy sphere in a grid of 64, [voxels, 4] in the order of an occupancy grid."""
    generator = torch.Generator().manual_seed(seed)
    direction = nn.functional.normalize(torch.randn(40 * count, 3, generator=generator), dim=-1)
    depth = 3 * (torch.rand(40 * count, 1, generator=generator) < 0.35)
    radius = (29 - depth) * (1 + 0.1 * torch.sin(6 * direction[:, :1]) * torch.cos(5 * direction[:, 1:2]))
    cells = torch.unique((direction * radius + 32).floor().long().clamp(0, 63), dim=0)
    chosen = torch.randperm(len(cells), generator=generator)[:count].sort().values
    return nn.functional.pad(cells[chosen], (1, 0))


def _measured(
    row: NetworkRow,
    own: Callable[[], Tensor],
    plain: Callable[[ModuleType], Tensor],
    device: torch.device,
    repeats: int,
) -> NetworkRow:
    """Memory and time of a case; in float32 also the plain implementation, in turns, and how far results differ."""
    row = replace(row, extra_mb=extra_memory_mb(own, device))
    module = _plain()
    if module is None or row.dtype != "float32":
        return replace(row, seconds=_seconds(own, device, repeats))
    ours, reference = own(), plain(module)
    if ours.shape == reference.shape:
        row = replace(row, difference=float((ours - reference).abs().max() / reference.abs().max()))
    del ours, reference
    times = [(_seconds(own, device, 1), _seconds(lambda: plain(module), device, 1)) for _ in range(repeats)]
    own_best, plain_best = (min(column) for column in zip(*times, strict=True))
    return replace(row, seconds=own_best, plain_seconds=plain_best)


def _plain() -> ModuleType | None:
    """The plain implementations among the tests of a source checkout; None in an installed package."""
    if not _PLAIN.is_file():
        return None
    spec = importlib.util.spec_from_file_location("plain_networks", _PLAIN)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _random_network(role: Role, preset: PresetName, device: torch.device) -> nn.Module:
    """A network of which every layer does something: at the official start values many give zero."""
    network = create(role, preset, device)
    generator = torch.Generator(device).manual_seed(0)
    for parameter in network.parameters():
        parameter.normal_(0, 0.02 if parameter.dim() > 1 else 0.1, generator=generator)
    return network


def _random(*shape: int, device: torch.device) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator(device).manual_seed(1), device=device)


def _seconds(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Shortest time of several runs."""
    times = []
    for _ in range(repeats):
        _synchronize(device)
        start = time.perf_counter()
        run()
        _synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _release(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _processor() -> str:
    """Model of the processor where the system tells it, else its architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
