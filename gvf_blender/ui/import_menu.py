"""The entries of the menu File > Import."""

import bpy


def draw_entries(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    """Draw one entry for each kind of file."""
    menu.layout.operator("gvf.import_animation", text="GVF Animation (.safetensors)")
    menu.layout.operator("gvf.import_splats", text="Gaussian Splats (.ply)")


def register() -> None:
    """Add the entries."""
    bpy.types.TOPBAR_MT_file_import.append(draw_entries)


def unregister() -> None:
    """Take them out."""
    bpy.types.TOPBAR_MT_file_import.remove(draw_entries)
