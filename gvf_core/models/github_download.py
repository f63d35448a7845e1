"""Fetching weights that are published on GitHub or by PyTorch, with the client that rembg uses, and installing them."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from gvf_core.errors import WeightsError
from gvf_core.models.record import Installed, sha256_of
from gvf_core.models.registry import Checkpoint, ReleasedFile
from gvf_core.models.store import Store

_CHUNK_BYTES = 1 << 18


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
        WeightsError: The package pooch is missing, the host cannot be reached or does not give the files, they are not
            what was published, or they do not install.
    """
    addresses = ", ".join(address(entry, file) for file in entry.files)
    by_hand = f"fetch {addresses} with a browser and use `gvf models add`."
    if offline:
        raise WeightsError(
            f"{entry.name} is on {entry.host.label}, and offline mode forbids to fetch it.", f"Else {by_hand}"
        )
    try:
        from pooch import HTTPDownloader
        from requests import HTTPError, RequestException
    except ImportError as error:
        raise WeightsError(
            f"Fetching {entry.name} needs a package that cannot be imported ({error}).",
            f'Install it with `pip install "gvf-blender[matting]"`, or {by_hand}',
        ) from error
    with tempfile.TemporaryDirectory(prefix="gvf-") as folder:
        paths = [Path(folder) / file.name for file in entry.files]
        for file, path in zip(entry.files, paths, strict=True):
            fetch = HTTPDownloader(progressbar=_Bar(file.name, on_progress), chunk_size=_CHUNK_BYTES)
            try:
                fetch(address(entry, file), str(path), None)
            except HTTPError as error:
                status = error.response.status_code if error.response is not None else "unknown"
                raise WeightsError(
                    f"{entry.host.label} answered with status {status}.", f"Try again later, or {by_hand}"
                ) from error
            except RequestException as error:
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


class _Bar:
    """What the client takes for a progress bar."""

    def __init__(self, name: str, on_progress: Callable[[str, int, int | None], None] | None) -> None:
        self.name, self.on_progress = name, on_progress
        self.total: int | None = None
        self.n = 0

    def update(self, amount: int) -> None:
        # The client counts whole chunks; the hosts always say how many bytes there are.
        self.n = min(self.n + amount, self.total) if self.total else self.n + amount
        if self.on_progress is not None:
            self.on_progress(self.name, self.n, self.total or None)

    def reset(self) -> None:
        self.n = 0

    def close(self) -> None:
        pass
