"""Where the panels stand."""

from ..translations import CONTEXT


class GVFPanel:
    """The GVF tab in the sidebar of the 3D viewport."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "GVF"
    bl_translation_context = CONTEXT
