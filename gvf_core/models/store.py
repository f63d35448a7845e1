"""The folder of installed weights. Entries appear complete or not at all, whoever stops or crashes meanwhile."""

import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_data_dir
from safetensors import SafetensorError

from gvf_core.errors import WeightsError
from gvf_core.models.record import (
    Installed,
    Origin,
    SourceFile,
    now,
    read_record,
    sha256_of,
    stored_file,
    write_record,
)
from gvf_core.models.registry import CHECKPOINTS, FOR_ANIMATING, Checkpoint, Part, checkpoint
from gvf_core.settings import RELEASED

LOGGER = logging.getLogger(__name__)

FOLDER_VARIABLE = "GVF_MODELS_DIR"
# Converting the largest network takes about a minute on a slow disk.
_WAIT_SECONDS = 600
# What only the holder of the lock may have, so that whoever gets the lock next may tidy it up.
_INCOMING, _OUTGOING, _REMOVED = ".incoming-", ".outgoing-", ".removed-"
_SETS = "sets"


def default_store() -> "Store":
    """The store in the folder that the environment names, else in the user's data folder.

    Raises:
        WeightsError: The environment names the folder of a user that does not exist.
    """
    chosen = os.environ.get(FOLDER_VARIABLE)
    try:
        root = Path(chosen).expanduser() if chosen else Path(user_data_dir("gvf-blender", appauthor=False)) / "models"
    except RuntimeError as error:
        raise WeightsError(f"{FOLDER_VARIABLE} is {chosen}, but there is no such user.", "Give a full path.") from error
    return Store(root.absolute())


def stored_names(entry: Checkpoint) -> tuple[str, ...]:
    """Names of the files that the folder of an entry holds besides its record."""
    if entry.role in (Part.IMAGE_ENCODER, Part.MATTING):
        return tuple(file.name for file in entry.files)
    return ("statistics.safetensors",) if entry.role is Part.STATISTICS else ("weights.safetensors",)


@dataclass(frozen=True)
class Store:
    """Installed weights, one folder per entry of the registry.

    Attributes:
        root: The folder of the store; need not exist.
    """

    root: Path

    def of_set(self, name: str) -> "Store":
        """The store of a set of weights: this one holds the released set, each other set has a folder in it."""
        return self if name == RELEASED else Store(self.root / _SETS / name)

    def sets(self) -> list[str]:
        """Names of all other sets that hold anything."""
        folders = sorted((self.root / _SETS).glob("*/"))
        return [folder.name for folder in folders if any((folder / entry.name).is_dir() for entry in CHECKPOINTS)]

    def for_animating(self) -> tuple[Installed, ...]:
        """The records of everything that animating needs.

        Raises:
            WeightsError: Something is missing or damaged.
        """
        found = {entry.name: self.find(entry.name) for entry in FOR_ANIMATING}
        missing = [name for name, record in found.items() if record is None]
        if missing:
            hint = "Install it with `gvf models download` or `gvf models add DIR`, or use the engine fit."
            name = RELEASED
            if self.root.parent.name == _SETS:
                name = self.root.name
                known = ", ".join([RELEASED, *Store(self.root.parent.parent).sets()])
                hint = f"Known sets: {known}. `gvf models add DIR --set {name}` adds to this one."
            raise WeightsError(f"The set of weights {name} lacks {', '.join(missing)}.", hint)
        return tuple(record for record in found.values() if record is not None)

    def is_ready(self) -> bool:
        """Whether everything that animating needs is here, and none of it random."""
        try:
            return all(record.origin != "random" for record in self.for_animating())
        except WeightsError as error:
            LOGGER.info("%s", error)
            return False

    def installed(self) -> list[Installed]:
        """All entries with a valid record; of the others, a warning is logged."""
        entries = []
        for entry in CHECKPOINTS:
            try:
                found = self.find(entry.name)
            except WeightsError as error:
                LOGGER.warning("%s", error)
                continue
            if found is not None:
                entries.append(found)
        return entries

    def look_up(self, name: str) -> tuple[Installed | None, str]:
        """What is installed of an entry, and what is wrong with it."""
        try:
            return self.find(name), ""
        except WeightsError as error:
            return None, str(error)

    def find(self, name: str) -> Installed | None:
        """The record of an entry; None if it is not installed.

        Raises:
            WeightsError: There is no such name, or the entry is damaged.
        """
        entry = checkpoint(name)
        folder = self.root / name
        if not os.path.lexists(folder):
            outgoing = self.root / (_OUTGOING + name)
            # The second look at the folder: the replacement may have ended between the first two looks.
            if not os.path.lexists(outgoing) and not os.path.lexists(folder):
                return None
            # Being replaced right now, or whoever replaced it was stopped between two renames.
            with self._changing():
                if not os.path.lexists(folder):
                    return None
        if folder.is_symlink() or not folder.is_dir():
            # Not while it is replaced.
            with self._changing():
                if folder.is_symlink() or not folder.is_dir():
                    raise WeightsError(f"{folder} is no folder.", f"Remove {name} and install it again.")
        try:
            found = read_record(folder)
        except WeightsError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            # Perhaps it was replaced between the two looks at the folder: wait for whoever does that.
            with self._changing():
                found = read_record(folder)
        names = {file.name for file in found.files}
        if names != set(stored_names(entry)) or (found.preset is None) != isinstance(entry.role, Part):
            raise WeightsError(
                f"The record in {folder} does not describe {name}.", f"Remove {name} and install it again."
            )
        return found

    def folder(self, name: str) -> Path:
        """The folder of an installed entry.

        Raises:
            WeightsError: There is no such name, it is not installed, its record is damaged or a file is missing.
        """
        found = self._require(name)
        folder = self.root / name
        for file in found.files:
            path = folder / file.name
            if path.is_symlink() or not path.is_file():
                raise WeightsError(f"{name} lacks its file {file.name}.", f"Remove {name} and install it again.")
        return folder

    def weights_file(self, name: str) -> Path:
        """The safetensors file of an installed entry.

        Raises:
            WeightsError: As `folder`.
        """
        return self.folder(name) / stored_names(checkpoint(name))[-1]

    def install(
        self, name: str, files: Sequence[Path], origin: Origin = "user", revision: str | None = None
    ) -> Installed:
        """Check local files and put them into the store; an entry of the same name is replaced.

        Args:
            name: Of the entry.
            files: A network's one file under any name; of the other entries, all files under their official names.
            origin: Where they come from. The user's files count as official if all their hashes are known and equal.
            revision: Commit of the official repository that they come from, if known.

        Raises:
            WeightsError: There is no such name, the files are not what the entry needs, official files have another
                hash than the registry knows, or the store cannot be written. The store is unchanged then.
        """
        # Here, because it needs torch, which takes seconds to import.
        from gvf_core.models.contents import store_contents

        entry = checkpoint(name)
        sources = _by_official_name(entry, files)
        with self._changing(), self._incoming(name) as incoming:
            try:
                preset, hashes = store_contents(entry, sources, incoming)
                origin = _judged_origin(entry, hashes, origin)
                installed = Installed(
                    name=name,
                    origin=origin,
                    preset=preset,
                    repository=entry.repository if origin == "official" else None,
                    revision=revision,
                    licence=None if origin == "random" else entry.licence,
                    date=now(),
                    sources=tuple(
                        SourceFile(
                            file.path if origin == "official" else _printable(sources[file.name].name),
                            hashes[file.name],
                        )
                        for file in entry.files
                    ),
                    files=tuple(stored_file(incoming / stored) for stored in stored_names(entry)),
                )
                write_record(incoming, installed)
                self._replace(name, incoming)
            except (OSError, SafetensorError) as error:
                raise WeightsError(f"{name} could not be stored in {self.root} ({error}).", _ELSEWHERE) from error
        LOGGER.info("installed %s (%s)", name, installed.origin)
        return installed

    def verify(self, name: str) -> Installed:
        """Compute all hashes again, and check names, shapes and values again.

        Raises:
            WeightsError: There is no such name, it is not installed, or what is wrong with it.
        """
        from gvf_core.models.contents import check_contents

        installed = self._require(name)
        folder = self.folder(name)
        try:
            for file in installed.files:
                if sha256_of(folder / file.name) != file.sha256:
                    raise WeightsError(
                        f"{file.name} of {name} is not the file that was installed: its hash differs.",
                        f"Remove {name} and install it again.",
                    )
            check_contents(checkpoint(name), folder, installed.preset)
        except OSError as error:
            raise WeightsError(f"{name} cannot be read ({error}).", "Check the disk.") from error
        return installed

    def remove(self, name: str) -> None:
        """Delete an installed entry, damaged or not.

        Raises:
            WeightsError: There is no such name, it is not installed, or it cannot be deleted.
        """
        checkpoint(name)
        folder = self.root / name
        if not self.root.is_dir():
            raise self._not_installed(name)
        with self._changing():
            if not os.path.lexists(folder):
                raise self._not_installed(name)
            try:
                self._discard(folder)
            except OSError as error:
                raise WeightsError(
                    f"{name} could not be removed from {self.root} ({error}).", "Close what uses it and try again."
                ) from error

    def _require(self, name: str) -> Installed:
        found = self.find(name)
        if found is None:
            raise self._not_installed(name)
        return found

    def _not_installed(self, name: str) -> WeightsError:
        names = ", ".join(entry.name for entry in CHECKPOINTS if os.path.lexists(self.root / entry.name))
        return WeightsError(
            f"{name} is not installed.", f"Installed: {names or 'nothing'}. `gvf models download {name}` fetches it."
        )

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the store's lock, which the system frees when its holder dies; and tidy up what a dead one left."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / ".lock", timeout=_WAIT_SECONDS)
            lock.acquire()
        except Timeout as error:
            raise WeightsError(
                f"Another program has been changing {self.root} for {_WAIT_SECONDS / 60:.0f} minutes.",
                "Try again when it is done.",
            ) from error
        except OSError as error:
            raise WeightsError(f"The folder {self.root} cannot be written ({error}).", _ELSEWHERE) from error
        try:
            self._tidy_up()
            yield
        except OSError as error:
            raise WeightsError(f"The folder {self.root} cannot be changed ({error}).", _ELSEWHERE) from error
        finally:
            lock.release()

    def _tidy_up(self) -> None:
        for path in self.root.glob(f"{_OUTGOING}*"):
            replaced = self.root / path.name.removeprefix(_OUTGOING)
            if os.path.lexists(replaced):
                self._discard(path)
            else:
                path.rename(replaced)
        for path in self.root.glob(f"{_INCOMING}*"):
            self._discard(path)
        for path in self.root.glob(f"{_REMOVED}*"):
            _delete_if_possible(path)

    def _discard(self, path: Path) -> None:
        """Take something out of the way, under a name that nothing else has, and delete it if that is possible."""
        removed = self.root / (_REMOVED + secrets.token_hex(8))
        path.rename(removed)
        _delete_if_possible(removed)

    @contextmanager
    def _incoming(self, name: str) -> Iterator[Path]:
        incoming = self.root / (_INCOMING + name)
        try:
            incoming.mkdir()
        except OSError as error:
            raise WeightsError(f"The folder {self.root} cannot be written ({error}).", _ELSEWHERE) from error
        try:
            yield incoming
        finally:
            # Gone if all went well: renamed.
            shutil.rmtree(incoming, ignore_errors=True)

    def _replace(self, name: str, incoming: Path) -> None:
        """Two renames, because no system renames onto a full folder; `_tidy_up` takes back the first one."""
        folder, outgoing = self.root / name, self.root / (_OUTGOING + name)
        if os.path.lexists(folder):
            folder.rename(outgoing)
        incoming.rename(folder)
        if os.path.lexists(outgoing):
            self._discard(outgoing)


def _printable(name: str) -> str:
    """The name as records may hold it."""
    return "".join(character if character.isprintable() else "_" for character in name)


def _delete_if_possible(path: Path) -> None:
    """Delete what is no longer an entry; a file that some program holds open is left to the next call."""
    try:
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        else:
            shutil.rmtree(path)
    except OSError as error:
        LOGGER.warning("%s was not deleted yet (%s)", path, error)


def _by_official_name(entry: Checkpoint, files: Sequence[Path]) -> dict[str, Path]:
    official = [file.name for file in entry.files]
    for path in files:
        try:
            if not path.is_file():
                raise WeightsError(f"There is no file {path}.", "Choose another file.")
            path.open("rb").close()
        except OSError as error:
            raise WeightsError(f"{path} cannot be read ({error.strerror}).", "Choose another file.") from error
    if len(official) == 1:
        if len(files) != 1:
            raise WeightsError(f"{entry.name} is one file, not {len(files)}.", "Choose the file of the network alone.")
        return {official[0]: files[0]}
    given = {path.name: path for path in files}
    if lacking := [name for name in official if name not in given]:
        raise WeightsError(f"{entry.name} needs {', '.join(lacking)} too.", "Put all its files into one folder.")
    if extra := [name for name in given if name not in official]:
        raise WeightsError(f"{entry.name} has no file {extra[0]}.", f"Its files are {', '.join(official)}.")
    return {name: given[name] for name in official}


def _judged_origin(entry: Checkpoint, hashes: Mapping[str, str], origin: Origin) -> Origin:
    """The origin in the light of the known hashes."""
    known = {file.name: file.sha256 for file in entry.files if file.sha256 is not None}
    differing = [name for name, sha256 in known.items() if hashes[name] != sha256]
    if origin == "official" and differing:
        raise WeightsError(
            f"{differing[0]} is not the published file: its hash differs from the known one.", "Fetch it again."
        )
    if origin == "user" and not differing and len(known) == len(entry.files):
        return "official"
    return origin


_ELSEWHERE = f"Free some disk space, or choose another folder with {FOLDER_VARIABLE}."
