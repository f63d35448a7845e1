"""Small video files for tests."""

from pathlib import Path

import av
import numpy as np


def write_video(
    path: Path,
    frames: list[np.ndarray],
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: int = 24,
    rotation: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode pictures [height, width, 3 or 4], 8 bit; alpha is straight."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if rotation:
            stream.set_display_rotation(rotation)
        for frame in frames:
            layout = "rgba" if frame.shape[2] == 4 else "rgb24"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=layout)))
        container.mux(stream.encode())
    return path


def moving_square(count: int = 6, width: int = 64, height: int = 48, background=(255, 255, 255)) -> list[np.ndarray]:
    """A red square that goes right by two pixels a frame."""
    frames = []
    for index in range(count):
        frame = np.empty((height, width, 3), np.uint8)
        frame[:] = background
        frame[height // 4 : 3 * height // 4, 8 + 2 * index : 28 + 2 * index] = (200, 30, 30)
        frames.append(frame)
    return frames


def with_alpha(frames: list[np.ndarray], background=(255, 255, 255)) -> list[np.ndarray]:
    """The same pictures, transparent where they show the background."""
    return [
        np.concatenate([frame, 255 * (frame != background).any(axis=2, keepdims=True).astype(np.uint8)], axis=2)
        for frame in frames
    ]
