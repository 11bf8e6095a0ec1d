"""Which frames make which batch: a function of seed and epoch, cut by number of frames and atoms, shared out over ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler


class Epochs(Sampler[list[int]]):
    """Batches of places of one epoch, of one rank; `set_epoch` chooses the epoch and, to go on within it, the first batch.

    All ranks have equally many batches, disjoint and together complete: where numbers do not divide, the largest batches
    are halved; where there are too few frames for that, small ones are put together, beyond both limits.

    Args:
        sizes: atoms of each frame, (n,).
        batch_size: frames of a batch at most.
        atoms: of a batch at most; default no limit.
        shuffle: a new permutation for each epoch; else always in order.
        seed: of the permutations.
        rank, world_size: this process among how many.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(
        self,
        sizes: NDArray[np.int64],
        batch_size: int,
        *,
        atoms: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size}")
        if not 0 <= rank < world_size:
            raise ValueError(f"`rank` must be from 0 to {world_size - 1}, got {rank}")
        if not world_size <= len(sizes):
            raise ValueError(
                f"`world_size` must not exceed the number of frames, {len(sizes)}, got {world_size}; use fewer ranks"
            )
        if atoms is not None and atoms < sizes.max():
            raise ValueError(f"`atoms` must be at least {sizes.max()}, as the largest frame has, got {atoms}")
        self.sizes, self.batch_size, self.atoms = sizes, batch_size, atoms
        self.shuffle, self.seed, self.rank, self.world_size = shuffle, seed, rank, world_size
        self.epoch, self.start = 0, 0
        self._made: tuple[int, list[list[int]]] | None = None

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch, and the batch of this rank to begin with."""
        self.epoch, self.start = epoch, start

    def batches(self) -> list[list[int]]:
        """All batches of this rank in this epoch, from its first one."""
        key = self.epoch if self.shuffle else 0
        if self._made is None or self._made[0] != key:
            self._made = key, _even(self._cut(self.order()), self.world_size)[self.rank :: self.world_size]
        return self._made[1]

    def order(self) -> list[int]:
        """The permutation of this epoch."""
        places = np.arange(len(self.sizes))
        return list((np.random.default_rng([self.seed, self.epoch]).permutation(places) if self.shuffle else places).tolist())

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches()[self.start :])

    def __len__(self) -> int:
        return len(self.batches()) - self.start

    def _cut(self, order: Sequence[int]) -> list[list[int]]:
        made: list[list[int]] = []
        count = 0
        for k in order:
            size = int(self.sizes[k])
            if not made or len(made[-1]) == self.batch_size or (self.atoms is not None and count + size > self.atoms):
                made.append([])
                count = 0
            made[-1].append(k)
            count += size
        return made


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
