"""Work shared out among threads: the order, the errors, the end, and what is shared out in turn."""

import threading
import time

import numba
import pytest
import torch

import gvf_core.side_by_side
from gvf_core.errors import Cancelled
from gvf_core.progress import Monitor
from gvf_core.side_by_side import MOST_THREADS, searched_together, side_by_side, thread_count
from server.memory_estimate import MOST_SIDE_BY_SIDE


@pytest.fixture(params=[1, 2, 5])
def threads(request, monkeypatch) -> int:
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", request.param)
    return request.param


def quiet() -> Monitor:
    return Monitor(lambda fraction: None, lambda: False)


def test_results_come_in_the_order_of_the_parts(threads):
    def late(part: int) -> int:
        time.sleep(0.02 * (4 - part))
        return part * part

    assert list(side_by_side(late, range(4))) == [0, 1, 4, 9]
    assert list(side_by_side(late, [])) == []


def test_parts_are_in_work_at_the_same_time(monkeypatch):
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 3)
    meeting = threading.Barrier(3, timeout=20)
    assert sorted(side_by_side(lambda part: meeting.wait(), range(3))) == [0, 1, 2]


@pytest.mark.parametrize(("parts", "share"), [(1, 4), (2, 2), (3, 1), (4, 1), (9, 1)])
def test_a_part_has_its_share_of_the_threads(monkeypatch, parts, share):
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 4)
    assert list(side_by_side(lambda part: thread_count(), range(parts))) == [share] * parts
    assert thread_count() == 4


def test_there_is_a_limit_that_the_servers_estimate_knows(monkeypatch):
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 200)
    assert thread_count() == MOST_THREADS == MOST_SIDE_BY_SIDE


def test_threads_compute_with_one_thread_and_leave_others_alone(monkeypatch):
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 3)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert set(side_by_side(lambda part: torch.get_num_threads(), range(6))) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_thread_that_cannot_be_limited_works_all_the_same(monkeypatch):
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 2)
    monkeypatch.setattr(gvf_core.side_by_side, "_OPENMP", None)
    monkeypatch.setattr(gvf_core.side_by_side, "_SELF", threading.local())
    assert list(side_by_side(lambda part: part, range(3))) == [0, 1, 2]


def test_many_levels_do_not_wait_for_each_other(threads):
    def deep(level: int) -> int:
        return 1 if level == 0 else sum(side_by_side(deep, [level - 1] * 3))

    assert deep(4) == 81


def test_an_error_comes_out_when_nothing_is_in_work_any_more(threads):
    at_work = set()

    def work(part: int) -> None:
        at_work.add(part)
        if part == 0:
            raise ValueError("part 0")
        time.sleep(0.1)
        at_work.remove(part)

    with pytest.raises(ValueError, match="part 0"):
        list(side_by_side(work, range(8)))
    assert at_work == {0}


def test_who_stops_asking_ends_the_work(threads):
    begun = []
    results = side_by_side(lambda part: begun.append(part) or time.sleep(0.02), range(50))
    next(results)
    results.close()
    count = len(begun)
    assert count < 50
    time.sleep(0.1)
    assert len(begun) == count


def test_progress_and_previews_of_tasks_come_on_the_callers_thread(threads):
    callers, fractions, previews = set(), [], []

    def on_progress(fraction: float) -> None:
        callers.add(threading.get_ident())
        fractions.append(fraction)

    def on_preview(frame: int, picture: object) -> None:
        callers.add(threading.get_ident())
        previews.append(frame)

    def task(monitor: Monitor) -> str:
        assert monitor.on_preview is not None
        for step in range(3):
            monitor(step / 3)
            monitor.on_preview(step, None)
            time.sleep(0.15)
        monitor(1)
        return "done"

    assert searched_together([task, task], Monitor(on_progress, lambda: False, on_preview)) == ["done", "done"]
    assert callers == {threading.get_ident()}
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert sorted(previews) == [0, 0, 1, 1, 2, 2]


def test_cancelling_ends_all_tasks(threads):
    begin, ended = time.monotonic(), []

    def task(monitor: Monitor) -> None:
        try:
            while True:
                monitor(0)
                time.sleep(0.01)
        finally:
            ended.append(True)

    with pytest.raises(Cancelled):
        searched_together([task, task], Monitor(lambda fraction: None, lambda: time.monotonic() > begin + 0.3))
    assert len(ended) == min(threads, 2)


def test_the_error_of_one_task_ends_the_others(threads):
    def wrong(monitor: Monitor) -> None:
        raise ValueError("wrong")

    def long(monitor: Monitor) -> None:
        while True:
            monitor(0)
            time.sleep(0.01)

    with pytest.raises(ValueError, match="wrong"):
        searched_together([wrong, long], quiet())
