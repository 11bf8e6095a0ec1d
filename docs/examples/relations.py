"""Models that turn into each other: how far they still are, as the parameter that parts them goes to its limit.

Each curve is the largest difference of a charge in methanol; docs/relations.md has the relations in a line each.
"""

import math
from itertools import pairwise

import torch
from ase.build import molecule
from matplotlib.figure import Figure

from cgdft import Model, Multipoles, Structure
from cgdft.functionals import (
    ACKS2,
    LES,
    SQE,
    BondSoftness,
    Electronegativity,
    EnergyFunctional,
    FixedPointResponse,
    Hardness,
    Hartree,
    QEq,
    StiffeningResponse,
    TruncatedRecursion,
)
from cgdft.functionals.models.qeq import CHI, HARDNESS, WIDTH

methanol = Structure.from_ase(molecule("CH3OH"))
qeq = QEq()(methanol)
given = torch.tensor([0.3, -0.5, 0.2, 0.1, -0.05, -0.05], dtype=torch.float64)
les = LES(given, 1.8)(methanol)
stiff = StiffeningResponse(CHI, 4.0)  # so much hardness that plain iteration converges
fixed = FixedPointResponse(stiff, 1.6, 0)(methanol)


def hard(eta):
    """QEq whose charges without Coulomb's law are those given, against a hardness eta."""
    functional = Hartree(self_interaction=False) + Electronegativity(-eta * given) + Hardness(eta)
    return Model(functional, Multipoles(width=1.8 / math.sqrt(2)))


#: The model at a parameter, the parameters on the way to the limit, what is reached there, and what the axis says.
LIMITS = {
    "QEq to LES": (hard, [10.0**k for k in range(6)], les, "hardness (hartree / e$^2$)"),
    "SQE to QEq": (SQE, [10.0**-k for k in range(8)], qeq, "bond hardness (hartree / e$^2$)"),
    "ACKS2 to QEq": (lambda s: ACKS2(BondSoftness(s, 30.0)), [10.0**k for k in range(1, 9)], qeq, "softness (e$^2$ / hartree)"),
    "steps to the fixed point": (lambda k: TruncatedRecursion(stiff, 1.6, k, 0), range(1, 9), fixed, "steps"),
}
figure = Figure(figsize=(7.0, 5.2), layout="constrained")
gaps = {}
for axes, (name, (model, parameters, limit, label)) in zip(figure.subplots(2, 2).flat, LIMITS.items(), strict=True):
    gaps[name] = [float((model(value)(methanol).charges - limit.charges).abs().max()) for value in parameters]
    print(f"{name:<25}", *(f"{gap:.0e}" for gap in gaps[name]), "e")
    axes.plot(parameters, gaps[name], "o-")
    axes.set(title=name, xlabel=label, ylabel="difference of charges (e)", yscale="log")
    axes.set_xscale("linear" if name.startswith("steps") else "log")
figure.savefig("relations.png", dpi=150)

# No limit but an identity: a parabola minimised, and the linear response of its charges made self-consistent.
minimum = EnergyFunctional(Electronegativity(CHI) + Hardness(HARDNESS), WIDTH, 0)(methanol)
answer = FixedPointResponse(StiffeningResponse(CHI, HARDNESS, 1e6), WIDTH, 0)(methanol)
apart = float((answer.charges - minimum.charges).abs().max())
print(f"energy of a parabola {float(minimum.energy):.9f} hartree, of its linear response {float(answer.energy):.9f};", end=" ")
print(f"charges differ by {apart:.0e} e")

for name, factor in (("QEq to LES", 0.11), ("SQE to QEq", 0.2), ("ACKS2 to QEq", 0.2), ("steps to the fixed point", 0.5)):
    assert all(late < factor * early for early, late in pairwise(gaps[name][-4:])), name
    assert gaps[name][-1] < 1e-3 * gaps[name][0], name
assert apart < 1e-9
assert abs(float(minimum.energy - answer.energy)) < 1e-9
