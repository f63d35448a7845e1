"""Which object comes when, and which random numbers its choices take: functions of a number, so nothing is stored."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch

_Example = TypeVar("_Example", covariant=True)
Item = TypeVar("Item")


class Examples(Protocol[_Example]):
    """Objects to learn from."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def example(self, index: int, seed: int) -> _Example:
        """One object with the choices of a seed; a pure function, called from any thread."""
        ...


class Draws(Generic[Item]):
    """An endless sequence of examples: every object once, in random order, then again in another order.

    Args:
        examples: Where they come from.
        seed: Of order and choices.
    """

    def __init__(self, examples: Examples[Item], seed: int) -> None:
        self._examples, self._seed = examples, seed

    def __getitem__(self, number: int) -> Item:
        """The example of this number, counted from 0; the same whoever asks, in whatever order."""
        epoch, place = divmod(number, len(self._examples))
        index = int(_order(len(self._examples), self._seed, epoch)[place])
        return self._examples.example(index, seed_of(self._seed, number))

    def ahead(self, numbers: Iterable[int], workers: int) -> Generator[Item, None, None]:
        """The examples of many numbers, prepared by threads before they are asked for."""
        if not workers:
            yield from (self[number] for number in numbers)
            return
        with ThreadPoolExecutor(workers) as threads:
            waiting: deque[Future[Item]] = deque()
            try:
                for number in numbers:
                    waiting.append(threads.submit(self.__getitem__, number))
                    if len(waiting) > 2 * workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


def seed_of(*numbers: int) -> int:
    """One seed from several numbers, such that neighbouring ones have nothing in common."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


def generator_of(seed: int) -> torch.Generator:
    """Random numbers on the CPU, so that they are the same on every device."""
    return torch.Generator().manual_seed(seed)


@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng(np.random.SeedSequence((seed, epoch))).permutation(count)
