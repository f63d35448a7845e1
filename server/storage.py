"""The server's data folder: uploads by content hash, results by job id, files that are being written."""

import contextlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from server.errors import InvalidRequestError, StorageFullError, UnknownBlobError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNSAFE_IN_NAME = re.compile(r"[^A-Za-z0-9._ ()-]")


class Storage:
    """Files under one folder that belongs to one server at a time.

    `work`, the files of running jobs, is removed at the start: what a killed server left there is of no use to anybody.
    Parts of uploads stay, so that clients can go on where they stopped.

    Args:
        root: The data folder; created if missing.
        quota_bytes: How much uploads and results may take together.
    """

    def __init__(self, root: Path, quota_bytes: int) -> None:
        self.root = root
        self.quota_bytes = quota_bytes
        self.blobs, self.incoming = root / "blobs", root / "incoming"
        self.results, self._work = root / "results", root / "work"
        self._in_use: Callable[[], set[str]] = set
        self._cleaning = threading.Lock()
        self._promised: dict[Path, int] = {}
        shutil.rmtree(self._work, ignore_errors=True)
        self.make_folders()

    def make_folders(self) -> None:
        """At the start, and again before each use: somebody may clean up while the server runs."""
        for folder in (self.blobs, self.incoming, self.results, self._work):
            folder.mkdir(parents=True, exist_ok=True)

    def protect(self, in_use: Callable[[], set[str]]) -> None:
        """Name the source of what must not be removed: the hashes of uploads that unfinished jobs need."""
        self._in_use = in_use

    # Uploads

    def blob(self, sha256: str) -> Path:
        """Where an upload with this hash lies, or will lie.

        Raises:
            InvalidRequestError: That is not a sha256.
        """
        if not _SHA256.fullmatch(sha256):
            raise InvalidRequestError(f"{sha256!r} is not a sha256.", "Give 64 lower-case hexadecimal digits.")
        return self.blobs / sha256

    def has_blob(self, sha256: str) -> bool:
        """Whether an upload is here; to ask counts as use.

        Raises:
            InvalidRequestError: That is not a sha256.
        """
        return _touch(self.blob(sha256))

    def require_blob(self, sha256: str, what: str) -> None:
        """See that an upload is here.

        Args:
            sha256: The upload.
            what: What it is, for the message.

        Raises:
            InvalidRequestError: That is not a sha256.
            UnknownBlobError: It is not here.
        """
        if not self.has_blob(sha256):
            raise UnknownBlobError(
                f"The {what} has not been uploaded, or made room for others.",
                f"Upload it with PUT /v1/blobs/{sha256} first.",
            )

    # Results

    def result(self, job_id: str) -> Path:
        """Where the result of a job lies, or will lie."""
        return self.results / f"{job_id}.safetensors"

    def has_result(self, job_id: str) -> bool:
        """Whether the complete result of a job is here; to ask counts as use."""
        return _touch(self.result(job_id))

    def keep_result(self, job_id: str, file: Path) -> None:
        """Move a finished result into place, complete or not at all, also for whoever looks after a power cut.

        Raises:
            OSError: There is no such file, or the disk does not hold it.
        """
        self.make_folders()
        with file.open("rb+") as written:
            os.fsync(written.fileno())
        file.replace(self.result(job_id))

    def remove_result(self, job_id: str) -> None:
        """Remove the result of a job that did not succeed after all."""
        self.result(job_id).unlink(missing_ok=True)

    # Running jobs

    def make_job_folder(self, job_id: str) -> Path:
        """An empty folder for the files of a running job.

        Raises:
            OSError: The disk does not hold it.
        """
        self.make_folders()
        folder = self._work / job_id
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier attempt
        folder.mkdir()
        return folder

    def unfinished_result(self, job_id: str) -> Path:
        """Where the worker writes the result of a running job."""
        return self._work / job_id / self.result(job_id).name

    def unfinished_preview(self, job_id: str) -> Path:
        """Where the worker keeps how the running job's newest frame looks."""
        return self._work / job_id / "preview.png"

    def preview(self, job_id: str) -> bytes | None:
        """PNG file of a running job's newest frame; None if there is none."""
        try:
            return self.unfinished_preview(job_id).read_bytes()
        except OSError:
            return None

    def remove_job_folder(self, job_id: str) -> None:
        """Remove what a job left in its folder."""
        shutil.rmtree(self._work / job_id, ignore_errors=True)

    def named_input(self, sha256: str, name: str, folder: Path) -> Path:
        """An upload under a readable name, so that messages about it name what the artist knows.

        Args:
            sha256: The upload.
            name: What the client called it; characters with a meaning for file systems are replaced.
            folder: The job's folder, or one in it.

        Raises:
            OSError: The disk does not hold the folder for it.
        """
        blob = self.blob(sha256)
        inputs = folder / "inputs"  # of its own: a name must not meet a file that the job writes
        inputs.mkdir(parents=True, exist_ok=True)
        link = inputs / safe_name(name)
        # a file system without hard links (exFAT), or two inputs of one name, cost the name and nothing else
        with contextlib.suppress(OSError):
            link.hardlink_to(blob)
            return link
        return blob

    # Room

    def used_bytes(self) -> int:
        """What uploads, parts of them and results take now."""
        return sum(file.size for file in _files(self.blobs, self.incoming, self.results))

    def make_room(self, needed: int, file: Path | None = None, size: int = 0) -> None:
        """Remove the least recently used uploads and results until so many more bytes fit.

        Args:
            needed: How many.
            file: Which is about to be written, if one is; until it has `arrived`, others find that much room less.
            size: How large it will be.

        Raises:
            StorageFullError: They do not fit, even then.
            OSError: The folder cannot be read.
        """
        with self._cleaning:
            in_use = self._in_use()
            files = list(_files(self.blobs, self.incoming, self.results))
            to_come = self._to_come({one.path: one.size for one in files}, file)
            free = max(0, shutil.disk_usage(self.root).free - to_come)
            excess = max(sum(one.size for one in files) + to_come + needed - self.quota_bytes, needed - free)
            removable = [one for one in files if one.path.name not in in_use and one.path.suffix != RECEIVING]
            kept_free = sum(one.size for one in removable)
            if excess > kept_free:
                raise StorageFullError(
                    f"The server's disk is full: {needed:,} bytes do not fit into {self.root}, which may hold "
                    f"{self.quota_bytes:,} bytes; {free:,} are free on the disk and {kept_free:,} could be removed.",
                    "Free some disk space, start the server with a larger --max-disk-gb or another --data folder.",
                )
            for one in sorted(removable, key=lambda one: one.used):
                if excess <= 0:
                    break
                one.path.unlink(missing_ok=True)
                excess -= one.size
            if file is not None:
                self._promised[file] = size

    def arrived(self, file: Path) -> None:
        """Nothing more of a file comes that room was made for."""
        with self._cleaning:
            self._promised.pop(file, None)

    def _to_come(self, sizes: Mapping[Path, int], asking: Path | None) -> int:
        """How many bytes the files that are being written will grow by, but for the one that asks."""
        promised = ((file, size) for file, size in self._promised.items() if file != asking)
        return sum(max(0, size - sizes.get(file, 0)) for file, size in promised)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Nothing is removed while the context lasts."""
        with self._cleaning:
            yield


RECEIVING = ".receiving"
"""Suffix of uploads that a request is writing right now."""


@dataclass(frozen=True)
class _File:
    path: Path
    size: int
    used: float


def safe_name(name: str) -> str:
    """A file's name without anything that means something to a file system."""
    return _UNSAFE_IN_NAME.sub("_", name)[-100:].strip(". ") or "file"


def _files(*folders: Path) -> Iterator[_File]:
    for folder in folders:
        for entry in os.scandir(folder) if folder.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):  # gone since the folder was read
                status = entry.stat()
                yield _File(Path(entry.path), status.st_size, status.st_atime)


def _touch(path: Path) -> bool:
    """Note that a file is used, in the time of access, which ETags do not depend on; whether it is there."""
    try:
        os.utime(path, (time.time(), path.stat().st_mtime))
    except FileNotFoundError:
        return False
    return True
