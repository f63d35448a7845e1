"""Synchronised videos beside the driving one: the same moments, seen from other sides."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from .errors import SettingsError
from .motion_settings import MotionSettings

MOST_FURTHER_VIDEOS = 3
"""As many as a server takes."""


class FurtherVideo(NamedTuple):
    """One of them. Scripts may give a plain tuple.

    Attributes:
        video: The file; its frames are chosen as the driving video's are.
        azimuth: Degrees around z from which it sees the asset.
        elevation: Degrees above the horizon.
    """

    video: str | Path
    azimuth: float
    elevation: float


def further_videos(given: Iterable[Any]) -> tuple[FurtherVideo, ...]:
    """Further videos as somebody wrote them down, each as video, azimuth and elevation.

    Raises:
        SettingsError: They are no list, one is something else, an angle is out of range, or there are too many.
    """
    if not isinstance(given, Iterable):
        raise SettingsError(
            f"{given!r} are no further videos.", 'Write [("side.mp4", azimuth, elevation)], in degrees.'
        )
    found = []
    for item in given:
        if not isinstance(item, tuple | list) or len(item) != 3 or not isinstance(item[0], str | Path):
            raise SettingsError(f"{item!r} is no further video.", 'Write ("side.mp4", azimuth, elevation), in degrees.')
        one = FurtherVideo(*item)
        MotionSettings(azimuth=one.azimuth, elevation=one.elevation)
        found.append(one)
    if len(found) > MOST_FURTHER_VIDEOS:
        raise SettingsError(f"{len(found)} further videos are given.", f"Give at most {MOST_FURTHER_VIDEOS}.")
    return tuple(found)
