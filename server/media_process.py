"""Body of the process that looks into one upload: `python -m server.media_process`, run by `server.confined`."""

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

from gvf_core.errors import GvfError
from server.confined import OUT_OF_MEMORY
from server.memory import memory_ran_out
from server.parent_watch import end_with_the_server

MEGABYTE = 10**6


def main(arguments: list[str]) -> int:
    """Print what is in a file, or what is wrong with it, as JSON."""
    role, path, name, bounds, details = arguments
    end_with_the_server()
    _limit_this_process(json.loads(bounds))
    answer: dict[str, Any]
    try:
        answer = _ROLES[role](Path(path), json.loads(details))
    except Exception as error:
        if memory_ran_out(error):
            return OUT_OF_MEMORY
        if not isinstance(error, GvfError):
            raise
        # the artist knows the file by another name than that under which it is stored
        message = error.message.replace(Path(path).name, name)
        answer = {"error": {"message": message, "hint": error.hint, "code": error.code}}
    sys.stdout.write(json.dumps(answer))
    return 0


def _limit_this_process(bounds: dict[str, float]) -> None:
    """Let the system end what takes more; Windows has no such limits, and the caller's clock must do there."""
    if sys.platform != "win32":
        import resource

        for limit, value in (
            (resource.RLIMIT_AS, int(bounds["memory_mb"] * MEGABYTE)),
            (resource.RLIMIT_CPU, max(1, round(bounds["cpu_seconds"]))),
            (resource.RLIMIT_FSIZE, int(bounds["file_mb"] * MEGABYTE)),
            (resource.RLIMIT_CORE, 0),
        ):
            most = resource.getrlimit(limit)[1]
            value = value if most == resource.RLIM_INFINITY else min(value, most)
            resource.setrlimit(limit, (value, value))


def _capture(path: Path, details: dict[str, Any]) -> dict[str, Any]:
    from gvf_core.capture_format import read_capture_file

    file = read_capture_file(path)
    return {"pixels": file.pixels, "pictures": len(file.pngs), "vertices": len(file.tensors["vertices"])}


def _video(path: Path, details: dict[str, Any]) -> dict[str, Any]:
    from gvf_core.video_file import inspect_video

    facts = inspect_video(path, details["pixels"], details["frames"])
    return {"pixels": facts.width * facts.height, "pictures": facts.frames}


def _look(path: Path, details: dict[str, Any]) -> dict[str, Any]:
    from PIL import Image

    from gvf_core.settings import AnimateSettings
    from gvf_core.video.check import check_video

    check = check_video(path, AnimateSettings.from_dict(details))
    file = io.BytesIO()
    Image.fromarray(check.picture).save(file, "PNG")
    picture = base64.b64encode(file.getvalue()).decode()
    return {"frames": check.frames, "warnings": check.warnings, "picture": picture}


_ROLES = {"capture": _capture, "video": _video, "look": _look}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
