"""Where unpaired electrons sit: radicals and triplets of ground states, and closed shells with two electrons turned.

Geometries of the G2 set (relaxed with MP2), as in ASE; vertical triplets at those of the singlets.
"""

from __future__ import annotations

from ase.build import molecule

from cgdft.validation.campaigns.point import Point
from cgdft.validation.definitions import Hirshfeld

DOUBLETS = ("CH3", "NH2", "OH", "NO", "CN", "HCO", "CH3O", "C2H3", "C2H5", "CCH", "NO2", "ClO", "CH")
ATOMS = {"H": 1, "Li": 1, "Na": 1, "F": 1, "Cl": 1, "N": 3, "C": 2, "O": 2}
TRIPLETS = ("O2", "NH", "CH2_s3B1d")
TURNED = ("H2O", "NH3", "CH4", "C2H4", "H2CO", "N2", "CO", "HF", "LiH", "HCl", "LiF", "NaCl")

SPINS = {
    **dict.fromkeys(DOUBLETS, 1),
    **ATOMS,
    **dict.fromkeys(TRIPLETS, 2),
}


def point(name: str, spin: int, label: str = "") -> Point:
    """One of them, without response: only energies, forces and moments are compared."""
    atoms = molecule(name)
    atoms.set_initial_magnetic_moments(None)
    return Point(atoms, 0, spin, None, "pbe/def2-svp", label or name, (Hirshfeld(),), False)


suite = [point(name, spin) for name, spin in SPINS.items()]
suite += [point(name, 0) for name in TURNED]
suite += [point(name, 2, f"{name} triplet") for name in TURNED]
