"""The store keeps entries whole, whoever stops or damages something, and says what is wrong."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import save_file
from weight_files import SLAT_ENCODER_FILE, nano_state, one_thread, save_pickled

from gvf_core.errors import WeightsError
from gvf_core.models import store as module
from gvf_core.models.record import sha256_of
from gvf_core.models.registry import ReleasedFile, checkpoint
from gvf_core.models.roles import Role
from gvf_core.models.store import Store, default_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with one_thread():
        yield Store(tmp_path / "models")


@pytest.fixture(scope="module")
def encoder_file(tmp_path_factory) -> Path:
    """The smallest network, half precision as TRELLIS publishes it."""
    path = tmp_path_factory.mktemp("weights") / SLAT_ENCODER_FILE
    state = nano_state(Role.SLAT_ENCODER)
    save_file({name: tensor.half().contiguous() for name, tensor in state.items()}, path)
    return path


@pytest.fixture
def encoder(store, encoder_file) -> Path:
    """The folder of the installed smallest network."""
    store.install("trellis-slat-encoder", [encoder_file])
    return store.folder("trellis-slat-encoder")


def leftovers(store: Store) -> list[str]:
    return sorted(path.name for path in store.root.iterdir() if path.name != ".lock")


def edit_record(folder: Path, **changes: object) -> None:
    record = folder / "weights.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"files": [{"name": "../../secret", "sha256": "0" * 64, "size": 1}]},
        {"files": [{"name": "/etc/passwd", "sha256": "0" * 64, "size": 1}]},
        {"files": [{"name": "C:secret", "sha256": "0" * 64, "size": 1}]},
        {"files": [{"name": "other.safetensors", "sha256": "0" * 64, "size": 1}]},
        {"files": [{"name": "weights.safetensors", "sha256": "short", "size": 1}]},
        {"files": [{"name": "weights.safetensors", "sha256": "0" * 64, "size": -1}]},
        {"files": []},
        {"files": None},
        {"name": "gvf-dit"},
        {"origin": "trusted"},
        {"preset": None},
        {"preset": ["nano"]},
        {"version": 2},
        {"licence": "MIT\x1b[2J"},
    ],
)
def test_a_record_that_does_not_validate_is_refused_with_a_sentence(store, encoder, changes):
    edit_record(encoder, **changes)
    for ask in (store.find, store.folder, store.weights_file, store.verify):
        with pytest.raises(WeightsError, match=r"record .*Remove trellis-slat-encoder and install it again"):
            ask("trellis-slat-encoder")
    assert store.installed() == []


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 99_000, b" " * 200_000, b"\xff\xfe", b"1"])
def test_a_record_that_is_not_json_is_refused(store, encoder, content):
    (encoder / "weights.json").write_bytes(content)
    with pytest.raises(WeightsError, match="is not valid"):
        store.find("trellis-slat-encoder")
    store.remove("trellis-slat-encoder")
    assert leftovers(store) == []


def test_links_out_of_the_store_are_not_followed(store, encoder, tmp_path):
    weights = encoder / "weights.safetensors"
    outside = weights.rename(tmp_path / "outside.safetensors")
    weights.symlink_to(outside)
    with pytest.raises(WeightsError, match="lacks its file"):
        store.weights_file("trellis-slat-encoder")
    with pytest.raises(WeightsError, match="lacks its file"):
        store.verify("trellis-slat-encoder")
    moved = encoder.rename(tmp_path / "moved")
    encoder.symlink_to(moved, target_is_directory=True)
    with pytest.raises(WeightsError, match="is no folder"):
        store.find("trellis-slat-encoder")
    store.remove("trellis-slat-encoder")
    assert outside.exists() and moved.exists()


def test_verify_finds_a_changed_byte_and_a_changed_network(store, encoder):
    file = encoder / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="its hash differs"):
        store.verify("trellis-slat-encoder")
    edit_record(
        encoder,
        files=[{"name": file.name, "sha256": sha256_of(file), "size": file.stat().st_size}],
        preset="full",
    )
    with pytest.raises(WeightsError, match=r"instead of|lacks"):
        store.verify("trellis-slat-encoder")


def test_a_refused_replacement_leaves_the_installed_weights(store, encoder, tmp_path):
    before = store.find("trellis-slat-encoder")
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    with pytest.raises(WeightsError):
        store.install("trellis-slat-encoder", [tmp_path / "bad.pt"])
    assert store.verify("trellis-slat-encoder") == before


def test_what_is_not_installed_is_said_with_what_is(store, encoder):
    for ask in (store.folder, store.verify, store.remove):
        with pytest.raises(WeightsError, match=r"gvf-dit is not installed. Installed: trellis-slat-encoder\."):
            ask("gvf-dit")
    assert store.find("gvf-dit") is None


def test_asking_does_not_create_the_folder(store):
    assert store.installed() == []
    with pytest.raises(WeightsError, match="Installed: nothing"):
        store.remove("gvf-dit")
    assert not store.root.exists()


@pytest.mark.parametrize("name", ["../models", "slat-decoder-gs8", "", "."])
def test_only_names_of_the_registry_are_taken(store, encoder, encoder_file, name):
    for ask in (store.find, store.folder, store.verify, store.remove, lambda name: store.install(name, [encoder_file])):
        with pytest.raises(WeightsError, match="There are no weights called"):
            ask(name)
    assert leftovers(store) == ["trellis-slat-encoder"]


def test_a_store_that_cannot_be_written_is_one_sentence(tmp_path, encoder_file):
    (tmp_path / "file").write_text("no folder")
    for root in (tmp_path / "file" / "models", Path("/proc/models")):
        with pytest.raises(WeightsError, match=r"cannot be written .*GVF_MODELS_DIR"):
            Store(root).install("trellis-slat-encoder", [encoder_file])


def test_a_full_disk_is_one_sentence_and_leaves_nothing(store, encoder_file):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        # No file may grow larger: writing fails half way, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(WeightsError, match=r"could not be stored in .*Free some disk space"):
            store.install("trellis-slat-encoder", [encoder_file])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert leftovers(store) == []


def test_official_files_with_another_hash_are_refused_and_known_ones_are_recognised(store, encoder_file, monkeypatch):
    def with_hash(sha256):
        entry = checkpoint("trellis-slat-encoder")
        return lambda name: replace(entry, files=(ReleasedFile(entry.files[0].path, sha256),))

    monkeypatch.setattr(module, "checkpoint", with_hash("0" * 64))
    with pytest.raises(WeightsError, match="its hash differs from the known one"):
        store.install("trellis-slat-encoder", [encoder_file], origin="official")
    assert store.install("trellis-slat-encoder", [encoder_file]).origin == "user"
    monkeypatch.setattr(module, "checkpoint", with_hash(sha256_of(encoder_file)))
    installed = store.install("trellis-slat-encoder", [encoder_file])
    assert (installed.origin, installed.repository) == ("official", "microsoft/TRELLIS-image-large")
    assert installed.sources[0].name == f"ckpts/{SLAT_ENCODER_FILE}"


def test_random_weights_are_marked_and_carry_no_licence(store, encoder_file):
    installed = store.install("trellis-slat-encoder", [encoder_file], origin="random")
    assert (installed.origin, installed.licence) == ("random", None)


def test_concurrent_installs_leave_one_whole_entry(store, tmp_path):
    files = [save_pickled(tmp_path / f"{seed}.pt", nano_state(Role.SLAT_ENCODER, seed=seed)) for seed in range(3)]
    threads = [threading.Thread(target=store.install, args=("trellis-slat-encoder", [file])) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.verify("trellis-slat-encoder").sources[0].name in {"0.pt", "1.pt", "2.pt"}
    assert leftovers(store) == ["trellis-slat-encoder"]


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process")
def test_what_a_killed_install_leaves_is_removed_by_the_next_call(store, encoder, encoder_file, tmp_path):
    before = store.find("trellis-slat-encoder")
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from gvf_core.models import store\n"
        "rename = Path.rename\n"
        "def killed(path, target):\n"
        "    if path.name.startswith('.incoming-'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return rename(path, target)\n"
        "Path.rename = killed\n"
        "store.Store(Path(sys.argv[1])).install('trellis-slat-encoder', [Path(sys.argv[2])])\n"
    )
    run = subprocess.run([sys.executable, "-c", code, store.root, encoder_file], check=False)
    assert run.returncode == -signal.SIGKILL
    # The worst moment: the old entry is out of the way, the new one not yet in its place.
    assert leftovers(store) == [".incoming-trellis-slat-encoder", ".outgoing-trellis-slat-encoder"]
    assert store.find("trellis-slat-encoder") == before
    assert leftovers(store) == ["trellis-slat-encoder"]
    store.verify("trellis-slat-encoder")


def test_readers_find_an_entry_that_is_being_replaced_all_the_time(store, encoder, encoder_file):
    def replace_again_and_again():
        for _ in range(5):
            store.install("trellis-slat-encoder", [encoder_file])

    writer = threading.Thread(target=replace_again_and_again)
    writer.start()
    found = []
    while writer.is_alive():
        found.append(store.find("trellis-slat-encoder"))
    assert found and None not in found


def test_the_folder_comes_from_the_environment_or_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("GVF_MODELS_DIR", str(tmp_path / "here"))
    assert default_store().root == tmp_path / "here"
    monkeypatch.setenv("GVF_MODELS_DIR", "")
    root = default_store().root
    assert root.is_absolute()
    assert root.name == "models"
    assert "gvf-blender" in root.parts


def test_a_home_that_does_not_exist_is_one_sentence(monkeypatch):
    monkeypatch.setenv("GVF_MODELS_DIR", "~nobody-of-that-name/models")
    with pytest.raises(WeightsError, match=r"no such user\. Give a full path"):
        default_store()


def test_a_file_with_an_odd_name_is_installed_and_found(store, encoder_file, tmp_path):
    odd = tmp_path / "my\u00a0weights.safetensors"
    odd.write_bytes(encoder_file.read_bytes())
    store.install("trellis-slat-encoder", [odd])
    assert store.find("trellis-slat-encoder").sources[0].name == "my_weights.safetensors"
