"""Ag3+ and Ag3-: the same 80 triangles in two charge states, which no function of positions alone can tell apart.

After the set of T. W. Ko, J. A. Finkler, S. Goedecker, J. Behler, Nat. Commun. 12, 398 (2021); geometries and energies are new:
bonds of 2.7 angstrom with a standard deviation of 0.08, angles even between 50 and 180 degrees. Fermi occupations of 4 mHa.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms

from cgdft.validation.campaigns.point import Point

GEOMETRIES = 80


def triangles() -> list[Atoms]:
    """Two bonds and the angle between them, at random."""
    rng = np.random.default_rng(2021)
    found = []
    for _ in range(GEOMETRIES):
        one, two = rng.normal(2.7, 0.08, 2)
        angle = np.deg2rad(rng.uniform(50.0, 180.0))
        found.append(Atoms("Ag3", [[0, 0, 0], [one, 0, 0], [two * np.cos(angle), two * np.sin(angle), 0]]))
    return found


suite = [
    Point(atoms, charge, 0, None, "pbe/def2-svp", f"Ag3{sign} {k}", polarizability=False, smearing=0.004)
    for k, atoms in enumerate(triangles())
    for sign, charge in (("+", 1), ("-", -1))
]
