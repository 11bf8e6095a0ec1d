"""The same structure twice: found by one number of each frame, then by reading the few frames that agree in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from cgdft.learning.data.frames import Frame

#: Positions that are less apart (bohr) are the same, as those rounded to five decimals of angstrom are.
SAME = 2e-5
#: Frames that follow in the order of their marks and are compared, at most.
MOST = 10
#: A direction along no symmetry of any structure, of length one.
DIRECTION = np.array([0.5773, 0.3331, 0.7454])


class Mark(NamedTuple):
    """What duplicates share.

    Attributes:
        state: composition, charge, spin and periodic axes.
        value: a sum over the atoms, independent of their order.
        within: how far it may be off where positions are the same.
    """

    state: Hashable
    value: float
    within: float


def mark(frame: Frame) -> Mark:
    """sum_i sqrt(Z_i) R_i . d of a frame, with its state."""
    s = frame.structure
    numbers = s.numbers.numpy()
    state = (float(s.charge[0]), float(s.spin[0]), *s.pbc[0].tolist())
    weights = np.sqrt(numbers)
    value = float(weights @ s.positions.detach().numpy() @ DIRECTION)
    within = min(2 * float(weights.sum()), 6 * float(np.linalg.norm(weights)))  # roundings of many atoms cancel
    return Mark((*np.sort(numbers).tolist(), *state), value, SAME * within)


def same(one: Frame, other: Frame) -> bool:
    """Whether the atoms are at the same places, whatever their order; turned or shifted ones are not."""
    a, b = one.structure, other.structure
    if len(a.numbers) != len(b.numbers) or float((a.cell - b.cell).abs().max()) > SAME:
        return False
    distance, k = cKDTree(b.positions.numpy()).query(a.positions.numpy())
    return bool((distance < SAME).all() and (a.numbers.numpy() == b.numbers.numpy()[k]).all())


def candidates(marks: Sequence[Mark]) -> Iterator[tuple[int, int]]:
    """Pairs of places, the first one before the second one, whose marks agree."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for k, one in enumerate(marks):
        groups[one.state].append(k)
    for members in groups.values():
        members.sort(key=lambda k: marks[k].value)
        for place, a in enumerate(members):
            for b in members[place + 1 : place + 1 + MOST]:
                if marks[b].value - marks[a].value > marks[a].within:
                    break
                yield min(a, b), max(a, b)
