"""Batches of prepared clips, read ahead by worker processes; which ones depends on the seed and the step alone."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64
from torch.utils.data import DataLoader, Dataset

from gvf_core.capture import View
from gvf_core.errors import FileFormatError, GvfError, SettingsError
from gvf_core.training.clip_record import ClipRecord, ViewRole, read_clip

PREFETCHED = 2
"""Batches that each worker has ready."""


@dataclass(frozen=True)
class SampleChoice:
    """How much of a clip is read and decoded for one step.

    Attributes:
        frames: Drawn from the clip, without repetition, in order; 0 for all.
        canonical: Views of frame 0, drawn; 0 for none.
        condition: Whether the driving view of each drawn frame is decoded.
        targets: Random views of each drawn frame, at most as many as there are.
    """

    frames: int = 4
    canonical: int = 4
    condition: bool = True
    targets: int = 1

    def __post_init__(self) -> None:
        for name in ("frames", "canonical", "targets"):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name} of a sample is {getattr(self, name)}.", "Choose 0 or more.")


@dataclass(frozen=True)
class ClipSample:
    """Some frames of a clip, decoded.

    Attributes:
        name: Of the clip.
        frame: Which frames were drawn.
        rest: Surface points in frame 0, unit frame of the clip (see `ClipRecord`).
        points: The same points in the drawn frames.
        vertices: Of frame 0.
        triangles: Vertex indices.
        canonical: Views of frame 0.
        condition: The driving view of each drawn frame; empty if not asked for.
        targets: Random views of each drawn frame.
    """

    name: str
    frame: Int32[np.ndarray, " frames"]
    rest: Float32[np.ndarray, "points 3"]
    points: Float32[np.ndarray, "frames points 3"]
    vertices: Float32[np.ndarray, "vertices 3"]
    triangles: Int32[np.ndarray, "triangles 3"]
    canonical: tuple[View, ...]
    condition: tuple[View, ...]
    targets: tuple[tuple[View, ...], ...]


class ClipLoader:
    """The clips of a folder in batches without end, every clip once before any is there twice.

    A training that resumes at step n with the seed it began with gets the batches that it would have got.
    """

    def __init__(
        self, folder: Path, batch: int, seed: int = 0, workers: int = 2, choice: SampleChoice | None = None
    ) -> None:
        """Find the clips.

        Args:
            folder: `train` or `test` of what `gvf train prepare` wrote.
            batch: Clips in a batch.
            seed: Of the order and of what is drawn from each clip.
            workers: Processes that read ahead; 0 reads in this one.
            choice: What a sample holds; None for the defaults.

        Raises:
            FileFormatError: There are none.
            SettingsError: A batch of none, or a negative number of workers.
        """
        if batch < 1 or workers < 0:
            raise SettingsError(f"The batch is {batch}, the workers are {workers}.", "Choose at least 1 and 0.")
        self.paths = tuple(sorted(folder.glob("*.safetensors")))
        if not self.paths:
            raise FileFormatError(f"There are no clips in {folder}.", "Prepare some: gvf train prepare")
        self.batch = batch
        self._workers = workers
        self._steps = _Steps(self.paths, batch, seed, choice or SampleChoice())

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.paths)

    def batches(self, start: int = 0) -> Iterator[list[ClipSample]]:
        """Batches from a step on, without end.

        Raises:
            FileFormatError: A clip is damaged.
        """
        loader = DataLoader(
            self._steps,
            sampler=itertools.count(start),  # type: ignore[arg-type]  # any iterable will do
            batch_size=None,
            num_workers=self._workers,
            collate_fn=_as_it_is,
            prefetch_factor=PREFETCHED if self._workers else None,
            # Its own, because by default the loader draws from the global one, on which trainings may depend.
            generator=torch.Generator(),
        )
        for found in loader:
            if isinstance(found, GvfError):
                raise found
            yield found


class _Steps(Dataset[list[ClipSample] | GvfError]):
    """The batch of each step; an error is returned, because raised in a worker it would lose its sentence."""

    def __init__(self, paths: tuple[Path, ...], batch: int, seed: int, choice: SampleChoice) -> None:
        self._paths, self._batch, self._seed, self._choice = paths, batch, seed, choice

    def __getitem__(self, step: int) -> list[ClipSample] | GvfError:
        try:
            return [self._sample(step * self._batch + place) for place in range(self._batch)]
        except GvfError as error:
            return error

    def _sample(self, place: int) -> ClipSample:
        """The sample at a place in the endless row of samples."""
        epoch, within = divmod(place, len(self._paths))
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._paths))
        record = read_clip(self._paths[order[within]])
        return sample_clip(record, self._choice, np.random.default_rng([self._seed, epoch, within]))


def sample_clip(record: ClipRecord, choice: SampleChoice, rng: np.random.Generator) -> ClipSample:
    """Draw frames and views of a clip, and decode them."""
    count = len(record.points)
    frames = _drawn(count, choice.frames or count, rng)
    canonical = record.views(ViewRole.CANONICAL)
    targets = [record.views(ViewRole.TARGET, int(frame)) for frame in frames]
    condition = [record.views(ViewRole.CONDITION, int(frame)) for frame in frames] if choice.condition else []
    return ClipSample(
        name=record.name,
        frame=frames.astype(np.int32),
        rest=record.points[0],
        points=record.points[frames],
        vertices=record.vertices,
        triangles=record.triangles,
        canonical=tuple(record.view(canonical[i]) for i in _drawn(len(canonical), choice.canonical, rng)),
        condition=tuple(record.view(views[0]) for views in condition if views),
        targets=tuple(
            tuple(record.view(views[i]) for i in _drawn(len(views), choice.targets, rng)) for views in targets
        ),
    )


def _drawn(count: int, wanted: int, rng: np.random.Generator) -> Int64[np.ndarray, " drawn"]:
    return np.sort(rng.permutation(count)[:wanted])


def _as_it_is(batch: list[ClipSample] | GvfError) -> list[ClipSample] | GvfError:
    return batch
