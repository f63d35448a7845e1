"""What in a driving video makes a good result unlikely, said in sentences."""

from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

CUT_DIFFERENCE, CUT_FACTOR = 0.2, 4.0
"""A cut: pictures change by so much (0..1, mean over where either shows the object), and by so many times more than
they usually do from frame to frame."""
CAMERA_SHIFT = 0.015
"""The camera moves: the background does by so much of the picture's width."""
MIN_CORNERS = 20
"""Fewer points of the background that can be followed say nothing."""
CUT_OFF = 0.02
"""Part of the picture's border that the object may touch."""
_LOOKED_AT = 160
"""Width in pixels at which pictures are compared."""


def video_doubts(
    pictures: UInt8[np.ndarray, "frames height width 3"],
    cut_out: Float32[np.ndarray, "frames height width 4"],
    is_steady: bool = True,
) -> tuple[str, ...]:
    """Warnings for the artist.

    Args:
        pictures: The frames as they are in the video, sRGB.
        cut_out: The object alone, premultiplied colour and alpha.
        is_steady: Whether the frames are equally far apart in time.
    """
    small = np.stack([_shrunk(frame) for frame in cut_out])
    return (*_unsteady(is_steady), *_gone(small), *_cuts(small), *_cut_off(small), *_camera(pictures, cut_out))


def _unsteady(is_steady: bool) -> list[str]:
    if is_steady:
        return []
    return [
        "The time between frames varies in this part of the video, and the motion plays at their mean rate. "
        "Export the video with a constant frame rate."
    ]


def _gone(frames: np.ndarray) -> list[str]:
    area = (frames[..., 3] > 0.5).mean(axis=(1, 2))
    gone = np.flatnonzero(area < 0.05 * area[0])
    return [f"The object is not to be seen in {_named(gone)}. Choose another part of the video."] if len(gone) else []


def _cuts(frames: np.ndarray) -> list[str]:
    changes = []
    for before, after in pairwise(frames):
        shown = np.maximum(before[..., 3], after[..., 3]) > 0.5
        changes.append(float(np.abs(before - after)[shown].mean()) if shown.any() else 0.0)
    usual = max(float(np.median(changes)), 0.01)
    cuts = np.flatnonzero((np.array(changes) > CUT_DIFFERENCE) & (np.array(changes) > CUT_FACTOR * usual)) + 1
    if not len(cuts):
        return []
    return [f"The picture jumps at {_named(cuts)}, as at a cut. Choose a part of the video without one."]


def _cut_off(frames: np.ndarray) -> list[str]:
    mask = frames[..., 3] > 0.5
    border = np.concatenate([mask[:, 0], mask[:, -1], mask[:, :, 0], mask[:, :, -1]], axis=1).mean(axis=1)
    cut = np.flatnonzero(border > CUT_OFF)
    if not len(cut):
        return []
    return [f"The object leaves the picture in {_named(cut)}; what is outside is guessed."]


def _camera(pictures: np.ndarray, cut_out: np.ndarray) -> list[str]:
    """Follow points of the background; a plain one has none and cannot tell."""
    height, width = pictures.shape[1:3]
    first = cv2.cvtColor(pictures[0], cv2.COLOR_RGB2GRAY)
    reach = np.ones((9, 9), np.uint8)
    background = (cv2.dilate((cut_out[0, ..., 3] > 0.05).astype(np.uint8), reach) == 0).astype(np.uint8)
    corners = cv2.goodFeaturesToTrack(first, 200, 0.05, 7, mask=background)
    if corners is None or len(corners) < MIN_CORNERS:
        return []
    moved = []
    for index in range(1, len(pictures)):
        picture = cv2.cvtColor(pictures[index], cv2.COLOR_RGB2GRAY)
        places, found, _ = cv2.calcOpticalFlowPyrLK(first, picture, corners, np.zeros_like(corners))
        column, row = np.round(places[:, 0]).astype(int).T
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (found[:, 0] > 0)
        inside[inside] = cut_out[index, row[inside], column[inside], 3] < 0.05
        if inside.sum() >= MIN_CORNERS:
            shift = np.median((places - corners)[inside, 0], axis=0)
            if np.linalg.norm(shift) > CAMERA_SHIFT * width:
                moved.append(index)
    if not moved:
        return []
    return [f"The camera moves (seen in {_named(moved)}); its motion is taken for the object's. Use a still camera."]


def _shrunk(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    size = (min(_LOOKED_AT, width), max(1, round(height * min(1.0, _LOOKED_AT / width))))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _named(frames: "np.ndarray | list[int]") -> str:
    """Frame numbers in words, counted from the first used frame."""
    listed = ", ".join(str(int(frame)) for frame in frames[:4])
    more = len(frames) - 4
    return f"frame{'s' if len(frames) > 1 else ''} {listed}" + (f" and {more} more" if more > 0 else "")
