"""Breaking LiF, NaCl and H2+: which models end in neutral atoms, and why the reference itself does not.

Neutral atoms are lower than ions at any distance beyond some 10 angstrom, as IP(metal) > EA(halogen). Charge equilibration
keeps a fractional charge for ever; so does PBE, whose E(N) of an atom is nearly a parabola: it is the same error. A functional
that is straight between integers ends right, and so do split charges and response modes, whose bonds end with distance. In H2+
symmetry gives half a charge to each proton in every model; there the error is one of the energy, far below that of H and H+.
"""

import numpy as np
import torch
from ase import Atoms
from matplotlib.figure import Figure

from cgdft import Structure
from cgdft.functionals import ACKS2, SQE, BondSoftness, IntegerCharges, QEq
from cgdft.units import angstrom, eV
from cgdft.validation import Results
from cgdft.validation.suites import stored


def bond_hardness(structure, bonds):
    """Grows with the length of the bond, so that at last nothing crosses it; hartree / e^2."""
    length = (structure.positions[bonds[:, 0]] - structure.positions[bonds[:, 1]]).norm(dim=1)
    return 0.1 * torch.exp((length - 3.0) / 2)


def solved(model, structure):
    """The lower of the minima from neutral atoms and from ions: a functional with kinks has both, a quadratic one has one."""
    starts = [None] if model.functional.quadratic else [None, torch.tensor([1.0, -1.0], dtype=torch.float64)]
    return min((model(structure, start=start) for start in starts), key=lambda solution: float(solution.energy))


DISTANCES = (1.6, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0)  # angstrom
MODELS = {
    "QEq": QEq(),
    "SQE": SQE(bond_hardness, bonds=[[0, 1]]),
    "ACKS2": ACKS2(BondSoftness(400.0, 12.0)),
    "integer-preferring": IntegerCharges(),
}
references = Results.load(stored("dissociation")).references

figure = Figure(figsize=(8, 3.4), layout="constrained")
last = {}
for axes, metal, halogen in zip(figure.subplots(1, 2), ("Li", "Na"), ("F", "Cl"), strict=True):
    name = metal + halogen
    exact = {float(key.split()[1]): one.multipoles[0, 0] for key, one in references.items() if key.startswith(name)}
    print(f"{name}: PBE (Hirshfeld) {exact[max(exact)]:.2f} e at {max(exact):.0f} angstrom")
    axes.plot(list(exact), list(exact.values()), "ks-", label="PBE, Hirshfeld")
    for model_name, model in MODELS.items():
        charges = []
        for distance in DISTANCES:
            atoms = Atoms([metal, halogen], [[0, 0, 0], [0, 0, distance]])
            charges.append(float(solved(model, Structure.from_ase(atoms)).charges[0]))
        last[name, model_name] = charges[-1]
        print(f"  {model_name:18} {', '.join(f'{q:.2f}' for q in charges)} e")
        axes.plot(DISTANCES, charges, "o-", label=model_name)
    axes.set_title(name, fontsize=9)
    axes.set_xlabel("distance (angstrom)")
    axes.set_ylabel(f"charge of {metal} (e)")
    axes.legend(fontsize=7)
figure.savefig("dissociation.png", dpi=150)
print(f"at {DISTANCES[-1] * angstrom:.0f} bohr")

far = Structure.from_ase(Atoms("H2", [[0, 0, 0], [0, 0, 8.0]]), charge=1)
whole, half = torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([0.5, 0.5], dtype=torch.float64)
atom = Results.load(stored("radicals")).references["H"].energy
below = {"PBE": (references["H2+ 8.000"].energy - atom) / eV}
for name, model in {"QEq": QEq(), "integer-preferring": IntegerCharges()}.items():
    ends = float(model(far, start=whole).energy), float(model(far, start=half).energy)
    apart = sum(float(model(Structure.from_ase(Atoms("H"), charge=q)).energy) for q in (0, 1))
    below[name] = (min(ends) - apart) / eV
print("H2+ at 8 angstrom against H and H+:", ", ".join(f"{name} {energy:+.2f} eV" for name, energy in below.items()))
assert below["PBE"] < -2
assert below["QEq"] < -2
assert abs(below["integer-preferring"]) < 0.3

assert all(last[name, "QEq"] > 0.3 for name in ("LiF", "NaCl"))
assert all(abs(last[name, model]) < 0.05 for name in ("LiF", "NaCl") for model in ("SQE", "ACKS2", "integer-preferring"))
assert np.isfinite(list(last.values())).all()
