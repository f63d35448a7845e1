"""Gaussian splats that stand still, from a PLY file of this add-on or another tool."""

from pathlib import Path

import bpy

from ..artist_render import refuse_beside_render
from ..core.sentence import showable
from ..core.splat_ply_file import read_splat_ply
from .animation_import import Imported
from .gaussians import GaussianTracks
from .keyframes import FrameMapping
from .splats import new_splat_object
from .transaction import Transaction
from .transparency import bounces_warning


def import_splats(context: bpy.types.Context, path: Path) -> Imported:
    """Add the Gaussians of a PLY file as a splat object, all of it or nothing.

    Positions in the file count as metres; the object stands in the origin.

    Args:
        context: Its collection receives the object, or its scene where that collection takes none.
        path: The file.

    Raises:
        FileError: The file is not one that `read_splat_ply` reads.
        RenderError: The artist renders.
    """
    refuse_beside_render("imported")
    frame = read_splat_ply(path)
    mapping = FrameMapping.of_scene(context.scene, fps=1.0, count=1, first=None)
    with Transaction():
        splats = new_splat_object(showable(path.stem), GaussianTracks.from_frame(frame), mapping)
        _open_collection(context).objects.link(splats)
        context.view_layer.update()
    return Imported(splats, None, (), (*frame.left_out, *filter(None, [bounces_warning(context.scene)])))


def _open_collection(context: bpy.types.Context) -> bpy.types.Collection:
    """The active collection; the scene's own where Blender lets nothing into that one, or would not show it."""
    layer = context.view_layer.active_layer_collection
    collection = layer.collection
    if layer.exclude or not collection.is_editable or collection.override_library is not None:
        return context.scene.collection
    return collection
