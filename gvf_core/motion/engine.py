"""What a motion engine is given and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from gvf_core.canonical.gaussians import CanonicalGaussians
from gvf_core.capture import Capture
from gvf_core.gaussians import VariationField
from gvf_core.progress import Monitor
from gvf_core.rendering.camera import Camera
from gvf_core.settings import EngineName

G1 = TypeVar("G1", bound=CanonicalGaussians)
"""The kind of canonical Gaussians that an engine works on."""

Frames = Float32[np.ndarray, "frames height width 4"]
"""Pictures of a clip, premultiplied colour and alpha, 0..1."""

Similarity = Callable[[UInt8[np.ndarray, "pictures height width 3"], UInt8[np.ndarray, "height width 3"]], np.ndarray]
"""How alike each of some pictures is to another one, from -1 to 1."""


@dataclass(frozen=True)
class DrivingView:
    """A clip and the camera that saw it.

    Attributes:
        frames: Frame 0 shows the canonical pose.
        camera: Of these frames, in the unit frame.
    """

    frames: Frames
    camera: Camera

    def resized(self, size: int) -> "DrivingView":
        """The same clip in pictures of another size, square as before."""
        if size == self.camera.width:
            return self
        frames = [cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in self.frames]
        return DrivingView(np.stack(frames), self.camera.resized(size, size))


@dataclass(frozen=True)
class MotionTask(Generic[G1]):
    """Everything that decides the motion.

    Attributes:
        capture: The asset's geometry in the unit frame.
        canonical: Its canonical Gaussians, from the same engine.
        frames: Driving video as the engine crops it; frame 0 shows the canonical pose.
        camera: Camera of these frames, in the unit frame.
        seed: Seed of every random choice.
        more_views: The same moments seen by other cameras; only `fit` and refinement look at them.
    """

    capture: Capture
    canonical: G1
    frames: Frames
    camera: Camera
    seed: int
    more_views: tuple[DrivingView, ...] = ()

    @property
    def views(self) -> tuple[DrivingView, ...]:
        """All views, the driving video's first."""
        return DrivingView(self.frames, self.camera), *self.more_views


@dataclass(frozen=True)
class Motion:
    """What an engine found.

    Attributes:
        variation: Deltas of the canonical Gaussians. `fit` leaves frame 0 at zero; networks come near it.
        figures: Measured figures about how it went, for the report.
        warnings: Sentences the artist should read.
        expected_error: How far off each Gaussian is expected to be, in the unit frame, as the motion prior tells it;
            None where it was not asked.
    """

    variation: VariationField
    figures: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    expected_error: Float[np.ndarray, "frames gaussians"] | None = None


class MotionEngine(Protocol[G1]):
    """A way from an asset and a clip to a variation field.

    Attributes:
        name: As in the settings.
        provenance: What decides the result beside the settings (hashes of weights), for the report.
        remark: Why nothing that comes out is a result; empty if there is no reason.
        similarity: Compares pictures by what they show, where the engine has a network for it.
    """

    @property
    def name(self) -> EngineName: ...  # noqa: D102

    @property
    def provenance(self) -> dict[str, Any]: ...  # noqa: D102

    @property
    def remark(self) -> str: ...  # noqa: D102

    @property
    def similarity(self) -> Similarity | None: ...  # noqa: D102

    def check(self, capture: Capture, frames: int) -> None:
        """See whether the engine can do it, before any long work.

        Raises:
            GvfError: It cannot; the message says why and the hint what to do.
        """
        ...

    def canonical(self, capture: Capture, monitor: Monitor) -> G1:
        """Make the canonical Gaussians, from the capture alone."""
        ...

    def crop(self, frames: Frames, camera: Camera) -> tuple[Frames, Camera]:
        """Cut the clip to what the engine looks at; the camera sees the same part."""
        ...

    def find_motion(self, task: MotionTask[G1], monitor: Monitor) -> Motion:
        """Find the motion; asks the monitor as often as the work allows."""
        ...
