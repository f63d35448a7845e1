"""The engine `fit`: flat Gaussians on the surface, moved so that they look like the video. Needs no weights."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from gvf_core.canonical.surface import SurfaceGaussians, gaussians_on_surface
from gvf_core.capture import Capture
from gvf_core.motion.engine import Frames, Motion, MotionTask, Similarity
from gvf_core.motion.first_frame import WORKING_SIZE
from gvf_core.motion.fit import PRESETS, fit
from gvf_core.progress import Monitor
from gvf_core.rendering.camera import Camera
from gvf_core.settings import AnimateSettings, EngineName
from gvf_core.video.crop import crop_square


@dataclass(frozen=True)
class FitEngine:
    """See `gvf_core.motion.engine.MotionEngine`."""

    settings: AnimateSettings
    name: EngineName = "fit"
    remark: str = ""
    similarity: Similarity | None = None

    @property
    def provenance(self) -> dict[str, Any]:
        """The settings decide everything."""
        return {}

    def check(self, capture: Capture, frames: int) -> None:
        """There is nothing that this engine cannot try."""

    def canonical(self, capture: Capture, monitor: Monitor) -> SurfaceGaussians:
        """Gaussians on the surface, coloured by the views."""
        rng = np.random.default_rng(self.settings.seed)
        return gaussians_on_surface(capture, self.settings.gaussians, rng, monitor)

    def crop(self, frames: Frames, camera: Camera) -> tuple[Frames, Camera]:
        """The square that holds the object in all frames."""
        return crop_square(frames, camera, WORKING_SIZE)

    def find_motion(self, task: MotionTask[SurfaceGaussians], monitor: Monitor) -> Motion:
        """Track, compare, polish."""
        # The operations are small: threads of BLAS and torch mostly wait for each other. On two busy cores, one thread
        # polished the example 5 times faster than two, and more BLAS threads than cores made clips 15 times slower.
        with threadpool_limits(1):
            return fit(task, monitor, PRESETS[self.settings.preset])
