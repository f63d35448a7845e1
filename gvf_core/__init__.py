"""The method: canonical Gaussians, motion engines, rendering. Imports neither bpy nor the server."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("gvf-blender")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
