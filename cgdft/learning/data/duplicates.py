"""The same structure twice: found by one number of each frame, then by reading the few frames that agree in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import cKDTree

from cgdft.learning.data.frames import Frame
from cgdft.structure import Structure

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
        value: a sum over the atoms, independent of their order, and of where an open structure is and how it is turned.
        within: how far it may be off where positions are the same.
    """

    state: Hashable
    value: float
    within: float


def mark(frame: Frame) -> Mark:
    """sum_i w_i R_i . d of a frame, with its state; of an open one sum_i w_i |R_i - c|^2, c their centre; w_i = sqrt(Z_i)."""
    s = frame.structure
    numbers, positions = s.numbers.numpy(), s.positions.detach().numpy()
    state = (float(s.charge[0]), float(s.spin[0]), *s.pbc[0].tolist())
    weights = np.sqrt(numbers)
    if s.pbc.any():
        value, slopes = weights @ positions @ DIRECTION, weights
    else:
        away = np.linalg.norm(positions - weights @ positions / weights.sum(), axis=1)
        value, slopes = weights @ away**2, 2 * weights * away
    within = min(2 * float(slopes.sum()), 6 * float(np.linalg.norm(slopes)))  # roundings of many atoms cancel
    return Mark((*np.sort(numbers).tolist(), *state), float(value), SAME * (within + SAME))


def same(one: Frame, other: Frame) -> bool:
    """Whether the atoms are at the same places, whatever their order."""
    a, b = one.structure, other.structure
    if len(a.numbers) != len(b.numbers) or float((a.cell - b.cell).abs().max()) > SAME:
        return False
    distance, k = cKDTree(b.positions.numpy()).query(a.positions.numpy())
    return bool((distance < SAME).all() and (a.numbers.numpy() == b.numbers.numpy()[k]).all())


def turned(one: Frame, other: Frame) -> bool:
    """Whether a molecule is another one shifted, turned or mirrored, of which the energy is the same; atoms in one order."""
    a, b = one.structure, other.structure
    if a.pbc.any() or b.pbc.any() or a.n_atoms == 1 or not np.array_equal(a.numbers.numpy(), b.numbers.numpy()):
        return False
    here, there = _centred(a), _centred(b)
    turn, _ = orthogonal_procrustes(here, there)
    return bool((np.linalg.norm(here @ turn - there, axis=1) < 2 * SAME).all())  # both may be rounded


def _centred(structure: Structure) -> NDArray[np.float64]:
    positions = structure.positions.detach().numpy()
    return positions - positions.mean(0)


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
