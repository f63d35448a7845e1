"""The server's log: one line per record, with the job it is about, and never a token."""

import json
import logging
import logging.handlers
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

LogFormat = Literal["text", "json"]

TEXT = "%(asctime)s %(levelname)s %(processName)s %(name)s job=%(job)s: %(message)s"
FILE_BYTES = 5_000_000
OLD_FILES = 2
NO_JOB = "-"
TAIL_BYTES = 1_000_000

_process_job = NO_JOB


def configure_logging(form: LogFormat = "text", file: Path | None = None, secrets: tuple[str, ...] = ()) -> None:
    """Log from INFO upwards to the standard error and, rotating, to a file.

    Args:
        form: Lines for people, or one JSON object per line.
        file: Where the log is kept; only one process may write it.
        secrets: Texts that no line may hold.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if file is not None:
        handlers.append(
            logging.handlers.RotatingFileHandler(file, maxBytes=FILE_BYTES, backupCount=OLD_FILES, encoding="utf-8")
        )
    for handler in handlers:
        handler.setFormatter(_Formatter(form, secrets))
        handler.addFilter(_add_job)
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)


def log_through(send: Callable[[logging.LogRecord], None]) -> None:
    """Give every record to a function instead: for the worker, whose server writes the log."""
    handler = _SendingHandler(send)
    handler.setFormatter(logging.Formatter("%(message)s"))  # the server's adds the rest
    handler.addFilter(_add_job)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


@contextmanager
def about_job(job_id: str) -> Iterator[None]:
    """Every record of the process is about this job while the context lasts: for a worker, which has one at a time."""
    global _process_job
    _process_job = job_id
    try:
        yield
    finally:
        _process_job = NO_JOB


def tail(file: Path, lines: int) -> list[str]:
    """The last lines of a log file, the oldest first; of a long file, at most its last megabyte.

    Raises:
        OSError: The file cannot be read.
    """
    with file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - TAIL_BYTES))
        return log.read().decode("utf-8", "replace").splitlines()[-lines:]


def _add_job(record: logging.LogRecord) -> bool:
    if not hasattr(record, "job"):
        record.job = _process_job
    return True


class _Formatter(logging.Formatter):
    def __init__(self, form: LogFormat, secrets: tuple[str, ...]) -> None:
        super().__init__(TEXT)
        self._form = form
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record) if self._form == "text" else self._json(record)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _json(self, record: logging.LogRecord) -> str:
        line = {
            "time": record.created,
            "level": record.levelname,
            "process": record.processName,
            "module": record.name,
            "job": vars(record)["job"],
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _SendingHandler(logging.handlers.QueueHandler):
    """Prepares records for the way between processes as its base does, and sends them at once."""

    def __init__(self, send: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self._send = send

    def enqueue(self, record: logging.LogRecord) -> None:
        self._send(record)
