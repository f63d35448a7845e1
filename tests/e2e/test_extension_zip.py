"""The zip that `dev.py build` makes, installed into Blender as a user would."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("bpy")

ROOT = Path(__file__).resolve().parents[2]

INSTALL = """
import importlib, sys, bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.extensions.package_install_files(filepath=sys.argv[1], repo="user_default", enable_on_install=True)
module = importlib.import_module("bl_ext.user_default.gvf_blender")
api = importlib.import_module("bl_ext.user_default.gvf_blender.api")
assert callable(api.animate)
assert [name for name in dir(bpy.types) if name.startswith("GVF_PT")], "no panel is registered"
assert "gvf_blender" not in sys.modules, "the installed extension imports the package of the source tree"
bpy.ops.preferences.addon_disable(module="bl_ext.user_default.gvf_blender")
assert not [name for name in dir(bpy.types) if name.startswith("GVF_")], "something stays registered"
print("INSTALLED")
"""


@pytest.fixture(scope="module")
def extension_zip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkout")
    names = (
        "dev.py",
        "tools",
        "pyproject.toml",
        "setup.py",
        "constraints.txt",
        "blender_manifest.toml",
        "LICENSE",
        "README.md",
        "gvf_blender",
        "gvf_core",
        "server",
    )
    for name in names:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    # One Blender packs it for all of them; a checkout without .venv has only the Python of these tests.
    environment = next(place for place in (ROOT / ".venv", Path(sys.prefix)) if place.exists())
    (folder / ".venv").symlink_to(environment, target_is_directory=True)
    program = "import sys, dev, tools.environments as made; sys.exit(dev.build(made.python_of(made.VENV), []))"
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True)
    (built,) = (folder / "dist").glob("*.zip")
    return built


def test_the_zip_holds_the_manifest_and_the_code_and_nothing_else(extension_zip):
    names = zipfile.ZipFile(extension_zip).namelist()
    assert {"blender_manifest.toml", "__init__.py", "api.py", "LICENSE"} <= set(names)
    others = {name for name in names if not name.endswith(".py")} - {"blender_manifest.toml", "LICENSE"}
    (wheel,) = (name for name in others if name.endswith(".whl"))
    assert others == {wheel, "wheel/constraints.txt"}
    with zipfile.ZipFile(extension_zip) as packed, zipfile.ZipFile(packed.open(wheel)) as inner:
        assert {"server/__main__.py", "gvf_core/pipeline.py"} <= set(inner.namelist())


def test_blender_installs_and_enables_the_zip_without_the_source_tree(extension_zip, tmp_path):
    environment = {**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path / "resources")}
    result = subprocess.run(
        [sys.executable, "-c", INSTALL, str(extension_zip)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "INSTALLED" in result.stdout, result.stdout + result.stderr
