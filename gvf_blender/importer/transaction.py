"""All or nothing: an import that fails midway leaves the file as it was."""

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

import bpy

# Every kind of datablock that an import creates, except shape keys, which belong to their mesh.
_KINDS = ("actions", "collections", "materials", "meshes", "node_groups", "objects", "pointclouds")


class Transaction:
    """Removes every datablock that was created since its beginning if its block fails.

    What else the block changes, it registers with `on_failure`. What it may only destroy once everything
    has succeeded, it registers with `on_success`.
    """

    def __init__(self) -> None:
        self._undo = ExitStack()
        self._finish = ExitStack()
        self._before: set[int] = set()

    def on_failure(self, undo: Callable[[], object]) -> None:
        """Call `undo` if the block fails; last registered, first called."""
        self._undo.callback(undo)

    def on_success(self, finish: Callable[[], object]) -> None:
        """Call `finish` when the whole block has succeeded."""
        self._finish.callback(finish)

    def __enter__(self) -> "Transaction":
        """Remember what exists."""
        self._before = {datablock.as_pointer() for datablock in _datablocks()}
        # First registered, hence last called: after the links to the new datablocks are undone.
        self._undo.callback(self._remove_new)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish, or undo; an error goes on to the caller either way."""
        (self._finish if error is None else self._undo).close()

    def _remove_new(self) -> None:
        bpy.data.batch_remove([found for found in _datablocks() if found.as_pointer() not in self._before])


def _datablocks() -> list[bpy.types.ID]:
    return [datablock for kind in _KINDS for datablock in getattr(bpy.data, kind)]
