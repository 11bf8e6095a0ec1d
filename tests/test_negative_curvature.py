"""Negative curvature is seen on the way of conjugate gradients, and what they are disturbed by leaves the answer alone."""

import pytest
import torch
from ase.build import bulk

from cgdft import (
    FragmentCharge,
    Minimisation,
    Model,
    Multipoles,
    SplitCharges,
    Status,
    Structure,
    Term,
    TotalCharge,
)
from cgdft.functionals import Electronegativity, Hardness, Hartree, Operator
from cgdft.solvers import CG, Direct, cg

CHI = {"Na": 0.1, "Cl": 0.31}


class Bent(Term):
    """k q^2 / 2, k of either sign."""

    quadratic = True
    local = True

    def __init__(self, k):
        super().__init__()
        self.k = k

    def energy(self, rho):
        return rho.total(0.5 * self.k * rho.charges**2)


@pytest.mark.parametrize("tolerance", [1e-12, 1e-9])
def test_negative_curvature_that_no_slope_shows(tolerance, monkeypatch):
    """Nothing drives the seventh charge; what a solve is disturbed by does."""
    n = 12
    structure = Structure(
        [1] * n, torch.arange(n, dtype=torch.float64)[:, None] * torch.tensor([3.0, 0.0, 0.0], dtype=torch.float64)
    )
    chi, k = torch.linspace(-0.1, 0.1, n, dtype=torch.float64), torch.linspace(0.3, 0.5, n, dtype=torch.float64)
    chi[6], k[6] = 0.0, -6e-3
    model = Model(Electronegativity(chi) + Bent(k), Multipoles(width=1.0), constraints=[], solver=CG(tolerance))
    assert model(structure, throw=False).status == [Status.UNBOUNDED]
    monkeypatch.setattr(cg, "negative_curvature", lambda problem, x, _: (torch.zeros(problem.n, dtype=torch.bool), 0 * x))
    assert model(structure, throw=False).status == [Status.UNBOUNDED]  # seen on the way
    monkeypatch.setattr(cg, "disturbance", lambda problem, x, *_: (0 * x, 0 * x, torch.ones(problem.n, dtype=torch.bool)))
    assert model(structure, throw=False).status == [Status.CONVERGED]


def test_what_a_solve_is_disturbed_by_leaves_the_answer_alone(monkeypatch):
    """With constraints and in batches; near starts and modes are left as they are."""
    parts = [Structure.from_ase(bulk("NaCl", "rocksalt", 5.64, cubic=True) * (2, 2, k)) for k in (2, 3)]
    local = Electronegativity(CHI) + Hardness({"Na": 0.5, "Cl": 0.6})
    model, exact = (
        Model(
            Hartree(self_interaction=False, operator=operator) + local,
            Multipoles(width=1.8),
            constraints=[FragmentCharge(range(20), charge=0.3), TotalCharge()],
            solver=solver,
        )
        for operator, solver in ((Operator.COMPILED, CG(1e-10)), (Operator.DENSE, Direct()))
    )
    found, disturbance = [], cg.disturbance
    monkeypatch.setattr(cg, "disturbance", lambda *given: (found.append(moved := disturbance(*given)), moved)[1])
    monkeypatch.setattr(Minimisation, "convex", lambda self, x: torch.zeros(self.n, dtype=torch.bool))
    both = Structure.batch(parts)
    together = model(both)
    alone = torch.cat([exact(one).charges for one in parts])
    assert float((together.charges - alone).abs().max()) < 1e-7
    assert found[0][0].any()
    assert float((together.history[-1] / together.history[0]).max()) < 2e-10
    model(both, together)
    model.replace(ansatz=SplitCharges(hardness=0.3), constraints=[])(both)
    assert not any(moved.any() for moved, _, _ in found[1:])
