"""Gaussian Variation Fields for Blender: existing meshes move like a video.

Nothing of Blender is imported before `register`, so that `gvf_blender.client` and `gvf_blender.core` work without it.
"""

from importlib import import_module

# By name, so that tools which follow imports see as well that client and core do not need Blender.
_REGISTRATION = ".addon"


def register() -> None:
    """Called by Blender when the add-on is enabled."""
    import_module(_REGISTRATION, __package__).register()


def unregister() -> None:
    """Called by Blender when the add-on is disabled or Blender quits; running jobs are cancelled."""
    import_module(_REGISTRATION, __package__).unregister()
