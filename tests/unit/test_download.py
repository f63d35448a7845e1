"""Weights are fetched, checked and installed; whatever goes wrong is one sentence."""

import hashlib
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hub_stand_in import COMMIT, HubStandIn, serve, use
from huggingface_hub import constants
from safetensors.torch import save_file
from weight_files import SLAT_ENCODER_FILE, nano_state, one_thread, save_image_encoder, save_statistics

from gvf_core.errors import WeightsError
from gvf_core.models.download import download
from gvf_core.models.registry import Checkpoint, ReleasedFile, checkpoint
from gvf_core.models.roles import Role
from gvf_core.models.store import Store

SLAT_ENCODER = checkpoint("trellis-slat-encoder")
PUBLISHED = f"{SLAT_ENCODER.repository}/{SLAT_ENCODER.files[0].path}"


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("weights") / SLAT_ENCODER_FILE
    save_file(nano_state(Role.SLAT_ENCODER), path)
    return path.read_bytes()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with serve() as hub:
        use(monkeypatch, hub.endpoint, tmp_path / "cache")
        yield hub


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    with one_thread():
        yield Store(tmp_path / "models")


def known(sha256: str) -> Checkpoint:
    """The entry as if the hash of its file were known."""
    return replace(SLAT_ENCODER, files=(ReleasedFile(SLAT_ENCODER.files[0].path, sha256),))


def refuse(store: Store, sentence: str, entry: Checkpoint = SLAT_ENCODER, *, offline: bool = False) -> WeightsError:
    """The error of a download, which must leave the store empty."""
    with pytest.raises(WeightsError, match=sentence) as caught:
        download(entry, store, offline=offline)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    assert store.installed() == []
    return caught.value


def test_what_is_fetched_is_installed_as_official(hub, store, content):
    hub.files[PUBLISHED] = content
    heard = []
    installed = download(SLAT_ENCODER, store, on_progress=lambda *values: heard.append(values))
    assert (installed.origin, installed.preset) == ("official", "nano")
    assert (installed.repository, installed.revision) == ("microsoft/TRELLIS-image-large", COMMIT)
    assert [(source.name, source.sha256) for source in installed.sources] == [
        (f"ckpts/{SLAT_ENCODER_FILE}", hashlib.sha256(content).hexdigest())
    ]
    assert heard[-1] == (SLAT_ENCODER_FILE, len(content), len(content))
    assert store.verify("trellis-slat-encoder") == installed


@pytest.mark.parametrize("name", ["gvf-statistics", "dinov2-vitl14-reg"])
def test_entries_of_several_files_are_fetched_whole(hub, store, tmp_path, name):
    entry = checkpoint(name)
    save = save_statistics if name == "gvf-statistics" else save_image_encoder
    for file in save(tmp_path / "published"):
        hub.files[f"{entry.repository}/{file.name}"] = file.read_bytes()
    download(entry, store)
    store.verify(name)


def test_a_broken_connection_is_taken_up_where_it_broke(hub, store, content, monkeypatch):
    # The client keeps whole pieces only; its own are larger than this file.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    hub.files[PUBLISHED] = content
    half = len(content) // 2
    hub.breaks[PUBLISHED] = half
    download(SLAT_ENCODER, store)
    first, second = hub.ranges()
    assert first is None
    start = int(second.removeprefix("bytes=").removesuffix("-"))
    # What was still on its way when the connection broke may be lost.
    assert 0 < start <= half
    store.verify("trellis-slat-encoder")


def test_complete_files_are_not_fetched_again(hub, store, tmp_path):
    entry = checkpoint("gvf-statistics")
    files = save_statistics(tmp_path / "published")
    for file in files[:3]:
        hub.files[f"{entry.repository}/{file.name}"] = file.read_bytes()
    refuse(store, "does not have all files of gvf-statistics", entry)
    hub.files[f"{entry.repository}/{files[3].name}"] = files[3].read_bytes()
    download(entry, store)
    hub.requests.clear()
    store.remove("gvf-statistics")
    download(entry, store)
    assert hub.ranges() == []


def test_offline_takes_from_the_cache_what_was_fetched_before(hub, store, content):
    hub.files[PUBLISHED] = content
    first = download(SLAT_ENCODER, store)
    store.remove("trellis-slat-encoder")
    hub.requests.clear()
    again = download(SLAT_ENCODER, store, offline=True)
    assert hub.requests == []
    assert (again.files, again.revision) == (first.files, COMMIT)


def test_offline_without_the_file_is_one_sentence_and_no_request(hub, store, monkeypatch):
    refuse(store, "is not in the hub's cache, and offline mode forbids to fetch it", offline=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refuse(store, "is not in the hub's cache, and offline mode forbids to fetch it")
    assert hub.requests == []


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        ((404, "EntryNotFound"), "does not have all files of trellis-slat-encoder: ckpts/slat_enc"),
        ((404, "RepoNotFound"), "The hub has no microsoft/TRELLIS-image-large"),
        ((404, "RevisionNotFound"), "has no revision main"),
        ((401, "GatedRepo"), "only for people who accepted its terms"),
        ((403, "GatedRepo"), "only for people who accepted its terms"),
        ((401, ""), r"does not let you read microsoft/TRELLIS-image-large \(status 401\)"),
        ((403, ""), r"does not let you read microsoft/TRELLIS-image-large \(status 403\)"),
        ((429, ""), "The hub answered with status 429"),
        ((500, ""), "The hub answered with status 500"),
    ],
)
def test_a_refusal_of_the_hub_is_one_sentence(hub, store, refusal, sentence):
    hub.refusal = refusal
    refuse(store, sentence)


def test_a_hash_other_than_the_known_one_is_refused_and_fetched_anew_next_time(hub, store, content):
    hub.files[PUBLISHED] = content[:-1] + b"x"
    entry = known(hashlib.sha256(content).hexdigest())
    refuse(store, "arrived damaged: its hash differs", entry)
    hub.files[PUBLISHED] = content
    download(entry, store)


def test_a_hash_other_than_the_hub_announces_is_refused_and_fetched_anew_next_time(hub, store, content):
    hub.files[PUBLISHED] = content
    hub.claimed_sha256[PUBLISHED] = "0" * 64
    refuse(store, "arrived damaged: its hash differs")
    hub.claimed_sha256.clear()
    download(SLAT_ENCODER, store)


def test_a_file_that_does_not_fit_its_network_is_refused(hub, store):
    hub.files[PUBLISHED] = b"<html>Sorry</html>"
    refuse(store, "is not a readable safetensors file")


def test_a_full_disk_is_noticed_before_anything_is_fetched(hub, store, content, tmp_path):
    hub.files[PUBLISHED] = content
    hub.claimed_size[PUBLISHED] = 2 * shutil.disk_usage(tmp_path).total
    refuse(store, r"GB are needed on the disk of .* GB are free")
    assert hub.ranges() == []


def test_a_hub_that_cannot_be_reached_is_one_sentence(store, tmp_path, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    use(monkeypatch, endpoint, tmp_path / "cache")
    refuse(store, f"{endpoint} cannot be reached")


@pytest.mark.parametrize("endpoint", ["http://huggingface.co", "ftp://127.0.0.1", "huggingface.co", "http://[::2]", ""])
def test_only_https_or_this_machine_is_asked(store, tmp_path, monkeypatch, endpoint):
    use(monkeypatch, endpoint, tmp_path / "cache")
    refuse(store, "only fetched through https, not from ")


def test_the_token_of_the_environment_is_sent_and_not_written_down(hub: HubStandIn, store: Store, content, monkeypatch):
    hub.files[PUBLISHED] = content
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    installed = download(SLAT_ENCODER, store)
    assert hub.tokens == {"Bearer hf_secret"}
    assert "hf_secret" not in Path(store.folder(installed.name), "weights.json").read_text()
