"""Charge leaks to where it cannot go: a helium atom far from water, and two fragments of different electronegativity.

Charge equilibration has one chemical potential for everything, however far apart. A constraint on the charge of each fragment
is the cure, as long as one knows the fragments.
"""

import torch
from ase import Atoms
from ase.build import molecule
from matplotlib.figure import Figure

from cgdft import FragmentCharge, Structure, TotalCharge
from cgdft.functionals import EEQ, QEq
from cgdft.units import angstrom, eV

DISTANCES = [3.0, 5.0, 10.0, 30.0, 100.0, 1000.0]  # angstrom


def pair(first, second, distance):
    moved = second.copy()
    moved.positions += [distance, 0.0, 0.0]
    return Structure.from_ase(first + moved)


water, helium, salt = molecule("H2O"), Atoms("He"), (Atoms("Na"), Atoms("Cl"))
print("distance (A)   q(He), EEQ   q(H2O beside LiF), EEQ   q(Na), QEq   (e)")
leaks = {"He beside water, EEQ": [], "water beside LiF, EEQ": [], "Na beside Cl, QEq": []}
for distance in DISTANCES:
    alone = float(EEQ()(pair(water, helium, distance)).charges[-1])
    fragment = float(EEQ()(pair(water, molecule("LiF"), distance)).charges[:3].sum())
    sodium = float(QEq()(pair(*salt, distance)).charges[0])
    for row, value in zip(leaks.values(), (alone, fragment, sodium), strict=True):
        row.append(value)
    print(f"{distance:12.0f} {alone:12.4f} {fragment:24.4f} {sodium:12.4f}")

far = pair(water, helium, 1000.0)
cured = EEQ().replace(constraints=[FragmentCharge([0, 1, 2], 0.0), FragmentCharge([3], 0.0)])
apart = EEQ()(Structure.from_ase(water)).charges
there = cured(far)
print(f"with a FragmentCharge for each: q(He) = {float(there.charges[-1]):+.1e} e,", end=" ")
print(f"the water as alone to {float((there.charges[:3] - apart).abs().max()):.0e} e,")
gain = float(EEQ()(far).energy - there.energy) / eV
print(f"and the energy that the leak had gained is given back: {gain:.3f} eV")

# The leak does not end with distance; the constraint ends it.
assert abs(leaks["He beside water, EEQ"][-1]) > 0.01
assert abs(leaks["Na beside Cl, QEq"][-1] - leaks["Na beside Cl, QEq"][-2]) < 1e-2
assert torch.allclose(there.charges[:3], apart, atol=1e-6)
assert gain < 0
assert isinstance(EEQ().constraints[0], TotalCharge)

figure = Figure(figsize=(4.6, 3.2), layout="constrained")
axes = figure.subplots()
for name, row in leaks.items():
    axes.semilogx(DISTANCES, row, "o-", label=name)
axes.set_xlabel("distance (angstrom)")
axes.set_ylabel("charge (e)")
axes.legend(fontsize=8)
figure.savefig("charge_leaks.png", dpi=150)
print(f"1000 angstrom are {1000 * angstrom:.0f} bohr: Coulomb's law has nothing to do with it")
