"""A render of the artist's, which runs beside the window: it shows what is changed meanwhile, or crashes over it."""

import bpy

from .core.errors import RenderError


def is_rendering() -> bool:
    """Whether a render of the artist's runs in its own window: Blender refuses another one meanwhile."""
    return bpy.app.is_job_running("RENDER")


def refuse_beside_render(action: str) -> None:
    """Stop before the scene is changed or played.

    Args:
        action: What cannot be done, as in `error_beside_render`.

    Raises:
        RenderError: A render runs.
    """
    if is_rendering():
        raise error_beside_render(action)


def error_beside_render(action: str) -> RenderError:
    """What cannot be done while a render runs, as a participle such as "imported", and what to do."""
    return RenderError(f"A render runs, so nothing can be {action}.", "Try again when it has ended.")
