"""Where what takes space is kept."""

from dataclasses import dataclass
from pathlib import Path

PARTIAL = ".partial"
"""At the end of the stem of a batch's result that is in work; tracks beside it have the name that it will have."""


@dataclass(frozen=True)
class DataPlaces:
    """One folder for each kind of data.

    Attributes:
        home: What the server and the command line call GVF_HOME.
        environment: The Python environment of the server that Blender starts.
        models: Weights.
        results: Downloaded results that wait for their import.
        tracks: Large tracks of files that were never saved.
        start_frames: Start frames of such files.
        jobs: What the server that Blender starts was sent and has computed.
    """

    home: Path
    environment: Path
    models: Path
    results: Path
    tracks: Path
    start_frames: Path
    jobs: Path

    @classmethod
    def below(cls, folder: Path) -> "DataPlaces":
        """Everything in one folder."""
        return cls(
            home=folder,
            environment=folder / "environment",
            models=folder / "models",
            results=folder / "results",
            tracks=folder / "tracks",
            start_frames=folder / "start frames",
            jobs=folder / "server jobs",
        )
