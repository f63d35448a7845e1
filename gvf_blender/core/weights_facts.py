"""Which network weights a server has, as it describes them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .json_number import number, whole_number


@dataclass(frozen=True)
class WeightsEntry:
    """Weights that are fetched and removed together.

    Attributes:
        name: What they are called.
        state: "installed", "missing", "damaged" or "downloading".
        problem: What is wrong with damaged ones, as sentences; else empty.
        purpose: What they do, in a few words.
        use: What one needs them for, in two words at most.
        for_animating: Whether the engine that samples motion needs them.
        size: Bytes, of missing ones approximately.
        licence: As their publisher states it; empty where none is stated.
        terms: The same as a sentence.
    """

    name: str
    state: str
    problem: str
    purpose: str
    use: str
    for_animating: bool
    size: int
    licence: str
    terms: str

    @property
    def is_here(self) -> bool:
        """Whether there is something to remove."""
        return self.state in ("installed", "damaged")


@dataclass(frozen=True)
class WeightsDownload:
    """The server's newest download.

    Attributes:
        state: "running", "succeeded", "failed" or "cancelled".
        stage: What is being done.
        progress: Fraction that has arrived, 0..1.
        reason: Why it failed, with what helps, as sentences; else empty.
    """

    state: str
    stage: str
    progress: float
    reason: str

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.state == "running"


@dataclass(frozen=True)
class WeightsFacts:
    """All weights that the server knows.

    Attributes:
        entries: In the server's order.
        download: None before the first one.
    """

    entries: tuple[WeightsEntry, ...]
    download: WeightsDownload | None

    @classmethod
    def from_json(cls, answer: dict[str, Any]) -> "WeightsFacts":
        """From the answer to GET /v1/models.

        Raises:
            KeyError, TypeError, ValueError: A member is missing or of the wrong kind.
        """
        return cls(tuple(_entry(values) for values in answer["models"]), _download(answer["download"]))

    def wanted(self, names: Iterable[str] = ()) -> tuple[WeightsEntry, ...]:
        """What a download would fetch.

        Args:
            names: Which entries; none for all that animating needs.
        """
        chosen = set(names)
        return tuple(
            entry
            for entry in self.entries
            if entry.state != "installed" and (entry.name in chosen if chosen else entry.for_animating)
        )


def _entry(values: dict[str, Any]) -> WeightsEntry:
    return WeightsEntry(
        name=str(values["name"]),
        state=str(values["state"]),
        problem=str(values["problem"]),
        purpose=str(values["purpose"]),
        use=str(values["use"]),
        for_animating=bool(values["for_animating"]),
        size=whole_number(values["bytes"]),
        licence=str(values["licence"] or ""),
        terms=str(values["terms"]),
    )


def _download(values: dict[str, Any] | None) -> WeightsDownload | None:
    if values is None:
        return None
    error = values["error"]
    reason = "" if error is None else f"{error['message']} {error['hint']}".strip()
    return WeightsDownload(str(values["state"]), str(values["stage"]), number(values["progress"]), reason)
