"""Small molecules of the suite `warm` made smaller as a whole, and some of their ions: for pretrained models.

What networks have not seen they do not keep apart: every distance is 0.86 to 0.98 of that of the relaxed molecule, atoms in
some thermal disorder around it. Diatomic molecules with single bonds, which give way, are pressed further; the softest of one
element, in which networks would see holes, furthest.
"""

from __future__ import annotations

import numpy as np
from ase.build import molecule

from cgdft.validation.campaigns.drawn import drawn
from cgdft.validation.campaigns.point import Point
from cgdft.validation.campaigns.thermal import thermal
from cgdft.validation.suites.warm import IONS, NEUTRAL, called

EACH, AMPLITUDE = 2, 0.04
FACTORS = (0.86, 0.98)
FURTHEST = {"H2": (0.6, 0.5), "Na2": (0.6, 0.5)}
SOFT_BONDS, FURTHER = ("H2", "F2", "Cl2", "HF", "HCl", "ClF", "NaCl", "Na2", "SiO"), (0.78, 0.7)
#: Molecules of no more electrons.
ELECTRONS = 34


def pressed(factors: tuple[float, float], each: int, seed: int) -> list[Point]:
    """So many of each molecule, smaller by factors between these two."""
    rng, found = np.random.default_rng(seed), []
    for k, (name, charge) in enumerate([*((name, 0) for name in NEUTRAL), *IONS.items()]):
        relaxed = molecule(name)
        relaxed.set_initial_magnetic_moments(None)
        if relaxed.numbers.sum() - charge > ELECTRONS:
            continue
        for n, atoms in enumerate(thermal(relaxed, AMPLITUDE, each, 200 * seed + k)):
            factor = rng.uniform(*factors)
            atoms.positions *= factor
            label = f"{called(name, charge)} at {factor:.2f}, {n}"
            found.append(Point(atoms, charge, 0, None, "pbe/def2-svpd", label))
    return found


def soft_bonds() -> list[Point]:
    """Diatomic molecules of `SOFT_BONDS` further in."""
    found = []
    for name in SOFT_BONDS:
        for factor in (*FURTHER, *FURTHEST.get(name, ())):
            atoms = molecule(name)
            atoms.positions *= factor
            found.append(Point(atoms, 0, 0, None, "pbe/def2-svpd", f"{name} at {factor:.2f}"))
    return found


suite = drawn(__file__, [*pressed(FACTORS, EACH, 5), *soft_bonds()])
