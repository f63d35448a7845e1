"""`Object.gvf`: what an asset remembers and how a result plays."""

import bpy
from bpy.props import PointerProperty

from .asset_properties import AssetProperties
from .result_properties import ResultProperties


class GVFObject(AssetProperties, ResultProperties, bpy.types.PropertyGroup):
    """One group per object; everything in it belongs to the file."""


def register() -> None:
    """Register the group and hang it onto objects."""
    bpy.utils.register_class(GVFObject)
    bpy.types.Object.gvf = PointerProperty(type=GVFObject, name="Gaussian Variation Fields")


def unregister() -> None:
    """Undo `register`; the values stay in the file."""
    del bpy.types.Object.gvf
    bpy.utils.unregister_class(GVFObject)
