"""Large tracks in a file of their own: a .blend library beside the artist's file, linked in Blender's own way.

Nothing has to run for it to play: a render farm needs the library beside the file as it needs textures. The object
remembers the library's size and hash, so a library that was moved or renamed is found again by its content.
"""

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy

from ..core.errors import FileError
from .transaction import Transaction

_HASH = "gvf_tracks_hash"
# As text: whole numbers of custom properties have 32 bits.
_SIZE = "gvf_tracks_size"
_SUFFIX = ".tracks.blend"


@dataclass(frozen=True)
class TrackCache:
    """When and where tracks are kept in a file.

    Attributes:
        folder: Where; made when it is needed.
        above: From how many bytes of tracks on.
    """

    folder: Path
    above: int


def move_to_cache(transaction: Transaction, results: Sequence[bpy.types.Object], folder: Path, title: str) -> Path:
    """Put the data of results into a library file and link it.

    Args:
        transaction: Undoes it if the import fails later.
        results: Splat and point-cloud objects with data of their own.
        folder: Where the file goes.
        title: What the file is called, made unique.

    Returns:
        The file.

    Raises:
        FileError: The file cannot be written.
    """
    local = [thing.data for thing in results]
    for data in local:
        # Materials are set by the node trees; a library would get copies of them.
        data.materials.clear()
    path = _free_path(folder, bpy.path.clean_name(title))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        bpy.data.libraries.write(str(path), set(local), fake_user=True, path_remap="NONE")
    except (OSError, RuntimeError) as error:
        raise FileError(
            f"The tracks could not be written to {path} ({error}).", "Free some disk space there, or import less."
        ) from error
    transaction.on_failure(lambda: path.unlink(missing_ok=True))
    with bpy.data.libraries.load(str(path), link=True, relative=bool(bpy.data.filepath)) as (_, wanted):
        wanted.meshes = [data.name for data in local if isinstance(data, bpy.types.Mesh)]
        wanted.pointclouds = [data.name for data in local if isinstance(data, bpy.types.PointCloud)]
    linked = {data.name: data for data in (*wanted.meshes, *wanted.pointclouds)}
    library = next(iter(linked.values())).library
    transaction.on_failure(lambda: bpy.data.libraries.remove(library))
    content, size = _hash(path), str(path.stat().st_size)
    for thing, data in zip(results, local, strict=True):
        thing.data = linked[data.name]
        thing[_HASH], thing[_SIZE] = content, size
    bpy.data.batch_remove(local)
    return path


def lost_tracks(objects: Iterable[bpy.types.Object]) -> list[bpy.types.Object]:
    """Those of the objects whose tracks are in a file that is not where it was."""
    return [thing for thing in objects if _HASH in thing and thing.data.library is not None and _is_lost(thing)]


def relink_tracks(objects: Iterable[bpy.types.Object], folder: Path) -> list[bpy.types.Object]:
    """Find the files of lost tracks in a folder and its subfolders by their content.

    Only files of the right size are read, except for results of earlier versions, which do not know it.

    Args:
        objects: As from `lost_tracks`.
        folder: Where to look.

    Returns:
        The objects that were found nothing for.
    """
    lost = list(objects)
    wanted = {thing[_HASH]: thing.get(_SIZE) for thing in lost}
    # Files under the usual name come first; an artist may have renamed them.
    candidates = sorted(folder.rglob("*.blend"), key=lambda path: not path.name.endswith(_SUFFIX))
    found: dict[str, Path] = {}
    for path in candidates:
        sizes = {size for content, size in wanted.items() if content not in found}
        if not sizes:
            break
        if not path.is_file() or (None not in sizes and str(path.stat().st_size) not in sizes):
            continue
        content = _hash(path)
        if content in wanted:
            found[content] = path
    remaining = []
    for thing in lost:
        path = found.get(thing[_HASH])
        if path is None:
            remaining.append(thing)
        elif _is_lost(thing):
            library = thing.data.library
            library.filepath = bpy.path.relpath(str(path)) if bpy.data.filepath else str(path)
            library.reload()
    return remaining


def tracks_elsewhere(objects: Iterable[bpy.types.Object], blend: Path) -> list[bpy.types.Object]:
    """Those of the objects whose tracks are in a file that would not go along with the .blend file's folder."""
    return [
        thing
        for thing in objects
        if _HASH in thing
        # Blender keeps no paths of what a linked object links in its turn.
        and thing.library is None
        and thing.data.library is not None
        and not _is_lost(thing)
        and not _file_of(thing.data.library).is_relative_to(blend.parent.resolve())
    ]


def copy_tracks(objects: Iterable[bpy.types.Object], folder: Path) -> None:
    """Copy the files of tracks and link the copies; the files stay where they are, as other .blend files may need them.

    Args:
        objects: As from `tracks_elsewhere`.
        folder: Where to, beside the saved .blend file.

    Raises:
        FileError: A copy cannot be written; what was linked stays linked.
    """
    for library in {thing.data.library for thing in objects}:
        path = _file_of(library)
        copy = _free_path(folder, path.name.removesuffix(_SUFFIX))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        except OSError as error:
            copy.unlink(missing_ok=True)
            raise FileError(f"{path} could not be copied to {copy} ({error.strerror}).", "Free some space.") from error
        library.filepath = bpy.path.relpath(str(copy))
        library.reload()


def _file_of(library: bpy.types.Library) -> Path:
    return Path(bpy.path.abspath(library.filepath)).resolve()


def _is_lost(thing: bpy.types.Object) -> bool:
    return not _file_of(thing.data.library).is_file()


def _free_path(folder: Path, stem: str) -> Path:
    path, count = folder / f"{stem}{_SUFFIX}", 1
    while path.exists():
        count += 1
        path = folder / f"{stem}-{count}{_SUFFIX}"
    return path


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
