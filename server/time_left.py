"""How long a job may still run, learned from the stages of earlier jobs on this machine."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from server.database import Database
from server.jobs import JobRequest

REMEMBERED_JOBS = 20
"""Medians are over so many of the newest jobs of a kind, so that a new graphics card is believed within a day."""

TRUSTED_FRACTION = 0.1
"""Of a stage: from here on its own speed says more than the median of earlier jobs."""


@dataclass(frozen=True)
class Stage:
    """One stage of a job, measured or learned.

    Attributes:
        name: The pipeline's name of it.
        seconds: How long it takes.
        end: Fraction of the whole job that is done when it ends, 0..1.
    """

    name: str
    seconds: float
    end: float


class JobClock:
    """Measures the stages of one running job.

    Args:
        learned: The stages that jobs of this kind have, in order; empty if none has run yet.
    """

    def __init__(self, learned: Sequence[Stage]) -> None:
        self._learned = learned
        self._measured: list[Stage] = []
        self._name = ""
        self._began, self._begin_fraction, self._fraction = 0.0, 0.0, 0.0

    def report(self, name: str, fraction: float, now: float) -> float | None:
        """Take a report of progress.

        Args:
            name: The stage that runs.
            fraction: Of the whole job.
            now: Seconds on a clock that never goes back.

        Returns:
            Seconds left; None if no job of this kind had this stage.
        """
        if name != self._name:
            self._close_stage(now, fraction)
            self._name, self._began, self._begin_fraction = name, now, fraction
        self._fraction = max(self._fraction, fraction)
        names = [stage.name for stage in self._learned]
        if name not in names:
            return None
        position = names.index(name)
        later = sum(stage.seconds for stage in self._learned[position + 1 :])
        return self._left_of_stage(self._learned[position], now) + later

    def stages(self, now: float) -> list[Stage]:
        """What was measured, once the job has succeeded."""
        self._close_stage(now, 1.0)
        self._name = ""
        return self._measured

    def _close_stage(self, now: float, fraction: float) -> None:
        if self._name:
            self._measured.append(Stage(self._name, now - self._began, fraction))

    def _left_of_stage(self, stage: Stage, now: float) -> float:
        share = stage.end - self._begin_fraction
        done = min(max((self._fraction - self._begin_fraction) / share, 0.0), 1.0) if share > 0 else 0.0
        seconds = (now - self._began) / done if done > TRUSTED_FRACTION else stage.seconds
        return seconds * (1 - done)


class StageTimes:
    """The memory behind `JobClock`.

    Args:
        database: Where it is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def clock(self, request: JobRequest) -> JobClock:
        """A clock that knows earlier jobs of the kind."""
        found: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
        query = "SELECT stage, position, seconds, end FROM stages WHERE kind = ?"
        with self._database.reading() as connection:
            for name, position, seconds, end in connection.execute(query, (_kind(request),)):
                found[name].append((position, seconds, end))
        medians = {name: tuple(map(median, zip(*rows, strict=True))) for name, rows in found.items()}
        in_order = sorted(medians, key=lambda name: medians[name][0])
        return JobClock([Stage(name, *medians[name][1:]) for name in in_order])

    def learn(self, request: JobRequest, number: int, stages: Sequence[Stage]) -> None:
        """Remember the stages of a job that succeeded, and forget those of old ones.

        Args:
            request: What the job did.
            number: The job's number.
            stages: What its clock measured.
        """
        kind = _kind(request)
        forget = """
            DELETE FROM stages WHERE kind = ?1 AND job NOT IN (
                SELECT DISTINCT job FROM stages WHERE kind = ?1 ORDER BY job DESC LIMIT ?2
            )
        """
        with self._database.writing() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO stages (kind, job, position, stage, seconds, end) VALUES (?, ?, ?, ?, ?, ?)",
                [(kind, number, i, stage.name, stage.seconds, stage.end) for i, stage in enumerate(stages)],
            )
            connection.execute(forget, (kind, REMEMBERED_JOBS))


def _kind(request: JobRequest) -> str:
    settings = request.settings
    colors = " colors" if settings.follow_colors else ""
    videos = f" {1 + len(request.further)} videos" if request.further else ""
    return f"{settings.engine} {settings.preset} {settings.max_frames}{colors}{videos}"
