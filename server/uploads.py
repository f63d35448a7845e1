"""Uploads on their way: streamed to disk, checked against their hash, continued where they broke off."""

import contextlib
import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from server.errors import (
    BlobTooLargeError,
    HashMismatchError,
    InvalidRequestError,
    OffsetMismatchError,
    ServerError,
    StorageError,
    StorageFullError,
)
from server.storage import RECEIVING, Storage

DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Full disk, exhausted quota, and the limit on file size that some systems use as a quota."""

ROOM_STEP_BYTES = 64_000_000
"""Uploads of unknown size ask for room in such steps."""

COPY_BYTES = 1 << 20

_CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")


@dataclass(frozen=True)
class Part:
    """Which bytes of a file a request carries.

    Attributes:
        start: Offset of the first one.
        size: How many bytes; None if the client did not say.
        total: Size of the whole file; None if the client did not say.
    """

    start: int
    size: int | None
    total: int | None

    @classmethod
    def from_headers(cls, content_range: str | None, content_length: int | None) -> "Part":
        """What the headers say: all of the file, unless there is a Content-Range.

        Raises:
            InvalidRequestError: They contradict each other, or say nothing that makes sense.
        """
        if content_range is None:
            return cls(0, content_length, content_length)
        match = _CONTENT_RANGE.fullmatch(content_range)
        if match is None:
            raise InvalidRequestError(
                f"The Content-Range is {content_range!r}.", "Write it like: bytes 0-99/200 (the last byte included)."
            )
        first, last, total = (int(number) for number in match.groups())
        if not first <= last < total or content_length not in (None, last - first + 1):
            raise InvalidRequestError(
                f"The Content-Range {content_range!r} does not fit itself or {content_length} bytes of content.",
                "Give first byte, last byte and size of the whole file.",
            )
        return cls(first, last - first + 1, total)


class Uploads:
    """Receives uploads into a storage.

    A part that broke off waits as `HASH.partial`. A request takes it by giving it a name of its own, which succeeds for
    one of several requests only, and gives it back if it breaks off again.

    Args:
        storage: Where they go.
        max_bytes: Largest accepted upload.
    """

    def __init__(self, storage: Storage, max_bytes: int) -> None:
        self._storage = storage
        self._max_bytes = max_bytes
        for file in storage.incoming.glob(f"*{RECEIVING}"):  # a killed server was receiving them
            file.replace(self._partial(file.name.partition(".")[0]))

    def offset(self, sha256: str) -> int:
        """How many bytes of an upload that broke off are here.

        Raises:
            InvalidRequestError: That is not a sha256.
        """
        partial = self._partial(self._storage.blob(sha256).name)
        return partial.stat().st_size if partial.exists() else 0

    @contextmanager
    def receive(self, sha256: str, part: Part) -> Iterator["Upload"]:
        """Receive one request's worth of a file; if it breaks off, what has arrived stays for the next request.

        Args:
            sha256: Hash of the whole file.
            part: What the request carries.

        Raises:
            BlobTooLargeError: Larger than the limit.
            OffsetMismatchError: The part does not begin where the part before it ended.
            StorageFullError: The disk does not hold it.
            StorageError: The data folder cannot be written for another reason.
            InvalidRequestError: That is not a sha256.
        """
        target = self._storage.blob(sha256)
        self.check_size(part.total or 0)
        own = self._storage.incoming / f"{sha256}.{secrets.token_hex(4)}{RECEIVING}"
        try:
            self._storage.make_folders()
            self._storage.make_room((part.total or 0) - part.start, own, part.total or 0)
            if part.start:
                self._take_partial(sha256, own, part.start)
            with own.open("ab") as file:
                upload = Upload(self, self._storage, file, own, target, part)
                try:
                    yield upload
                except (ServerError, OSError):
                    raise
                except BaseException:
                    file.close()
                    self._give_back(sha256, own)
                    raise
            if not upload.is_complete:
                self._give_back(sha256, own)
        except OSError as error:
            if error.errno in DISK_FULL_ERRNOS:
                raise StorageFullError(
                    f"The server's disk is full: {self._storage.root} cannot take the upload ({error.strerror}).",
                    "Free some disk space or start the server with another --data folder.",
                ) from error
            raise StorageError(
                f"The server's data folder {self._storage.root} cannot be used ({error.strerror or error}).",
                "Make it writable or start the server with another --data folder.",
            ) from error
        finally:
            self._storage.arrived(own)
            with contextlib.suppress(OSError):  # what kept the file from being written may keep it from being removed
                own.unlink()

    def _partial(self, sha256: str) -> Path:
        return self._storage.incoming / f"{sha256}.partial"

    def _take_partial(self, sha256: str, own: Path, start: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._partial(sha256).replace(own)
        here = own.stat().st_size if own.exists() else 0
        if here != start:
            if here:
                self._give_back(sha256, own)
            raise OffsetMismatchError(
                f"The upload goes on at byte {start:,}, but {here:,} bytes of it are here.",
                f"Ask with HEAD where to go on, then send from byte {here:,}.",
                here,
            )

    def _give_back(self, sha256: str, own: Path) -> None:
        if own.stat().st_size > self.offset(sha256):  # another request may have come further
            own.replace(self._partial(sha256))

    def check_size(self, size: int) -> None:
        """Refuse uploads above the limit.

        Raises:
            BlobTooLargeError: Larger than the limit.
        """
        if size > self._max_bytes:
            raise BlobTooLargeError(
                f"The upload has at least {size:,} bytes; this server accepts {self._max_bytes:,}.",
                "Use a shorter or smaller video, or start the server with a larger --max-upload-mb.",
            )


class Upload:
    """One request's worth of an upload. Its methods block; call them outside the event loop.

    Args:
        uploads: Knows the limit.
        storage: Knows how much room there is.
        file: The open partial file.
        own: Its path.
        target: Path of the complete file.
        part: What the request carries.
    """

    def __init__(self, uploads: Uploads, storage: Storage, file: BinaryIO, own: Path, target: Path, part: Part) -> None:
        self._uploads = uploads
        self._storage = storage
        self._file = file
        self._own = own
        self._target = target
        self._part = part
        self._hash = hashlib.sha256()
        self._room = part.total
        self.size = part.start
        self.is_complete = False
        if part.start:
            with own.open("rb") as before:
                while piece := before.read(COPY_BYTES):
                    self._hash.update(piece)

    def write(self, data: bytes | bytearray) -> None:
        """Append bytes.

        Raises:
            BlobTooLargeError: Larger than the limit.
            StorageFullError: The disk does not hold it.
            InvalidRequestError: More bytes than announced.
            OSError: The disk does not hold it; `Uploads.receive` turns that into `StorageFullError`.
        """
        self.size += len(data)
        self._uploads.check_size(self.size)
        if self._part.size is not None and self.size > self._part.start + self._part.size:
            raise InvalidRequestError("The request carries more bytes than its Content-Range says.")
        if self._part.total is None and self.size > (self._room or 0):
            self._room = self.size + ROOM_STEP_BYTES
            self._storage.make_room(ROOM_STEP_BYTES, self._own, self._room)
        self._hash.update(data)
        self._file.write(data)

    def commit(self) -> None:
        """If the file is whole now, check the hash and put it in place.

        Raises:
            HashMismatchError: The bytes are not the announced ones.
            OSError: The disk does not hold it; `Uploads.receive` turns that into `StorageFullError`.
        """
        if self._part.total is not None and self.size < self._part.total:
            return
        actual = self._hash.hexdigest()
        if actual != self._target.name:
            raise HashMismatchError(
                f"The upload has sha256 {actual}, not {self._target.name}.",
                "The file changed on the way or while it was read: upload it again.",
            )
        self._file.flush()
        os.fsync(self._file.fileno())  # else a power cut could leave an empty file under a valid hash
        self._file.close()
        self.is_complete = True
        if not self._target.exists():
            self._own.replace(self._target)
