"""Structures around a given one, as neighbours held together by springs would have them in a warm bath."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from scipy.spatial.distance import cdist


def thermal(atoms: Atoms, reach: float, amplitude: float, n: int, seed: int) -> list[Atoms]:
    """n structures with displacements u of probability exp(-sum_pairs |u_i - u_j|^2 / 2 a^2), pairs those closer than `reach`.

    Collective motions are wider than bonds are long, as in molecules; the whole neither moves nor turns on average.

    Args:
        atoms: in the middle of it all.
        reach: of a spring, angstrom.
        amplitude: a, angstrom: of a dimer, the standard deviation of each component of u_1 - u_2.
        n: so many.
        seed: of the random numbers; the same one gives the same structures.

    Source: T. Haliloglu, I. Bahar, B. Erman, Phys. Rev. Lett. 79, 3090 (1997), the Gaussian network.
    """
    bonds = (cdist(atoms.positions, atoms.positions) < reach).astype(float)
    np.fill_diagonal(bonds, 0.0)
    values, vectors = np.linalg.eigh(np.diag(bonds.sum(0)) - bonds)
    if values[1] < 1e-9:
        raise ValueError(f"`reach` must join all atoms by springs, got {reach} angstrom for {atoms.symbols}")
    root = vectors[:, 1:] / np.sqrt(values[1:])
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        moved = atoms.copy()
        moved.positions += amplitude * root @ rng.standard_normal((len(atoms) - 1, 3))
        found.append(moved)
    return found
