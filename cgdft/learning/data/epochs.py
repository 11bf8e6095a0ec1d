"""Which frames make which batch: a function of seed and epoch, shared out over ranks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class Epochs(Sampler[list[int]]):
    """Batches of places of one epoch, of one rank; `set_epoch` chooses the epoch.

    All ranks have equally many batches, disjoint and together complete: where numbers do not divide, the largest batches
    are halved; where there are too few frames for that, small ones are put together, beyond the limit.

    Args:
        n: number of frames.
        batch_size: frames of a batch at most.
        shuffle: a new permutation for each epoch; else always in order.
        seed: of the permutations.
        rank, world_size: this process among how many.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size}")
        if not 0 <= rank < world_size:
            raise ValueError(f"`rank` must be from 0 to {world_size - 1}, got {rank}")
        if not world_size <= n:
            raise ValueError(f"`world_size` must not exceed the number of frames, {n}, got {world_size}; use fewer ranks")
        self.n, self.batch_size = n, batch_size
        self.shuffle, self.seed, self.rank, self.world_size = shuffle, seed, rank, world_size
        self.epoch = 0
        self._made: tuple[int, list[list[int]]] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch."""
        self.epoch = epoch

    def batches(self) -> list[list[int]]:
        """All batches of this rank in this epoch."""
        key = self.epoch if self.shuffle else 0
        if self._made is None or self._made[0] != key:
            order = self.order()
            cut = [order[k : k + self.batch_size] for k in range(0, self.n, self.batch_size)]
            self._made = key, _even(cut, self.world_size)[self.rank :: self.world_size]
        return self._made[1]

    def order(self) -> list[int]:
        """The permutation of this epoch."""
        places = np.arange(self.n)
        return list((np.random.default_rng([self.seed, self.epoch]).permutation(places) if self.shuffle else places).tolist())

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches())

    def __len__(self) -> int:
        return len(self.batches())


def _even(batches: list[list[int]], world_size: int) -> list[list[int]]:
    """As many batches for all ranks."""
    more = -(-len(batches) // world_size) * world_size
    if more <= sum(map(len, batches)):
        while len(batches) < more:
            k = max(range(len(batches)), key=lambda k: (len(batches[k]), k))
            half = (len(batches[k]) + 1) // 2
            batches[k : k + 1] = [batches[k][:half], batches[k][half:]]
    while len(batches) % world_size:
        one, two = sorted(range(len(batches)), key=lambda k: (len(batches[k]), -k))[:2]
        batches[min(one, two)] += batches.pop(max(one, two))
    return batches
