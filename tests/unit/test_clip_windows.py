"""Windows and segments cover clips of any length."""

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from gvf_core.motion.clip_windows import clip_segments, clip_windows

sizes = st.tuples(st.integers(2, 300), st.integers(2, 40)).flatmap(
    lambda pair: st.tuples(st.just(pair[0]), st.just(pair[1]), st.integers(0, pair[1] - 2))
)


@given(sizes)
def test_the_windows_shares_of_every_frame_sum_to_one(size):
    count, length, overlap = size
    total = torch.zeros(count)
    for window in clip_windows(count, length, overlap):
        total.index_add_(0, window.frames, window.weights)
        assert (window.weights >= 0).all()
    torch.testing.assert_close(total, torch.ones(count))


@given(sizes)
def test_no_window_is_too_long_and_all_start_from_the_canonical_frame(size):
    count, length, overlap = size
    for window in clip_windows(count, length, overlap):
        assert len(window.frames) <= length
        assert window.frames[0] == 0
        assert len(window.frames.unique()) == len(window.frames)
        inner = window.frames[1:] if len(window.frames) > 1 else window.frames
        assert (inner.diff() == 1).all()


@given(sizes)
def test_neighbours_share_at_least_the_overlap(size):
    windows = clip_windows(*size)
    for before, after in pairwise(windows):
        shared = set(before.frames.tolist()) & set(after.frames.tolist()[1:])
        assert len(shared) >= size[2]


def test_a_clip_as_long_as_a_window_is_seen_as_it_is():
    (window,) = clip_windows(32, 32, 8)
    assert window.frames.tolist() == list(range(32))
    assert window.weights.tolist() == [1] * 32


def test_the_share_rises_linearly_where_windows_overlap():
    first, second = clip_windows(12, 9, 4)
    assert first.frames.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert second.frames.tolist() == [0, 4, 5, 6, 7, 8, 9, 10, 11]
    assert second.weights[0] == 0
    torch.testing.assert_close(second.weights[1:5], torch.tensor([0.2, 0.4, 0.6, 0.8]))


@given(st.integers(2, 300), st.integers(2, 40))
def test_segments_go_on_from_the_last_frame_before(count, length):
    segments = clip_segments(count, length)
    assert segments[0].start == 0 and segments[-1].stop == count
    assert all(len(segment) <= length for segment in segments)
    assert all(len(segment) >= 2 for segment in segments)
    for before, after in pairwise(segments):
        assert after.start == before.stop - 1
