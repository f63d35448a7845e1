"""What operators on the selected asset have in common."""

import bpy

from ..core.errors import GvfBlenderError
from ..core.sentence import Sentence
from ..request import check_selection
from ..translations import translated


class AssetOperator:
    """Can be used while the selected objects can be captured."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether the selection could be captured now."""
        error = capture_obstacle(context)
        if error is not None:
            cls.poll_message_set(translated(error.text))
        return error is None


def capture_obstacle(context: bpy.types.Context) -> GvfBlenderError | None:
    """Why nothing can be captured now."""
    try:
        if context.mode != "OBJECT":
            text = Sentence("Blender is in {mode} mode.", mode=_mode_name(context))
            raise GvfBlenderError(text, "Switch to object mode.")
        check_selection(context.selected_objects)
    except GvfBlenderError as error:
        return error
    return None


def _mode_name(context: bpy.types.Context) -> str:
    return context.mode.replace("_", " ").lower()
