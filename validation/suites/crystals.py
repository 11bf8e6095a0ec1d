"""Periodic cells: rock salt, eight waters, alpha-quartz, and a water molecule on aluminium.

PBE with pseudopotentials at the Gamma point, 200 hartree. The results that come with the package lack the densities on the
mesh, which are megabytes; `cgdft reference crystals` makes them.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, molecule
from ase.spacegroup import crystal

from cgdft.validation.campaigns.point import Point


def sodium_chloride() -> Atoms:
    """Conventional cell of 8 atoms, a = 5.6402 angstrom (298 K).

    Source: CRC Handbook of Chemistry and Physics, "Crystal structures and lattice parameters"; R. W. G. Wyckoff, Crystal
    Structures 1 (1963): 5.64056 angstrom.
    """
    return bulk("NaCl", "rocksalt", a=5.6402, cubic=True)


def water_box() -> Atoms:
    """8 H2O in a cube of 6.2 angstrom (1.004 g/cm^3): on a 2 x 2 x 2 lattice, randomly turned; not equilibrated.

    Molecules of ase's G2 set (MP2/6-31G*: L. A. Curtiss, K. Raghavachari, P. C. Redfern, J. A. Pople, J. Chem. Phys. 106,
    1063 (1997)); the density is that of the liquid at ambient conditions.
    """
    rng = np.random.default_rng(0)
    box = Atoms(cell=[6.2] * 3, pbc=True)
    for corner in np.ndindex(2, 2, 2):
        one = molecule("H2O")
        one.translate(-one.get_center_of_mass())
        first, second, third = rng.uniform(0, 360, 3)
        one.euler_rotate(first, np.degrees(np.arccos(1 - second / 180)), third)
        one.translate(3.1 * np.array(corner) + rng.normal(0, 0.1, 3) + 0.7)
        box += one
    return box


def alpha_quartz() -> Atoms:
    """SiO2, 9 atoms, P3_2 21, a = 4.916, c = 5.4054 angstrom, Si u = 0.4697, O (0.4135, 0.2669, 0.1191) + 2/3 c.

    Source: L. Levien, C. T. Prewitt, D. J. Weidner, Am. Mineral. 65, 920 (1980), at 1 atm; their z counts from Si.
    """
    return crystal(
        ["Si", "O"],
        [(0.4697, 0, 2 / 3), (0.4135, 0.2669, 0.1191 + 2 / 3)],
        spacegroup=154,
        cellpar=[4.916, 4.916, 5.4054, 90, 90, 120],
    )


def water_on_aluminium() -> Atoms:
    """Al(100) 2 x 2 x 3 layers, a = 4.0496 angstrom, one H2O flat on top of an atom, O 2.2 angstrom up; 15 atoms, not relaxed.

    pbc is (True, True, False); the cell holds 11 angstrom above the molecule. Use smearing of 0.01 hartree.

    Source: CRC Handbook of Chemistry and Physics for the lattice parameter (298 K).
    """
    slab = fcc100("Al", (2, 2, 3), a=4.0496)
    one = molecule("H2O")
    one.rotate(90, "y")  # its plane is yz; now parallel to the surface
    add_adsorbate(slab, one, 2.2, "ontop", mol_index=0)
    slab.center(vacuum=5.5, axis=2)
    slab.pbc = (True, True, False)
    return slab


METHOD = "pbe/gth-dzvp-molopt-sr"

suite = [
    Point(sodium_chloride(), 0, 0, None, METHOD, "NaCl, rock salt"),
    Point(water_box(), 0, 0, None, METHOD, "8 H2O"),
    Point(alpha_quartz(), 0, 0, None, METHOD, "SiO2, alpha-quartz"),
    Point(water_on_aluminium(), 0, 0, None, METHOD, "Al(100) + H2O", smearing=0.01),
]
