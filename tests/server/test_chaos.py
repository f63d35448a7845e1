"""Random cancels, killed workers, killed servers: no job is lost, none is done twice."""

import pytest

from server.bench.chaos import ChaosPlan, chaos
from server.bench.laboratory import laboratory


def storm(tmp_path, plan: ChaosPlan, *flags: str) -> None:
    with laboratory(tmp_path, "--max-queued-jobs", "2000", *flags) as lab:
        report = chaos(lab, plan)
    assert report.is_clean, report
    assert sum(report.states.values()) == plan.jobs
    assert report.states["cancelled"] > 0


def test_nothing_is_lost_or_done_twice_whoever_is_killed(tmp_path):
    storm(tmp_path, ChaosPlan(jobs=60, cancels=12, worker_kills=4, server_kills=3))


def test_nothing_is_lost_or_done_twice_with_two_workers(tmp_path):
    plan = ChaosPlan(jobs=40, cancels=8, worker_kills=3, server_kills=1, seed=3)
    storm(tmp_path, plan, "--gpus", "a,b")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_or_done_twice_among_a_thousand_jobs(tmp_path, seed):
    storm(tmp_path, ChaosPlan(jobs=1000, cancels=200, worker_kills=50, server_kills=20, seed=seed))
