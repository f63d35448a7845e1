"""How long a job may still take, from how it went so far."""

from dataclasses import dataclass, field

_FEW_SECONDS = 5.0
_LITTLE_PROGRESS = 0.02


@dataclass
class TimeLeft:
    """Watches the progress of one phase of one job; a new phase starts from nothing.

    The rate is that of the whole phase so far: stages of one job differ too much for a shorter memory to be steadier.
    """

    _phase: str = field(default="", init=False)
    _start: float = field(default=0.0, init=False)
    _first: float = field(default=0.0, init=False)
    _now: float = field(default=0.0, init=False)
    _progress: float = field(default=0.0, init=False)

    def note(self, phase: str, progress: float, now: float) -> None:
        """Take in where the job stands.

        Args:
            phase: What it is doing.
            progress: Fraction of the whole job, 0..1.
            now: Seconds of a clock that never goes back.
        """
        if phase != self._phase:
            self._phase, self._start, self._first = phase, now, progress
        self._now, self._progress = now, progress

    @property
    def seconds(self) -> float | None:
        """Seconds until the whole job is done if it goes on like this; None while that cannot be told."""
        elapsed, done = self._now - self._start, self._progress - self._first
        if elapsed < _FEW_SECONDS or done < _LITTLE_PROGRESS:
            return None
        return elapsed / done * (1.0 - self._progress)


def in_words(seconds: float) -> str:
    """A rough duration, such as "40 s", "3 min" or "1 h 20 min"."""
    if seconds < 55:
        return f"{max(5, round(seconds / 5) * 5)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
