"""The functional and its dual, not quadratic: one minimum, one fixed point, the same physics."""

import pytest
import torch
from ase.build import molecule

from cgdft import Structure, check_term
from cgdft.functionals import Hardness, Hartree
from cgdft.functionals.models import energy_functional, fixed_point_response, truncated_recursion
from cgdft.functionals.responses.stiffening_response import StiffeningResponse
from cgdft.functionals.stiffening import Stiffening
from cgdft.solvers import Newton


@pytest.fixture(scope="module")
def structure():
    return Structure.batch([Structure.from_ase(molecule("H2O")), Structure.from_ase(molecule("CH3OH"), charge=1.0)])


def test_term():
    check_term(Stiffening({"H": 0.4, "O": 0.3}, 0.5), Structure.from_ase(molecule("H2O")))


def test_not_quadratic_and_dual(structure):
    one, other = energy_functional.example(structure)(structure), fixed_point_response.example(structure)(structure)
    assert isinstance(one.solver, Newton)
    torch.testing.assert_close(other.coefficients, one.coefficients, atol=1e-9, rtol=0)
    torch.testing.assert_close(other.energy, one.energy, atol=1e-9, rtol=0)
    torch.testing.assert_close(other.forces(), one.forces(), atol=1e-8, rtol=0)
    torch.testing.assert_close(other.polarizability(), one.polarizability(), atol=1e-7, rtol=0)
    torch.testing.assert_close(other.hardness(), one.hardness(), atol=1e-8, rtol=0)
    assert float(one.charges.detach().abs().max()) > 0.25  # where hardness has grown by an eighth


def test_quadratic_limit(structure):
    """A large scale leaves a parabola: the functional becomes QEq of the same parameters."""
    from cgdft.functionals.electronegativity import Electronegativity
    from cgdft.functionals.models.qeq import CHI, HARDNESS, WIDTH

    def solved(local):
        return energy_functional.EnergyFunctional(Electronegativity(CHI) + local, WIDTH, 0)(structure).charges

    exact = solved(Hardness(HARDNESS))
    errors = [float((solved(Stiffening(HARDNESS, scale)) - exact).detach().abs().max()) for scale in (1.0, 10.0, 100.0)]
    assert errors[0] > 50 * errors[1] > 2500 * errors[2]


def test_convex_by_construction(structure):
    """Hartree and the local term are convex, so from anywhere the same minimum is found."""
    model = energy_functional.example(structure)
    first = model(structure)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(first.coefficients.shape, generator=generator, dtype=torch.float64)
    again = model(structure, start=start)
    torch.testing.assert_close(again.coefficients, first.coefficients, atol=1e-8, rtol=0)


def test_steps_lead_on(structure):
    """Of a response stiff enough for plain iteration: every two steps are nearer to the fixed point, the energy too."""
    law = StiffeningResponse(0.2, 3.0, 0.5)
    fixed = fixed_point_response.FixedPointResponse(law, 1.5, 0)(structure)
    readout = Hartree() + Hardness(3.0)
    distance = []
    for steps in (1, 3, 5):
        model = truncated_recursion.TruncatedRecursion(law, 1.5, steps, 0)
        distance.append(float((model(structure).charges - fixed.charges).detach().abs().max()))
        assert model.replace(readout=readout)(structure).energy.shape == (2,)
    assert distance[0] > 3 * distance[1] > 9 * distance[2] > 0
