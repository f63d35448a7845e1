"""The guided installation of the server, from the wheel in the extension's zip into the extension's own folder."""

import sys
import time
from functools import lru_cache
from pathlib import Path

import bpy

from .client import Environment, Installation, fingerprint
from .core.errors import FileError, SettingsError
from .core.sentence import Sentence
from .core.torch_build import TorchBuild
from .managed_server import managed_server
from .user_folder import all_data_places, data_places

OUTDATED = Sentence("The installed server is not the one that came with this version of the extension.")
UNFINISHED = Sentence("The installation of the server did not come to its end.")

_WHEEL_FOLDER = Path(__file__).parent / "wheel"
_REREAD_SECONDS = 2.0

_installation: Installation | None = None
_known: tuple[float, Environment | None, Sentence | None] = (float("-inf"), None, None)


def present_installation() -> Installation | None:
    """The installation of this session, running or not; None before the first one. Fit for drawing."""
    return _installation


def made_environment(python: Path | None) -> Environment | None:
    """The environment that this Python belongs to, if Blender makes or made its environments there. Reads no file."""
    environments = (Environment(places.environment) for places in all_data_places())
    return next((environment for environment in environments if environment.python == python), None)


def update_reason(environment: Environment | None) -> Sentence | None:
    """Why the server in an environment is to be installed once more; None while there is no reason.

    Fit for drawing: a small file is read every two seconds, and the wheel once.

    Args:
        environment: One that Blender made; None of somebody else's, which nobody but its owner changes.
    """
    global _known
    if environment is None:
        return None
    if environment != _known[1] or time.monotonic() - _known[0] >= _REREAD_SECONDS:
        _known = (time.monotonic(), environment, _update_reason(environment))
    return _known[2]


def new_installation(build: TorchBuild, environment: Environment | None = None) -> Installation:
    """An installation that may begin now.

    Args:
        build: Which build of PyTorch it takes.
        environment: The one that gets the server once more; None to make one.

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
    wheel = _carried_wheel()
    if wheel is None:
        raise FileError(
            f"There is no wheel in {_WHEEL_FOLDER}: this extension was not made by dev.py build.",
            "Choose .venv/bin/python of the checkout in the preferences.",
        )
    _installation = Installation(
        Path(sys.executable),
        environment or Environment(data_places().environment),
        wheel,
        _WHEEL_FOLDER / "constraints.txt",
        build=build,
        make_way=managed_server().make_way,
    )
    return _installation


def look_again() -> None:
    """Read the notes of the environment anew when somebody asks next."""
    global _known
    _known = (float("-inf"), None, None)


def unregister() -> None:
    """Stop a running installation; it goes on when it is started again."""
    global _installation
    if _installation is not None:
        _installation.cancel()
        _installation = None
    look_again()


def _update_reason(environment: Environment) -> Sentence | None:
    wheel = _carried_wheel()
    if wheel is None or not environment.build:
        return None
    if not environment.wheel:
        return UNFINISHED
    return None if environment.wheel == _fingerprint(wheel, wheel.stat().st_mtime_ns) else OUTDATED


def _carried_wheel() -> Path | None:
    return next(_WHEEL_FOLDER.glob("*.whl"), None)


@lru_cache(maxsize=1)
def _fingerprint(wheel: Path, changed: int) -> str:
    return fingerprint(wheel)
