"""Tests of the bpy module, Blender without a window; a Python without it collects none of them."""

import importlib.util

import pytest

if importlib.util.find_spec("bpy") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    # Before the tests import bmesh and mathutils, which exist only once bpy is loaded.
    import bpy


@pytest.fixture
def empty_scene():
    """The only scene of an empty file with factory settings; factory settings also unregister our extension."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy.context.scene
