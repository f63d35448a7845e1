"""Fetching weights that are published on GitHub or by PyTorch, and installing them."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote

import httpx

from gvf_core.errors import WeightsError
from gvf_core.models.record import Installed, sha256_of
from gvf_core.models.registry import Checkpoint, ReleasedFile
from gvf_core.models.store import Store

_CHUNK_BYTES = 1 << 18
_TIMEOUT_SECONDS = 30.0


def address(entry: Checkpoint, file: ReleasedFile) -> str:
    """Where a published file is."""
    return f"{entry.page}/{entry.below_page.format(revision=quote(entry.revision), path=quote(file.path))}"


def download_release(
    entry: Checkpoint,
    store: Store,
    *,
    offline: bool = False,
    on_progress: Callable[[str, int, int | None], None] | None = None,
) -> Installed:
    """Fetch all files of an entry into a temporary folder, check their hashes, and install them.

    Not with rembg's own function, which takes what lies in ~/.u2net unchecked, and checks no hash where the environment
    says so.

    Args:
        entry: What to fetch.
        store: Where to install it.
        offline: Fetch nothing: there is no cache that it could come from.
        on_progress: As for `gvf_core.models.download.download`.

    Raises:
        WeightsError: The host cannot be reached or does not give the files, they are not what was published, or they
            do not install.
    """
    addresses = ", ".join(address(entry, file) for file in entry.files)
    by_hand = f"fetch {addresses} with a browser and use `gvf models add`."
    if offline:
        raise WeightsError(
            f"{entry.name} is on {entry.host.label}, and offline mode forbids to fetch it.", f"Else {by_hand}"
        )
    report = on_progress or (lambda name, arrived, total: None)
    with tempfile.TemporaryDirectory(prefix="gvf-") as folder:
        paths = [Path(folder) / file.name for file in entry.files]
        for file, path in zip(entry.files, paths, strict=True):
            try:
                _fetch(address(entry, file), path, partial(report, file.name))
            except httpx.HTTPStatusError as error:
                raise WeightsError(
                    f"{entry.host.label} answered with status {error.response.status_code}.",
                    f"Try again later, or {by_hand}",
                ) from error
            except httpx.HTTPError as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise WeightsError(
                    f"{entry.host.label} cannot be reached ({reason}).", f"Try again later, or {by_hand}"
                ) from error
            except OSError as error:
                raise WeightsError(
                    f"{file.name} could not be written to {folder} ({error.strerror}).", "Free some disk space."
                ) from error
            if sha256_of(path) != file.sha256:
                raise WeightsError(
                    f"{file.path} of {entry.repository} arrived damaged: its hash differs.", "Run the command again."
                )
        return store.install(entry.name, paths, origin="official", revision=entry.revision)


def _fetch(url: str, path: Path, report: Callable[[int, int | None], None]) -> None:
    """Write what an address answers into a file; `report` hears how many bytes there are, of how many."""
    with httpx.stream("GET", url, follow_redirects=True, timeout=_TIMEOUT_SECONDS) as answer, path.open("wb") as file:
        answer.raise_for_status()
        length = answer.headers.get("Content-Length", "")
        for chunk in answer.iter_bytes(_CHUNK_BYTES):
            file.write(chunk)
            report(answer.num_bytes_downloaded, int(length) if length.isdecimal() else None)
