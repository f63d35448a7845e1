"""What a batch has done, one JSON object per line beside the manifest, so that a second run goes on where one ended."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from .errors import FileError


@dataclass(frozen=True)
class BatchRecord:
    """How one task ended.

    Attributes:
        key: Of the task.
        task: For people who read the file.
        state: "done" or "failed".
        output: The .blend file; empty if there is none.
        message: The error, or the warnings.
        seconds: How long it took.
    """

    key: str
    task: str
    state: str
    output: str
    message: str
    seconds: float


def state_path(manifest: Path) -> Path:
    """Where the state of a manifest is kept."""
    return manifest.with_name(manifest.stem + ".state.jsonl")


def finished_outputs(path: Path) -> dict[str, Path]:
    """Outputs of the tasks that are done and whose file still exists, by key.

    A line that was cut off when the computer stopped counts for nothing.

    Raises:
        FileError: The file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error.strerror}).", "Check its permissions.") from error
    done: dict[str, Path] = {}
    for line in lines:
        try:
            record = json.loads(line)
            key, state, output = record["key"], record["state"], Path(record["output"])
        except (ValueError, KeyError, TypeError):
            continue
        if state == "done" and output.is_file():
            done[key] = output
    return done


def append_record(path: Path, record: BatchRecord) -> None:
    """Note how a task ended.

    Raises:
        FileError: The file cannot be written.
    """
    try:
        whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write(("" if whole else "\n") + json.dumps(asdict(record)) + "\n")
    except OSError as error:
        raise FileError(f"{path} could not be written ({error.strerror}).", "Free some disk space.") from error
