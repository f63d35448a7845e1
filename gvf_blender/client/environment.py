"""A Python environment that Blender made for the server, and the notes in it of what it holds."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from ..core.torch_build import TorchBuild


@dataclass(frozen=True)
class Environment:
    """One environment, there or not.

    Attributes:
        folder: Where it is.
    """

    folder: Path

    @property
    def python(self) -> Path:
        """Its Python, there or not."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def build(self) -> str:
        """Which build of PyTorch it was made for; empty where Blender made none."""
        return _content(self._build_note)

    @property
    def wheel(self) -> str:
        """The fingerprint of the wheel in it; empty while none is installed to the end."""
        return _content(self._stamp).rpartition(" ")[0]

    def holds(self, wheel: Path, build: TorchBuild) -> bool:
        """Whether this very wheel is installed in it, beside this build of PyTorch."""
        return (self.wheel, self.build) == (fingerprint(wheel), build)

    def begin(self) -> None:
        """From now on it holds nothing that could be relied on."""
        self._stamp.unlink(missing_ok=True)

    def is_for(self, build: TorchBuild) -> None:
        """Note the build of PyTorch."""
        self._build_note.write_text(build)

    def complete(self, wheel: Path, build: TorchBuild) -> None:
        """Note that everything is installed."""
        self._stamp.write_text(f"{fingerprint(wheel)} {build}")

    @property
    def _build_note(self) -> Path:
        return self.folder / "torch-build"

    @property
    def _stamp(self) -> Path:
        return self.folder / "installed-for"


def fingerprint(wheel: Path) -> str:
    """What tells a wheel from another one of the same name; reads all of it."""
    return f"{wheel.name} {hashlib.sha256(wheel.read_bytes()).hexdigest()}"


def _content(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
