"""Body of the process that looks into one upload: `python -m server.media_process`, used by `server.media`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from gvf_core.errors import GvfError
from server.finding import Finding

MEGABYTE = 10**6


def main(arguments: list[str]) -> int:
    """Print what is in a file, or what is wrong with it, as JSON."""
    role, path, name, memory_mb, seconds, pixels, frames = arguments
    _limit_this_process(float(memory_mb), float(seconds))
    answer: dict[str, object]
    try:
        found = _video(Path(path), int(pixels), int(frames)) if role == "video" else _capture(Path(path))
        answer = asdict(found)
    except GvfError as error:
        # the artist knows the file by another name than that under which it is stored
        message = error.message.replace(Path(path).name, name)
        answer = {"error": {"message": message, "hint": error.hint, "code": error.code}}
    sys.stdout.write(json.dumps(answer))
    return 0


def _limit_this_process(memory_mb: float, seconds: float) -> None:
    """Let the system end what takes more; Windows has no such limits, and the caller's clock must do there."""
    if sys.platform != "win32":
        import resource

        for limit, value in (
            (resource.RLIMIT_AS, int(memory_mb * MEGABYTE)),
            (resource.RLIMIT_CPU, max(1, round(seconds))),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(limit, (value, value))


def _capture(path: Path) -> Finding:
    from gvf_core.capture_format import read_capture_file

    file = read_capture_file(path)
    return Finding(file.pixels, len(file.pngs), len(file.tensors["vertices"]))


def _video(path: Path, max_pixels: int, max_frames: int) -> Finding:
    from gvf_core.video_file import inspect_video

    facts = inspect_video(path, max_pixels, max_frames)
    return Finding(facts.width * facts.height, facts.frames)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
