"""The same structure twice: found by one number of each frame, then by reading the few frames that agree in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from scipy.spatial import cKDTree

from cgdft.learning.data.frames import Frame

#: Positions that differ by less (bohr) are the same.
SAME = 1e-6
#: A direction along no symmetry of any structure.
DIRECTION = np.array([0.5773, 0.3331, 0.7454])


def mark(frame: Frame) -> tuple[Hashable, float]:
    """What duplicates share: composition, charge, spin and periodic axes; and a number, independent of the order of atoms."""
    s = frame.structure
    numbers = s.numbers.numpy()
    state = (float(s.charge[0]), float(s.spin[0]), *s.pbc[0].tolist())
    return (*np.sort(numbers).tolist(), *state), float(np.sqrt(numbers) @ s.positions.detach().numpy() @ DIRECTION)


def same(one: Frame, other: Frame) -> bool:
    """Whether the atoms are at the same places, whatever their order; turned or shifted ones are not."""
    a, b = one.structure, other.structure
    if len(a.numbers) != len(b.numbers) or float((a.cell - b.cell).abs().max()) > SAME:
        return False
    distance, k = cKDTree(b.positions.numpy()).query(a.positions.numpy())
    return bool((distance < SAME * 3**0.5).all() and (a.numbers.numpy() == b.numbers.numpy()[k]).all())


def candidates(marks: Sequence[tuple[Hashable, float]]) -> Iterator[tuple[int, int]]:
    """Pairs of places, the first one before the second one, whose marks agree."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for k, (state, _) in enumerate(marks):
        groups[state].append(k)
    for members in groups.values():
        members.sort(key=lambda k: marks[k][1])
        for a, b in pairwise(members):
            if marks[b][1] - marks[a][1] < 1e-3:  # several thousand atoms, each off by `SAME`
                yield min(a, b), max(a, b)
