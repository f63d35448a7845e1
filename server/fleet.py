"""All devices together: one supervisor with its worker for each, one queue for all of them."""

from collections.abc import Sequence

from server.device import Device
from server.errors import BusyError
from server.supervisor import Supervisor, WorkerState

_MOST_TELLING: tuple[WorkerState, ...] = ("busy", "ready", "starting", "asleep", "unavailable")


class Fleet:
    """What the rest of the server knows of its workers.

    Args:
        supervisors: At least one.
    """

    def __init__(self, supervisors: Sequence[Supervisor]) -> None:
        self._supervisors = supervisors

    @property
    def states(self) -> list[WorkerState]:
        """What each worker does."""
        return [supervisor.worker_state for supervisor in self._supervisors]

    @property
    def state(self) -> WorkerState:
        """What the fleet as a whole does: busy if one is, unavailable only if all are."""
        return min(self.states, key=_MOST_TELLING.index)

    @property
    def devices(self) -> list[Device]:
        """What the workers compute on, as far as they have started."""
        return [supervisor.device for supervisor in self._supervisors if supervisor.device is not None]

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that run."""
        pids = [supervisor.worker_pid for supervisor in self._supervisors]
        return [pid for pid in pids if pid is not None]

    def start(self) -> None:
        """Start every supervisor and with it the first worker."""
        for supervisor in self._supervisors:
            supervisor.start()

    def wake(self) -> None:
        """Tell everybody that there is a new job or a request to cancel one."""
        for supervisor in self._supervisors:
            supervisor.wake()

    def unload(self) -> None:
        """End the idle workers, so that models and memory are freed; the next job starts one again.

        Raises:
            BusyError: Every worker computes a job.
        """
        idle = [supervisor for supervisor in self._supervisors if supervisor.worker_state != "busy"]
        if not idle:
            raise BusyError("The worker computes a job.", "Wait for it or cancel it first.")
        for supervisor in idle:
            supervisor.unload()

    def stop(self) -> None:
        """Kill the workers; running jobs are interrupted, queued ones stay queued."""
        for supervisor in self._supervisors:
            supervisor.stop()
        for supervisor in self._supervisors:
            supervisor.join()
