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

from gvf_blender.client import Environment, Installation
from gvf_blender.core import torch_build
from gvf_blender.core.errors import FileError, GvfBlenderError, JobCancelled, ServerError
from gvf_blender.core.torch_build import CPU_WHEELS, TorchBuild

OFFLINE = ("--no-deps", "--no-index")


def write_wheel(folder, name="gvf_blender", file="server/__main__.py", content="print('serving')", needs=()):
    """The smallest thing that pip installs."""
    path = folder / f"{name}-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as packed:
        info = f"{name}-0.1.0.dist-info"
        lines = ["Metadata-Version: 2.1", f"Name: {name.replace('_', '-')}", "Version: 0.1.0"]
        lines += [f"Provides-Extra: server\nRequires-Dist: {need}; extra == 'server'" for need in needs]
        packed.writestr(file, content + "\n")
        packed.writestr(f"{info}/METADATA", "\n".join([*lines, ""]))
        packed.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def wheel(tmp_path):
    """The extension's own wheel, with next to nothing in it."""
    return write_wheel(tmp_path)


@pytest.fixture
def installation(tmp_path, wheel):
    return Installation(Path(sys.executable), Environment(tmp_path / "user" / "environment"), wheel, options=OFFLINE)


def said_by_the_server(python):
    # -P and -E: not the server of this checkout.
    return subprocess.run([python, "-E", "-P", "-m", "server"], capture_output=True, text=True, check=True).stdout


def test_it_makes_an_environment_that_runs_the_server_and_does_it_once(installation):
    assert not installation.is_complete
    assert said_by_the_server(installation.run()) == "serving\n"
    assert installation.is_complete
    assert installation.step == ""
    said = installation.log.read_text()
    assert "gvf-blender" in said
    installation.run()
    assert installation.log.read_text() == said


def test_another_wheel_of_the_same_version_takes_the_place_of_the_first_with_the_packages_that_it_needs(
    installation, wheel, tmp_path
):
    installation.run()
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    write_wheel(shelf, "newly_needed", "newly_needed.py", "ANSWER = 42")
    write_wheel(tmp_path, content="import newly_needed; print(newly_needed.ANSWER)", needs=["newly-needed"])
    way = []
    options = ("--no-index", "--find-links", str(shelf))
    environment = Environment(tmp_path / "user" / "environment")
    update = Installation(
        Path(sys.executable), environment, wheel, options=options, make_way=lambda: way.append(environment.wheel)
    )
    assert not update.is_complete
    assert said_by_the_server(update.run()) == "42\n"
    # Before anything was changed, and not for a wheel that is installed already.
    assert len(way) == 1 and way[0].startswith(wheel.name)
    update.run()
    assert len(way) == 1


def test_an_installation_that_may_not_make_way_changes_nothing(installation, wheel, tmp_path):
    def refuse():
        raise ServerError("The server has jobs to compute.")

    installation.run()
    write_wheel(tmp_path, content="print('newer')")
    environment = Environment(tmp_path / "user" / "environment")
    update = Installation(Path(sys.executable), environment, wheel, options=OFFLINE, make_way=refuse)
    with pytest.raises(ServerError, match="has jobs to compute"):
        update.run()
    assert update.step == "" and environment.wheel
    assert said_by_the_server(environment.python) == "serving\n"


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
    made = Installation(
        Path(sys.executable), Environment(tmp_path / "environment"), wheel, tmp_path / "pins", build=build
    )
    return [command[command.index("install") + 1 :] for _, command in made.commands()]


def test_torch_for_cpus_comes_first_and_alone_from_its_own_index_with_the_pinned_version(tmp_path, wheel, on):
    on("linux")
    torch, rest, own = commands(tmp_path, wheel, TorchBuild.CPU)
    assert torch[-4:] == ["--no-deps", "--index-url", CPU_WHEELS, "torch"]
    assert rest[-1] == f"{wheel}[server]" and CPU_WHEELS not in rest
    # There are pins for one Python only; Blender 5.1 and later have another.
    pins = ["-c", str(tmp_path / "pins")] if sys.version_info[:2] == (3, 11) else []
    for command in (torch, rest, own):
        begin = command.index("-c") if "-c" in command else len(command)
        assert command[begin : begin + 2] == pins


@pytest.mark.parametrize(
    ("platform", "build"), [("linux", TorchBuild.CUDA), ("win32", TorchBuild.CPU), ("darwin", TorchBuild.CPU)]
)
def test_elsewhere_the_usual_index_has_the_build(tmp_path, wheel, on, platform, build):
    on(platform)
    for command in commands(tmp_path, wheel, build):
        assert CPU_WHEELS not in command


def test_another_build_makes_the_environment_anew(tmp_path, wheel):
    def install(build):
        made = Installation(
            Path(sys.executable), Environment(tmp_path / "environment"), wheel, options=OFFLINE, build=build
        )
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
    monkeypatch.setattr(server_installation, "new_installation", lambda build, environment: installed)
    assert enabled.server_mode == "HANDSHAKE"
    try:
        assert bpy.ops.gvf.install_server() == {"FINISHED"}
        assert (enabled.server_mode, enabled.python) == ("MANAGED", sys.executable)
        assert managed_server().is_running
        assert "installed and runs" in server_watch.watch().notice
    finally:
        managed_server().stop()


@pytest.fixture
def carried(enabled, wheel, tmp_path, monkeypatch):
    """The wheel that the extension carries, and an environment of its own that holds just this one and is chosen."""
    from gvf_blender import server_installation

    monkeypatch.setattr(server_installation, "_WHEEL_FOLDER", tmp_path)
    environment = Environment(tmp_path / "home/blender/environment")
    environment.python.parent.mkdir(parents=True)
    environment.python.symlink_to(sys.executable)
    environment.is_for(TorchBuild.CPU)
    environment.complete(wheel, TorchBuild.CPU)
    enabled.server_mode, enabled.python = "MANAGED", str(environment.python)
    server_installation.look_again()
    return environment


def draw_everywhere(preferences):
    """What the server's section and the preferences show."""
    from gvf_blender.preferences import GVFPreferences

    section, preference = RecordingLayout(), RecordingLayout()
    bpy.types.GVF_PT_server.draw(SimpleNamespace(layout=section), panel_context())
    shown = {name: getattr(preferences, name) for name in ("server_mode", "python", "handshake_path", "defaults")}
    GVFPreferences.draw(SimpleNamespace(layout=preference, bl_rna=GVFPreferences.bl_rna, **shown), panel_context())
    return section, preference


def test_an_update_is_offered_when_the_extension_carries_another_wheel_of_whatever_version(carried, enabled, tmp_path):
    from gvf_blender import server_installation

    for layout in draw_everywhere(enabled):
        assert "gvf.install_server" not in layout.names("operator")
    write_wheel(tmp_path, content="print('newer')")
    server_installation.look_again()
    for layout in draw_everywhere(enabled):
        assert layout.labels("gvf.install_server") == ["Update Server"]
        assert "not the one that came with this version of the extension" in layout.texts()
    carried.begin()  # as an update that was cancelled leaves it
    server_installation.look_again()
    for layout in draw_everywhere(enabled):
        assert layout.labels("gvf.install_server") == ["Install Server"]
        assert "did not come to its end" in layout.texts()


def test_what_is_installed_is_not_looked_up_at_every_redraw(carried, enabled, tmp_path, monkeypatch):
    from gvf_blender import server_installation

    looked = []
    look = server_installation._update_reason
    monkeypatch.setattr(server_installation, "_update_reason", lambda place: looked.append(place) or look(place))
    monkeypatch.setattr(server_installation, "_REREAD_SECONDS", float("inf"))
    for _ in range(3):
        draw_everywhere(enabled)
    assert looked == [carried]
    monkeypatch.setattr(server_installation, "_REREAD_SECONDS", 0.0)
    monkeypatch.setattr(server_installation, "fingerprint", None)  # the wheel is read once
    draw_everywhere(enabled)
    assert len(looked) == 3


def test_an_environment_that_the_artist_chose_is_left_alone(carried, enabled, tmp_path):
    from gvf_blender import server_installation
    from gvf_blender.preferences import server_choice

    write_wheel(tmp_path, content="print('newer')")
    by_hand = Environment(tmp_path / "by hand")
    by_hand.python.parent.mkdir(parents=True)
    by_hand.python.symlink_to(sys.executable)
    enabled.python = str(by_hand.python)
    server_installation.look_again()
    assert server_choice(bpy.context).environment is None
    for layout in draw_everywhere(enabled):
        assert "gvf.install_server" not in layout.names("operator")


def test_an_update_keeps_the_build_and_is_refused_while_a_job_needs_the_server(carried, enabled, online, monkeypatch):
    from gvf_blender import job_list, server_installation
    from gvf_blender.operators import install_server

    write_wheel(carried.folder.parents[2], content="print('newer')")
    server_installation.look_again()
    begun = []
    monkeypatch.setattr(install_server, "suggested_build", lambda: TorchBuild.CUDA)
    monkeypatch.setattr(Installation, "run", lambda self: begun.append(self) or Path(sys.executable))
    monkeypatch.setattr(install_server, "_use", lambda python: None)
    monkeypatch.setattr(install_server, "managed_server", lambda: SimpleNamespace(is_running=True))
    job = SimpleNamespace(finished=False, request=SimpleNamespace(title="Shark"))
    monkeypatch.setattr(job_list, "jobs", lambda: (job,))
    with pytest.raises(RuntimeError, match="The job Shark is not done"):
        bpy.ops.gvf.install_server()
    assert not begun
    job.finished = True
    assert bpy.ops.gvf.install_server() == {"FINISHED"}
    assert begun[0].python == carried.python and begun[0]._build is TorchBuild.CPU


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
        Installation(Path(sys.executable), Environment(tmp_path / "user" / "environment"), wheel).run()


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
