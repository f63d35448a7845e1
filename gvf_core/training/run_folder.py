"""Where a run of all stages keeps what it makes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gvf_core.errors import FileFormatError
from gvf_core.training.clip_record import ClipRecord, read_clip

StageName = Literal["static", "motion", "diffusion"]
Split = Literal["train", "test"]


@dataclass(frozen=True)
class RunFolder:
    """A folder with one folder per stage, latents and the exported weights.

    Attributes:
        root: The folder; need not exist.
    """

    root: Path

    def stage(self, name: StageName) -> Path:
        """State and TensorBoard's log of a stage."""
        return self.root / name

    @property
    def weights(self) -> Path:
        """Weights under official names, all that `gvf train install` takes."""
        return self.root / "weights"

    def latents(self, split: Split) -> Path:
        """What the diffusion learns from, or is tested on."""
        return self.root / "latents" / split

    def require(self, name: str, command: str) -> Path:
        """The path of exported weights.

        Raises:
            FileFormatError: They are not there yet.
        """
        path = self.weights / name
        if not path.exists():
            raise FileFormatError(f"{self.root} has no {name} yet.", f"Make it with: {command}")
        return path


def clip_paths(data: Path, split: Split) -> list[Path]:
    """The prepared clips of a split, by name.

    Raises:
        FileFormatError: There are none.
    """
    paths = sorted((data / split).glob("*.safetensors"))
    if not paths:
        raise FileFormatError(f"There are no prepared clips in {data / split}.", "Prepare them with: gvf train prepare")
    return paths


def read_clips(data: Path, split: Split) -> list[ClipRecord]:
    """All clips of a split."""
    return [read_clip(path) for path in clip_paths(data, split)]
