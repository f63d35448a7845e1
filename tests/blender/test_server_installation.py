"""The guided installation: a real environment, a real wheel, and no network."""

import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import bpy
import pytest
from recording_layout import RecordingLayout, panel_context

from gvf_blender.client import Installation
from gvf_blender.core import torch_build
from gvf_blender.core.errors import FileError, GvfBlenderError, JobCancelled
from gvf_blender.core.torch_build import CPU_WHEELS, TorchBuild

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


@pytest.fixture
def on(monkeypatch):
    """Pretends to be on a platform."""
    from gvf_blender.client import installation

    return lambda platform: monkeypatch.setattr(installation, "can_choose", lambda: torch_build.can_choose(platform))


def commands(tmp_path, wheel, build):
    made = Installation(Path(sys.executable), tmp_path / "environment", wheel, tmp_path / "pins", build=build)
    return [command[command.index("install") + 1 :] for _, command in made.commands()]


def test_torch_for_cpus_comes_first_and_alone_from_its_own_index_with_the_pinned_version(tmp_path, wheel, on):
    on("linux")
    torch, rest = commands(tmp_path, wheel, TorchBuild.CPU)
    assert torch[-4:] == ["--no-deps", "--index-url", CPU_WHEELS, "torch"]
    assert rest[-1] == f"{wheel}[server]" and CPU_WHEELS not in rest
    # There are pins for one Python only; Blender 5.1 and later have another.
    pins = ["-c", str(tmp_path / "pins")] if sys.version_info[:2] == (3, 11) else []
    for command in (torch, rest):
        begin = command.index("-c") if "-c" in command else len(command)
        assert command[begin : begin + 2] == pins


@pytest.mark.parametrize(
    ("platform", "build"), [("linux", TorchBuild.CUDA), ("win32", TorchBuild.CPU), ("darwin", TorchBuild.CPU)]
)
def test_elsewhere_the_usual_index_has_the_build(tmp_path, wheel, on, platform, build):
    on(platform)
    (only,) = commands(tmp_path, wheel, build)
    assert CPU_WHEELS not in only


def test_another_build_makes_the_environment_anew(tmp_path, wheel):
    def install(build):
        made = Installation(Path(sys.executable), tmp_path / "environment", wheel, options=OFFLINE, build=build)
        made.commands = lambda: [("Installing", [str(made.python), "-c", "print('installed')"])]
        return made

    install(TorchBuild.CUDA).run()
    left_over = tmp_path / "environment" / "left-over"
    left_over.touch()
    assert install(TorchBuild.CUDA).is_complete and not install(TorchBuild.CPU).is_complete
    install(TorchBuild.CPU).run()
    assert not left_over.exists() and install(TorchBuild.CPU).is_complete


def test_a_driver_suggests_the_build_with_cuda(monkeypatch, tmp_path):
    monkeypatch.setattr(torch_build.ctypes, "CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert torch_build.suggested_build() is TorchBuild.CPU
    loaded = []
    monkeypatch.setattr(torch_build.ctypes, "CDLL", loaded.append)
    assert torch_build.suggested_build() is TorchBuild.CUDA
    assert loaded == ["libcuda.so.1"]
    monkeypatch.setattr(torch_build.ctypes, "CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    tool = tmp_path / "nvidia-smi"
    tool.touch(mode=0o755)
    assert torch_build.suggested_build() is TorchBuild.CUDA


def test_the_dialog_offers_the_builds_with_what_they_download(addon):
    from gvf_blender.operators.install_server import GVF_OT_install_server as Operator

    def shown(build):
        layout = RecordingLayout()
        dialog = SimpleNamespace(layout=layout, build=build, bl_rna=bpy.ops.gvf.install_server.get_rna_type())
        Operator.draw(dialog, SimpleNamespace(region=SimpleNamespace(width=4000), preferences=bpy.context.preferences))
        return layout

    assert "about 450 MB" in shown("CPU").texts() and "about 3.0 GB" in shown("CUDA").texts()
    assert shown("AUTO").names("prop") == ["build"]


@pytest.fixture
def online(empty_scene):
    """A Blender that may go online."""
    system = bpy.context.preferences.system
    before = system.use_online_access
    system.use_online_access = True
    yield
    system.use_online_access = before


def test_when_it_has_ended_the_preferences_name_it_and_the_server_runs(enabled, online, monkeypatch):
    from gvf_blender import server_installation, server_watch
    from gvf_blender.managed_server import managed_server

    root, here = Path(__file__).parents[2], Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(here)]))
    monkeypatch.setenv("GVF_SERVER_UNPROBED", "1")
    installed = SimpleNamespace(run=lambda: Path(sys.executable))
    monkeypatch.setattr(server_installation, "new_installation", lambda build: installed)
    assert enabled.server_mode == "HANDSHAKE"
    try:
        assert bpy.ops.gvf.install_server() == {"FINISHED"}
        assert (enabled.server_mode, enabled.python) == ("MANAGED", sys.executable)
        assert managed_server().is_running
        assert "installed and runs" in server_watch.watch().notice
    finally:
        managed_server().stop()


def test_the_panel_shows_how_far_it_is_and_show_log_what_it_said(addon, installation, wheel, monkeypatch):
    from gvf_blender import server_installation
    from gvf_blender.ui.missing_server import draw_installation

    def shown():
        layout = RecordingLayout()
        draw_installation(layout, panel_context())
        return layout

    def logged():
        assert bpy.ops.gvf.show_server_log() == {"FINISHED"}
        return bpy.data.texts["GVF Server Log"].as_string()

    monkeypatch.setattr(server_installation, "_installation", installation)
    works = installation._works
    seen = []

    def look(statement):
        seen.append((shown(), logged()))
        return works(statement)

    monkeypatch.setattr(installation, "_works", look)
    wheel.write_bytes(b"damaged")
    with pytest.raises(GvfBlenderError, match="Press Install Server to go on"):
        installation.run()
    ((layout, log),) = seen
    assert layout.texts() == "Making the environment"
    assert layout.names("operator") == ["gvf.cancel_installation"] and log == "\n"
    assert shown().names("operator") == ["gvf.install_server"]
    assert "gvf_blender-0.1.0-py3-none-any.whl" in logged()
    # Once it has ended well, the log is the server's again, and none runs.
    monkeypatch.setattr(type(installation), "is_complete", True)
    with pytest.raises(RuntimeError, match="No server is running"):
        bpy.ops.gvf.show_server_log()


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
            new_installation(TorchBuild.CPU)
    assert "CANCELLED" in bpy.ops.gvf.cancel_installation()
