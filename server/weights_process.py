"""Body of the process that fetches weights: `python -m server.weights_process NAME...`, used by `server.weights`.

It says what it does as one JSON object a line, and ends when its standard input does, that is with the server.
"""

import json
import os
import sys
import time
from collections.abc import Callable

from gvf_core.errors import GvfError
from server.parent_watch import end_with_the_server

# Progress comes with every piece that arrives, hundreds a second; people read less.
_TELL_SECONDS = 0.1


def main(names: list[str]) -> int:
    """Fetch and install entries of the registry one after the other; the first one that fails ends it."""
    end_with_the_server()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as told:
        os.dup2(2, 1)  # whatever a library prints belongs into the log

        def tell(values: dict[str, object]) -> None:
            told.write(json.dumps(values) + "\n")
            told.flush()

        try:
            for name in names:
                _fetch(name, tell)
        except GvfError as error:
            tell({"error": {"code": error.code, "message": error.message, "hint": error.hint}})
    return 0


def _fetch(name: str, tell: Callable[[dict[str, object]], None]) -> None:
    from gvf_core.models.download import download
    from gvf_core.models.registry import checkpoint
    from gvf_core.models.store import default_store

    told: dict[str, float] = {}

    def on_progress(file: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if done == total or now - told.get(file, 0.0) >= _TELL_SECONDS:
            told[file] = now
            tell({"name": name, "file": file, "done": done, "total": total})

    tell({"name": name})
    download(checkpoint(name), default_store(), on_progress=on_progress)
    tell({"name": name, "installed": True})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
