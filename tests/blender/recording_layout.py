"""Stands in for the layout of a panel, which exists only in a window."""

from types import SimpleNamespace

import bpy


class RecordingLayout:
    """Takes every call that a panel makes; children write into the same record."""

    def __init__(self, record=None, enabled=True):
        self.record = [] if record is None else record
        self.enabled = enabled

    def row(self, **_):
        return RecordingLayout(self.record)

    column = box = split = row

    def label(self, text="", icon="NONE"):
        self.record.append(("label", text, icon))

    def prop(self, data, name, **_):
        assert name in data.bl_rna.properties
        self.record.append(("prop", name, self))

    def prop_search(self, data, name, search_data, search_name):
        assert name in data.bl_rna.properties and search_name in search_data.bl_rna.properties
        self.record.append(("prop_search", name, self))

    def operator(self, name, text=None, icon="NONE", emboss=True):
        operator = getattr(bpy.ops.gvf, name.split(".")[1]) if name.startswith("gvf.") else None
        if operator is not None:
            operator.get_rna_type()
        self.record.append(("operator", name, self, text))
        return SimpleNamespace()

    def template_icon(self, icon_value, scale):
        self.record.append(("icon", icon_value, scale))

    def progress(self, factor, text):
        self.record.append(("progress", factor, text))

    def texts(self):
        return " ".join(entry[1] for entry in self.record if entry[0] == "label")

    def names(self, kind):
        return [entry[1] for entry in self.record if entry[0] == kind]

    def labels(self, operator):
        return [entry[3] for entry in self.record if entry[:2] == ("operator", operator)]

    def button(self, name):
        return next(entry[2] for entry in self.record if entry[:2] == ("operator", name))


def panel_context(width=4000):
    """What a panel is given, in a region of so many pixels."""
    return SimpleNamespace(
        scene=bpy.context.scene,
        mode=bpy.context.mode,
        object=bpy.context.object,
        selected_objects=bpy.context.selected_objects,
        preferences=bpy.context.preferences,
        region=SimpleNamespace(width=width),
    )
