"""Small molecules of the suite `warm` made smaller as a whole, and some of their ions: for pretrained models.

What networks have not seen they do not keep apart: every distance is 0.86 to 0.98 of that of the relaxed molecule, atoms in
some thermal disorder around it.
"""

import numpy as np
from ase.build import molecule

from cgdft.validation.drawn import drawn
from cgdft.validation.point import Point
from cgdft.validation.suites.warm import IONS, NEUTRAL
from cgdft.validation.thermal import thermal

EACH, AMPLITUDE = 2, 0.04
FACTORS = (0.86, 0.98)
#: Molecules of no more electrons.
ELECTRONS = 34


def points() -> list[Point]:
    """So many of each molecule."""
    rng, found = np.random.default_rng(5), []
    for seed, (name, charge) in enumerate([*((name, 0) for name in NEUTRAL), *IONS.items()]):
        relaxed = molecule(name)
        relaxed.set_initial_magnetic_moments(None)
        if relaxed.numbers.sum() - charge > ELECTRONS:
            continue
        for k, atoms in enumerate(thermal(relaxed, AMPLITUDE, EACH, 1000 + seed)):
            factor = rng.uniform(*FACTORS)
            atoms.positions *= factor
            sign = "+" if charge > 0 else "-" if charge else ""
            found.append(Point(atoms, charge, 0, None, "pbe/def2-svp", f"{name}{sign} at {factor:.2f}, {k}"))
    return found


suite = drawn(__file__, points())
