"""A capacitor at fixed potential: two metal electrodes, held apart by a battery, with nothing or with water between them.

The atoms of each electrode share one potential; their charges are what the battery has moved. In slab boundary conditions the
third axis is open: no vacuum to converge, no dipole correction. Both charges are exact mirror images; 1/C grows with the
distance d of the electrodes as 4 pi d / A; water between the electrodes, each molecule neutral, raises C.
"""

import numpy as np
import torch
from ase import Atoms
from ase.build import fcc100, molecule

import cgdft
from cgdft.functionals import Electronegativity, Hardness, Hartree
from cgdft.units import angstrom, eV, volt

LAYERS, GAP = 3, 12.0  # of metal on each side; angstrom between the innermost layers


def capacitor(gap: float, waters: int = 0) -> Atoms:
    """Two mirror images of an Al(100) slab, and waters in the middle plane that do not break the mirror."""
    metal = fcc100("Al", (3, 3, LAYERS), periodic=False)
    lower, upper = metal.copy(), metal.copy()
    lower.positions[:, 2] -= metal.positions[:, 2].max() + gap / 2
    upper.positions[:, 2] = -lower.positions[:, 2]
    atoms = lower + upper
    for k in range(waters):
        water = molecule("H2O")
        water.rotate(90, "y", center=water.positions[0])  # its plane becomes perpendicular to the field
        water.translate([1.0 + 4.2 * (k % 2), 1.0 + 4.2 * (k // 2), 0.0] - water.positions[0])
        water.positions[:, 2] -= water.positions[:, 2].mean()
        atoms += water
    atoms.set_cell([*metal.cell.lengths()[:2], 0.0])
    atoms.pbc = [True, True, False]
    return atoms


def solve(atoms: Atoms, difference: torch.Tensor | float) -> cgdft.Solution:
    """Electrodes at a potential difference, hartree / e; every molecule neutral."""
    n = 9 * LAYERS
    molecules = [list(range(k, k + 3)) for k in range(2 * n, len(atoms), 3)]
    model = cgdft.Model(
        Hartree()
        + Electronegativity({"Al": 4.2 * eV, "O": 8.7 * eV, "H": 4.5 * eV})
        + Hardness({"Al": 0.5 * eV, "O": 13.4 * eV, "H": 13.9 * eV})
        + Hardness({"Al": 20.0, "O": 0.3, "H": 20.0}, l=1),  # dipoles on oxygen only, in effect
        basis=cgdft.Multipoles(1, width={"Al": 1.0 * angstrom, "O": 0.6 * angstrom, "H": 0.5 * angstrom}),
        constraints=[
            cgdft.PotentialDifference(range(n), range(n, 2 * n), difference),
            *(cgdft.FragmentCharge(atoms, charge=0.0, name=f"water {atoms[0]}") for atoms in molecules),
        ],
    )
    return model(cgdft.Structure.from_ase(atoms))


def capacitance(atoms: Atoms) -> float:
    """dQ/dV of the first electrode, e^2 / hartree."""
    return float(solve(atoms, 1.0 * volt).capacitance())


solution = solve(capacitor(GAP), 2.0 * volt)
one, two = solution.charges.detach().numpy().reshape(2, 9 * LAYERS)
print(f"2 V across {GAP:g} angstrom: {one.sum():+.6f} e and {two.sum():+.6f} e, mirror images to {abs(one + two).max():.0e} e")
print("layers of the first electrode, outermost to innermost (e):", np.round(one.reshape(LAYERS, 9).sum(1), 6) + 0.0)

area = capacitor(GAP).cell.lengths()[:2].prod() * angstrom**2
gaps = np.array([12.0, 14.0, 16.0])
inverse = 1 / np.array([capacitance(capacitor(gap)) for gap in gaps])
slope, at_zero = np.polyfit(gaps * angstrom, inverse, 1)
print(
    f"1/C grows by {slope / (4 * np.pi / area):.8f} x 4 pi / A per bohr; image planes {-at_zero / slope / 2 / angstrom:.2f} ",
    end="",
)
print("angstrom outside of the innermost layers")

empty, wet = capacitance(capacitor(GAP)), capacitance(capacitor(GAP, waters=4))
print(f"C = {empty:.4f} e^2/hartree; with four water molecules between, {wet:.4f}")
