"""Looking at the driving video before a job: the server shows what it would cut out, and says what speaks against it.

Drawing compares what was looked at with what the scene says now; an answer about something else is not shown.
"""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import bpy

from . import server_watch
from .client import Client
from .core.errors import DefectError, GvfBlenderError, JobCancelled
from .core.motion_settings import MotionSettings
from .core.sentence import showable
from .core.video_check import VideoCheck
from .frame_picture import FramePicture
from .request import check_video

LOGGER = logging.getLogger(__name__)

_MATTERS = ("start_frame", "frame_stride", "max_frames", "matting")


@dataclass(frozen=True)
class Question:
    """What was looked at.

    Attributes:
        video: The file.
        version: Its time of change and size.
        settings: Which frames, and how the object is cut out.
    """

    video: Path
    version: tuple[int, int]
    settings: tuple[tuple[str, object], ...]


class VideoLook:
    """One look at a time. For the main thread; no method waits, but for `begin` in background mode.

    Attributes:
        is_running: Whether the server still looks.
        check: What it found; None while it has found nothing.
        problem: Why it refuses the video, or does not answer, as sentences; else empty.
    """

    def __init__(self) -> None:
        self._question: Question | None = None
        self._picture = FramePicture()
        self.is_running = False
        self.check: VideoCheck | None = None
        self.problem = ""

    @property
    def icon(self) -> int:
        """Identifier of the picture; 0 while there is none."""
        return self._picture.icon

    def is_about(self, settings: bpy.types.bpy_struct) -> bool:
        """Whether the scene's settings still mean what was looked at. Fit for drawing."""
        try:
            return self._question is not None and self._question == _question(settings)
        except (GvfBlenderError, OSError):
            return False

    def begin(self, settings: bpy.types.bpy_struct, connect: Callable[[], Client]) -> None:
        """Ask the server, in a thread; in background mode, wait for it.

        Args:
            settings: The scene's.
            connect: Finds the server; called in the thread.

        Raises:
            GvfBlenderError: The video cannot be used; in background mode, also what the server says.
        """
        question = _question(settings)
        self.dismiss()
        self._question, self.is_running = question, True

        def go_on() -> None:
            if self._question is not question:
                raise JobCancelled()

        def work() -> VideoCheck | GvfBlenderError:
            try:
                return look(connect(), question.video, dict(question.settings), go_on)
            except GvfBlenderError as error:
                return error
            except Exception as error:
                LOGGER.exception("Looking at the video failed")
                return DefectError("The add-on failed while it spoke to the server", error)

        def show(found: VideoCheck | GvfBlenderError) -> None:
            if self._question is not question:
                return
            self.is_running = False
            if isinstance(found, VideoCheck):
                self.check = found
                self._show(found.picture)
                return
            self.problem = found.text
            if bpy.app.background:
                raise found

        server_watch.act(work, show)

    def dismiss(self) -> None:
        """Forget what was found; an unfinished look ends here at once, and on the server within a second."""
        self._question, self.is_running, self.check, self.problem = None, False, None, ""
        self._picture.clear()

    def _show(self, png: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="gvf-look-") as folder:
            path = Path(folder) / "look.png"
            path.write_bytes(png)
            self._picture.show(path)


def look(
    client: Client, video: Path, settings: dict[str, object], go_on: Callable[[], None] = lambda: None
) -> VideoCheck:
    """Bring the video to a server, and let it look; waits for the network.

    Args:
        client: The server.
        video: The file.
        settings: Which frames, and how the object is cut out.
        go_on: Called several times a second; may raise to stop, here and on the server.

    Raises:
        GvfBlenderError: The file cannot be read, the server does not answer, or a job would refuse the video.
    """
    return client.check_video(client.upload(video, lambda fraction: go_on()), settings, showable(video.name), go_on)


def settings_of_look(settings: MotionSettings) -> dict[str, object]:
    """Those of the settings that matter for a look."""
    return {name: getattr(settings, name) for name in _MATTERS}


_look = VideoLook()


def present_look() -> VideoLook:
    """The look of this Blender session."""
    return _look


def unregister() -> None:
    """Forget everything."""
    _look.dismiss()


def _question(settings: bpy.types.bpy_struct) -> Question:
    video = check_video(settings.video)
    status = video.stat()
    chosen = tuple((name, getattr(settings, name)) for name in _MATTERS)
    return Question(video, (status.st_mtime_ns, status.st_size), chosen)
