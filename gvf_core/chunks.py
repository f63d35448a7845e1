"""How much the networks take at once: less after memory has run out. It changes the memory and not the result."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_DIVISOR: ContextVar[int] = ContextVar("divisor", default=1)


def chunk_of(usual: int) -> int:
    """How many of something to take at once where `usual` are taken with enough memory."""
    return max(1, usual // _DIVISOR.get())


@contextmanager
def smaller_chunks(divisor: int = 4) -> Iterator[None]:
    """Let everything that this thread computes take a fraction of the usual at once."""
    reset = _DIVISOR.set(divisor)
    try:
        yield
    finally:
        _DIVISOR.reset(reset)
