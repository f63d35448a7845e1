"""Gaussian Variation Fields for Blender: existing meshes move like a video.

Nothing of Blender is imported before `register`, so that `gvf_blender.client` and `gvf_blender.core` work without it.
"""


def register() -> None:
    """Called by Blender when the add-on is enabled."""
    from . import addon

    addon.register()


def unregister() -> None:
    """Called by Blender when the add-on is disabled or Blender quits; running jobs are cancelled."""
    from . import addon

    addon.unregister()
