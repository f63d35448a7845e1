"""What a motion engine is given and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32

from gvf_core.canonical.surface import SurfaceGaussians
from gvf_core.capture import Capture
from gvf_core.errors import Cancelled
from gvf_core.gaussians import VariationField
from gvf_core.rendering.camera import Camera


@dataclass(frozen=True)
class MotionTask:
    """Everything that decides the motion.

    Attributes:
        capture: The asset's geometry in the unit frame.
        canonical: Canonical Gaussians on its surface.
        frames: Driving video, premultiplied colour and alpha, 0..1; frame 0 shows the canonical pose.
        camera: Camera of these frames, in the unit frame.
        seed: Seed of every random choice.
    """

    capture: Capture
    canonical: SurfaceGaussians
    frames: Float32[np.ndarray, "frames height width 4"]
    camera: Camera
    seed: int


@dataclass(frozen=True)
class Motion:
    """What an engine found.

    Attributes:
        variation: Deltas of the canonical Gaussians, zero at frame 0.
        figures: Measured figures about how it went, for the report.
        warnings: Sentences the artist should read.
    """

    variation: VariationField
    figures: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class Monitor:
    """Reports progress through one stage and stops the work when the caller asks for it."""

    def __init__(self, on_progress: Callable[[float], None], cancelled: Callable[[], bool]) -> None:
        self._on_progress, self._cancelled = on_progress, cancelled

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
        return Monitor(lambda fraction: self._on_progress(begin + fraction * (end - begin)), self._cancelled)


class MotionEngine(Protocol):
    """A way to find the variation field of a clip."""

    def __call__(self, task: MotionTask, monitor: Monitor) -> Motion:
        """Find the motion; asks the monitor at least several times a second."""
        ...
