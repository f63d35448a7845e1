"""What the worker does for a job: capture and video in, animation file out. Imported by the worker only."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError

from gvf_core import pipeline
from gvf_core.animation import Animation, save_animation
from gvf_core.capture import Capture, load_capture
from gvf_core.errors import GvfError
from gvf_core.settings import AnimateSettings
from server.worker_process import JobTask


class ResultNotWrittenError(GvfError):
    """The animation was computed but could not be stored."""

    code = "result_not_written"


class Animate(Protocol):
    """The signature of `gvf_core.pipeline.animate`."""

    def __call__(
        self,
        capture: Capture,
        video: Path,
        settings: AnimateSettings,
        on_progress: Callable[[str, float], None],
        cancelled: Callable[[], bool],
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
    animation = animate(capture, task.video, task.settings, on_progress, cancelled)
    hashes = {"capture_sha256": task.capture_sha256, "video_sha256": task.video_sha256}
    animation = replace(animation, provenance={**animation.provenance, **hashes})
    partial = task.folder / "result.partial"
    try:
        save_animation(partial, animation)
        partial.replace(task.result)
    except (OSError, SafetensorError) as error:
        raise ResultNotWrittenError(
            f"The result could not be written to {task.result} ({error}).",
            "Free some disk space on the server and submit the job again.",
        ) from error
