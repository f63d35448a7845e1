"""Networks small enough for quick tests, with weights under which every layer does something."""

import torch
from torch import Tensor, nn

from gvf_core.models.variation_dit import VariationDit, VariationDitParams
from gvf_core.models.variation_vae import VariationVae, VariationVaeParams

DIT = VariationDitParams(latent_channels=4, width=96, blocks=2, heads=4, image_channels=20)
VAE = VariationVaeParams(width=48, depth=2, heads=4, latents=12, latent_channels=4)


def randomized(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with random weights everywhere: many layers start at zero and would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.1, generator=generator)
    return network.eval()


def small_dit() -> VariationDit:
    return randomized(VariationDit(DIT))


def small_vae() -> VariationVae:
    return randomized(VariationVae(VAE))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def dit_inputs(batch: int = 2, frames: int = 3, latents: int = 10) -> tuple[Tensor, ...]:
    """Noisy latents, times, image tokens, static tokens, positions."""
    return (
        noise(batch, frames, latents, DIT.latent_channels),
        torch.linspace(900, 100, batch),
        noise(batch, frames, 7, DIT.image_channels, seed=1),
        noise(batch, 15, 14, seed=2),
        noise(batch, latents, 3, seed=3),
    )


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """The largest difference is below the tolerance times the largest value."""
    assert actual.shape == expected.shape
    error = (actual - expected).abs().max() / expected.abs().max()
    assert error <= tolerance, f"{error:.1e} of the largest value"


def some_voxels(count: int = 300, items: int = 2, extent: int = 20, seed: int = 0) -> Tensor:
    """Distinct voxels [n, 4], sorted by batch item, in no order within an item."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for item in range(items):
        cells = torch.randperm(extent**3, generator=generator)[:count]
        axes = [torch.full_like(cells, item), cells // extent**2, cells // extent % extent, cells % extent]
        parts.append(torch.stack(axes, dim=1))
    return torch.cat(parts).int()
