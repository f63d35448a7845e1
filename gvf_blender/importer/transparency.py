"""How many transparent surfaces Cycles must look through to show splats as proxies, a setting of the artist's scene."""

from collections.abc import Iterable

import bpy

from ..core.sentence import Sentence
from .splats import shows_proxies

# Measured on 20,000 flat splats on a closed surface at 256 px: beyond 128 no pixel differs by more than 0.035, at
# 256 none at all, at 64 there are 200 specks, and at Cycles' default of 8 a sixth of the asset is black. Only rays
# that need the bounces pay for them: 1024 rendered as fast as 64.
NEEDED_BOUNCES = 256


def lacks_transparent_bounces(scene: bpy.types.Scene, things: Iterable[bpy.types.Object] | None = None) -> bool:
    """Whether Cycles would end rays inside splats, which shows as black specks.

    Args:
        scene: The scene.
        things: Where splats are looked for; None for all objects of the scene.
    """
    return _has_few_bounces(scene) and any(map(shows_proxies, scene.objects if things is None else things))


def bounces_warning(scene: bpy.types.Scene, things: Iterable[bpy.types.Object] | None = None) -> Sentence | None:
    """A sentence for the artist where the scene lacks them; arguments as for `lacks_transparent_bounces`."""
    if not lacks_transparent_bounces(scene, things):
        return None
    return Sentence(
        "Cycles looks through {count} transparent surfaces in this scene, but splats need {needed}: raise Render > "
        "Light Paths > Transparent, or black specks will show.",
        count=scene.cycles.transparent_max_bounces,
        needed=NEEDED_BOUNCES,
    )


def raise_transparent_bounces(scene: bpy.types.Scene) -> bool:
    """Let Cycles look through enough splats, also those to come; to be called only with the artist's consent.

    Returns:
        Whether the setting had to be changed.
    """
    if not _has_few_bounces(scene):
        return False
    scene.cycles.transparent_max_bounces = NEEDED_BOUNCES
    return True


def _has_few_bounces(scene: bpy.types.Scene) -> bool:
    cycles = getattr(scene, "cycles", None)
    return cycles is not None and cycles.transparent_max_bounces < NEEDED_BOUNCES
