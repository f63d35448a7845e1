"""What one tick of the timers does, counted in looks at a clock that stands still otherwise."""

from types import SimpleNamespace

import pytest
from scripted_client import ScriptedClient

from gvf_blender.core.job_phase import Phase
from gvf_blender.core.tick_budget import NEWS_SECONDS
from gvf_blender.server_thread import Advanced, ServerThread

MOST = 4
"""Pieces of news that a tick can take with the clock below."""


class Clock:
    """Every look at it takes a quarter of what a tick may take."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += NEWS_SECONDS / MOST
        return self.now


@pytest.fixture
def waiting_jobs(cube, video, tmp_path):
    """Three jobs of the list whose server does not answer."""
    from gvf_blender import job_list
    from gvf_blender.core.motion_settings import MotionSettings
    from gvf_blender.job import AnimateJob
    from gvf_blender.request import make_request

    client = ScriptedClient(hold_at="connecting")
    request = make_request(cube, video, MotionSettings())
    for _ in range(3):
        job_list.add(AnimateJob(request, client.connect, tmp_path / "results"))
    yield job_list.jobs()
    client.released.set()


def test_two_timers_together_stay_under_five_milliseconds():
    assert 2 * NEWS_SECONDS < 0.005


def test_a_dead_server_costs_a_tick_one_look_at_the_news_of_each_job(waiting_jobs, monkeypatch):
    from gvf_blender import job_list

    looks = []
    next_news = ServerThread.next_news
    monkeypatch.setattr(ServerThread, "next_news", lambda self: looks.append(self) or next_news(self))
    assert job_list.advance(lambda: 0.0) == job_list.WAIT_INTERVAL
    assert len(looks) == len(set(looks)) == len(waiting_jobs)


def test_all_jobs_share_the_budget_of_a_tick_and_none_starves(waiting_jobs):
    from gvf_blender import job_list

    each = 10
    for job in waiting_jobs:
        for step in range(each):
            job._thread._tell(Advanced(Phase.UPLOADING, fraction=step / each))

    def left():
        return [job._thread._news.qsize() for job in waiting_jobs]

    for _ in waiting_jobs:
        before = sum(left())
        job_list.advance(Clock())
        assert 0 < before - sum(left()) <= MOST
    assert max(left()) < each
    for _ in range(len(waiting_jobs) * each):
        job_list.advance(Clock())
    assert sum(left()) == 0


def test_the_watch_of_the_server_leaves_what_is_too_much_to_the_next_tick(addon):
    from gvf_blender.server_watch import ServerWatch

    watch = ServerWatch()
    taken = []
    for number in range(2 * MOST):
        watch._outcomes.put(lambda number=number: taken.append(number))
    watch.tick(Clock())
    assert 0 < len(taken) <= MOST
    for _ in range(2 * MOST):
        watch.tick(Clock())
    assert taken == list(range(2 * MOST))


def test_a_tick_reads_one_video_and_the_next_tick_the_next(addon, tmp_path, monkeypatch):
    from gvf_blender import video_facts

    registered = []
    timers = SimpleNamespace(
        is_registered=lambda function: function in registered,
        register=lambda function, **_: registered.append(function),
    )
    paths = [tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4")]
    for path in paths:
        path.write_bytes(b"frames")
    with monkeypatch.context() as patch:
        patch.setattr(video_facts, "bpy", SimpleNamespace(app=SimpleNamespace(background=False, timers=timers)))
        for path in paths:
            assert video_facts.known_facts(path) is None
    (tick,) = registered
    read = []
    while True:
        interval = tick()
        read.append(sum(map(video_facts.is_unreadable, paths)))
        if interval is None:
            break
    assert read == [1, 2, 3]
