"""Structures around a given one, as neighbours held together by springs would have them in a warm bath."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from scipy.spatial.distance import cdist

#: Atoms closer than this many times the sum of their covalent radii are bonded.
BOND = 1.3


def thermal(atoms: Atoms, amplitude: float, n: int, seed: int) -> list[Atoms]:
    """n structures with displacements u of probability exp(-sum_bonds |u_i - u_j|^2 / 2 a^2), bonds by covalent radii.

    Collective motions are wider than bonds are long, as in molecules; the whole neither moves nor turns on average.

    Args:
        atoms: in the middle of it all.
        amplitude: a, angstrom: of a dimer, the standard deviation of each component of u_1 - u_2.
        n: so many.
        seed: of the random numbers; the same one gives the same structures.

    Source: T. Haliloglu, I. Bahar, B. Erman, Phys. Rev. Lett. 79, 3090 (1997), the Gaussian network.
    """
    radii = BOND * covalent_radii[atoms.numbers]
    bonds = (cdist(atoms.positions, atoms.positions) < radii[:, None] + radii).astype(float)
    np.fill_diagonal(bonds, 0.0)
    values, vectors = np.linalg.eigh(np.diag(bonds.sum(0)) - bonds)
    if values[1] < 1e-9:
        raise ValueError(f"`atoms` must be one molecule, joined by bonds, got {atoms.symbols} in parts")
    root = (vectors[:, 1:] / np.sqrt(values[1:])) @ vectors[:, 1:].T  # the symmetric one: the same for all eigenvectors
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        moved = atoms.copy()
        moved.positions += amplitude * root @ rng.standard_normal((len(atoms), 3))
        found.append(moved)
    return found
