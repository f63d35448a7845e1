"""The server's SQLite file: schema, one connection that reads, one that writes."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.errors import StartError, StorageError, StorageFullError

SCHEMA_VERSION = 2
BUSY_SECONDS = 10.0
CACHE_KB = 2000

SCHEMA = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    idempotency_key TEXT NOT NULL UNIQUE,
    client_id TEXT NOT NULL,
    retry_of TEXT,
    capture TEXT NOT NULL,
    video TEXT NOT NULL,
    video_name TEXT NOT NULL,
    settings TEXT NOT NULL,
    created REAL NOT NULL,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL,
    further TEXT NOT NULL DEFAULT '[]'
);
CREATE INDEX jobs_by_state ON jobs (state, number);
CREATE TABLE events (
    job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    state TEXT NOT NULL,
    stage TEXT NOT NULL,
    progress REAL NOT NULL,
    time REAL NOT NULL,
    seconds_left REAL,
    error TEXT,
    PRIMARY KEY (job, seq)
) WITHOUT ROWID;
CREATE TABLE stages (
    kind TEXT NOT NULL,
    job INTEGER NOT NULL,
    position INTEGER NOT NULL,
    stage TEXT NOT NULL,
    seconds REAL NOT NULL,
    end REAL NOT NULL,
    PRIMARY KEY (kind, job, position)
) WITHOUT ROWID;
CREATE TABLE findings (
    sha256 TEXT NOT NULL,
    role TEXT NOT NULL,
    finding TEXT NOT NULL,
    PRIMARY KEY (sha256, role)
) WITHOUT ROWID;
"""

UPGRADES = {1: "ALTER TABLE jobs ADD COLUMN further TEXT NOT NULL DEFAULT '[]';"}
"""By version of the schema, what leads from it to the next one."""


class Database:
    """One SQLite file in WAL mode, so that readers never wait for a writer. Every thread may use it.

    With `synchronous=NORMAL` a killed process loses nothing and a power cut at most the last moments; neither
    damages the file (https://sqlite.org/wal.html).

    Args:
        path: The file; created if missing.

    Raises:
        StartError: The file is damaged, from a newer server, or cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reading, self._writing = threading.Lock(), threading.Lock()
        try:
            self._writer = _connect(path)
            (version,) = self._writer.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._writer.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
                version = SCHEMA_VERSION
            while version in UPGRADES:
                self._writer.executescript(f"BEGIN; {UPGRADES[version]} PRAGMA user_version = {version + 1}; COMMIT;")
                version += 1
            if version != SCHEMA_VERSION:
                raise StartError(
                    f"{path} was written by another version of the server (schema {version}, not {SCHEMA_VERSION}).",
                    "Use that version, or another --data folder.",
                )
            self._reader = _connect(path)
            self._reader.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            raise StartError(
                f"The list of jobs {path} cannot be used ({error}).",
                "Move the file away to start with an empty list; uploads and results stay.",
            ) from error

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The reading connection, for this thread alone.

        Raises:
            StorageError: The file cannot be read.
        """
        with self._reading, self._errors_as_sentences():
            yield self._reader

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The writing connection in a transaction, for this thread alone; an exception takes everything back.

        Raises:
            StorageError: The file cannot be written, for example because the disk is full.
        """
        with self._writing, self._errors_as_sentences():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # some errors of SQLite have ended it already
                    self._writer.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close both connections."""
        with self._reading, self._writing:
            self._reader.close()
            self._writer.close()

    @contextmanager
    def _errors_as_sentences(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if type(error) is sqlite3.DatabaseError:
                raise StorageError(
                    f"The list of jobs {self._path} is damaged ({error}).",
                    "Stop the server and move the file away to start with an empty list; uploads and results stay.",
                ) from error
            if not isinstance(error, sqlite3.OperationalError):
                raise
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise StorageFullError(
                    f"The disk is full: {self._path} cannot be written.", "Free some disk space."
                ) from error
            raise StorageError(
                f"The list of jobs {self._path} cannot be used ({error}).", "Make it writable or restart the server."
            ) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
    return connection
