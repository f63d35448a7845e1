"""The same bytes from any thread and process, and compilation where nothing can be cached."""

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor

import numba
import pytest
import torch
from numba.core.caching import CacheImpl

from gvf_core.bench.rasterizer import surface_splats
from gvf_core.gaussians import Splats
from gvf_core.numba_compile import kernel
from gvf_core.rendering import orbit_camera, rasterize


def picture_and_gradients(seed: int = 0) -> bytes:
    leaves = Splats(*(field.requires_grad_() for field in surface_splats(5000, seed)))
    rendering = rasterize(leaves, orbit_camera(20, 10, size=96), backend="numba")
    gradients = torch.autograd.grad(rendering.color.square().sum() + rendering.alpha.sum(), leaves)
    return b"".join(value.detach().contiguous().numpy().tobytes() for value in (*rendering, *gradients))


def test_the_same_scene_gives_the_same_bytes():
    assert picture_and_gradients() == picture_and_gradients()


def test_the_number_of_threads_does_not_change_the_bytes(monkeypatch):
    results = set()
    for threads in (1, 2, 3):
        monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)
        results.add(picture_and_gradients())
    assert len(results) == 1


def test_threads_that_render_at_the_same_time_do_not_disturb_each_other():
    expected = [picture_and_gradients(seed) for seed in (0, 1)]
    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(picture_and_gradients, [0, 1] * 4))
    assert results == expected * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="This system does not fork.")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_can_render_after_its_parent_did():
    expected = picture_and_gradients()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_render_in_fork, args=(sender,))
    child.start()
    try:
        assert receiver.poll(60), "the forked process hangs"
        assert receiver.recv_bytes() == expected
    finally:
        child.kill()
        child.join()


def _render_in_fork(sender) -> None:
    # torch's own thread pool does not survive a fork; one thread does not need it.
    torch.set_num_threads(1)
    sender.send_bytes(picture_and_gradients())


def test_a_spawned_process_gives_the_same_bytes():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(picture_and_gradients).get(120) == picture_and_gradients()


def test_kernels_compile_where_no_folder_can_hold_their_cache(monkeypatch, caplog):
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])

    def twice(value):
        return 2 * value

    assert kernel(twice)(21) == 42
    assert "NUMBA_CACHE_DIR" in caplog.text
