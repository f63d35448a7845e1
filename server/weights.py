"""Network weights of this machine, over HTTP: what is installed, fetching in a process of its own, removing.

A process, because fetching and converting gigabytes must neither hold up an answer nor survive a cancel: it is killed,
the hub's cache keeps what arrived, and the store takes an entry whole or not at all.
"""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from gvf_core.models.record import Installed
from gvf_core.models.registry import CHECKPOINTS, FOR_ANIMATING, Checkpoint, checkpoint
from gvf_core.models.store import Store, default_store
from gvf_core.settings import RELEASED
from server.errors import DownloadRunningError, LicenceNotAcceptedError
from server.jobs import JobError

LOGGER = logging.getLogger(__name__)

KILL_PATIENCE_SECONDS = 5.0


class WeightsState(StrEnum):
    """How it stands with an entry or a set."""

    INSTALLED = "installed"
    MISSING = "missing"
    DAMAGED = "damaged"
    DOWNLOADING = "downloading"


class DownloadState(StrEnum):
    """How it stands with a download."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class WeightsEntry:
    """Weights that are published, fetched and installed together.

    Attributes:
        name: What they are called.
        state: Whether they are here.
        problem: What is wrong with them, where they are damaged.
        purpose: What they do.
        use: What one needs them for: "animating", "any background" or "new assets".
        for_animating: Whether the engine `diffusion` needs them.
        bytes: Size on disk where installed, else about what is to be fetched.
        origin: Where installed ones come from: official, user or random.
        licence: As the publisher states it; None where none is stated.
        terms: The same as a sentence.
        page: Where people read about them.
    """

    name: str
    state: WeightsState
    problem: str
    purpose: str
    use: str
    for_animating: bool
    bytes: int
    origin: str | None
    licence: str | None
    terms: str
    page: str


@dataclass(frozen=True)
class WeightsSet:
    """Everything that the engine `diffusion` needs, under one name.

    Attributes:
        name: "released", or what its user called it.
        state: Installed if nothing is missing or damaged.
        lacks: Names of the entries that are missing or damaged.
    """

    name: str
    state: WeightsState
    lacks: list[str]


@dataclass(frozen=True)
class WeightsDownload:
    """The newest download.

    Attributes:
        state: How it stands.
        names: What it is to install, in this order.
        stage: What is being done, for people.
        progress: Fraction of the bytes that have arrived, 0..1, never falling.
        error: Why it failed.
    """

    state: DownloadState
    names: list[str]
    stage: str = ""
    progress: float = 0.0
    error: JobError | None = None


@dataclass(frozen=True)
class WeightsList:
    """What is known and what is installed.

    Attributes:
        folder: Where weights are installed.
        models: Every entry of the registry, as it is in the released set.
        sets: The released set and those of the user.
        download: The newest download; None before the first one.
    """

    folder: str
    models: list[WeightsEntry]
    sets: list[WeightsSet]
    download: WeightsDownload | None


@dataclass
class _Arrived:
    """Bytes by file of the entries that a download is about."""

    expected: dict[str, int]
    done: dict[tuple[str, str], int] = field(default_factory=dict)
    totals: dict[tuple[str, str], int] = field(default_factory=dict)

    def fraction(self, installed: set[str]) -> float:
        """Of what the entries are expected to have; an installed one counts whole, whatever the cache had of it."""
        total = sum(self._size(name) for name in self.expected)
        done = sum(self._size(name) if name in installed else self._done(name) for name in self.expected)
        return min(done / max(total, 1), 1.0)

    def is_whole(self, name: str) -> bool:
        """Whether what is known of an entry has arrived."""
        return 0 < self._size(name) <= self._done(name)

    def _done(self, name: str) -> int:
        return sum(count for (entry, _), count in self.done.items() if entry == name)

    def _size(self, name: str) -> int:
        return max(self.expected[name], sum(size for (entry, _), size in self.totals.items() if entry == name))


class Weights:
    """The weights of this machine. Every thread may call everything."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._download: WeightsDownload | None = None
        self._reader: threading.Thread | None = None

    def listing(self) -> WeightsList:
        """What there is.

        Raises:
            WeightsError: The environment names no usable folder.
        """
        store, running = default_store(), self._download
        pending = set(running.names) if running and running.state is DownloadState.RUNNING else set()
        entries = [_described(store, entry, pending) for entry in CHECKPOINTS]
        sets = [_set(name, store.of_set(name), pending if name == RELEASED else set()) for name in _names(store)]
        return WeightsList(str(store.root), entries, sets, self._download)

    def download(self, names: Sequence[str], accepts_unstated_licences: bool) -> WeightsDownload:
        """Begin to fetch and install what is missing; what is installed stays as it is.

        Args:
            names: Which entries; none for all that animating needs.
            accepts_unstated_licences: Whether weights may be fetched whose publishers state no licence.

        Raises:
            WeightsError: There are no weights of such a name.
            DownloadRunningError: Another download has not ended.
            LicenceNotAcceptedError: Somebody has to accept that there is no licence first.
        """
        store = default_store()
        entries = [checkpoint(name) for name in dict.fromkeys(names)] or list(FOR_ANIMATING)
        wanted = [entry for entry in entries if store.look_up(entry.name)[0] is None]
        if not accepts_unstated_licences:
            _refuse_unstated(wanted)
        with self._lock:
            if self._process is not None:
                raise DownloadRunningError("Weights are being fetched already.", "Wait for it, or cancel it.")
            chosen = [entry.name for entry in wanted]
            if not wanted:
                self._download = WeightsDownload(DownloadState.SUCCEEDED, chosen, "", 1.0)
                return self._download
            self._process = subprocess.Popen(
                [sys.executable, "-m", "server.weights_process", *chosen],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
            )
            begun = self._download = WeightsDownload(DownloadState.RUNNING, chosen, f"Fetching {chosen[0]}")
            arrived = _Arrived({entry.name: entry.approximate_bytes for entry in wanted})
            self._reader = threading.Thread(target=self._follow, args=(self._process, arrived), name="weights")
            self._reader.start()
            return begun

    def cancel(self) -> WeightsDownload | None:
        """Stop the download, if one runs; the next one goes on from there."""
        with self._lock:
            process, reader = self._process, self._reader
            if process is None or self._download is None:
                return self._download
            self._download = replace(self._download, state=DownloadState.CANCELLED, stage="")
            process.kill()
        if reader is not None:
            reader.join(KILL_PATIENCE_SECONDS)
        return self._download

    def remove(self, name: str) -> None:
        """Delete an entry of the released set, damaged or not.

        Raises:
            WeightsError: There is no such name, it is not installed, or it cannot be deleted.
            DownloadRunningError: It is being fetched.
        """
        running = self._download
        if running and running.state is DownloadState.RUNNING and checkpoint(name).name in running.names:
            raise DownloadRunningError(f"{name} is being fetched.", "Cancel the download first.")
        default_store().remove(name)

    def stop(self) -> None:
        """End what runs, with the server."""
        self.cancel()

    def _follow(self, process: "subprocess.Popen[str]", arrived: _Arrived) -> None:
        """Take down what the process says until it ends."""
        assert process.stdout is not None and process.stdin is not None
        installed: set[str] = set()
        error: JobError | None = None
        for line in process.stdout:
            try:
                said = json.loads(line)
            except ValueError:  # cut off, as the process was killed
                LOGGER.warning("the download said %r", line)
                continue
            if "error" in said:
                error = JobError(**said["error"])
            else:
                self._advance(said, arrived, installed)
        process.stdin.close()
        code = process.wait()
        with self._lock:
            self._process = None
            assert self._download is not None
            if self._download.state is DownloadState.CANCELLED:
                return
            if error is None and installed != set(self._download.names):
                error = JobError("internal", f"The download ended unexpectedly (exit code {code}).", "Try again.")
            if error is not None:
                LOGGER.warning("weights were not fetched: %s", error.message)
                self._download = replace(self._download, state=DownloadState.FAILED, stage="", error=error)
            else:
                self._download = replace(self._download, state=DownloadState.SUCCEEDED, stage="", progress=1.0)

    def _advance(self, said: dict[str, Any], arrived: _Arrived, installed: set[str]) -> None:
        name = said["name"]
        if said.get("installed"):
            installed.add(name)
            LOGGER.info("installed the weights %s", name)
        if "file" in said:
            arrived.done[name, said["file"]] = said["done"]
            arrived.totals[name, said["file"]] = said["total"] or 0
        doing = "Installing" if arrived.is_whole(name) else "Fetching"
        with self._lock:
            if self._download is not None and self._download.state is DownloadState.RUNNING:
                progress = max(self._download.progress, arrived.fraction(installed))
                self._download = replace(self._download, stage=f"{doing} {name}", progress=progress)


def _refuse_unstated(entries: Sequence[Checkpoint]) -> None:
    unstated = [entry for entry in entries if entry.licence is None]
    if unstated:
        pages = ", ".join(dict.fromkeys(entry.page for entry in unstated))
        names = ", ".join(entry.name for entry in unstated)
        raise LicenceNotAcceptedError(
            f"{pages}, which publishes {names}, states no licence: what you may do with these weights is not said, and "
            "all rights may be reserved.",
            "If you want them anyway, say that you accept it.",
        )


def _state(found: tuple[Installed | None, str], is_pending: bool) -> WeightsState:
    installed, problem = found
    if installed is not None:
        return WeightsState.INSTALLED
    if is_pending:
        return WeightsState.DOWNLOADING
    return WeightsState.DAMAGED if problem else WeightsState.MISSING


def _described(store: Store, entry: Checkpoint, pending: set[str]) -> WeightsEntry:
    installed, problem = found = store.look_up(entry.name)
    return WeightsEntry(
        name=entry.name,
        state=_state(found, entry.name in pending),
        problem=problem,
        purpose=entry.purpose,
        use=entry.use,
        for_animating=entry.for_animating,
        bytes=installed.size if installed else entry.approximate_bytes,
        origin=installed.origin if installed else None,
        licence=entry.licence,
        terms=entry.terms,
        page=entry.page,
    )


def _names(store: Store) -> list[str]:
    return [RELEASED, *store.sets()]


def _set(name: str, store: Store, pending: set[str]) -> WeightsSet:
    found = {entry.name: store.look_up(entry.name) for entry in FOR_ANIMATING}
    lacks = [entry for entry, (installed, _) in found.items() if installed is None]
    state = WeightsState.INSTALLED
    if lacks:
        is_damaged = any(problem for _, problem in found.values())
        state = WeightsState.DAMAGED if is_damaged else WeightsState.MISSING
        if pending & set(lacks):
            state = WeightsState.DOWNLOADING
    return WeightsSet(name, state, lacks)
