"""`gvf models`: list, add, download, verify and remove network weights."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rich.box import SIMPLE
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.prompt import Confirm
from rich.table import Table
from rich.text import Text

from gvf_core.commands.console import CONSOLE, results_console, say
from gvf_core.commands.seeds import seed
from gvf_core.errors import WeightsError
from gvf_core.models.record import Installed
from gvf_core.models.registry import CHECKPOINTS, FOR_ANIMATING, NAMES, Checkpoint, checkpoint
from gvf_core.models.roles import PresetName
from gvf_core.models.search import Candidate, Findings, find_checkpoints
from gvf_core.models.store import Store, default_store
from gvf_core.settings import RELEASED, check_set_name

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from gvf_core.models.download import OnProgress

_FILE_NAMES = ", ".join(file.path for entry in CHECKPOINTS for file in entry.files)


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and what it does with weights."""
    models = commands.add_parser("models", help="list, install and check network weights")
    actions = models.add_subparsers(required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="show all weights and which are installed")
    listing.add_argument("--json", action="store_true", help="for programs")
    listing.set_defaults(run=_list)

    add = actions.add_parser("add", help="install weights that lie on this machine")
    add.add_argument("place", type=Path, metavar="DIR", help="folder to look through, or one file")
    add.add_argument("--as", dest="name", metavar="NAME", help="which weights the file is, if its name does not say so")
    add.add_argument("--set", default=RELEASED, metavar="SET", help=f"set to put them into (default {RELEASED})")
    add.set_defaults(run=_add)

    random = actions.add_parser("add-random", help="install untrained weights, to try the whole chain without released")
    random.add_argument("name", metavar="NAME", help="name for the set, or one of the weights that `list` shows")
    random.add_argument("--preset", choices=get_args(PresetName), default="nano", help="default nano")
    random.add_argument("--seed", type=seed, default=0)
    random.set_defaults(run=_add_random)

    fetch = actions.add_parser("download", help="fetch weights from their publishers")
    fetch.add_argument("names", nargs="*", metavar="NAME", help="default: all that animating needs")
    fetch.add_argument("--yes", action="store_true", help="do not ask about weights without a stated licence")
    fetch.add_argument("--offline", action="store_true", help="use only what the hub's cache has")
    fetch.set_defaults(run=_download)

    verify = actions.add_parser("verify", help="check installed weights again")
    verify.add_argument("names", nargs="*", metavar="NAME", help="weights or a set; default: all released ones")
    verify.set_defaults(run=_verify)

    remove = actions.add_parser("remove", help="delete installed weights")
    remove.add_argument("names", nargs="+", metavar="NAME", help="weights or a set")
    remove.set_defaults(run=_remove)


def _list(parsed: argparse.Namespace) -> int:
    store = default_store()
    rows = [(entry, *store.look_up(entry.name)) for entry in CHECKPOINTS]
    sets = {name: _of_set(store, name) for name in store.sets()}
    if parsed.json:
        values = [_json_row(*row) for row in rows]
        others = {name: [_json_row(*row) for row in rows] for name, rows in sets.items()}
        # As it is: rich would break lines.
        listed = {"folder": str(store.root), "models": values, "sets": others}
        sys.stdout.write(json.dumps(listed, indent=2) + "\n")
        return 0
    console = results_console()
    table = Table(box=SIMPLE, pad_edge=False)
    for title, whole in (("name", True), ("installed", True), ("size", True), ("licence", True), ("what for", False)):
        table.add_column(title, no_wrap=whole)
    for entry, installed, problem in rows:
        state = "damaged" if problem else "no"
        if installed is not None:
            state = _kind(installed)
        size = _size(installed.size) if installed else f"~{_size(entry.approximate_bytes)}"
        table.add_row(entry.name, state, size, entry.licence or "none stated", f"{entry.use}: {entry.purpose}")
    console.print(table)
    for name, members in sets.items():
        kinds = sorted({_kind(installed) for _, installed, _ in members if installed is not None})
        present = {entry.name for entry, _, _ in members}
        missing = [entry.name for entry in FOR_ANIMATING if entry.name not in present]
        lacking = f"; lacks {', '.join(missing)}" if missing else ""
        console.print(Text(f"Set {name}: {'; '.join(kinds)}{lacking}"), soft_wrap=True)
        rows += members
    console.print(Text(f"Folder: {store.root}"), soft_wrap=True)
    for _, _, problem in rows:
        if problem:
            say(problem, "Warning: ", "yellow")
    return 0


def _of_set(store: Store, name: str) -> list[tuple[Checkpoint, Installed | None, str]]:
    """What a set other than the released one holds."""
    states = [(entry, *store.of_set(name).look_up(entry.name)) for entry in CHECKPOINTS]
    return [row for row in states if row[1:] != (None, "")]


def _json_row(entry: Checkpoint, installed: Installed | None, problem: str) -> dict[str, Any]:
    return {
        "name": entry.name,
        "role": entry.role,
        "installed": installed is not None,
        "problem": problem or None,
        "preset": installed.preset if installed else None,
        "origin": installed.origin if installed else None,
        "bytes": installed.size if installed else None,
        "approximate_bytes": entry.approximate_bytes,
        "licence": entry.licence,
        "repository": entry.repository,
        "files": {file.path: file.sha256 or "not known yet" for file in entry.files},
        "for_animating": entry.for_animating,
        "purpose": entry.purpose,
    }


def _add_random(parsed: argparse.Namespace) -> int:
    # Building networks takes torch, which takes seconds to import.
    from gvf_core.models.random_weights import add_random

    store, entries = default_store(), list(FOR_ANIMATING)
    if parsed.name in NAMES:
        entries = [checkpoint(parsed.name)]
    else:
        store = store.of_set(check_set_name(parsed.name))
    with CONSOLE.status("Starting") as status:
        installed = add_random(store, parsed.preset, parsed.seed, entries, lambda name: status.update(f"Making {name}"))
    for one in installed:
        say(f"Installed {_described(one)} in {store.root}.")
    say("These weights are random: they try out the chain, and what they make is no result.", "Note: ", "cyan")
    return 0


def _add(parsed: argparse.Namespace) -> int:
    store = default_store().of_set(check_set_name(parsed.set))
    findings = _named(parsed.place, parsed.name) if parsed.name else find_checkpoints(parsed.place)
    for remark in findings.remarks:
        say(remark, "Note: ", "cyan")
    if not findings.candidates:
        raise WeightsError(f"{parsed.place} holds none of the released files.", f"Their names are {_FILE_NAMES}.")
    refused = False
    for candidate in findings.candidates:
        name = candidate.entry.name
        try:
            if candidate.missing:
                raise WeightsError(
                    f"{', '.join(candidate.missing)} is missing.", "Put all files of the entry into one folder."
                )
            with CONSOLE.status(Text(f"Installing {name}")):
                installed = store.install(name, candidate.files)
        except WeightsError as error:
            refused = True
            say(f"{name} was refused: {error}", "Error: ", "red")
        else:
            say(f"Installed {_described(installed)} from {candidate.files[0]}.")
    _say_what_is_missing(store)
    return 1 if refused else 0


def _named(place: Path, name: str) -> Findings:
    """What the user says a file is, or the official files of that entry in a folder."""
    entry = checkpoint(name)
    files = tuple(place / file.name for file in entry.files) if place.is_dir() else (place,)
    return Findings((Candidate(entry, files, ()),), ())


def _download(parsed: argparse.Namespace) -> int:
    from gvf_core.models.download import download

    store = default_store()
    entries = [checkpoint(name) for name in dict.fromkeys(parsed.names)]
    wanted = []
    for entry in entries or list(FOR_ANIMATING):
        installed, _ = store.look_up(entry.name)
        if installed is None:
            wanted.append(entry)
        else:
            say(f"{_described(installed)} is installed already; to fetch it again, remove it first.")
    if not parsed.offline:
        _ask_about_licences(wanted, agreed=parsed.yes)
    for entry in wanted:
        with _progress() as on_progress:
            installed = download(entry, store, offline=parsed.offline, on_progress=on_progress)
        say(f"Installed {_described(installed)} from {entry.repository}.")
    _say_what_is_missing(store)
    return 0


def _ask_about_licences(entries: Sequence[Checkpoint], *, agreed: bool) -> None:
    """Say which weights have no stated licence, and let the user decide.

    Raises:
        WeightsError: The user declines, or cannot be asked.
    """
    unstated: dict[str, list[str]] = {}
    for entry in entries:
        if entry.licence is None:
            unstated.setdefault(entry.page, []).append(entry.name)
    for page, names in unstated.items():
        say(
            f"{page}, which publishes {', '.join(names)}, states no licence: what you may do with these weights is not "
            "said, and all rights may be reserved.",
            "Note: ",
            "cyan",
        )
    if not unstated or agreed:
        return
    if not sys.stdin.isatty():
        raise WeightsError(
            "Nothing was downloaded, because some weights state no licence and nobody can be asked here.",
            "If you want them anyway, use --yes.",
        )
    try:
        wanted = Confirm.ask("Download them anyway?", console=CONSOLE, default=False)
    except EOFError:
        wanted = False
    if not wanted:
        raise WeightsError("Nothing was downloaded.", "To fetch other weights, give their names.")


def _verify(parsed: argparse.Namespace) -> int:
    store = default_store()
    entries = _resolve(store, parsed.names)
    if not parsed.names:
        entries = [(store, entry.name) for entry in CHECKPOINTS if store.look_up(entry.name) != (None, "")]
    if not entries:
        say("Nothing is installed.")
    failed = False
    for home, name in entries:
        try:
            with CONSOLE.status(Text(f"Checking {name}")):
                installed = home.verify(name)
        except WeightsError as error:
            failed = True
            say(str(error), f"{name}: ", "red")
        else:
            say(f"OK ({_kind(installed)})", f"{name}: ", "green")
    return 1 if failed else 0


def _remove(parsed: argparse.Namespace) -> int:
    store = default_store()
    failed = False
    # All names are checked before anything is deleted.
    for home, name in _resolve(store, parsed.names):
        try:
            home.remove(name)
        except WeightsError as error:
            failed = True
            say(str(error), "Error: ", "red")
        else:
            say(f"Removed {name} from {home.root}.")
    return 1 if failed else 0


def _resolve(store: Store, names: Sequence[str]) -> list[tuple[Store, str]]:
    """Where each of the names is: the name of a set stands for all that it holds."""
    found = []
    for name in dict.fromkeys(names):
        if name in store.sets():
            found += [(store.of_set(name), entry.name) for entry, _, _ in _of_set(store, name)]
        else:
            found.append((store, checkpoint(name).name))
    return found


def _say_what_is_missing(store: Store) -> None:
    missing = [entry.name for entry in FOR_ANIMATING if store.look_up(entry.name)[0] is None]
    if missing:
        say(f"Animating still needs {', '.join(missing)}.")
    else:
        say("All weights that animating needs are installed.")


@contextmanager
def _progress() -> Iterator["OnProgress"]:
    columns = (TextColumn("{task.description:<36}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal) as bar:
        tasks = {}

        def show(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield show


def _described(installed: Installed) -> str:
    return f"{installed.name} ({_kind(installed)})"


def _kind(installed: Installed) -> str:
    return ", ".join(part for part in (installed.preset, installed.origin) if part)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
