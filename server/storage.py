"""The server's data folder: uploads by content hash, results by job id, files that are being written."""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from server.errors import BlobTooLargeError, HashMismatchError, InvalidRequestError, StorageError, StorageFullError

DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Full disk, exhausted quota, and the limit on file size that some systems use as a quota."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNSAFE_IN_NAME = re.compile(r"[^A-Za-z0-9._ ()-]")


class Storage:
    """Files under one folder that belongs to one server at a time.

    `incoming` (uploads on their way), `work` (files of running jobs) and half-written results are removed at the
    start: what a killed server left there is of no use to anybody.

    Args:
        root: The data folder; created if missing.
        max_blob_bytes: Largest accepted upload.
    """

    def __init__(self, root: Path, max_blob_bytes: int) -> None:
        self.root = root
        self.max_blob_bytes = max_blob_bytes
        for folder in (self._incoming, self._work):
            shutil.rmtree(folder, ignore_errors=True)
        self._make_folders()
        for partial in self._results.glob("*.partial"):
            partial.unlink()

    def _make_folders(self) -> None:
        """At the start, and again before each use: somebody may clean up while the server runs."""
        for folder in (self._blobs, self._incoming, self._results, self._work):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def _blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def _incoming(self) -> Path:
        return self.root / "incoming"

    @property
    def _results(self) -> Path:
        return self.root / "results"

    @property
    def _work(self) -> Path:
        return self.root / "work"

    def blob(self, sha256: str) -> Path:
        """Where an upload with this hash lies, or will lie.

        Raises:
            InvalidRequestError: That is not a sha256.
        """
        if not _SHA256.fullmatch(sha256):
            raise InvalidRequestError(f"{sha256!r} is not a sha256.", "Give 64 lower-case hexadecimal digits.")
        return self._blobs / sha256

    def result(self, job_id: str) -> Path:
        """Where the result of a job lies, or will lie."""
        return self._results / f"{job_id}.safetensors"

    def remove_result(self, job_id: str) -> None:
        """Remove the result of a job that did not succeed, whole or half-written."""
        for file in self._results.glob(f"{job_id}.*"):
            file.unlink(missing_ok=True)

    @contextmanager
    def upload(self, sha256: str, announced_bytes: int | None) -> Iterator["Upload"]:
        """Receive one upload; whatever happens, nothing partial stays behind.

        Args:
            sha256: Hash of the content.
            announced_bytes: Size that the client announced, if it did.

        Raises:
            BlobTooLargeError: Larger than the limit.
            StorageFullError: The disk does not hold it.
            StorageError: The data folder cannot be written for another reason.
            InvalidRequestError: That is not a sha256.
        """
        target = self.blob(sha256)
        if announced_bytes is not None:
            self.check_size(announced_bytes)
        partial = self._incoming / f"{sha256}.{secrets.token_hex(4)}"
        try:
            self._make_folders()
            free = shutil.disk_usage(self._incoming).free
            if announced_bytes is not None and announced_bytes > free:
                raise _storage_full(self.root, f"{announced_bytes:,} bytes do not fit into the {free:,} that are free")
            with partial.open("xb") as file:
                yield Upload(self, file, partial, target)
        except OSError as error:
            if error.errno in DISK_FULL_ERRNOS:
                raise _storage_full(self.root, error.strerror or "disk full") from error
            raise StorageError(
                f"The server's data folder {self.root} cannot be used ({error.strerror or error}).",
                "Make it writable or start the server with another --data folder.",
            ) from error
        finally:
            with contextlib.suppress(OSError):  # what kept the file from being written may keep it from being removed
                partial.unlink()

    def check_size(self, size: int) -> None:
        """Refuse uploads above the limit.

        Raises:
            BlobTooLargeError: Larger than the limit.
        """
        if size > self.max_blob_bytes:
            raise BlobTooLargeError(
                f"The upload has at least {size:,} bytes; this server accepts {self.max_blob_bytes:,}.",
                "Use a shorter or smaller video, or start the server with a larger --max-upload-mb.",
            )

    def make_job_folder(self, job_id: str) -> Path:
        """An empty folder for the files of a running job.

        Raises:
            OSError: The disk does not hold it.
        """
        self._make_folders()
        folder = self._work / job_id
        folder.mkdir()
        return folder

    def remove_job_folder(self, job_id: str) -> None:
        """Remove what a job left in its folder."""
        shutil.rmtree(self._work / job_id, ignore_errors=True)

    def named_input(self, sha256: str, name: str, folder: Path) -> Path:
        """An upload under a readable name, so that messages about it name what the artist knows.

        Args:
            sha256: The upload.
            name: What the client called it; characters with a meaning for file systems are replaced.
            folder: The job's folder.

        Raises:
            OSError: The disk does not hold the folder for it.
        """
        blob = self.blob(sha256)
        inputs = folder / "inputs"  # of its own: a name must not meet a file that the job writes
        inputs.mkdir(exist_ok=True)
        link = inputs / (_UNSAFE_IN_NAME.sub("_", name)[-100:].strip(". ") or "file")
        # a file system without hard links (exFAT), or two inputs of one name, cost the name and nothing else
        with contextlib.suppress(OSError):
            link.hardlink_to(blob)
            return link
        return blob


class Upload:
    """An upload on its way to disk. Its methods block; call them outside the event loop.

    Args:
        storage: Where it goes.
        file: The open partial file.
        partial: Path of the partial file.
        target: Path of the complete file.
    """

    def __init__(self, storage: Storage, file: BinaryIO, partial: Path, target: Path) -> None:
        self._storage = storage
        self._file = file
        self._partial = partial
        self._target = target
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes | bytearray) -> None:
        """Append bytes.

        Raises:
            BlobTooLargeError: Larger than the limit.
            OSError: The disk does not hold it; `Storage.upload` turns that into `StorageFullError`.
        """
        self._size += len(data)
        self._storage.check_size(self._size)
        self._hash.update(data)
        self._file.write(data)

    def commit(self) -> None:
        """Check the hash and put the complete file in place.

        Raises:
            HashMismatchError: The bytes are not the announced ones.
            OSError: The disk does not hold it; `Storage.upload` turns that into `StorageFullError`.
        """
        actual = self._hash.hexdigest()
        if actual != self._target.name:
            raise HashMismatchError(
                f"The upload has sha256 {actual}, not {self._target.name}.",
                "The file changed on the way or while it was read: upload it again.",
            )
        self._file.flush()
        os.fsync(self._file.fileno())  # else a power cut could leave an empty file under a valid hash
        self._file.close()
        if not self._target.exists():
            self._partial.replace(self._target)


def _storage_full(root: Path, reason: str) -> StorageFullError:
    return StorageFullError(
        f"The server's disk is full: {root} cannot take the upload ({reason}).",
        "Free some disk space or start the server with another --data folder.",
    )
