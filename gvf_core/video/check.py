"""A look at a driving video before a job: what is cut out, and what makes a good result unlikely."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, Int, UInt8

from gvf_core.settings import AnimateSettings
from gvf_core.video.decode import read_video
from gvf_core.video.doubts import video_doubts
from gvf_core.video.matting import cut_out

TILE = 192
"""Width and height in pixels of each of the four frames in the picture."""
_GAP = 4
_VEIL = np.array([0.55, 0.05, 0.1], np.float32)
"""Colour that lies over what is not taken for the object; sRGB."""
_SHOWN_THROUGH = 0.4
_ROOM = 0.15
"""Of the object's larger side, shown around everything that is cut out in any frame."""


@dataclass(frozen=True, eq=False)
class VideoCheck:
    """What a look at a video found.

    Attributes:
        frames: How many frames are used.
        warnings: What makes a good result unlikely, in sentences.
        picture: Four frames evenly over the clip, row by row, the first one the canonical frame, sRGB: the part around
            what the job takes for the object, which has its own colours, while the rest lies behind a red veil.
    """

    frames: int
    warnings: tuple[str, ...]
    picture: UInt8[np.ndarray, "size size 3"]


def check_video(path: Path, settings: AnimateSettings) -> VideoCheck:
    """Cut the object out of a video as `gvf_core.pipeline.animate` does.

    Args:
        path: The video.
        settings: Which frames are used, and how the object is cut out.

    Raises:
        GvfError: The job would refuse the video, too.
    """
    clip = read_video(path, settings.start_frame, settings.frame_stride, settings.max_frames)
    frames = cut_out(clip, method=settings.matting)
    pictures = clip.frames[..., :3]
    rows, columns = _around_object(frames[..., 3])
    shown = np.linspace(0, len(frames) - 1, 4).round().astype(int)
    tiles = [_tile(_veiled(pictures[index], frames[index])[rows, columns]) for index in shown]
    gap = np.zeros((TILE, _GAP, 3), np.uint8)
    upper, lower = (np.concatenate([left, gap, right], axis=1) for left, right in (tiles[:2], tiles[2:]))
    picture = np.concatenate([upper, np.zeros((_GAP, 2 * TILE + _GAP, 3), np.uint8), lower])
    return VideoCheck(len(frames), video_doubts(pictures, frames, clip.is_steady), picture)


def _around_object(alpha: Float32[np.ndarray, "frames height width"]) -> tuple[slice, slice]:
    """Rows and columns that hold the object in all frames, with some room: a square as far as the frame reaches."""
    covered = (alpha > 0.05).any(axis=0)
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    side = round((1 + 2 * _ROOM) * max(np.ptp(rows) + 1, np.ptp(columns) + 1))
    return _centred(rows, side), _centred(columns, side)


def _centred(places: Int[np.ndarray, " places"], length: int) -> slice:
    """So many places with these in the middle; fewer at an end of the picture."""
    begin = (int(places[0]) + int(places[-1]) + 1 - length) // 2
    return slice(max(0, begin), begin + length)


def _veiled(
    picture: UInt8[np.ndarray, "height width 3"], frame: Float32[np.ndarray, "height width 4"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The object as the job sees it, before the dimmed rest."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32) / 255
    behind = _SHOWN_THROUGH * grey + (1 - _SHOWN_THROUGH) * _VEIL
    color = frame[..., :3] + (1 - frame[..., 3:]) * behind
    return (np.clip(color, 0, 1) * 255 + 0.5).astype(np.uint8)


def _tile(picture: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "size size 3"]:
    """The picture in the middle of a black square."""
    height, width = picture.shape[:2]
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    tile = np.zeros((TILE, TILE, 3), np.uint8)
    top, left = (TILE - size[1]) // 2, (TILE - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = small
    return tile
