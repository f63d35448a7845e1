"""What Blender knows of the driving video: size, frame rate, length and a thumbnail, remembered for drawing.

Reading a video takes a tenth of a second and makes datablocks, neither of which drawing may do: panels look into the
memory, and what is missing there is read a moment later by a timer.
"""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import bpy
import bpy.utils.previews

from .job_list import redraw_panels

LOGGER = logging.getLogger(__name__)

_MOST_REMEMBERED = 50
# Seconds between two videos, in which Blender handles input and redraws.
_READ_INTERVAL = 0.05


@dataclass(frozen=True)
class VideoFacts:
    """A readable video.

    Attributes:
        width: Pixels.
        height: Pixels.
        fps: Frames per second.
        frames: Number of frames.
        icon: Identifier of its thumbnail; 0 where Blender makes none.
    """

    width: int
    height: int
    fps: float
    frames: int
    icon: int

    def used_frames(self, start: int, stride: int, most: int) -> int:
        """How many frames are used of it."""
        return max(0, min(most, math.ceil((self.frames - start) / stride)))


_Version = tuple[str, int, int]
_known: dict[_Version, VideoFacts | None] = {}
_wanted: set[Path] = set()
_previews: bpy.utils.previews.ImagePreviewCollection | None = None


def known_facts(path: Path) -> VideoFacts | None:
    """What is remembered of a video; None while nothing is, and for what Blender cannot read.

    Fit for drawing: an unknown video is read soon afterwards.
    """
    version = _version(path)
    if version is None:
        return None
    if version not in _known:
        _wanted.add(path)
        if not bpy.app.background and not bpy.app.timers.is_registered(_read_wanted):
            bpy.app.timers.register(_read_wanted, first_interval=_READ_INTERVAL)
    return _known.get(version)


def is_unreadable(path: Path) -> bool:
    """Whether Blender has tried to read a video in vain. Fit for drawing."""
    version = _version(path)
    return version in _known and _known[version] is None


def read_facts(path: Path) -> VideoFacts | None:
    """Read a video and remember it; None for what Blender cannot read, which the server still may."""
    version = _version(path)
    if version is None:
        return None
    if version not in _known:
        while len(_known) >= _MOST_REMEMBERED:
            del _known[next(iter(_known))]
        # Blender takes no name with the half characters of a file name that is no UTF-8.
        _known[version] = _read(path, ascii(version))
    return _known[version]


def register() -> None:
    """Make room for thumbnails."""
    global _previews
    _previews = bpy.utils.previews.new()


def unregister() -> None:
    """Forget everything."""
    global _previews
    if bpy.app.timers.is_registered(_read_wanted):
        bpy.app.timers.unregister(_read_wanted)
    _known.clear()
    _wanted.clear()
    if _previews is not None:
        bpy.utils.previews.remove(_previews)
        _previews = None


def _read_wanted() -> float | None:
    """Read one video, because that holds up the window."""
    if _wanted:
        read_facts(_wanted.pop())
    redraw_panels()
    return _READ_INTERVAL if _wanted else None


def _version(path: Path) -> _Version | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return str(path), status.st_mtime_ns, status.st_size


def _read(path: Path, name: str) -> VideoFacts | None:
    try:
        clip = bpy.data.movieclips.load(str(path))
    except RuntimeError as error:
        LOGGER.info("Blender cannot read %s: %s", path, error)
        return None
    try:
        width, height = clip.size
        fps, frames = clip.fps, clip.frame_duration
    finally:
        bpy.data.movieclips.remove(clip)
    if fps <= 0 or frames <= 0:
        return None
    icon = 0
    if _previews is not None:
        icon = _previews.load(name, str(path), "MOVIE").icon_id
    return VideoFacts(width, height, fps, frames, icon)
