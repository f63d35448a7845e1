"""How long a timer of Blender's may work off what threads have brought."""

import time
from collections.abc import Callable

NEWS_SECONDS = 0.002
"""Two timers take news, that of the jobs and that of the server, and may fire together: under 5 ms in all."""

Clock = Callable[[], float]


class TickBudget:
    """The time of one tick, shared by everything that has news; what it does not suffice for waits for the next tick.

    Args:
        clock: Tells seconds.
    """

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._end = clock() + NEWS_SECONDS

    @property
    def is_spent(self) -> bool:
        """Whether no further news may be taken."""
        return self._clock() >= self._end
