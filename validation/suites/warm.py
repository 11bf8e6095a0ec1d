"""Small molecules of H, C, N, O, F, Na, Si and Cl in thermal disorder, and some of their ions: for pretrained models.

Geometries of the G2 set (relaxed with MP2), as in ASE, and nine around each. Free atoms are in the suite `radicals`.
"""

from __future__ import annotations

from ase import Atoms
from ase.build import molecule

from cgdft.validation.campaigns.drawn import drawn
from cgdft.validation.campaigns.point import Point
from cgdft.validation.campaigns.thermal import thermal

NEUTRAL = (
    *("H2", "N2", "CO", "F2", "Cl2", "HF", "HCl", "ClF", "NaCl", "Na2", "SiO", "CO2", "HCN", "NCCN", "HOCl", "H2O2", "N2O"),
    *("H2O", "NH3", "CH4", "SiH4", "C2H2", "C2H4", "C2H6", "Si2H6", "H2CO", "CH3OH", "N2H4", "CH3Cl", "H3CNH2", "HCOOH"),
    *("CF4", "NF3", "SiF4", "SiCl4", "COF2", "H2CF2", "H2CCl2", "CH3SiH3", "CH3CN", "CH3CHO", "H2CCO", "CH3CH2OH", "CH3OCH3"),
    *("H2CCHF", "H2CCHCl", "C3H4_D2d", "C3H6_Cs", "CH3COOH", "CH3NO2", "C4H4O", "C6H6", "C5H5N"),
)
#: Closed shells beside neutral ones.
IONS = {"CN": -1, "OH": -1, "NO2": -1, "HCO": 1, "CH3": 1, "SiH3": -1, "NH2": -1, "NO": 1, "ClO": -1, "CCH": -1, "CH3O": -1}
EACH = 9
#: Most electrons of molecules whose polarizability is computed; Na2 has 230 bohr^3, out of all proportion to the others.
ELECTRONS, SOFT = 26, "Na2"


def called(name: str, charge: int) -> str:
    """The formula with the sign of the charge."""
    return name + ("+" if charge > 0 else "-" if charge else "")


def around(name: str, seed: int, each: int = EACH) -> list[Atoms]:
    """The molecule itself, then others."""
    atoms = molecule(name)
    atoms.set_initial_magnetic_moments(None)
    return [atoms, *thermal(atoms, 0.08, each, seed)]


suite = drawn(
    __file__,
    [
        Point(
            atoms,
            charge,
            0,
            None,
            "pbe/def2-svpd",
            f"{called(name, charge)} {k}",
            polarizability=name != SOFT and atoms.numbers.sum() - charge <= ELECTRONS,
        )
        for seed, (name, charge) in enumerate([*((name, 0) for name in NEUTRAL), *IONS.items()])
        for k, atoms in enumerate(around(name, seed))
    ],
)
