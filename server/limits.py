"""What the server takes on: one table, set by flags, environment or configuration file, served by capabilities."""

from dataclasses import dataclass, field, fields
from typing import Any

from server.errors import StartError


def _limit(default: float, low: float, high: float, help_text: str) -> Any:
    return field(default=default, metadata={"range": (low, high), "help": help_text})


@dataclass(frozen=True)
class Limits:
    """Limits of admission, computation and storage. Megabytes are 10^6 bytes, gigabytes 10^9."""

    upload_mb: float = _limit(2048, 0.001, 1_000_000, "largest upload, in megabytes")
    disk_gb: float = _limit(50, 0.0001, 1_000_000, "uploads and results together, in gigabytes")
    queued_jobs: int = _limit(100, 1, 100_000, "jobs that wait")
    kept_jobs: int = _limit(10_000, 1, 1_000_000, "finished jobs that are remembered")
    job_minutes: float = _limit(240, 0.001, 100_000, "time one job may run")
    idle_minutes: float = _limit(15, 0.001, 100_000, "time after which an idle worker gives its memory back")
    video_pixels: int = _limit(8192 * 8192, 1, 2**31, "pixels of one picture of the video")
    video_frames: int = _limit(100_000, 2, 10_000_000, "frames of a video file, used or not")
    capture_vertices: int = _limit(5_000_000, 3, 2**31 - 1, "vertices of a captured asset")
    capture_views: int = _limit(500, 1, 100_000, "views of a captured asset")
    probe_seconds: float = _limit(20, 0.1, 3600, "time for looking into one upload")
    probe_mb: float = _limit(2048, 256, 1_000_000, "memory for looking into one upload, in megabytes")
    check_seconds: float = _limit(120, 0.1, 3600, "time for showing what a job would cut out of a video")
    check_mb: float = _limit(6144, 256, 1_000_000, "memory for showing what a job would cut out, in megabytes")

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            StartError: A value is no number, or outside its range.
        """
        for entry in fields(self):
            value = getattr(self, entry.name)
            low, high = entry.metadata["range"]
            kind = (int,) if entry.type is int else (int, float)
            if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
                raise StartError(
                    f"The limit --max-{entry.name.replace('_', '-')} ({entry.metadata['help']}) is {value!r}.",
                    f"Choose a {'whole ' if entry.type is int else ''}number from {low:,} to {high:,}.",
                )

    @property
    def upload_bytes(self) -> int:
        """Largest upload."""
        return round(self.upload_mb * 1e6)

    @property
    def disk_bytes(self) -> int:
        """Uploads and results together."""
        return round(self.disk_gb * 1e9)
