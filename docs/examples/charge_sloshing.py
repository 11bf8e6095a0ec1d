"""Charge sloshing: how many iterations self-consistency needs against the length of a metal rod.

A local hardness of 1 eV and Coulomb's law. Mixing input and output of the response converges while the fraction taken over is
below 2 / (1 + largest eigenvalue of softness times Coulomb), which grows with the length; Anderson's combination of earlier
steps helps, and conjugate gradients that treat long waves apart do not notice.
"""

import numpy as np
import torch
from matplotlib.figure import Figure

from cgdft import Model, Multipoles, Response, Structure
from cgdft.functionals import Electronegativity, Hardness, Hartree, StiffeningResponse
from cgdft.solvers import CG, SelfConsistent
from cgdft.units import angstrom, eV

LENGTHS, HARDNESS, TOLERANCE = (4, 8, 16, 32), 1.0 * eV, 1e-8
basis = Multipoles(width=1.4)


def rod(n):
    """n layers of four atoms, 2.9 angstrom apart."""
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    layers = torch.cat([torch.cat([torch.full((4, 1), float(k)), square], 1) for k in range(n)])
    return Structure(torch.full((4 * n,), 13), 2.9 * angstrom * layers.double())


def mixed(chi, mixing, history):
    law = Response(StiffeningResponse(chi, HARDNESS, scale=100.0))  # a scale so large that it is linear
    return Model(Hartree(), basis, law, solver=SelfConsistent(mixing, history, TOLERANCE, 1000))


def minimised(chi):
    return Model(Hartree() + Electronegativity(chi) + Hardness(HARDNESS), basis, solver=CG(TOLERANCE))


counts = {"linear mixing 0.03": [], "linear mixing 0.01": [], "Anderson, 0.03": [], "conjugate gradients": []}
print("atoms  " + "  ".join(f"{name:>20}" for name in counts))
for n in LENGTHS:
    structure = rod(n)
    chi = 0.02 * torch.randn(4 * n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    models = (mixed(chi, 0.03, 0), mixed(chi, 0.01, 0), mixed(chi, 0.03, 10), minimised(chi))
    for row, model in zip(counts.values(), models, strict=True):
        solution = model(structure, throw=False)
        row.append(solution.iterations if solution.status[0].name == "CONVERGED" else None)
    print(f"{4 * n:5}  " + "  ".join(f"{'no convergence' if row[-1] is None else row[-1]:>20}" for row in counts.values()))

# Plain mixing fails from some length on; conjugate gradients take as many iterations for every rod.
assert counts["linear mixing 0.03"][-1] is None
assert max(counts["conjugate gradients"]) < 15

figure = Figure(figsize=(4.6, 3.2), layout="constrained")
axes = figure.subplots()
for name, row in counts.items():
    axes.loglog([4 * n for n in LENGTHS], [np.nan if one is None else one for one in row], "o-", label=name)
axes.set_xticks([4 * n for n in LENGTHS], [str(4 * n) for n in LENGTHS], fontsize=8)
axes.set_xticks([], minor=True)
axes.set_xlabel("atoms in the rod")
axes.set_ylabel("iterations")
axes.legend(fontsize=8)
figure.savefig("charge_sloshing.png", dpi=150)
