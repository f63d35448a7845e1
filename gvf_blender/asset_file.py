"""Asset files: opening one in Blender as something to animate, and saving what became of it."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import bpy

from .capture.selection import surface_objects
from .core.errors import FileError, SelectionError
from .importer.gaussians import shows_gaussians
from .importer.render_choice import is_kept_out_of_renders
from .operator_reason import reason_of

LOGGER = logging.getLogger(__name__)

# The first of these operators that Blender has; the FBX importer in C++ came with 4.5.
_IMPORTERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((".glb", ".gltf"), ("import_scene.gltf",)),
    ".fbx": ("wm.fbx_import", "import_scene.fbx"),
    ".obj": ("wm.obj_import",),
    ".ply": ("wm.ply_import",),
    ".stl": ("wm.stl_import",),
    **dict.fromkeys((".usd", ".usda", ".usdc", ".usdz"), ("wm.usd_import",)),
    ".abc": ("wm.alembic_import",),
}
BLEND = ".blend"
KINDS = ", ".join((*_IMPORTERS, BLEND))
_NAMES_SHOWN = 8
# Texts and curves in a .blend file are rather its decoration; they can be named.
_ASSET_TYPES = frozenset({"MESH", "EMPTY"})


def open_asset(
    asset: Path,
    names: Sequence[str] = (),
    frame: int | None = None,
    *,
    keep_animation: bool = False,
    keep_preferences: bool = False,
) -> list[bpy.types.Object]:
    """Open an asset in an empty scene, or a .blend file as it is, at the frame to capture.

    One file gives the same objects every time. Scripts in a .blend file are not run.

    Args:
        asset: The file, as an absolute path.
        names: Objects to animate; none for all meshes with faces that show in the viewport and in renders.
        frame: Scene frame to go to; None stays at that of the .blend file, else at 1.
        keep_animation: Keep the animation of other files than .blend, too.
        keep_preferences: Start from an empty scene but not from factory settings, which would disable add-ons.

    Returns:
        The objects to animate.

    Raises:
        FileError: The file is missing, empty, of an unknown kind or not readable.
        SelectionError: It holds nothing with faces, or not the named objects.
    """
    _check_asset(asset)
    if keep_preferences:
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    else:
        bpy.ops.wm.read_factory_settings(use_empty=True)
    _read(asset)
    if frame is not None:
        bpy.context.scene.frame_set(frame)
    if asset.suffix.lower() != BLEND and not keep_animation:
        _hold_still()
    visible = _visible_with_faces(bpy.context)
    if asset.suffix.lower() == ".fbx":
        # Their importer links the objects of one file in another order every time.
        visible.sort(key=lambda thing: thing.name)
    shown = ", ".join(repr(thing.name) for thing in visible[:_NAMES_SHOWN])
    if len(visible) > _NAMES_SHOWN:
        shown += f" or {len(visible) - _NAMES_SHOWN} others"
    members = bpy.context.scene.objects
    for name in names:
        if name not in members:
            hint = f"Choose from {shown}." if visible else "Choose another file: it shows nothing that has faces."
            raise SelectionError(f"There is no object {name!r} in {asset.name}.", hint)
    if names:
        return [members[name] for name in dict.fromkeys(names)]
    if not visible:
        raise SelectionError(f"There is no visible mesh with faces in {asset.name}.", "Choose a file that has one.")
    LOGGER.info("%s shows %s.", asset.name, shown)
    return visible


def pack_textures() -> None:
    """Take picture files that lie beside the asset into the .blend file, so that it shows them anywhere."""
    for image in bpy.data.images:
        if image.source == "FILE" and image.packed_file is None and Path(bpy.path.abspath(image.filepath)).is_file():
            image.pack()


def save_asset(output: Path) -> None:
    """Save the open file under a new name; an existing file is replaced.

    Raises:
        FileError: It cannot be written.
    """
    paths = bpy.context.preferences.filepaths
    versions = paths.save_version
    # No .blend1 of a result that is replaced.
    paths.save_version = 0
    try:
        bpy.ops.wm.save_as_mainfile(filepath=str(output), compress=True)
    except RuntimeError as error:
        raise FileError(f"{output} could not be written ({reason_of(error)}).", "Check the disk and folder.") from error
    finally:
        paths.save_version = versions


def _check_asset(asset: Path) -> None:
    if asset.suffix.lower() not in (*_IMPORTERS, BLEND):
        kind = f"{asset.suffix} files" if asset.suffix else "files without a suffix"
        raise FileError(f"{asset} cannot be opened: {kind} are not known.", f"Choose one of {KINDS}.")
    try:
        with asset.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError as error:
        raise FileError(f"The asset {asset} does not exist.", "Check its name.") from error
    except OSError as error:
        raise FileError(f"The asset {asset} cannot be read ({error.strerror}).", f"Choose one of {KINDS}.") from error
    if empty:
        raise FileError(f"The asset {asset} is empty.", "Export or download it again.")


def _read(asset: Path) -> None:
    hint = "Check that it opens in Blender, or export it again."
    suffix = asset.suffix.lower()
    try:
        if suffix == BLEND:
            outcome = bpy.ops.wm.open_mainfile(filepath=str(asset), load_ui=False, use_scripts=False)
        else:
            outcome = _importer(suffix)(filepath=str(asset))
    except RuntimeError as error:
        raise FileError(f"Blender cannot read {asset} ({reason_of(error)}).", hint) from error
    if "FINISHED" not in outcome:
        raise FileError(f"Blender cannot read {asset}.", hint)
    # Of a mesh in Edit Mode, Blender evaluates a copy that has no faces.
    if bpy.context.object is not None and bpy.context.object.mode == "EDIT":
        bpy.ops.object.mode_set(mode="OBJECT")


def _hold_still() -> None:
    """Take away an asset's own animation, in the pose of the present frame: it would be added to the new motion.

    A .blend file is the artist's work and keeps its animation; the importer warns of it.
    """
    scene = bpy.context.scene
    scene.frame_set(scene.frame_current)
    owners = [*bpy.data.objects, *bpy.data.shape_keys]
    for owner in owners:
        if owner.animation_data is not None:
            owner.animation_data_clear()
    bpy.context.view_layer.update()


def _importer(suffix: str) -> Callable[..., set[str]]:
    for operator in _IMPORTERS[suffix]:
        module, name = operator.split(".")
        operators = getattr(bpy.ops, module)
        if name in dir(operators):
            return getattr(operators, name)
    raise FileError(f"This Blender has no importer for {suffix} files.", "Convert the asset to .glb.")


def _visible_with_faces(context: bpy.types.Context) -> list[bpy.types.Object]:
    context.view_layer.update()
    # An instance counts for the object that makes it; an empty has faces if it instances a collection.
    owners = {
        (instance.parent if instance.is_instance else instance.object).original
        for instance in context.evaluated_depsgraph_get().object_instances
        if instance.show_self and instance.object.type == "MESH" and len(instance.object.data.polygons)
    }
    shown = [
        thing
        for thing in context.view_layer.objects
        if thing in owners
        and thing.type in _ASSET_TYPES
        and not is_kept_out_of_renders(thing)
        and not shows_gaussians(thing)
    ]
    # Takes out the display shapes of bones, unless there is nothing else.
    return surface_objects(context, shown) if shown else []
