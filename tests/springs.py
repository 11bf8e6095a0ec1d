"""Files of waters on springs."""

import ase.io
import numpy as np
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

from cgdft import units

FREE = {"H": -0.5, "C": -37.8, "O": -75.0}
STIFF = 0.4  # hartree/bohr^2


def water(seed, **info):
    """Energies of springs to the places of the unmoved molecule, forces and a dipole, in ASE's units; it may be shifted."""
    atoms = molecule("H2O")
    start = atoms.positions * units.angstrom
    atoms.rattle(0.03, seed=seed)
    moved = atoms.positions * units.angstrom - start
    moved -= moved.mean(0)
    energy = FREE["O"] + 2 * FREE["H"] - 0.3 + 0.5 * STIFF * (moved**2).sum()
    charges = np.array([-0.6, 0.3, 0.3])
    results = {
        "energy": energy / units.eV,
        "forces": -STIFF * moved / (units.eV / units.angstrom),
        "dipole": charges @ atoms.positions + [0.0, 0.03, 0.1],
    }
    atoms.calc = SinglePointCalculator(atoms, **results)
    atoms.arrays["Test_charges"] = charges
    atoms.arrays["Test_dipoles"] = np.array([[0.0, 0.03, 0.1], [0, 0, 0], [0, 0, 0]])
    atoms.info.update(info)
    return atoms


def written(path, frames):
    ase.io.write(path, frames, format="extxyz")
    return path
