"""Na9Cl8+ and Na8Cl8+: one sodium less at one end changes the charges at the other.

After the set of T. W. Ko, J. A. Finkler, S. Goedecker, J. Behler, Nat. Commun. 12, 398 (2021); geometries and energies are new:
blocks of 2 x 2 x 4 ions, 2.75 angstrom apart, with and without a sodium at one end, in thermal disorder. Fermi occupations of
4 mHa.
"""

from __future__ import annotations

from ase import Atoms

from cgdft.validation.campaigns.drawn import drawn
from cgdft.validation.campaigns.point import Point
from cgdft.validation.campaigns.thermal import thermal

SPACING = 2.75  # angstrom
EACH = 40


def block(more: int) -> Atoms:
    """2 x 2 x 4 ions, and one more sodium or none."""
    sites = [(i, j, k) for k in range(4) for j in range(2) for i in range(2)]
    ions = ["Cl" if (i + j + k) % 2 else "Na" for i, j, k in sites]
    chlorine = next(site for site, ion in zip(sites, ions, strict=True) if site[2] == 3 and ion == "Cl")
    extra = [(chlorine[0], chlorine[1], 4)] * more
    return Atoms(ions + ["Na"] * more, [[SPACING * x for x in site] for site in sites + extra])


suite = drawn(
    __file__,
    [
        Point(atoms, 1, 1 - more, None, "pbe/def2-svp", f"Na{8 + more}Cl8+ {k}", polarizability=False, smearing=0.004)
        for k, pair in enumerate(zip(thermal(block(1), 0.12, EACH, 91), thermal(block(0), 0.12, EACH, 81), strict=True))
        for more, atoms in zip((1, 0), pair, strict=True)
    ],
)
