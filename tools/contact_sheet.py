"""Pictures of the demo: labelled columns side by side, as a video and as a contact sheet."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

LABEL_HEIGHT = 28
GAP = 4
INK = (235, 235, 235)
PAPER = (32, 33, 36)


@dataclass(frozen=True, eq=False)
class Column:
    """One way to show the motion.

    Attributes:
        label: What stands above it.
        frames: sRGB pictures, uint8 [frames, height, width, 3].
    """

    label: str
    frames: np.ndarray


def read_video(path: Path, size: int) -> np.ndarray:
    """All frames of a square video at another size, uint8 [frames, size, size, 3]."""
    with av.open(str(path)) as container:
        pictures = [
            frame.to_image().resize((size, size), Image.Resampling.LANCZOS) for frame in container.decode(video=0)
        ]
    return np.stack([np.asarray(picture) for picture in pictures])


def read_pictures(paths: list[Path], background: np.ndarray) -> np.ndarray:
    """RGBA files laid over a colour.

    Args:
        paths: Files of equal size.
        background: sRGB, uint8 [3].

    Returns:
        Pictures, uint8 [files, height, width, 3].
    """
    rgba = np.stack([np.asarray(Image.open(path).convert("RGBA")) for path in paths]).astype(np.float32)
    alpha = rgba[..., 3:] / 255
    return (rgba[..., :3] * alpha + background * (1 - alpha)).round().astype(np.uint8)


def background_of(frames: np.ndarray) -> np.ndarray:
    """The colour of a video's plain background: the median over the border of its first frame, uint8 [3]."""
    first = frames[0]
    border = np.concatenate([first[0], first[-1], first[:, 0], first[:, -1]])
    return np.median(border, axis=0).astype(np.uint8)


@dataclass(frozen=True)
class Crop:
    """The part of square pictures that something happens in, in pixels; the ends are outside."""

    left: int
    top: int
    right: int
    bottom: int

    def of(self, pictures: np.ndarray) -> np.ndarray:
        """The part of pictures [..., size, size, channels]."""
        return pictures[..., self.top : self.bottom, self.left : self.right, :]


def crop_to_motion(frames: np.ndarray, margin: float = 0.08) -> Crop:
    """Where a video in front of a plain background shows anything in any frame.

    Args:
        frames: sRGB, uint8 [frames, size, size, 3].
        margin: Free space around, as a fraction of the larger side of the part.
    """
    size = frames.shape[1]
    away = np.abs(frames.astype(np.int16) - background_of(frames)).max(axis=(0, 3)) > 24
    if not away.any():
        return Crop(0, 0, size, size)
    rows, columns = np.flatnonzero(away.any(axis=1)), np.flatnonzero(away.any(axis=0))
    space = round(margin * max(np.ptp(rows), np.ptp(columns)))
    return Crop(
        max(0, int(columns[0]) - space),
        max(0, int(rows[0]) - space),
        min(size, int(columns[-1]) + 1 + space),
        min(size, int(rows[-1]) + 1 + space),
    )


def write_preview(path: Path, columns: list[Column], fps: Fraction) -> None:
    """The columns side by side as an H.264 video."""
    count = min(len(column.frames) for column in columns)
    first = _row(columns, 0)
    height, width = _header(columns).shape[0] + first.shape[0], first.shape[1]
    # yuv420p halves the resolution of colour, so both sides must be even.
    canvas = np.full((height + height % 2, width + width % 2, 3), PAPER, np.uint8)
    canvas[: height - first.shape[0], :width] = _header(columns)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = canvas.shape[1], canvas.shape[0], "yuv420p"
        stream.options = {"crf": "18", "preset": "medium"}
        for index in range(count):
            canvas[height - first.shape[0] : height, :width] = _row(columns, index)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(canvas, format="rgb24")))
        container.mux(stream.encode())


def write_contact_sheet(path: Path, columns: list[Column], rows: int) -> None:
    """Some evenly spread frames below each other, as a PNG file."""
    count = min(len(column.frames) for column in columns)
    chosen = np.linspace(0, count - 1, min(rows, count)).round().astype(int)
    parts = [_header(columns)]
    for index in chosen:
        row = Image.fromarray(_row(columns, index))
        ink = PAPER if background_of(columns[0].frames).mean() > 127 else INK
        place = (6, row.height - GAP - 6)
        ImageDraw.Draw(row).text(place, f"frame {index + 1}", fill=ink, font=ImageFont.load_default(14), anchor="ls")
        parts.append(np.asarray(row))
    Image.fromarray(np.concatenate(parts)).save(path, optimize=True)


def _row(columns: list[Column], index: int) -> np.ndarray:
    """One frame of all columns, with gaps between and below."""
    parts = [np.pad(column.frames[index], ((0, GAP), (0, GAP), (0, 0))) for column in columns]
    for part in parts:
        part[-GAP:] = PAPER
        part[:, -GAP:] = PAPER
    return np.concatenate(parts, axis=1)


def _header(columns: list[Column]) -> np.ndarray:
    """The labels above the columns."""
    widths = [column.frames.shape[2] + GAP for column in columns]
    header = Image.new("RGB", (sum(widths), LABEL_HEIGHT), PAPER)
    draw = ImageDraw.Draw(header)
    left = 0
    for column, width in zip(columns, widths, strict=True):
        center = (left + width / 2, LABEL_HEIGHT / 2)
        draw.text(center, column.label, fill=INK, font=ImageFont.load_default(15), anchor="mm")
        left += width
    return np.asarray(header)
