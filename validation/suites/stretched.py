"""Small molecules of the suite `warm` with one bond longer: for pretrained models, lest their bonds break too easily.

A bond that is in no ring is 1.12 to 1.5 times as long as in the relaxed molecule, all in some thermal disorder. Shells are
closed, which of the weakest bonds is not the lowest state any more.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.data import covalent_radii
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from cgdft.validation.campaigns.drawn import drawn
from cgdft.validation.campaigns.point import Point
from cgdft.validation.campaigns.thermal import BOND, thermal
from cgdft.validation.suites.warm import IONS, NEUTRAL, called

EACH, AMPLITUDE, FACTORS = 2, 0.04, (1.12, 1.5)
#: Molecules of no more electrons.
ELECTRONS = 26


def sides(atoms: Atoms) -> list[tuple[int, int, NDArray[np.bool_]]]:
    """Bonds that are in no ring: both atoms, and which atoms are on the side of the second."""
    radii = BOND * covalent_radii[atoms.numbers]
    bonded = np.triu(cdist(atoms.positions, atoms.positions) < radii[:, None] + radii, 1)
    found = []
    for a, b in np.argwhere(bonded):
        cut = bonded.copy()
        cut[a, b] = False
        parts, part = connected_components(cut, directed=False)
        if parts == 2:
            found.append((int(a), int(b), part == part[b]))
    return found


def points() -> list[Point]:
    """So many of each molecule, each along another bond if it has several."""
    rng, found = np.random.default_rng(17), []
    for k, (name, charge) in enumerate([*((name, 0) for name in NEUTRAL), *IONS.items()]):
        relaxed = molecule(name)
        relaxed.set_initial_magnetic_moments(None)
        bonds = sides(relaxed)
        if not bonds or relaxed.numbers.sum() - charge > ELECTRONS:
            continue
        chosen = rng.permutation(len(bonds))
        for n, atoms in enumerate(thermal(relaxed, AMPLITUDE, EACH, 3400 + k)):
            a, b, side = bonds[chosen[n % len(bonds)]]
            factor = rng.uniform(*FACTORS)
            atoms.positions[side] += (factor - 1) * (atoms.positions[b] - atoms.positions[a])
            label = f"{called(name, charge)}, {relaxed.symbols[a]}{a}-{relaxed.symbols[b]}{b} at {factor:.2f}, {n}"
            found.append(Point(atoms, charge, 0, None, "pbe/def2-svpd", label, polarizability=False))
    return found


suite = drawn(__file__, points())
