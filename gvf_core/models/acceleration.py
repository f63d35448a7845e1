"""Where and in which number type a network runs."""

import functools
import logging
import statistics
import time

import torch
from torch import nn

from gvf_core.models.layers import set_compute_dtype

LOGGER = logging.getLogger(__name__)

_SIZE, _REPEATS = 1024, 5
_WORTH_IT = 1.3
"""Half precision costs accuracy, so it has to be this much faster."""


def prepare(
    network: nn.Module, device: str | torch.device, *, dtype: torch.dtype | None = None, compiled: bool = False
) -> None:
    """Move a network to its device and let it compute in the number type that is fastest there.

    Weights of the layers in which nearly all work is done take that type; the residual stream, normalisation,
    modulation and the first and last layer stay float32.

    Args:
        network: Any network of this package.
        device: Where to run.
        dtype: The type; measured once per process and device if not given.
        compiled: Compile with `torch.compile`, on a GPU into CUDA graphs. The first call takes a minute, so it pays
            off for a server that runs the same sizes many times; on a CPU it was no gain (measured at full size).
    """
    target = torch.device(device)
    network.to(target)
    set_compute_dtype(network, dtype or fastest_dtype(target))
    if compiled:
        network.compile(mode="reduce-overhead" if target.type == "cuda" else "default")


@functools.lru_cache
def fastest_dtype(device: torch.device) -> torch.dtype:
    """The number type in which this device multiplies matrices fastest; float32 unless another is well ahead.

    Processors without instructions for bfloat16 emulate it, at a tenth of the speed; so the choice is measured.
    """
    candidates = [torch.bfloat16, torch.float16] if device.type == "cuda" else [torch.bfloat16]
    seconds = {dtype: _multiplication_seconds(device, dtype) for dtype in (torch.float32, *candidates)}
    best = min(seconds, key=seconds.__getitem__)
    chosen = best if seconds[torch.float32] > _WORTH_IT * seconds[best] else torch.float32
    LOGGER.info(
        "%s computes in %s; a multiplication took %s",
        device,
        chosen,
        ", ".join(f"{1e3 * value:.2f} ms in {dtype}" for dtype, value in seconds.items()),
    )
    return chosen


def _multiplication_seconds(device: torch.device, dtype: torch.dtype) -> float:
    """Median time of a product of two square matrices; infinite where the device cannot do it."""
    try:
        matrix = torch.ones(_SIZE, _SIZE, device=device, dtype=dtype)
        matrix @ matrix
        times = []
        for _ in range(_REPEATS):
            start = time.perf_counter()
            product = matrix @ matrix
            product[0, 0].item()  # waits for a GPU
            times.append(time.perf_counter() - start)
    except RuntimeError as error:
        LOGGER.info("%s cannot multiply in %s: %s", device, dtype, error)
        return float("inf")
    return statistics.median(times)
