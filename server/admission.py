"""Who may join the queue: everything about a submission is checked here, before it becomes a job."""

from collections.abc import Callable, Sequence

from gvf_core.engine_choice import check_engine
from gvf_core.settings import AnimateSettings
from server.errors import NotEnoughMemoryError
from server.finding import Finding
from server.job_table import JobTable
from server.jobs import JobRequest, JobStatus
from server.media import MediaProbe
from server.memory_estimate import estimated_mb
from server.storage import Storage


class Admission:
    """Checks submissions and queues them.

    Args:
        table: The queue.
        storage: Where inputs are.
        probe: Looks into inputs; None takes them unseen, for jobs that are made up.
        available_mb: Tells how much memory a job may take, in MB (10^6 bytes); None if that is another's business.
    """

    def __init__(
        self, table: JobTable, storage: Storage, probe: MediaProbe | None, available_mb: Callable[[], int] | None
    ) -> None:
        self._table = table
        self._storage = storage
        self._probe = probe
        self._available_mb = available_mb

    def submit(self, request: JobRequest, idempotency_key: str) -> JobStatus:
        """Queue a job, or give the one that has this key already.

        Raises:
            GvfError: Why not; the class says with which status.
        """
        known = self._table.known(request, idempotency_key)
        if known is not None:
            return known
        self._check(request)
        with self._storage.keeping():
            self._check_inputs(request)
            return self._table.submit(request, idempotency_key)

    def retry(self, job_id: str) -> JobStatus:
        """Queue a job once more, as a new one.

        Raises:
            GvfError: Why not; the class says with which status.
        """
        with self._storage.keeping():
            self._check_inputs(self._table.request(job_id))
            return self._table.retry(job_id)

    def _check(self, request: JobRequest) -> None:
        self._check_inputs(request)
        settings = request.settings
        engine = check_engine(settings)
        if self._probe is None:
            return
        capture = self._probe.capture(self._storage.blob(request.capture))
        videos = [
            self._probe.video(self._storage.blob(video), name)
            for video, name in (
                (request.video, request.video_name),
                *((one.video, one.video_name) for one in request.further),
            )
        ]
        self._check_memory(settings, capture, videos, engine == "diffusion")

    def _check_inputs(self, request: JobRequest) -> None:
        further = [("further video", one.video) for one in request.further]
        for kind, sha256 in (("capture", request.capture), ("video", request.video), *further):
            self._storage.require_blob(sha256, f"{kind} {sha256}")

    def _check_memory(
        self, settings: AnimateSettings, capture: Finding, videos: Sequence[Finding], networks: bool
    ) -> None:
        if self._available_mb is None:
            return
        needed, available = estimated_mb(settings, capture, videos, networks), self._available_mb()
        if needed > available:
            raise NotEnoughMemoryError(
                f"The job is expected to take about {needed:,} MB of memory; {available:,} MB are available.",
                "Use fewer frames or Gaussians, or close other programs.",
            )
