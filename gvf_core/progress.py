"""Progress of long work, and the way to stop it."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

from gvf_core.errors import Cancelled

OnPreview = Callable[[int, Float32[np.ndarray, "height width 4"]], None]
"""Called with the number of a frame and how it looks so far: premultiplied colour and alpha, 0..1."""


class Monitor:
    """Reports progress through one stage and stops the work when the caller asks for it.

    Attributes:
        on_preview: Takes pictures of what was found so far; None if nobody looks, so that none need be drawn.
    """

    def __init__(
        self,
        on_progress: Callable[[float], None],
        cancelled: Callable[[], bool],
        on_preview: OnPreview | None = None,
    ) -> None:
        self._on_progress, self._cancelled, self.on_preview = on_progress, cancelled, on_preview

    def __call__(self, fraction: float) -> None:
        """Report the fraction that is done, 0..1.

        Raises:
            Cancelled: The caller asked to stop.
        """
        if self._cancelled():
            raise Cancelled
        self._on_progress(fraction)

    def part(self, begin: float, end: float) -> "Monitor":
        """A monitor whose 0..1 is a part of this one's."""
        return Monitor(
            lambda fraction: self._on_progress(begin + fraction * (end - begin)), self._cancelled, self.on_preview
        )

    def without_preview(self) -> "Monitor":
        """The same, for what is only tried beside something else."""
        return Monitor(self._on_progress, self._cancelled)
