"""What multipoles keep of a density: figures of merit of every definition, by rank, by width, between molecules, along a bond.

Moments and potential of LiF and water, the interaction of two frozen waters against the exact one, and how far the charge of Li
runs while its bond is stretched.
"""

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.collections import s22

from cgdft.units import angstrom
from cgdft.validation import MBIS, CoulombFit, ESPFit, Hirshfeld, reference
from cgdft.validation.dft import mean_field
from cgdft.validation.dft.electrons import ElectronDensity
from cgdft.validation.report.merit import coarse_interaction, frozen_interaction, merit, stretch

METHOD, KCAL = "pbe/def2-svp", 627.509
DEFINITIONS = (Hirshfeld(), MBIS(), ESPFit(), CoulombFit())
CASES = {"H2O": molecule("H2O"), "LiF": Atoms("LiF", [[0, 0, 0], [0, 0, 1.564]])}

print("              l  width   dipole (e bohr)  V at 1.4-2, 2.25-3 radii (%)  largest q (e)")
for name, atoms in CASES.items():
    known = reference(atoms, METHOD, definitions=DEFINITIONS, polarizability=False)
    for definition, moments in known.moments.items():
        for lmax in range(round(np.sqrt(moments.shape[1]))):
            for width in (0.5, 1.0, 2.0) if (definition, lmax) == ("Hirshfeld", 2) else (0.5,):
                m = merit(known, definition, lmax, width)
                errors = f"{m.dipole:12.3f} {100 * m.inner:19.1f} {100 * m.outer:7.1f} {m.largest:18.2f}"
                print(f"{name:4} {definition:10} {lmax} {width:5.1f} {errors}")


def solved(atoms):
    mol = mean_field.build(atoms.get_chemical_symbols(), atoms.positions * angstrom, METHOD)
    return ElectronDensity.of(mean_field.solve(mol, "pbe", density_fit=True, field=np.zeros(3)), METHOD)


dimer = s22["Water_dimer"]
line = dimer.positions[3] - dimer.positions[0]
first = solved(dimer[:3])
ranks = [("Hirshfeld", Hirshfeld(k)) for k in (0, 1, 2)] + [("MBIS", MBIS(2)), ("ESPFit", ESPFit())]
print("\nfrozen waters, O-O (A): exact (kcal/mol), then " + ", ".join(f"{name} l<={one.lmax}" for name, one in ranks))
for shift in (0.0, 0.6, 1.5, 3.0):
    moved = dimer[3:]
    moved.positions += shift * line / np.linalg.norm(line)
    second = solved(moved)
    exact = frozen_interaction(first, second) * KCAL
    coarse = [coarse_interaction(first, second, (one(first), one(second))) * KCAL for _, one in ranks]
    print(f"  {np.linalg.norm(line) + shift:.2f} {exact:8.3f}   " + " ".join(f"{value:7.3f}" for value in coarse))
assert abs(coarse[2] / exact - 1) < 0.03  # where densities do not overlap l <= 2 is enough

distances = (1.4, 1.564, 1.8, 2.1, 2.5)
walked = [
    reference(Atoms("LiF", [[0, 0, 0], [0, 0, d]]), METHOD, definitions=DEFINITIONS, polarizability=False) for d in distances
]
print(f"\nLi in LiF at {distances} A: q (e), and the largest change (e/A)")
for definition in walked[0].moments:
    charges = [one.moments[definition][0, 0] for one in walked]
    print(f"  {definition:10} {', '.join(f'{q:.3f}' for q in charges)}   {stretch(walked, definition) * angstrom:.2f}")
