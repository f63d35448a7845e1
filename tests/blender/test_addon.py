"""Registration, preferences, and the package as Blender installs it."""

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import bpy
import pytest

import gvf_blender
from gvf_blender.core.errors import ServerError, SettingsError

PACKAGE = Path(gvf_blender.__file__).parent


def our_traces():
    handlers = [
        handler
        for name in dir(bpy.app.handlers)
        if isinstance(handlers_of := getattr(bpy.app.handlers, name), list)
        for handler in handlers_of
        if getattr(handler, "__module__", "").startswith("gvf_blender")
    ]
    operators = dir(bpy.ops.gvf)
    entries = len(bpy.types.TOPBAR_MT_file_import.draw._draw_funcs)
    return sorted(dir(bpy.types)), len(handlers), operators, entries, hasattr(bpy.types.Scene, "gvf")


def test_registering_again_and_again_leaves_nothing_behind(empty_scene):
    before = our_traces()
    for _ in range(3):
        gvf_blender.register()
        assert our_traces() != before
        gvf_blender.unregister()
        assert our_traces() == before


def test_registering_waits_for_no_http():
    # Blender 5.3 has loaded it itself by then.
    code = """
import bpy, sys
before = "http.client" in sys.modules
import gvf_blender
gvf_blender.register()
print("http.client" in sys.modules, before)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True)
    after, before = done.stdout.splitlines()[-1].split()
    assert after == before, done.stderr


def test_settings_stay_in_a_saved_file(addon, tmp_path):
    bpy.context.scene.gvf.azimuth = 45
    bpy.context.scene.gvf.outputs = {"points"}
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    assert bpy.context.scene.gvf.azimuth == 0
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene.blend"))
    assert bpy.context.scene.gvf.azimuth == 45
    assert bpy.context.scene.gvf.outputs == {"points"}


def test_the_defaults_of_the_preferences_reach_the_scene_on_request(enabled):
    enabled.defaults.gaussians = 5000
    bpy.ops.gvf.reset_settings()
    assert bpy.context.scene.gvf.gaussians == 5000


def test_the_handshake_file_of_the_preferences_is_used(enabled, tmp_path):
    from gvf_blender.preferences import server_choice

    path = tmp_path / "elsewhere.json"
    path.write_text('{"service": "gvf", "address": "http://127.0.0.1:99", "token": "t", "pid": 1}')
    enabled.handshake_path = str(path)
    assert server_choice(bpy.context).locate() == "http://127.0.0.1:99"


@pytest.mark.parametrize("address", ["http://127.0.0.1:8000", "http://localhost:1", "http://[::1]:8000"])
def test_a_server_on_this_machine_needs_no_online_access(enabled, address):
    from gvf_blender.preferences import server_choice

    assert not bpy.app.online_access
    enabled.server_mode, enabled.address = "ADDRESS", address
    assert server_choice(bpy.context).locate() == address


@pytest.mark.parametrize(
    "address", ["http://192.168.1.5:8000", "https://render.example.org", "http://127.0.0.1.evil.org"]
)
def test_a_server_elsewhere_needs_online_access(enabled, address):
    from gvf_blender.preferences import server_choice

    enabled.server_mode, enabled.address = "ADDRESS", address
    with pytest.raises(SettingsError, match="not allowed to go online") as raised:
        server_choice(bpy.context).locate()
    assert "Allow Online Access" in raised.value.hint


@pytest.mark.parametrize("address", ["", "127.0.0.1:8000", "ftp://127.0.0.1", "http://:80", "http://127.0.0.1:port"])
def test_what_is_no_address_is_refused(enabled, address):
    from gvf_blender.preferences import server_choice

    enabled.server_mode, enabled.address = "ADDRESS", address
    with pytest.raises(SettingsError, match="not the address of a server"):
        server_choice(bpy.context).locate()


def test_a_file_that_is_no_handshake_is_named(enabled, tmp_path):
    from gvf_blender.preferences import server_choice

    path = tmp_path / "other.json"
    path.write_text("[]")
    enabled.handshake_path = str(path)
    with pytest.raises(ServerError, match=r"other\.json is not the handshake file"):
        server_choice(bpy.context).locate()


def test_the_package_imports_itself_relatively_because_blender_renames_it():
    absolute = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "gvf_blender")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "gvf_blender" for alias in node.names))
    ]
    assert absolute == []


def test_the_manifest_passes_blenders_own_check_and_asks_for_all_that_the_code_uses(tmp_path):
    manifest = PACKAGE.parent / "blender_manifest.toml"
    (tmp_path / "__init__.py").touch()
    (tmp_path / manifest.name).write_bytes(manifest.read_bytes())
    (checker,) = Path(bpy.utils.system_resource("SCRIPTS")).glob("addons_core/bl_pkg/cli/blender_ext.py")
    outcome = subprocess.run([sys.executable, checker, "validate", tmp_path], capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    code = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    signs = {"clipboard": ".clipboard =", "network": "http.client", "files": ".open("}
    used = {permission for permission, sign in signs.items() if sign in code}
    assert tomllib.loads(manifest.read_text())["permissions"].keys() == used


def test_client_and_core_work_without_blender():
    code = "import sys; sys.modules['bpy'] = None; import gvf_blender.client, gvf_blender.core.job_phase"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_registering_loads_nothing_that_only_a_batch_needs():
    code = (
        "import sys, gvf_blender; gvf_blender.register(); print('gvf_blender.core.manifest' in sys.modules, flush=True)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(gvf_blender.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split()[-1:] == ["False"], done.stderr


def test_handlers_that_blender_has_dropped_already_keep_nothing_from_ending(addon):
    for name in ("undo_pre", "redo_pre", "undo_post", "redo_post", "load_pre", "load_post"):
        handlers = getattr(bpy.app.handlers, name)
        for handler in [one for one in handlers if one.__module__.startswith("gvf_blender")]:
            handlers.remove(handler)
    gvf_blender.unregister()
    gvf_blender.register()


INSTALL = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
import bpy
bpy.ops.extensions.package_install_files(filepath=sys.argv[1], repo="user_default", enable_on_install=True)
from bl_ext.user_default.gvf_blender import api
from bl_ext.user_default.gvf_blender.preferences import addon_preferences
addon_preferences(bpy.context).defaults.gaussians = 777
bpy.ops.gvf.reset_settings()
assert bpy.context.scene.gvf.gaussians == 777
bpy.ops.mesh.primitive_cube_add()
try:
    api.animate(bpy.context.object, __file__)
except Exception as error:
    assert "No server is running" in str(error), error
else:
    raise SystemExit("animated without a server")
assert "gvf_blender" not in sys.modules
bpy.ops.preferences.addon_disable(module="bl_ext.user_default.gvf_blender")
import os
os._exit(0)  # The bpy module of Blender 4.2 crashes while Python ends.
"""


def test_the_extension_works_under_the_name_that_blender_gives_it(archive, tmp_path):
    script = tmp_path / "install.py"
    script.write_text(INSTALL)
    environment = {**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path), "GVF_HOME": str(tmp_path / "home")}
    outcome = subprocess.run(
        [sys.executable, script, archive], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert outcome.returncode == 0, outcome.stderr
