"""Batches with their neighbour lists, made in other processes and sent over in one piece."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from cgdft.learning.data.epochs import Epochs
from cgdft.learning.data.frames import Batch, Frame

if TYPE_CHECKING:
    from cgdft.learning.data.sets import FrameSet


def loader(
    frames: FrameSet,
    batch_size: int,
    cutoffs: Sequence[float] = (),
    *,
    workers: int = 0,
    shuffle: bool = True,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader[Batch]:
    """Batches of one epoch of one rank; `loader.batch_sampler`, an `Epochs`, chooses which epoch.

    Args:
        frames: what is trained on.
        batch_size: frames of a batch at most.
        cutoffs: of the neighbour lists that batches come with, bohr.
        workers: processes that read frames and make batches; 0: this one. Batches are the same.
        shuffle, seed: a permutation for each seed and epoch; else in order.
        rank, world_size: this process among how many that train together.

    Raises:
        ValueError: a number out of range.
    """
    if workers < 0:
        raise ValueError(f"`workers` must be at least 0, got {workers}")
    epochs = Epochs(len(frames), batch_size, shuffle=shuffle, seed=seed, rank=rank, world_size=world_size)
    return DataLoader(
        frames,  # type: ignore[arg-type]  # what comes out is what `collate_fn` makes, not a frame
        batch_sampler=epochs,
        num_workers=workers,
        collate_fn=partial(_collate, tuple(cutoffs)),
        persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(seed),  # else each epoch would draw from the global one
    )


def _collate(cutoffs: tuple[float, ...], frames: Sequence[Frame]) -> Batch | _Packed:
    batch = Batch.of(frames, cutoffs)
    return batch if get_worker_info() is None else _Packed(batch)


@dataclass(frozen=True)
class _Packed:
    """A batch that is unpickled as itself, its tensors in one string of bytes: torch would send each by a file of its own."""

    batch: Batch

    def __reduce__(self) -> tuple[Any, ...]:
        buffer = io.BytesIO()
        _Pickler(buffer, protocol=5).dump(self.batch)
        return pickle.loads, (buffer.getvalue(),)


class _Pickler(pickle.Pickler):
    def reducer_override(self, one: Any) -> Any:
        return (torch.from_numpy, (one.numpy(),)) if type(one) is Tensor else NotImplemented
