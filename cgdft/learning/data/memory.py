"""Frames that stay in memory once they are read, as many as there is room for."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from cgdft.learning.data.frames import Frame

#: For the frames of a set, bytes.
ROOM = 2**28
#: What a tensor takes beside its numbers, bytes.
TENSOR = 500


class Memory:
    """What was read, until the room is filled; what comes later is read anew each time.

    Frames are gone through in another order each epoch, so that whichever are kept are as good as any. Nothing is sent to other
    processes.
    """

    def __init__(self, room: int = ROOM) -> None:
        self.room = room
        self._frames: dict[Hashable, Frame] = {}

    def get(self, which: Hashable, read: Callable[[], Frame]) -> Frame:
        """The frame that is kept, or else `read()`."""
        if which in self._frames:
            return self._frames[which]
        frame = read()
        size = _size(frame)
        if size <= self.room:
            self.room -= size
            self._frames[which] = frame
        return frame

    def __reduce__(self) -> tuple[type[Memory], tuple[int]]:
        return Memory, (self.room + sum(map(_size, self._frames.values())),)


def _size(frame: Frame) -> int:
    tensors = [*vars(frame.structure).values(), *frame.labels.values()]
    return sum(one.nbytes + TENSOR for one in tensors if hasattr(one, "nbytes"))
