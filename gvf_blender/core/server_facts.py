"""What can be said about a server, as the server describes it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .json_number import whole_number
from .weights_facts import WeightsFacts


class ServerState(StrEnum):
    """How it stands with the server, seen from Blender."""

    CHECKING = "checking"
    STOPPED = "not running"
    STARTING = "starting"
    RUNNING = "running"
    BUSY = "busy"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True)
class ServerFacts:
    """What a server that answers tells about itself.

    Attributes:
        version: Its version.
        worker: What its workers do: "starting", "ready", "busy", "asleep" or "unavailable".
        devices: Names of what it computes on; empty until a worker has started.
        free_mb: Memory that a job may take, in MB (10^6 bytes).
        engines: Names of the engines.
        weights: Every set of weights, and whether it is complete.
    """

    version: str
    worker: str
    devices: tuple[str, ...]
    free_mb: int
    engines: tuple[str, ...]
    weights: dict[str, bool]

    @classmethod
    def from_json(cls, capabilities: dict[str, Any]) -> "ServerFacts":
        """From the answer to GET /v1/capabilities.

        Raises:
            KeyError, TypeError, ValueError: A member is missing or of the wrong kind.
        """
        return cls(
            version=str(capabilities["version"]),
            worker=str(capabilities["worker"]),
            devices=tuple(str(device["name"]) for device in capabilities["devices"]),
            free_mb=whole_number(capabilities["memory_available_mb"]),
            engines=tuple(map(str, capabilities["engines"])),
            weights={str(name): bool(ready) for name, ready in capabilities["weights"].items()},
        )

    @property
    def state(self) -> ServerState:
        """The state that the workers' activity amounts to."""
        return {"starting": ServerState.STARTING, "busy": ServerState.BUSY}.get(self.worker, ServerState.RUNNING)


@dataclass(frozen=True)
class ServerReport:
    """What is known of the server at one moment.

    Attributes:
        state: How it stands.
        place: Where it is, for people.
        reason: Why it does not run or answer, with what helps, as sentences; else empty.
        facts: What it told; None unless it answers.
        weights: What it told of its weights; None unless it answers.
        code: Of the reason, if the server or the connection gave one.
    """

    state: ServerState
    place: str = ""
    reason: str = ""
    facts: ServerFacts | None = None
    weights: WeightsFacts | None = None
    code: str = ""
