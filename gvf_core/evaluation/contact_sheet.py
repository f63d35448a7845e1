"""Labelled rows of pictures on one sheet, to look at what figures cannot say."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from gvf_core.errors import FileNotWrittenError

COLUMNS = 6
TILE = 160
"""Side of a picture in pixels."""
_LABEL, _GAP = 20, 2
_NOTHING = 5
"""Colours (0..255) that differ less from the background belong to it."""
_INK, _PAPER = (235, 235, 235), (32, 33, 36)


@dataclass(frozen=True)
class SheetRow:
    """One way to see the motion.

    Attributes:
        label: What stands above it.
        pictures: One per column.
    """

    label: str
    pictures: Sequence[UInt8[np.ndarray, "height width 3"]]


def sheet_frames(frames: int) -> list[int]:
    """Which frames are shown: the last one, and evenly spread ones before it; frame 0 is the same in all rows."""
    return np.unique(np.linspace(0, frames - 1, min(COLUMNS, frames)).round().astype(int)).tolist()


def cropped(rows: Sequence[SheetRow], background: UInt8[np.ndarray, "3"], margin: float = 0.06) -> list[SheetRow]:
    """Rows of square pictures, all cut to the square in which any of them shows more than its background."""
    pictures = np.stack([picture for row in rows for picture in row.pictures])
    size = pictures.shape[1]
    covered = (np.abs(pictures.astype(np.int16) - background) > _NOTHING).any(axis=(0, 3))
    if not covered.any():
        return list(rows)
    places = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    side = min(size, round(max(np.ptp(place) + 1 for place in places) * (1 + 2 * margin)))
    top, left = (int(np.clip((place[0] + place[-1] + 1 - side) / 2, 0, size - side)) for place in places)
    return [SheetRow(row.label, [one[top : top + side, left : left + side] for one in row.pictures]) for row in rows]


def write_sheet(path: Path, title: str, rows: Sequence[SheetRow]) -> None:
    """Write the rows below each other as a PNG file.

    Raises:
        FileNotWrittenError: For example because the disk is full.
    """
    width = max(len(row.pictures) for row in rows) * (TILE + _GAP)
    sheet = Image.new("RGB", (width, _LABEL + len(rows) * (_LABEL + TILE + _GAP)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    pen.text((6, _LABEL / 2), title, fill=_INK, font=font, anchor="lm")
    top = _LABEL
    for row in rows:
        pen.text((6, top + _LABEL / 2), row.label, fill=_INK, font=font, anchor="lm")
        for column, picture in enumerate(row.pictures):
            tile = Image.fromarray(picture).resize((TILE, TILE), Image.Resampling.LANCZOS)
            sheet.paste(tile, (column * (TILE + _GAP), top + _LABEL))
        top += _LABEL + TILE + _GAP
    try:
        sheet.save(path, format="PNG", optimize=True)
    except OSError as error:
        raise FileNotWrittenError(
            f"The sheet {path} could not be written ({error}).", "Free some disk space."
        ) from error
