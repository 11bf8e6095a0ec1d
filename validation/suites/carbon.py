"""C10H2 and C10H3+: a proton at one end of a conjugated chain is felt at the other.

After the set of T. W. Ko, J. A. Finkler, S. Goedecker, J. Behler, Nat. Commun. 12, 398 (2021); geometries and energies are new:
chains relaxed with PBE/def2-SVP to 0.05 eV/angstrom (the first of each), and in thermal disorder.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms

from cgdft.validation.campaigns.drawn import drawn
from cgdft.validation.campaigns.point import Point
from cgdft.validation.campaigns.thermal import thermal

NEUTRAL = (1.2360, 1.3533, 1.2510, 1.3404, 1.2545, 1.3404, 1.2510, 1.3533, 1.2360)  # angstrom, relaxed here
PROTONATED = (1.3151, 1.2989, 1.2804, 1.3084, 1.2710, 1.3190, 1.2601, 1.3393, 1.2392)  # angstrom, relaxed here
EACH = 45


def chain(bonds: tuple[float, ...], last: float, first: list[list[float]]) -> Atoms:
    """Carbons along z, one hydrogen at the far end, `first` at the near one."""
    z = np.concatenate([[0.0], np.cumsum(bonds)])
    hydrogens = [[0.0, 0.0, z[-1] + last], *first]
    return Atoms(f"C{len(z)}H{len(hydrogens)}", [*([0.0, 0.0, one] for one in z), *hydrogens])


C10H2 = chain(NEUTRAL, 1.0814, [[0.0, 0.0, -1.0814]])
C10H3 = chain(PROTONATED, 1.0862, [[0.948, 0.0, -0.5715], [-0.948, 0.0, -0.5715]])


def around(atoms: Atoms, seed: int) -> list[Atoms]:
    """The chain itself, then others."""
    return [atoms, *thermal(atoms, 0.06, EACH - 1, seed)]


suite = drawn(
    __file__,
    [
        Point(atoms, charge, 0, None, "pbe/def2-svp", f"{name} {k}", polarizability=False)
        for k, pair in enumerate(zip(around(C10H2, 102), around(C10H3, 103), strict=True))
        for name, charge, atoms in zip(("C10H2", "C10H3+"), (0, 1), pair, strict=True)
    ],
)
