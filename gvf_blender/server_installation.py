"""The guided installation of the server, from the wheel in the extension's zip into the extension's own folder."""

import sys
from pathlib import Path

import bpy

from .client import Installation
from .core.errors import FileError, SettingsError
from .core.torch_build import TorchBuild
from .user_folder import user_folder

_installation: Installation | None = None


def present_installation() -> Installation | None:
    """The installation of this session, running or not; None before the first one. Fit for drawing."""
    return _installation


def new_installation(build: TorchBuild) -> Installation:
    """An installation that may begin now.

    Args:
        build: Which build of PyTorch it takes.

    Raises:
        SettingsError: Blender is told to stay offline, or an installation runs already.
        FileError: The extension carries no wheel, as in a checkout.
    """
    global _installation
    if _installation is not None and _installation.step:
        raise SettingsError("The server is being installed already.", "Wait for it, or cancel it.")
    if not bpy.app.online_access:
        raise SettingsError(
            "The server's packages come from the internet, and Blender is not allowed to go online.",
            "Enable Preferences > System > Network > Allow Online Access, or choose a Python that has GVF installed.",
        )
    folder = Path(__file__).parent / "wheel"
    wheel = next(folder.glob("*.whl"), None)
    if wheel is None:
        raise FileError(
            f"There is no wheel in {folder}: this extension was not made by dev.py build.",
            "Choose .venv/bin/python of the checkout in the preferences.",
        )
    place = user_folder() / "environment"
    _installation = Installation(Path(sys.executable), place, wheel, folder / "constraints.txt", build=build)
    return _installation


def unregister() -> None:
    """Stop a running installation; it goes on when it is started again."""
    global _installation
    if _installation is not None:
        _installation.cancel()
        _installation = None
