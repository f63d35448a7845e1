"""Tells from an exception whether memory ran out; libraries say it in several ways."""

import errno

CV2_NO_MEMORY = -4
TORCH_WORDS = ("can't allocate memory", "not enough memory")
"""What its CPU allocator says; the second on Windows."""


def memory_ran_out(error: BaseException) -> bool:
    """Whether there was no memory left, on the GPU or the host.

    Args:
        error: Of Python, torch (whose CPU allocator says so in words only), OpenCV or FFmpeg, or raised from one.
    """
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and any(words in str(error) for words in TORCH_WORDS))
        or getattr(error, "code", None) == CV2_NO_MEMORY
        or getattr(error, "errno", None) == errno.ENOMEM
        or (error.__cause__ is not None and memory_ran_out(error.__cause__))
    )
