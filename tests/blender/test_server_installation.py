"""The guided installation: a real environment, a real wheel, and no network."""

import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import bpy
import pytest

from gvf_blender.client import Installation
from gvf_blender.core.errors import FileError, GvfBlenderError, JobCancelled

OFFLINE = ("--no-deps", "--no-index")


@pytest.fixture
def wheel(tmp_path):
    """The smallest thing that pip installs."""
    path = tmp_path / "gvf_blender-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as packed:
        info = "gvf_blender-0.1.0.dist-info"
        packed.writestr("server/__main__.py", "print('serving')\n")
        packed.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: gvf-blender\nVersion: 0.1.0\n")
        packed.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def installation(tmp_path, wheel):
    return Installation(Path(sys.executable), tmp_path / "user" / "environment", wheel, options=OFFLINE)


def test_it_makes_an_environment_that_runs_the_server_and_does_it_once(installation):
    assert not installation.is_complete
    python = installation.run()
    # -P and -E: not the server of this checkout.
    run = subprocess.run([python, "-E", "-P", "-m", "server"], capture_output=True, text=True, check=True)
    assert run.stdout == "serving\n"
    assert installation.is_complete
    assert installation.step == ""
    said = installation.log.read_text()
    assert "gvf-blender" in said
    installation.run()
    assert installation.log.read_text() == said


def test_what_fails_is_said_with_pips_words_and_can_be_gone_on_with(installation, wheel):
    content = wheel.read_bytes()
    wheel.write_bytes(b"damaged")
    with pytest.raises(GvfBlenderError, match=r"The installation failed: .*has the details"):
        installation.run()
    assert not installation.is_complete
    wheel.write_bytes(content)
    assert installation.run().exists()


def test_it_can_be_cancelled(installation, monkeypatch):
    begun = threading.Event()
    monkeypatch.setattr(installation, "_works", lambda statement: begun.set() or False)
    failures = []

    def run():
        try:
            installation.run()
        except GvfBlenderError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(30)
    installation.cancel()
    thread.join(60)
    assert isinstance(failures[0], JobCancelled)
    assert not installation.is_complete


def test_a_folder_that_cannot_be_written_is_named(tmp_path, wheel):
    (tmp_path / "user").write_text("a file")
    with pytest.raises(FileError, match="cannot be made in"):
        Installation(Path(sys.executable), tmp_path / "user" / "environment", wheel).run()


def test_a_checkout_says_that_it_carries_no_wheel_and_offline_is_honoured(addon):
    from gvf_blender.server_installation import new_installation

    if bpy.app.online_access:
        with pytest.raises(RuntimeError, match="There is no wheel"):
            bpy.ops.gvf.install_server()
    else:
        assert not bpy.ops.gvf.install_server.poll()
        with pytest.raises(GvfBlenderError, match="not allowed to go online"):
            new_installation()
    assert "CANCELLED" in bpy.ops.gvf.cancel_installation()
