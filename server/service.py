"""The parts of a running server, wired together once."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from server.admission import Admission
from server.announcements import Announcements
from server.database import Database
from server.fleet import Fleet
from server.job_table import JobTable
from server.limits import Limits
from server.media import MediaProbe
from server.memory_estimate import available_mb
from server.storage import Storage
from server.supervisor import INTERRUPTED, Supervisor
from server.time_left import StageTimes
from server.uploads import Uploads
from server.weights import Weights


@dataclass(frozen=True)
class Service:
    """What the routes work with.

    Attributes:
        limits: What the server takes on.
        database: Where jobs and findings are.
        table: Jobs.
        announcements: News of jobs, for event streams.
        storage: Uploads and results.
        uploads: Receives uploads.
        probe: Looks into uploads.
        admission: Checks submissions.
        fleet: Runs the jobs.
        weights: Network weights of this machine.
        log_file: Where the log is.
        stop: Asks the server to end.
        started: When it started, on `time.monotonic`.
    """

    limits: Limits
    database: Database
    table: JobTable
    announcements: Announcements
    storage: Storage
    uploads: Uploads
    probe: MediaProbe
    admission: Admission
    fleet: Fleet
    weights: Weights
    log_file: Path
    stop: Callable[[], None]
    started: float = field(default_factory=time.monotonic)


def open_service(
    data: Path,
    limits: Limits,
    job_function: str,
    probes_media: bool,
    workers: Sequence[str | None],
    has_local_workers: bool,
    stop: Callable[[], None],
    on_crash: Callable[[], None],
) -> Service:
    """Open the data folder and put right what a killed server left half-done. Nothing runs yet.

    Args:
        data: The data folder.
        limits: What the server takes on.
        job_function: "module:function" that the worker runs for each job.
        probes_media: Whether uploads are looked into before a job is queued.
        workers: The GPU of each worker; None leaves the choice to the worker.
        has_local_workers: Whether jobs take memory of this machine.
        stop: Asks the server to end.
        on_crash: Called if a supervisor fails.

    Raises:
        StartError: The database cannot be used.
        OSError: The folder cannot be used.
    """
    storage = Storage(data, limits.disk_bytes)
    database = Database(data / "jobs.sqlite")
    announcements = Announcements()
    table = JobTable(database, announcements, limits.queued_jobs)
    storage.protect(table.inputs_in_use)
    table.recover(storage.has_result, INTERRUPTED)
    times = StageTimes(database)
    fleet = Fleet([Supervisor(table, storage, times, limits, job_function, gpu, on_crash) for gpu in workers])
    probe = MediaProbe(database, limits)
    return Service(
        limits=limits,
        database=database,
        table=table,
        announcements=announcements,
        storage=storage,
        uploads=Uploads(storage, limits.upload_bytes),
        probe=probe,
        admission=Admission(
            table,
            storage,
            probe if probes_media else None,
            (lambda: available_mb(fleet.pids)) if has_local_workers else None,
        ),
        fleet=fleet,
        weights=Weights(),
        log_file=data / "server.log",
        stop=stop,
    )
