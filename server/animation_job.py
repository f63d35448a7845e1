"""What the worker does for a job: capture and video in, animation file out. Imported by the worker only."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from gvf_core import pipeline
from gvf_core.animation import Animation, save_animation
from gvf_core.capture import Capture, load_capture
from gvf_core.chunks import smaller_chunks
from gvf_core.pipeline import FurtherVideo
from gvf_core.progress import OnPreview
from gvf_core.settings import AnimateSettings
from server.preview import PreviewFile
from server.worker_process import JobTask


class Animate(Protocol):
    """The signature of `gvf_core.pipeline.animate`."""

    def __call__(
        self,
        capture: Capture,
        video: Path,
        settings: AnimateSettings,
        on_progress: Callable[[str, float], None],
        cancelled: Callable[[], bool],
        *,
        further: Sequence[FurtherVideo],
        on_preview: OnPreview,
    ) -> Animation:
        """See `gvf_core.pipeline.animate`."""


def animate_job(
    task: JobTask,
    on_progress: Callable[[str, float], None],
    cancelled: Callable[[], bool],
    animate: Animate = pipeline.animate,
) -> None:
    """Animate the task's capture and write the result, with the hashes of the inputs in its provenance.

    Raises:
        GvfError: The input cannot be used, or the result cannot be written.
        Cancelled: `cancelled` returned True.
    """
    capture = load_capture(task.capture)
    preview = PreviewFile(task.preview)
    with smaller_chunks() if task.smaller_chunks else nullcontext():
        animation = animate(
            capture,
            task.video,
            task.settings,
            on_progress,
            cancelled,
            further=[FurtherVideo(one.path, one.azimuth, one.elevation) for one in task.further],
            on_preview=preview,
        )
    hashes = {
        "capture_sha256": task.capture_sha256,
        "video_sha256": task.video_sha256,
        "further": [
            {"video_sha256": one.sha256, "azimuth": one.azimuth, "elevation": one.elevation} for one in task.further
        ],
    }
    animation = replace(animation, provenance={**animation.provenance, **hashes})
    save_animation(task.result, animation)
