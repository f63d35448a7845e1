"""Attention in float32 on a CPU without gradients, faster than torch's: when to use it, and its threads."""

import functools
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from jaxtyping import Float
from numba import config, float32, float64, int64, types, void
from numba.core.errors import NumbaError
from torch import Tensor

from gvf_core.models.attention_kernel import MEASURED, PART, attend_units

LOGGER = logging.getLogger(__name__)

MIN_QUERIES, MIN_TOKENS, MIN_SCORES = 128, 128, 1 << 21
"""Queries and tokens of an item and head, and products of both in total; with fewer, torch is as fast."""
MAX_CHANNELS = 32
"""Of a head. The kernel alone gains 2.1 with 14, 1.4 to 1.5 with 32, 1.2 with 64: nothing in the VAE's decoder."""
_CALLS = 8
"""Of the kernel for each thread, so that a thread that is held up leaves work to the others."""
_COMPILING = threading.Lock()


def is_faster(queries: Tensor, keys: Tensor, values: Tensor) -> bool:
    """Whether `attend_on_cpu` can do this attention, and sooner than torch.

    Args:
        queries: [batch, heads, queries, channels].
        keys: [batch, heads, tokens, channels].
        values: [batch, heads, tokens, value_channels].
    """
    tensors = (queries, keys, values)
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    if any(
        type(x) is not Tensor or x.dtype != torch.float32 or x.device.type != "cpu" or x.dim() != 4 for x in tensors
    ):
        return False
    if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
        return False
    (batch, heads, count, channels), tokens = queries.shape, keys.shape[2]
    if max(channels, values.shape[3]) > MAX_CHANNELS:
        return False
    large = count >= MIN_QUERIES and tokens >= MIN_TOKENS and batch * heads * count * tokens >= MIN_SCORES
    return MEASURED and large and _fit(queries, keys, values) and _kernel() is not None


def attend_on_cpu(
    queries: Float[Tensor, "batch heads queries channels"],
    keys: Float[Tensor, "batch heads tokens channels"],
    values: Float[Tensor, "batch heads tokens value_channels"],
    scale: float | None = None,
) -> Float[Tensor, "batch queries heads*value_channels"]:
    """Scaled dot-product attention without gradients, heads put together again.

    The same bits for the same input, whatever the number of threads (torch's). Safe to call from several threads at
    once. A query with scores that are NaN or infinite gets NaN, or what softmax gives.

    Args:
        queries: Float32 on the CPU, like the others.
        keys: At least one token. Expanded heads or items, of which there is one in memory, cost least.
        values: As many.
        scale: Factor on the scores; the usual one if not given.

    Raises:
        ValueError: Shapes do not fit, or there are no tokens.
        RuntimeError: The kernel does not work here.
    """
    if not _fit(queries, keys, values):
        shapes = ", ".join(str(list(x.shape)) for x in (queries, keys, values))
        raise ValueError(f"Queries, keys and values of shapes {shapes} do not fit each other.")
    kernel = _kernel()
    if kernel is None:
        raise RuntimeError("The attention kernel does not work on this machine; the log says why.")
    scale = queries.shape[-1] ** -0.5 if scale is None else scale
    for dim in (0, 1):
        if keys.stride(dim) == 0 == values.stride(dim):
            keys, values = keys.narrow(dim, 0, 1), values.narrow(dim, 0, 1)
    batch, heads, count, _ = queries.shape
    result = torch.empty(batch, count, heads, values.shape[-1])
    arrays = [x.detach().numpy() for x in (queries, keys, values)]
    out, units = result.numpy(), batch * heads * -(-count // PART)
    _share(lambda first, end: kernel(*arrays, scale, out, first, end), units)
    return result.flatten(2)


def _fit(queries: Tensor, keys: Tensor, values: Tensor) -> bool:
    """Whether the kernel stays within these."""
    batch, heads, _, channels = queries.shape
    tokens = keys.shape[2]
    return tokens > 0 and keys.shape == (batch, heads, tokens, channels) and values.shape[:-1] == keys.shape[:-1]


def _share(work: Callable[[int, int], None], units: int) -> None:
    """Do ranges of the units on as many threads as torch uses."""
    threads = torch.get_num_threads()
    if threads == 1 or units == 1:
        work(0, units)
        return
    step = -(-units // (_CALLS * threads))
    for _ in _pool(os.getpid(), threads).map(
        lambda first: work(first, min(first + step, units)), range(0, units, step)
    ):
        pass


@functools.cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """The pool of this process: the threads of a pool do not survive a fork, so a child makes its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="attention")


def _kernel() -> Callable[..., None] | None:
    with _COMPILING:
        return _compiled()


@functools.cache
def _compiled() -> Callable[..., None] | None:
    """The kernel, compiled once for arrays of any strides; None where that fails, which the log says."""
    if config.DISABLE_JIT:  # type: ignore[attr-defined]  # numba sets its options at run time
        return None
    kernel: Any = attend_units
    array = types.Array(float32, 4, "A")
    try:
        kernel.compile(void(array, array, array, float64, array, int64, int64))
    except (NumbaError, RuntimeError) as error:
        LOGGER.warning("Attention runs on torch's slower kernel, because numba cannot compile: %s", error)
        return None
    kernel.disable_compile()
    return kernel
