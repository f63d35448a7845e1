"""Where a job stands and how much of the whole that is."""

from enum import StrEnum

from .sentence import Sentence


class Phase(StrEnum):
    """What a job is doing now; the last three are final."""

    WAITING = "waiting"
    CONNECTING = "connecting"
    CAPTURING = "capturing"
    UPLOADING = "uploading"
    QUEUED = "queued"
    RUNNING = "running"
    DOWNLOADING = "downloading"
    IMPORTING = "importing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Nothing more will happen."""
        return self in (Phase.DONE, Phase.FAILED, Phase.CANCELLED)

    @property
    def needs_scene(self) -> bool:
        """The capture is still to be made."""
        return self in (Phase.WAITING, Phase.CONNECTING, Phase.CAPTURING)


MESSAGES = {
    Phase.WAITING: Sentence("Waiting for its turn"),
    Phase.CONNECTING: Sentence("Looking for the server"),
    Phase.CAPTURING: Sentence("Rendering views of the mesh"),
    Phase.UPLOADING: Sentence("Sending mesh and video to the server"),
    Phase.QUEUED: Sentence("Waiting for the server to finish other jobs"),
    Phase.RUNNING: Sentence("Finding the motion"),
    Phase.DOWNLOADING: Sentence("Fetching the result"),
    Phase.IMPORTING: Sentence("Adding the result to the scene"),
    Phase.DONE: Sentence("Imported"),
    Phase.CANCELLED: Sentence("Cancelled"),
}
"""What people read while a job is in a phase."""

SERVER_STAGES = (
    Sentence("Reading the video"),
    Sentence("Loading the engine"),
    Sentence("Making Gaussians"),
    Sentence("Finding the view"),
    Sentence("Finding motion"),
    Sentence("Moving the mesh"),
)
"""What the server calls the steps of a running job; others are shown as it calls them."""

# Shares of the whole, after the times of the demo asset on two cores: the server's work dwarfs the rest.
_SHARES: dict[Phase, tuple[float, float]] = {
    Phase.WAITING: (0.0, 0.0),
    Phase.CONNECTING: (0.0, 0.0),
    Phase.CAPTURING: (0.0, 0.1),
    Phase.UPLOADING: (0.1, 0.12),
    Phase.QUEUED: (0.12, 0.12),
    Phase.RUNNING: (0.12, 0.96),
    Phase.DOWNLOADING: (0.96, 0.98),
    Phase.IMPORTING: (0.98, 1.0),
    Phase.DONE: (1.0, 1.0),
}


def overall_progress(phase: Phase, fraction: float) -> float:
    """The fraction of the whole job that is done when `fraction` of a phase is.

    Args:
        phase: Any phase but failed and cancelled, which have no place on the way.
        fraction: 0..1; values outside are clamped.
    """
    low, high = _SHARES[phase]
    return low + (high - low) * min(max(fraction, 0.0), 1.0)
