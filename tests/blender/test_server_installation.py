"""The guided installation: a real environment, a real wheel, and no network."""

import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import bpy
import pytest
from recording_layout import RecordingLayout

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
