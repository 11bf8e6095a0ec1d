"""Solutions are freed with all that their graphs hold, whatever was asked of them."""

import gc
import weakref

import pytest
import torch
from ase.build import bulk, molecule

from cgdft import Model, Multipoles, Response, Structure
from cgdft.functionals import SQE, Electronegativity, Hardness, Hartree, Stiffening, StiffeningResponse
from cgdft.solvers import CG, Newton

CHI, ETA = {"H": 0.17, "O": 0.32, "Na": 0.1, "Cl": 0.31}, 0.4


def functional(x):
    return Hartree() + Electronegativity(CHI) + Hardness(ETA) + Hardness(x)


KINDS = {
    "factorised": lambda x: Model(functional(x), Multipoles(width=1.0)),
    "conjugate gradients": lambda x: Model(functional(x), Multipoles(width=1.0), solver=CG()),
    "Newton": lambda x: Model(functional(x) + Stiffening(0.3), Multipoles(width=1.0), solver=Newton()),
    "split charges": lambda x: SQE(0.3) + Stiffening(x),
    "reported": lambda x: Model(functional(x), Multipoles(width=1.0), readout=Hartree(self_interaction=False) + Hardness(x)),
    "response law": lambda x: Model(Hartree() + Hardness(x), Multipoles(width=1.0), Response(StiffeningResponse(CHI, ETA))),
    "so many answers": lambda x: Model(
        Hartree() + Hardness(x), Multipoles(width=1.0), Response(StiffeningResponse(CHI, ETA), 2)
    ),
}
ASKED = {
    "energy": lambda s: s.energy.sum(),
    "charges": lambda s: (s.charges**2).sum(),
    "forces": lambda s: (s.forces() ** 2).sum(),
    "susceptibility": lambda s: (s.susceptibility() ** 2).sum(),
}
STRUCTURES = {
    "water": Structure.from_ase(molecule("H2O")),
    "crystal": Structure.from_ase(bulk("NaCl", "rocksalt", a=5.64).repeat(2)),
}


@pytest.mark.parametrize("where", STRUCTURES)
@pytest.mark.parametrize("kind", KINDS)
def test_solutions_are_freed(kind, where):
    x = torch.nn.Parameter(torch.tensor(0.1, dtype=torch.float64))
    model, alive = KINDS[kind](x), []
    for asked in ASKED.values():
        solution = model(STRUCTURES[where])
        alive.append(weakref.ref(solution._derivatives))
        asked(solution).backward()
        del solution
    gc.collect()
    assert [name for name, one in zip(ASKED, alive, strict=True) if one() is not None] == []
