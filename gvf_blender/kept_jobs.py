"""Jobs of earlier sessions that this one may take up: the server goes on while Blender is away."""

import logging
import time
from pathlib import Path

from .core import kept_job
from .core.further_video import FurtherVideo
from .core.kept_job import KeptJob
from .core.motion_settings import MotionSettings
from .request import AnimateRequest
from .user_folder import user_folder

LOGGER = logging.getLogger(__name__)

_REREAD_SECONDS = 1.0

_known: tuple[float, tuple[KeptJob, ...]] = (float("-inf"), ())


def kept_folder() -> Path:
    """Where jobs are written down."""
    return user_folder() / "jobs"


def offered() -> tuple[KeptJob, ...]:
    """The jobs that no Blender follows now. Fit for drawing: a few small files are read at most once a second."""
    global _known
    if time.monotonic() - _known[0] >= _REREAD_SECONDS:
        _known = (time.monotonic(), tuple(kept_job.kept_jobs(kept_folder())))
    return _known[1]


def find_offered(job_id: str) -> KeptJob | None:
    """The job of this id if nobody follows it."""
    look_again()
    return next((kept for kept in offered() if kept.id == job_id), None)


def look_again() -> None:
    """Read the files anew when somebody asks next."""
    global _known
    _known = (float("-inf"), ())


def request_of(kept: KeptJob) -> AnimateRequest:
    """What was asked for.

    Raises:
        SettingsError: By another version of the extension, with settings that this one does not know.
    """
    return AnimateRequest(
        objects=kept.objects,
        video=Path(kept.video),
        settings=MotionSettings.from_names(kept.settings),
        outputs=kept.outputs,
        frame_start=kept.frame_start,
        views=kept.views,
        movable=kept.movable,
        further=tuple(FurtherVideo(Path(video), *view) for video, *view in kept.further),
    )


class Keeper:
    """Keeps one job written down as long as it may be taken up.

    Attributes:
        job: What is written down; None while nothing is.
    """

    def __init__(self) -> None:
        self.job: KeptJob | None = None
        self._next_touch = 0.0

    def keep(self, job: KeptJob) -> None:
        """Write the job down, in place of what is written down; a full disk costs the survival and not the job."""
        self.job = job
        try:
            kept_job.keep(kept_folder(), job)
        except OSError as error:
            LOGGER.warning("Job %s cannot be written down: %s", job.id, error)

    def touch(self) -> None:
        """Show other Blenders now and then that this one follows the job."""
        if self.job is not None and time.monotonic() >= self._next_touch:
            self._next_touch = time.monotonic() + kept_job.TOUCH_SECONDS
            kept_job.touch(kept_folder(), self.job.id)

    def release(self) -> None:
        """Leave the job to whoever takes it up."""
        if self.job is not None:
            kept_job.release(kept_folder(), self.job.id)
            self.job = None

    def forget(self) -> None:
        """The job is over for good."""
        if self.job is not None:
            kept_job.forget(kept_folder(), self.job.id)
            self.job = None
