"""Fetching released weights into the store, from the Hugging Face hub. Needs no torch before it installs."""

import ipaddress
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urljoin, urlsplit

from gvf_core.errors import WeightsError
from gvf_core.models.github_download import download_release
from gvf_core.models.record import Installed, sha256_of
from gvf_core.models.registry import Checkpoint, Host, ReleasedFile
from gvf_core.models.store import Store

OnProgress = Callable[[str, int, int | None], None]
"""Called with a file's name, how many bytes of it are there, and its size if known; may raise to stop."""

_FETCH_AGAIN = "Run the command again; files that are complete are not fetched twice."


@dataclass(frozen=True)
class _Remote:
    """What the hub says about a file.

    Attributes:
        size: Bytes.
        sha256: Known of files in the large-file storage, as all weights are.
        cached: Whether the hub's cache has it.
    """

    size: int | None
    sha256: str | None
    cached: bool


def download(
    entry: Checkpoint, store: Store, *, offline: bool = False, on_progress: OnProgress | None = None
) -> Installed:
    """Fetch all files of an entry into the hub's cache, check their hashes, and install them.

    What is published on GitHub or by PyTorch is fetched from there (`gvf_core.models.github_download`) and not cached.
    A connection that breaks is taken up again where it broke. Whether the user agrees to a licence is asked before.

    Args:
        entry: What to fetch.
        store: Where to install it.
        offline: Take the files from the hub's cache and use no network.
        on_progress: Hears of every piece that arrives.

    Raises:
        WeightsError: The hub cannot be reached, does not have the files, or does not give them; the disk is too small;
            a file is not what was published; or the files do not install.
    """
    from huggingface_hub import constants, hf_hub_download

    offline = offline or constants.HF_HUB_OFFLINE
    if entry.host is not Host.HUGGING_FACE:
        return download_release(entry, store, offline=offline, on_progress=on_progress)
    cache = Path(constants.HF_HUB_CACHE)
    remotes: list[_Remote | None] = [None] * len(entry.files)
    paths: list[Path] = []
    with _failures_in_words(entry, offline):
        if not offline:
            _check_protocol(constants.ENDPOINT)
            found = [_ask(entry, file) for file in entry.files]
            _check_space(found, cache, store.root)
            remotes = [*found]
        for file in entry.files:
            fetched = hf_hub_download(
                entry.repository,
                file.path,
                revision=entry.revision,
                local_files_only=offline,
                tqdm_class=_bar_class(file.name, on_progress),
            )
            paths.append(Path(fetched))
    for file, remote, path in zip(entry.files, remotes, paths, strict=True):
        _check_hash(entry, file, remote, path)
    return store.install(entry.name, paths, origin="official", revision=_commit(entry, paths))


def _ask(entry: Checkpoint, file: ReleasedFile) -> _Remote:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    url = hf_hub_url(entry.repository, file.path, revision=entry.revision)
    said = get_hf_file_metadata(url)
    _check_protocol(urljoin(url, said.location))
    sha256 = said.etag if said.etag and re.fullmatch(r"[0-9a-f]{64}", said.etag) else None
    cached = try_to_load_from_cache(entry.repository, file.path, revision=said.commit_hash)
    return _Remote(said.size, sha256, isinstance(cached, str))


def _check_protocol(url: str) -> None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and loopback)):
        raise WeightsError(
            # Without credentials and signatures, which addresses may contain.
            f"Weights are only fetched through https, not from {f'{parts.scheme}://{host}' if host else repr(url)}.",
            "Correct the environment variable HF_ENDPOINT or unset it.",
        )


def _check_space(remotes: Sequence[_Remote], cache: Path, root: Path) -> None:
    """Refuse what will not fit: each file lies once in the hub's cache and once, converted, in the store."""
    sizes = [(remote.size or 0, remote.cached) for remote in remotes]
    needed: dict[int, tuple[int, Path]] = {}
    for place, size in ((cache, sum(s for s, cached in sizes if not cached)), (root, sum(s for s, _ in sizes))):
        existing = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
        device = existing.stat().st_dev
        needed[device] = (needed.get(device, (0, existing))[0] + size, existing)
    for size, folder in needed.values():
        free = shutil.disk_usage(folder).free
        if size > free:
            raise WeightsError(
                f"{size / 1e9:.2f} GB are needed on the disk of {folder}, {free / 1e9:.2f} GB are free.",
                "Free some disk space, or choose other folders with GVF_MODELS_DIR and HF_HOME.",
            )


def _check_hash(entry: Checkpoint, file: ReleasedFile, remote: _Remote | None, path: Path) -> None:
    expected = file.sha256 or (remote.sha256 if remote else None)
    if expected is None or sha256_of(path) == expected:
        return
    # Out of the cache, or it would be taken from there every time.
    if path.is_symlink():
        (path.parent / path.readlink()).unlink(missing_ok=True)
    path.unlink()
    raise WeightsError(
        f"{file.path} of {entry.repository} arrived damaged: its hash differs.", "Run the command again."
    )


def _commit(entry: Checkpoint, paths: Sequence[Path]) -> str:
    """The commit that all files come from; the cache has one folder for each."""
    depths = (len(PurePosixPath(file.path).parts) for file in entry.files)
    commits = {path.parents[depth - 1].name for path, depth in zip(paths, depths, strict=True)}
    if len(commits) > 1:
        raise WeightsError(f"{entry.repository} was changed while it was fetched.", "Run the command again.")
    return commits.pop()


@contextmanager
def _failures_in_words(entry: Checkpoint, offline: bool) -> Iterator[None]:
    """Turn whatever stops the hub's client into a sentence."""
    from huggingface_hub import errors

    repository = entry.repository
    try:
        yield
    except errors.LocalEntryNotFoundError as error:
        if offline:
            raise WeightsError(
                f"{entry.name} is not in the hub's cache, and offline mode forbids to fetch it.",
                "Fetch it on a machine with a connection and use `gvf models add`, or leave out the offline mode.",
            ) from error
        raise _unreachable(error) from error
    except errors.GatedRepoError as error:
        raise WeightsError(
            f"{repository} is only for people who accepted its terms.",
            f"Accept them on {entry.page}, then log in with `hf auth login` or set HF_TOKEN.",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise WeightsError(f"{repository} has no revision {entry.revision}.", f"Look at {entry.page}.") from error
    except errors.EntryNotFoundError as error:
        raise WeightsError(
            f"{repository} does not have all files of {entry.name}: {', '.join(file.path for file in entry.files)}.",
            f"Its publisher may have moved them; look at {entry.page} and use `gvf models add`.",
        ) from error
    except errors.HfHubHTTPError as error:
        raise _refusal(entry, error.response.status_code) from error
    except (errors.HTTPError, errors.OfflineModeIsEnabled) as error:
        raise _unreachable(error) from error
    except (OSError, ValueError, RuntimeError, errors.XetDownloadError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{entry.name} could not be fetched ({reason}).", _FETCH_AGAIN) from error


def _refusal(entry: Checkpoint, status: int) -> WeightsError:
    if status in (401, 403):
        return WeightsError(
            f"The hub does not let you read {entry.repository} (status {status}).",
            "It may be private or gone, or the token in HF_TOKEN is not valid; try `hf auth login`.",
        )
    if status == 404:
        return WeightsError(f"The hub has no {entry.repository}.", f"Look at {entry.page} and use `gvf models add`.")
    return WeightsError(f"The hub answered with status {status}.", f"Try again later. {_FETCH_AGAIN}")


def _unreachable(error: BaseException) -> WeightsError:
    from huggingface_hub import constants

    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return WeightsError(
        f"{constants.ENDPOINT} cannot be reached ({reason}).",
        "Check the connection; `gvf models download --offline` installs what was fetched before.",
    )


def _bar_class(name: str, on_progress: OnProgress | None) -> Any:
    """What the hub's client takes for a class of progress bars."""

    class Bar:
        def __init__(self, *_: object, total: int | None = None, initial: int = 0, **__: object) -> None:
            self.total, self.n = total, initial

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, amount: float | None = 1) -> None:
            self.n += int(amount or 0)
            if on_progress is not None:
                on_progress(name, self.n, self.total)

        # The client of the hub's chunk storage counts bytes that arrive and bytes that are written. With these two
        # methods it reports both to one bar; we show what is written.
        def update_transfer(self, amount: float | None = 1) -> None:
            pass

        def set_transfer_postfix_str(self, *_: object, **__: object) -> None:
            pass

        def set_postfix_str(self, *_: object, **__: object) -> None:
            pass

        def refresh(self, *_: object, **__: object) -> None:
            pass

        def close(self) -> None:
            pass

    return Bar
