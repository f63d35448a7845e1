"""How long something still takes, in words that do not pretend to know better than they do."""

import math

from .sentence import Sentence

_SHORTEST = 5


def time_left(seconds: float) -> Sentence:
    """Such as "about 40 s left" or "about 3 min left"; rounded up, because to be early is welcome.

    Args:
        seconds: Expected; negative ones count as none.
    """
    if seconds < 90:
        return Sentence("about {count} s left", count=max(_SHORTEST, 5 * math.ceil(seconds / 5)))
    if seconds < 90 * 60:
        return Sentence("about {count} min left", count=math.ceil(seconds / 60))
    return Sentence("about {count} h left", count=math.ceil(seconds / 3600))
