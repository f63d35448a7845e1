"""Memory that ran out is told from other faults, whoever says it."""

import errno

import av
import cv2
import numpy as np
import pytest
import torch

from gvf_core.errors import VideoError
from server.memory import memory_ran_out


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        av.error.FFmpegError(errno.ENOMEM, "Cannot allocate memory"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1152921504606846976 bytes."),
        caused(VideoError("It is not readable.", "Convert it."), av.error.FFmpegError(errno.ENOMEM, "Cannot allocate")),
    ],
    ids=["python", "ffmpeg", "system", "torch on Windows", "cause"],
)
def test_it_is_told(error):
    assert memory_ran_out(error)


def test_torch_says_it_in_words():
    with pytest.raises(RuntimeError) as told:
        torch.empty(2**60, dtype=torch.uint8)
    assert memory_ran_out(told.value)


def test_opencv_says_it_by_a_number():
    with pytest.raises(cv2.error) as told:
        cv2.copyMakeBorder(np.zeros((2**15, 2**15), np.uint8)[:1, :1], 0, 2**31 - 3, 0, 2**31 - 3, cv2.BORDER_CONSTANT)
    assert memory_ran_out(told.value)


@pytest.mark.parametrize(
    "error",
    [
        VideoError("It is not readable.", "Convert it."),
        caused(VideoError("It is not readable.", "Convert it."), av.error.InvalidDataError(1, "Invalid data")),
        RuntimeError("shapes do not fit"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
    ids=["plain", "broken", "other", "disk"],
)
def test_other_faults_are_not(error):
    assert not memory_ran_out(error)
