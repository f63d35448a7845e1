"""How many transparent surfaces Cycles must look through to show splats, a setting of the artist's scene."""

import bpy

# TO MEASURE
NEEDED_BOUNCES = 128


def lacks_transparent_bounces(scene: bpy.types.Scene) -> bool:
    """Whether Cycles would end rays inside the splats of this scene, which shows as black specks."""
    cycles = getattr(scene, "cycles", None)
    return cycles is not None and cycles.transparent_max_bounces < NEEDED_BOUNCES


def raise_transparent_bounces(scene: bpy.types.Scene) -> bool:
    """Let Cycles look through enough splats; to be called only with the artist's consent.

    Returns:
        Whether the setting had to be changed.
    """
    if not lacks_transparent_bounces(scene):
        return False
    scene.cycles.transparent_max_bounces = NEEDED_BOUNCES
    return True
