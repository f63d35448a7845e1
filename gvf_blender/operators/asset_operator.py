"""What operators on the selected asset have in common."""

import bpy

from .. import job_list
from ..core.errors import GvfBlenderError
from ..request import check_selection


class AssetOperator:
    """Can be used while the selected objects can be captured."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether the selection could be captured now."""
        error = capture_obstacle(context)
        if error is not None:
            cls.poll_message_set(str(error))
        return error is None


def capture_obstacle(context: bpy.types.Context) -> GvfBlenderError | None:
    """Why nothing can be captured now."""
    try:
        if context.mode != "OBJECT":
            raise GvfBlenderError(f"Blender is in {_mode_name(context)} mode.", "Switch to object mode.")
        check_selection(context.selected_objects)
        capturing = job_list.capturing_job()
        if capturing is not None:
            raise GvfBlenderError(
                f"{capturing.request.title} is still being captured.", "Wait a few seconds or cancel it."
            )
    except GvfBlenderError as error:
        return error
    return None


def _mode_name(context: bpy.types.Context) -> str:
    return context.mode.replace("_", " ").lower()
