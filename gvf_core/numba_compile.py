"""How the numba kernels of this package are compiled."""

import logging
from collections.abc import Callable
from typing import Any

from numba import njit

LOGGER = logging.getLogger(__name__)

_EXACT: dict[str, Any] = {
    # Kernels run in a pool of plain threads. numba's own parallel loops are not used: with its one guaranteed
    # threading layer, two Python threads that enter such a loop at the same time abort the process.
    "nogil": True,
    # A division that may raise ZeroDivisionError is a branch, and loops with branches do not vectorise.
    "error_model": "numpy",
}
# Never "nnan" or "ninf": culling relies on comparisons with NaN being false.
_FAST: dict[str, Any] = _EXACT | {"fastmath": {"contract", "reassoc", "nsz", "arcp"}}


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call, without the interpreter lock, and keep the machine code on disk where that is possible.

    Sums may be rounded in another order than is written.

    numba finds no folder for its cache where the package, the home folder and NUMBA_CACHE_DIR are all read-only;
    then every process compiles for itself (some seconds).
    """
    return _compiled(function, _FAST)


def exact_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `kernel`, with every operation rounded as it is written: the same bits on every processor."""
    return _compiled(function, _EXACT)


def _compiled(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        LOGGER.warning("Compiling in every process, because %s. Set NUMBA_CACHE_DIR to a writable folder.", error)
        return njit(**options)(function)


inline = njit(inline="always", **_FAST)
"""Compile into the calling kernel. Such helpers stand in the kernel's file: numba's cache notices no other."""
