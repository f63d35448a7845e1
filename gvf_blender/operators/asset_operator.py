"""What operators have in common that something may hinder: the mode, or what is selected."""

import bpy

from ..core.errors import GvfBlenderError
from ..core.sentence import Sentence
from ..request import check_selection
from ..translations import translated


class GuardedOperator:
    """Can be used while nothing hinders it; else its button tells what."""

    @staticmethod
    def obstacle(context: bpy.types.Context) -> GvfBlenderError | None:
        """Why it cannot be used now."""
        raise NotImplementedError

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether it can be used now."""
        obstacle = cls.obstacle(context)
        if obstacle is not None:
            cls.poll_message_set(translated(obstacle.text))
        return obstacle is None


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


class AssetOperator(GuardedOperator):
    """Can be used while the selected objects can be captured."""

    obstacle = staticmethod(capture_obstacle)


class ObjectModeOperator(GuardedOperator):
    """Can be used in object mode."""

    obstacle = staticmethod(mode_obstacle)
