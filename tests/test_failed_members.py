"""A structure of a batch whose solve fails: it is named, and the others have all that they have without it."""

import pytest
import torch

from cgdft import Model, Multipoles, SolverError, Status, Structure
from cgdft.functionals import Electronegativity, Hardness, Hartree
from cgdft.solvers import CG, Newton


def test_failure_of_one_member_names_it():
    far, near = ([[0.0, 0, 0], [0, 0, r]] for r in (12.0, 3.0))
    batch = Structure.batch([Structure([18, 18], far), Structure([18, 18], near)])
    model = Model(Hartree(self_interaction=False) + Hardness(1.0) + Hardness(1 / 30, l=1), Multipoles(1, width=0.3))
    with pytest.raises(SolverError, match=r"structure 1 \(1 of 2 failed\)"):
        model(batch)
    assert [s.name for s in model(batch, throw=False).status] == ["CONVERGED", "UNBOUNDED"]


@pytest.mark.parametrize("solver", [None, CG(), Newton()])
def test_failure_of_one_member_leaves_the_others_their_derivatives(solver):
    """By what is learnt, as in a batch without it; what failed has no response."""
    far, near = (Structure([18, 18], [[0.0, 0, 0], [0, 0, r]]) for r in (12.0, 3.0))
    hardness = torch.tensor([1 / 30, 1 / 20], dtype=torch.float64, requires_grad=True)

    def model(eta):
        functional = Hartree(self_interaction=False) + Electronegativity(0.1) + Hardness(1.0) + Hardness(eta, l=1)
        return Model(functional, Multipoles(1, width=0.3), solver=solver)

    alone, both = model(hardness)(far), model(hardness.repeat(2))(Structure.batch([far, near]), throw=False)
    assert [one is Status.CONVERGED for one in both.status] == [True, False]
    torch.testing.assert_close(both.energy[:1], alone.energy)
    alpha = [one.polarizability()[0] for one in (alone, both)]
    torch.testing.assert_close(*alpha, rtol=1e-9, atol=1e-9)
    slopes = [torch.autograd.grad(one.sum(), hardness)[0] for one in alpha]
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-9)
    asked = [one() for one in (both.polarizability, both.hardness, both.susceptibility)]
    asked += [one().reshape(2, -1) for one in (both.born_charges, both.fukui, both.softness)]
    for one in (*asked, both.chemical_potential):
        assert bool(one[0].isfinite().all())
        assert bool(one[1].isnan().all())
