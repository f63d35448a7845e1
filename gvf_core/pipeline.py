"""The main job: a captured asset and a driving video become an animation."""

from collections.abc import Callable
from pathlib import Path

from gvf_core.animation import Animation
from gvf_core.capture import Capture
from gvf_core.settings import AnimateSettings

Progress = Callable[[str, float], None]
"""Called with the name of the stage and the fraction of the whole job that is done, 0..1, never falling."""


def animate(
    capture: Capture,
    video: Path,
    settings: AnimateSettings,
    on_progress: Progress = lambda stage, fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Animation:
    """Make the captured asset move like the video.

    Raises:
        GvfError: The input cannot be used; message and hint say why and what to do.
        Cancelled: `cancelled` returned True; it is asked several times a second.
    """
    raise NotImplementedError
