"""How long something still takes, in words that do not pretend to know better than they do."""

import math

_SHORTEST = 5


def time_left(seconds: float) -> str:
    """Such as "about 40 s left" or "about 3 min left"; rounded up, because to be early is welcome.

    Args:
        seconds: Expected; negative ones count as none.
    """
    if seconds < 90:
        return f"about {max(_SHORTEST, 5 * math.ceil(seconds / 5))} s left"
    if seconds < 90 * 60:
        return f"about {math.ceil(seconds / 60)} min left"
    return f"about {math.ceil(seconds / 3600)} h left"
