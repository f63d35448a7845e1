"""Many jobs while servers and workers are killed and jobs are cancelled at random: none may be lost or done twice."""

import http.client
import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import psutil

from server.bench.fake_engine import FakeWork, fake_result
from server.bench.laboratory import Laboratory, RefusedError, Visitor

LOGGER = logging.getLogger(__name__)

WORK = FakeWork(steps=3, seconds=0.003)
UNFINISHED = ("queued", "running")
T = TypeVar("T")


@dataclass(frozen=True)
class ChaosPlan:
    """What happens.

    Attributes:
        jobs: How many jobs are submitted.
        cancels: How many requests to cancel a random one.
        worker_kills: How often a worker is killed.
        server_kills: How often the server is killed and started again.
        seed: Decides when and whom it hits.
    """

    jobs: int
    cancels: int
    worker_kills: int
    server_kills: int
    seed: int = 0


@dataclass(frozen=True)
class ChaosReport:
    """What became of it; the first four are 0 if all is well.

    Attributes:
        lost: Submitted jobs that the server does not know at the end.
        unfinished: Jobs that never ended.
        run_twice: Jobs that were begun again under the same id.
        wrong_results: Jobs that succeeded without the right result.
        states: How the submitted jobs ended.
        retries: How many further jobs it took until all had succeeded that nobody cancelled.
    """

    lost: int
    unfinished: int
    run_twice: int
    wrong_results: int
    states: dict[str, int]
    retries: int

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost and nothing done twice."""
        return not (self.lost or self.unfinished or self.run_twice or self.wrong_results)


def chaos(lab: Laboratory, plan: ChaosPlan) -> ChaosReport:
    """Run the plan in a laboratory whose server runs, with a queue that holds all jobs."""
    storm = _Storm(lab, random.Random(plan.seed))
    ids = []
    turns = storm.turns(plan)
    for index in range(plan.jobs):
        ids.append(storm.submit(f"job {index}"))
        for strike in turns.get(index, ()):
            strike(ids)
    for index in range(plan.jobs):
        if storm.submit(f"job {index}") != ids[index]:
            raise AssertionError(f"the key of job {index} gave another job")
    states = [storm.outcome(job_id) for job_id in ids]
    final, retries = list(ids), 0
    for index, state in enumerate(states):
        while state in ("interrupted", "failed"):
            final[index] = storm.ask("POST", f"/v1/jobs/{final[index]}/retry")["id"]
            state = storm.outcome(final[index])
            retries += 1
    succeeded = [job_id for job_id in final if storm.state(job_id) == "succeeded"]
    runs = Counter(line.split()[0] for line in lab.diary.read_text().splitlines())
    return ChaosReport(
        lost=sum(storm.state(job_id) == "lost" for job_id in ids),
        unfinished=sum(state in UNFINISHED for state in states),
        run_twice=sum(count > 1 for count in runs.values()),
        wrong_results=sum(not storm.has_right_result(job_id) for job_id in succeeded),
        states=dict(Counter(states)),
        retries=retries,
    )


class _Storm:
    """Submits, strikes, and comes back after each strike."""

    def __init__(self, lab: Laboratory, rng: random.Random) -> None:
        self._lab = lab
        self._rng = rng
        self._visitor: Visitor | None = None

    def turns(self, plan: ChaosPlan) -> dict[int, list[Callable[[list[str]], None]]]:
        """What strikes after which submission."""
        strikes = [self._cancel] * plan.cancels + [self._kill_worker] * plan.worker_kills
        strikes += [self._kill_server] * plan.server_kills
        turns: dict[int, list[Callable[[list[str]], None]]] = {}
        for strike in strikes:
            turns.setdefault(self._rng.randrange(plan.jobs), []).append(strike)
        return turns

    def submit(self, key: str) -> str:
        return self._surviving(lambda visitor: visitor.submit(WORK, key))

    def ask(self, method: str, path: str) -> Any:
        return self._surviving(lambda visitor: visitor.ask(method, path))

    def outcome(self, job_id: str) -> str:
        return self._unless_lost(lambda: self._surviving(lambda visitor: visitor.wait(job_id)))

    def state(self, job_id: str) -> str:
        return self._unless_lost(lambda: self.ask("GET", f"/v1/jobs/{job_id}")["state"])

    def _unless_lost(self, ask: Callable[[], str]) -> str:
        try:
            return ask()
        except RefusedError as error:
            if error.status != 404:
                raise
            return "lost"

    def has_right_result(self, job_id: str) -> bool:
        path = f"/v1/jobs/{job_id}/outputs/animation.safetensors"
        return self._surviving(lambda visitor: visitor.fetch("GET", path)) == fake_result(job_id)

    def _surviving(self, call: Callable[[Visitor], T]) -> T:
        """Call until an answer comes; the connection does not outlive the server."""
        while True:
            try:
                if self._visitor is None:
                    self._visitor = self._lab.connect()
                return call(self._visitor)
            except (OSError, http.client.HTTPException) as error:
                LOGGER.info("the connection broke (%s)", error)
                self._visitor = None

    def _cancel(self, ids: list[str]) -> None:
        try:
            self.ask("POST", f"/v1/jobs/{self._rng.choice(ids)}/cancel")
        except RefusedError as error:
            if error.status != 409:  # it has finished already
                raise

    def _kill_worker(self, ids: list[str]) -> None:
        for worker in self._lab.workers():
            try:
                worker.kill()
            except psutil.NoSuchProcess:
                continue

    def _kill_server(self, ids: list[str]) -> None:
        self._lab.kill()
        self._lab.start()
