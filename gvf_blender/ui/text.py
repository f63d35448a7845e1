"""Sentences in panels, whose labels do not wrap by themselves."""

import textwrap
import unicodedata

import bpy

from ..translations import translated

# Blender's interface font at scale 1 is about 6.2 pixels a character on average; 7 leaves room for wide letters.
_PIXELS_PER_CHARACTER = 7.0
_MARGIN_PIXELS = 40
_FALLBACK_CHARACTERS = 40
_MAX_LINES = 12


def characters_per_line(context: bpy.types.Context) -> int:
    """How many characters fit beside each other into the present region."""
    region = context.region
    if region is None or region.width <= 1:
        return _FALLBACK_CHARACTERS
    # 0 in background mode
    scale = context.preferences.system.ui_scale or 1.0
    return max(16, int((region.width - _MARGIN_PIXELS * scale) / (_PIXELS_PER_CHARACTER * scale)))


def draw_sentence(layout: bpy.types.UILayout, context: bpy.types.Context, text: str, icon: str = "NONE") -> None:
    """Text over as many lines as it needs; the icon stands before the first one.

    Args:
        layout: Where to draw.
        context: Its region gives the width.
        text: One or more sentences, which are translated here; long words such as paths are broken.
        icon: Identifier of one of Blender's icons.
    """
    text = translated(text)
    # Chinese and Japanese characters are twice as wide.
    is_wide = any(unicodedata.east_asian_width(character) == "W" for character in text)
    width = characters_per_line(context) // (2 if is_wide else 1)
    # Paths and commands can be read, and copied by eye, in one piece.
    lines = textwrap.wrap(text, width, break_on_hyphens=False)
    if len(lines) > _MAX_LINES:
        lines = [*lines[: _MAX_LINES - 1], "..."]
    column = layout.column(align=True)
    column.scale_y = 0.8
    for index, line in enumerate(lines):
        if icon == "NONE":
            column.label(text=line)
        else:
            # BLANK1 keeps the following lines below the text and not below the icon.
            column.label(text=line, icon=icon if index == 0 else "BLANK1")
