"""Fixed potential: sodium atoms in contact with a reservoir of electrons held at V = -mu.

Omega(V) = min [E - V Q] is minimised, and Q = -dOmega/dV is the answer. The E of charge equilibration is a parabola in Q: the
charge grows in a straight line, as a metal's, and the force between two atoms without a jump. Atoms that prefer whole charges
give and take one electron at a time, at V = ionisation energy and V = affinity; of two atoms 6 angstrom apart the second gives
its own only when V has grown by their repulsion (Coulomb blockade), and then the force between them jumps to Coulomb's.
"""

import torch
from ase import Atoms
from matplotlib.figure import Figure

from cgdft import Structure, TotalCharge
from cgdft.functionals import IntegerCharges, QEq
from cgdft.functionals.models.integer_charges import AFFINITY, IONISATION
from cgdft.units import angstrom, eV

DISTANCE = 6.0  # angstrom
potential = torch.linspace(-2.5, 9.0, 116, dtype=torch.float64) * eV


def lowest(model, structure):
    """Of the minima from all whole charges that with the least grand potential; for every potential, in one batch."""
    batch = Structure.batch([structure] * len(potential))
    held = model.replace(constraints=[TotalCharge(potential=potential)])
    whole = torch.combinations(torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64), structure.n_atoms, with_replacement=True)
    found = [held(batch, start=charges.repeat(len(batch)), throw=False) for charges in whole]
    failed = torch.tensor([[status.name != "CONVERGED" for status in one.status] for one in found])
    best = torch.stack([one.grand_potential for one in found]).masked_fill(failed, torch.inf).argmin(0)
    charges = torch.stack([one.charges.reshape(len(batch), -1) for one in found])[best, torch.arange(len(batch))]
    return held(batch, start=charges.flatten())


one = Structure.from_ase(Atoms("Na"))
two = Structure.from_ase(Atoms("Na2", [[0, 0, 0], [0, 0, DISTANCE]]))
CASES = {
    "two atoms, QEq": lowest(QEq(), two),
    "one atom, whole charges": lowest(IntegerCharges(), one),
    "two atoms, whole charges": lowest(IntegerCharges(), two),
}
figure = Figure(figsize=(9, 3.2), layout="constrained")
panels = figure.subplots(1, 3)
steps, jump, off = {}, {}, {}
for name, solution in CASES.items():
    charge, omega = solution.total_charge, solution.grand_potential
    force = solution.forces().reshape(len(potential), -1, 3)[:, -1, 2] / eV * angstrom
    middle = (potential[1:] + potential[:-1]) / 2
    steps[name] = (middle[charge.diff() > 0.5] / eV).tolist()
    jump[name] = float(force.diff().abs().max())
    off[name] = (omega.diff() / potential.diff() + (charge[1:] + charge[:-1]) / 2).abs().median()
    print(f"{name:25} Q from {charge[0]:+.3f} to {charge[-1]:+.3f} e, dOmega/dV = -Q to {off[name]:.0e} e,", end=" ")
    print(f"largest jump of the force {jump[name]:.3f} eV / angstrom")
    print(f"{'':25} steps at V = {', '.join(f'{v:.2f}' for v in steps[name]) or 'none'}")
    for axes, values in zip(panels, (charge, omega / eV, force), strict=True):
        axes.plot(potential / eV, values, label=name)
for axes, label in zip(panels, ("charge (e)", "grand potential (eV)", "force on one atom (eV / angstrom)"), strict=True):
    axes.set(xlabel="V = -mu (V)", ylabel=label)
panels[0].legend(fontsize=7)
figure.savefig("fixed_potential.png", dpi=150)

affinity, ionisation = AFFINITY["Na"] / eV, IONISATION["Na"] / eV
repulsion = steps["two atoms, whole charges"][-1] - ionisation
print(f"affinity {affinity:.2f} eV, ionisation {ionisation:.2f} eV, repulsion of two charges {repulsion:.2f} eV")
straight = CASES["two atoms, QEq"].total_charge.diff()
assert torch.allclose(straight, straight[0].expand_as(straight), atol=1e-9)
assert all(error < 1e-3 for error in off.values())
assert torch.allclose(torch.tensor(steps["one atom, whole charges"]), torch.tensor([affinity, ionisation]), atol=0.1)
assert len(steps["two atoms, whole charges"]) == 4
assert 1.5 < repulsion < 14.4 / DISTANCE
assert jump["two atoms, QEq"] < 0.02 < 0.1 < jump["two atoms, whole charges"]
