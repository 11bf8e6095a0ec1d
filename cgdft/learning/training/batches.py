"""Frames as a training takes them: a set that reads them when asked, or a list."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import cast

from torch.utils.data import DataLoader, Dataset

from cgdft.learning.data.frames import Batch, Frame
from cgdft.learning.data.labels import check_labels
from cgdft.learning.data.loader import loader
from cgdft.learning.data.sets import FrameSet, content
from cgdft.learning.training.distributed import World

#: What is trained on.
Frames = FrameSet | Sequence[Frame]


class Listed(Dataset[Frame]):
    """Frames in memory, with what a loader asks of a set."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = list(frames)
        for frame in self.frames:
            try:
                check_labels(frame.labels, frame.structure.n_atoms)
            except ValueError as error:
                raise ValueError(f"frame {frame.name}: {error}") from error

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, k: int) -> Frame:
        return self.frames[k]

    def name(self, k: int) -> str:
        """By which messages call frame k."""
        return self.frames[k].name

    def periodic(self) -> list[int]:
        """Places of the frames with a periodic axis."""
        return [k for k, frame in enumerate(self.frames) if frame.structure.pbc.any()]

    @cached_property
    def hash(self) -> str:
        """As that of `FrameSet`."""
        total = hashlib.sha256()
        for one in sorted(map(content, self.frames)):
            total.update(one)
        return total.hexdigest()


def as_set(frames: Frames, name: str) -> FrameSet | Listed:
    """Frames as a set.

    Raises:
        ValueError: none, or two of the same name.
        TypeError: something else than frames.
    """
    if not isinstance(frames, FrameSet | Sequence):
        raise TypeError(f"`{name}` must be a FrameSet or a list of Frame objects, got {type(frames).__name__}")
    found = frames if isinstance(frames, FrameSet) else Listed(frames)
    if not len(found):
        raise ValueError(f"`{name}` must hold at least one frame, got none")
    most, times = Counter(found.name(k) for k in range(len(found))).most_common(1)[0]
    if times > 1:
        raise ValueError(
            f"`{name}` must be frames with names of their own, got {times} called {most!r}; give each a "
            "`name` of its own in `info`, and no file twice"
        )
    return found


def batches(
    frames: FrameSet | Listed, size: int, cutoff: float, world: World, *, shuffle: bool, seed: int = 0, workers: int = 0
) -> DataLoader[Batch]:
    """This process's part of the batches of an epoch; `size` counts the frames of all processes together."""
    each = -(-size // world.size)
    return loader(
        cast(FrameSet, frames),
        each,
        [cutoff],
        workers=workers,
        shuffle=shuffle,
        seed=seed,
        rank=world.rank,
        world_size=world.size,
    )
