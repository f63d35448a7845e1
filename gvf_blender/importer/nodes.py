"""Writing node trees in Python: nodes, links by socket name, and a readable layout."""

from collections.abc import Iterable
from typing import Any

import bpy

_COLUMN_WIDTH = 200
_ROW_HEIGHT = 180


class TreeWriter:
    """Adds linked nodes to a node tree.

    A value for an input is either another node's output socket, which gets linked, or a constant.
    """

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        self.tree = tree

    def node(
        self, kind: str, inputs: dict[str, Any] | None = None, label: str = "", **properties: Any
    ) -> bpy.types.Node:
        """Add a node.

        Args:
            kind: Blender's name of the node type.
            inputs: Values by socket name.
            label: Title shown in the node editor; empty keeps Blender's.
            properties: Node properties; set before the inputs, as they decide which sockets exist.
        """
        node = self.tree.nodes.new(kind)
        node.label = label
        for name, value in properties.items():
            setattr(node, name, value)
        for name, value in (inputs or {}).items():
            self.feed(socket(node.inputs, name), value)
        return node

    def feed(self, target: bpy.types.NodeSocket, value: Any) -> None:
        """Link an input socket to an output socket, or set its constant."""
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, target)
        else:
            target.default_value = value

    def output(
        self, kind: str, inputs: dict[str, Any] | None = None, label: str = "", **properties: Any
    ) -> bpy.types.NodeSocket:
        """Add a node and return its first enabled output."""
        node = self.node(kind, inputs, label, **properties)
        return next(found for found in node.outputs if found.enabled)

    def math(self, operation: str, *values: Any) -> bpy.types.NodeSocket:
        """Add a scalar Math node."""
        return self._operation("ShaderNodeMath", operation, values)

    def vector_math(self, operation: str, *values: Any) -> bpy.types.NodeSocket:
        """Add a Vector Math node."""
        return self._operation("ShaderNodeVectorMath", operation, values)

    def _operation(self, kind: str, operation: str, values: Iterable[Any]) -> bpy.types.NodeSocket:
        node = self.node(kind, operation=operation)
        enabled = [found for found in node.inputs if found.enabled]
        for target, value in zip(enabled, values, strict=False):
            self.feed(target, value)
        return next(found for found in node.outputs if found.enabled)


def socket(sockets: Iterable[bpy.types.NodeSocket], name: str) -> bpy.types.NodeSocket:
    """The enabled socket with this name or identifier; nodes of many types keep disabled namesakes.

    Identifiers outlive the renamings of Blender's user interface ("Fac" became "Factor").

    Raises:
        KeyError: There is none.
    """
    for found in sockets:
        if name in (found.name, found.identifier) and found.enabled:
            return found
    raise KeyError(name)


def new_geometry_tree(name: str) -> bpy.types.NodeTree:
    """A Geometry Nodes tree, usable as a modifier, that takes and returns a geometry."""
    tree = bpy.data.node_groups.new(name, "GeometryNodeTree")
    tree.is_modifier = True
    tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    tree.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    return tree


def add_float_input(
    tree: bpy.types.NodeTree,
    name: str,
    default: float,
    description: str,
    minimum: float = 0.0,
    maximum: float | None = None,
) -> None:
    """Add a number to the inputs of a tree."""
    added = tree.interface.new_socket(name, description=description, in_out="INPUT", socket_type="NodeSocketFloat")
    added.default_value = default
    added.min_value = minimum
    if maximum is not None:
        added.max_value = maximum


def add_switch_input(tree: bpy.types.NodeTree, name: str, description: str) -> None:
    """Add a switch, off by default, to the inputs of a tree."""
    tree.interface.new_socket(name, description=description, in_out="INPUT", socket_type="NodeSocketBool")


def has_input(modifier: bpy.types.Modifier, name: str) -> bool:
    """Whether a modifier runs a tree with such an input."""
    return (
        modifier.type == "NODES"
        and modifier.node_group is not None
        and any(
            item.item_type == "SOCKET" and item.in_out == "INPUT" and item.name == name
            for item in modifier.node_group.interface.items_tree
        )
    )


def modifier_input(modifier: bpy.types.NodesModifier, name: str) -> Any:
    """The value of an input of a modifier's tree; of a menu, the number of the item, or -1 if it has none.

    Raises:
        KeyError: The tree has no such input.
    """
    key = input_identifier(modifier.node_group, name)
    if not _has_typed_inputs(modifier):
        return modifier[key]
    holder = getattr(modifier.properties.inputs, key)
    items = _menu_items(holder)
    if items is None:
        return holder.value
    return items[holder.value].value if holder.value in items else -1


def set_modifier_input(modifier: bpy.types.NodesModifier, name: str, value: Any) -> None:
    """Set an input of a modifier's tree; a menu by the number of the item.

    Raises:
        KeyError: The tree has no such input.
    """
    key = input_identifier(modifier.node_group, name)
    if _has_typed_inputs(modifier):
        holder = getattr(modifier.properties.inputs, key)
        items = _menu_items(holder)
        holder.value = value if items is None else next(item.identifier for item in items if item.value == value)
    else:
        modifier[key] = value
    modifier.id_data.update_tag()


def modifier_input_path(modifier: bpy.types.NodesModifier, name: str) -> str:
    """Data path, from the object, of an input of a modifier's tree.

    Raises:
        KeyError: The tree has no such input.
    """
    key = input_identifier(modifier.node_group, name)
    tail = f".properties.inputs.{key}.value" if _has_typed_inputs(modifier) else f'["{key}"]'
    return f'modifiers["{bpy.utils.escape_identifier(modifier.name)}"]{tail}'


def _has_typed_inputs(modifier: bpy.types.NodesModifier) -> bool:
    """Whether inputs are properties, as from Blender 5.2 on, and not custom properties of the modifier."""
    return hasattr(modifier, "properties")


def _menu_items(holder: bpy.types.bpy_struct) -> bpy.types.bpy_prop_collection | None:
    """The choices of a typed input; None if it is no menu."""
    kind = holder.bl_rna.properties["value"]
    return kind.enum_items if kind.type == "ENUM" else None


def input_identifier(tree: bpy.types.NodeTree, name: str) -> str:
    """Under which name a modifier stores the value of an input of its tree.

    Raises:
        KeyError: The tree has no such input.
    """
    for item in tree.interface.items_tree:
        if item.item_type == "SOCKET" and item.in_out == "INPUT" and item.name == name:
            return item.identifier
    raise KeyError(name)


def arrange(tree: bpy.types.NodeTree) -> None:
    """Place nodes in columns by their distance from the inputs, so that the tree can be read."""
    sources: dict[str, set[str]] = {node.name: set() for node in tree.nodes}
    for link in tree.links:
        sources[link.to_node.name].add(link.from_node.name)
    columns: dict[str, int] = {}

    def column(name: str) -> int:
        if name not in columns:
            columns[name] = 1 + max((column(source) for source in sources[name]), default=-1)
        return columns[name]

    rows: dict[int, int] = {}
    for node in tree.nodes:
        place = column(node.name)
        node.location = (place * _COLUMN_WIDTH, -rows.get(place, 0) * _ROW_HEIGHT)
        rows[place] = rows.get(place, 0) + 1
