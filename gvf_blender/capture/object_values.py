"""What materials read of the object that they are on, besides its geometry."""

from collections.abc import Iterable
from dataclasses import dataclass

import bpy
from idprop.types import IDPropertyArray

_LOST = {"OBJECT_INFO": ("Location", "Random"), "NEW_GEOMETRY": ("Position",)}


@dataclass(frozen=True, eq=False)
class ObjectValues:
    """Of one evaluated object or instance.

    Attributes:
        color: Of the object, linear RGBA.
        pass_index: Of the object.
        custom: Numbers among the custom properties, by name.
    """

    color: tuple[float, ...]
    pass_index: int
    custom: dict[str, float | list[float]]

    @classmethod
    def of(cls, instance: bpy.types.DepsgraphObjectInstance) -> "ObjectValues":
        """Read them while the instance is valid."""
        shown = instance.object
        # Later ones win, as in Attribute nodes of the type Instancer.
        owners = [shown.data, shown, *([instance.parent] if instance.is_instance else [])]
        custom = {name: value for owner in owners for name, value in _numbers(owner)}
        return cls(tuple(shown.color), shown.pass_index, custom)

    def give_to(self, thing: bpy.types.Object) -> None:
        """Let materials on an object read them."""
        thing.color, thing.pass_index = self.color, self.pass_index
        for name, value in self.custom.items():
            thing[name] = value


def lost_inputs(tree: bpy.types.NodeTree) -> list[str]:
    """What a material reads of its object that a capture cannot keep, for example "Object Info > Random"."""
    names = (
        f"{node.bl_label} > {name}"
        for node in tree.nodes
        for name in _LOST.get(node.type, ())
        if node.outputs[name].is_linked
    )
    return list(dict.fromkeys(names))


def _numbers(owner: bpy.types.ID) -> Iterable[tuple[str, float | list[float]]]:
    for name, value in owner.items():
        if isinstance(value, IDPropertyArray):
            yield name, value.to_list()
        elif isinstance(value, int | float):
            yield name, value
