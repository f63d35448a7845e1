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
    obstacle = mode_obstacle(context)
    if obstacle is not None:
        return obstacle
    try:
        check_selection(context.selected_objects)
    except GvfBlenderError as error:
        return error
    return None


def mode_obstacle(context: bpy.types.Context) -> GvfBlenderError | None:
    """Why nothing can be done now that is for object mode."""
    if context.mode == "OBJECT":
        return None
    text = Sentence("Blender is in {mode} mode.", mode=context.mode.replace("_", " ").lower())
    return GvfBlenderError(text, "Switch to object mode.")
