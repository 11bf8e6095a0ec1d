"""Response laws, the potential-driven side of the design space: dual to functionals, with derivatives by the same mechanism."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import molecule

from cgdft import Model, Multipoles, SolverError, Status, Structure, TotalCharge
from cgdft.functionals import Electronegativity, Hardness, Hartree, Pairwise, QEq, UniformField
from cgdft.functionals.models.fourth_generation import example as fourth_generation
from cgdft.functionals.models.qeq import CHI, HARDNESS, WIDTH
from cgdft.response_law import GrandPotential, Response, ResponseLaw
from cgdft.solvers import FixedPoint, SelfConsistent

ALPHA = {"H": 4.5, "O": 5.3, "C": 11.3, "N": 7.4}


def values(table, structure):
    return torch.tensor([table[symbol] for symbol in structure.symbols], dtype=torch.float64)


class Quadratic(GrandPotential):
    """Omega_s = -sum_i (v_i + chi_i)^2 / (2 J_i) - alpha_i |v_i1|^2 / 2: dual to QEq with dipoles."""

    def forward(self, structure, v):
        chi, hardness = values(CHI, structure), values(HARDNESS, structure)
        energy = -((v[:, 0] + chi) ** 2) / (2 * hardness)
        if v.shape[1] > 1:
            energy = energy - values(ALPHA, structure) * (v[:, 1:4] ** 2).sum(1) / 2
        return structure.total(energy)


class Law(ResponseLaw):
    """p = dOmega_s / dv of the same, said as a law: its energy has to be given."""

    def forward(self, structure, v):
        chi, hardness = values(CHI, structure), values(HARDNESS, structure)
        charges = -(v[:, :1] + chi[:, None]) / hardness[:, None]
        return torch.cat([charges, -values(ALPHA, structure)[:, None] * v[:, 1:]], 1)


class Lopsided(ResponseLaw):
    """A response that is no derivative: its Jacobian is not symmetric."""

    def forward(self, structure, v):
        chi, hardness = values(CHI, structure), values(HARDNESS, structure)
        near = torch.exp(-0.1 * ((structure.positions[:, None] - structure.positions) ** 2).sum(2))
        near = near * (structure.index[:, None] == structure.index)
        mixed = v[:, 0] + 0.1 * torch.tanh(near.triu(1) @ v[:, 0])
        return (-(mixed + chi) / hardness)[:, None]


def basis(lmax):
    return Multipoles(lmax, width=WIDTH)


def functional(lmax):
    whole = Hartree(self_interaction=False) + Electronegativity(CHI) + Hardness(HARDNESS)
    return whole + Hardness({element: 1 / alpha for element, alpha in ALPHA.items()}, l=1) if lmax else whole


def dual(lmax, law=None, readout=None):
    return Model(Hartree(self_interaction=False), basis(lmax), Response(law or Quadratic()), readout=readout, name="dual")


@pytest.fixture(scope="module")
def structures():
    cell = molecule("CH3OH")
    cell.set_cell([[7.0, 0, 0], [1.0, 6.5, 0], [0.3, -0.4, 7.2]])
    cell.pbc = True
    return {
        "methanol": Structure.from_ase(molecule("CH3OH")),
        "cation": Structure.from_ase(molecule("H2O"), charge=1.0),
        "cell": Structure.from_ase(cell),
        "batch": Structure.batch([Structure.from_ase(molecule("H2O")), Structure.from_ase(molecule("CH3OH"), charge=-1.0)]),
    }


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_what_has_no_minimum_has_no_dual_one(structures, scale):
    """Atoms too near for their polarizability: a catastrophe of either view, and of one structure of a batch alone."""
    far, near = structures["methanol"], structures["methanol"]
    near = replace(near, positions=scale * near.positions)
    batch = Structure.batch([far, near])
    ends = [Model(functional(1), basis(1))(batch, throw=False).status, dual(1)(batch, throw=False).status]
    assert [[one is Status.CONVERGED for one in statuses] for statuses in ends] == 2 * [[True, scale == 1.0]]
    assert (scale == 1.0) or ends[1][1] is Status.SADDLE


@pytest.mark.parametrize("lmax", [0, 1])
@pytest.mark.parametrize("name", ["methanol", "cation", "cell", "batch"])
def test_duality(structures, name, lmax):
    """A law that is the derivative of a grand potential is the functional's minimum: density, energy, mu, and derivatives."""
    structure = structures[name]
    one, other = Model(functional(lmax), basis(lmax))(structure), dual(lmax)(structure)
    torch.testing.assert_close(other.coefficients, one.coefficients, atol=1e-10, rtol=0)
    torch.testing.assert_close(other.energy, one.energy, atol=1e-10, rtol=0)
    torch.testing.assert_close(sum(other.energies.values()), one.energy, atol=1e-10, rtol=0)
    torch.testing.assert_close(other.chemical_potential, one.chemical_potential, atol=1e-10, rtol=0)
    torch.testing.assert_close(other.forces(), one.forces(), atol=1e-9, rtol=0)
    torch.testing.assert_close(other.virial(), one.virial(), atol=1e-9, rtol=0)
    torch.testing.assert_close(other.hardness(), one.hardness(), atol=1e-9, rtol=0)
    torch.testing.assert_close(other.fukui(), one.fukui(), atol=1e-9, rtol=0)
    torch.testing.assert_close(other.susceptibility(), one.susceptibility(), atol=1e-8, rtol=0)
    if not structure.pbc.any():
        torch.testing.assert_close(other.polarizability(), one.polarizability(), atol=1e-8, rtol=0)
        torch.testing.assert_close(other.born_charges(), one.born_charges(), atol=1e-8, rtol=0)
    assert float(one.charges.detach().abs().max()) > 0.1


def test_law_with_a_readout_is_the_same(structures):
    structure = structures["methanol"]
    one, other = Model(functional(1), basis(1))(structure), dual(1, Law(), functional(1))(structure)
    torch.testing.assert_close(other.energy, one.energy, atol=1e-10, rtol=0)
    torch.testing.assert_close(other.forces(), one.forces(), atol=1e-9, rtol=0)
    assert list(other.energies) == list(one.energies)


def numerical_forces(model, structure, step=1e-4):
    forces = torch.zeros_like(structure.positions)
    for i in range(structure.n_atoms):
        for a in range(3):
            move = torch.zeros_like(forces)
            move[i, a] = step
            sides = [
                model(structure.deformed(sign * move, torch.zeros_like(structure.cell))).energy.detach() for sign in (1, -1)
            ]
            forces[i, a] = -(sides[0] - sides[1]).sum() / (2 * step)
    return forces


@pytest.mark.parametrize("make", [lambda s: dual(0, Lopsided(), functional(0)), fourth_generation], ids=["law", "4G"])
@pytest.mark.parametrize("name", ["methanol", "cation", pytest.param("batch", marks=pytest.mark.slow)])
def test_energy_that_is_not_minimised(structures, name, make):
    """Forces follow the response of the density, by an adjoint that is not symmetric; and so does what is asked of them."""
    structure = structures[name]
    model = make(structure)
    solution = model(structure)
    torch.testing.assert_close(solution.total_charge.detach(), structure.charge, atol=1e-9, rtol=0)
    exact = numerical_forces(model, structure)
    torch.testing.assert_close(solution.forces(), exact, atol=2e-7, rtol=0)
    plain = Model(model.functional, model.basis) if name == "methanol" and make is fourth_generation else None
    if plain is not None:  # a fixed-charge derivative would be another force
        assert (plain(structure).forces() - exact).abs().max() > 1e-3


def test_forces_of_a_readout_are_differentiable():
    """A loss of energies and forces reaches the parameters of the minimised functional."""
    structure = Structure.from_ase(molecule("H2O"))
    chi = torch.tensor([0.32, 0.17, 0.16], dtype=torch.float64, requires_grad=True)

    def loss(chi):
        model = Model(
            Hartree() + Electronegativity(chi) + Hardness(0.4),
            Multipoles(width=1.0),
            readout=Hartree() + Hardness(0.1) + Pairwise(1.0, 0.5),
        )
        solution = model(structure)
        return solution.energy.sum() + (solution.forces() ** 2).sum() + (solution.polarizability() ** 2).sum()

    assert torch.autograd.gradcheck(loss, chi, atol=1e-6)


def test_stress_of_a_readout(structures):
    structure = structures["cell"]
    model = fourth_generation(structure)
    solution, step = model(structure), 1e-4
    strain = torch.zeros(1, 3, 3, dtype=torch.float64)
    strain[0, 0, 1] = strain[0, 1, 0] = step
    zero = torch.zeros_like(structure.positions)
    energies = [float(model(structure.deformed(zero, sign * strain)).energy) for sign in (1, -1)]
    slope = (energies[0] - energies[1]) / (2 * step)
    assert 2 * float(solution.virial()[0, 0, 1]) == pytest.approx(slope, rel=1e-5)
    assert abs(slope) > 1e-5


def test_field_and_fixed_potential(structures):
    """A field added as a term, and a battery: the same as of the functional."""
    structure = structures["methanol"]
    field = UniformField([0.0, 0.01, 0.02])
    one, other = (Model(functional(1), basis(1)) + field)(structure), (dual(1) + field)(structure)
    torch.testing.assert_close(other.coefficients, one.coefficients, atol=1e-10, rtol=0)
    torch.testing.assert_close(other.energy, one.energy, atol=1e-10, rtol=0)
    one, other = (model.at_potential(0.1)(structure) for model in (Model(functional(0), basis(0)), dual(0)))
    torch.testing.assert_close(other.total_charge, one.total_charge, atol=1e-9, rtol=0)
    torch.testing.assert_close(other.grand_potential, one.grand_potential, atol=1e-9, rtol=0)
    torch.testing.assert_close(other.forces(), one.forces(), atol=1e-8, rtol=0)


def recursion(lmax, steps, readout=None):
    return Model(Hartree(self_interaction=False), basis(lmax), Response(Quadratic(), steps), readout=readout, name="recursion")


@pytest.mark.parametrize("name", ["cation", "batch", "cell"])
def test_so_many_steps_lead_to_the_fixed_point(structures, name):
    """The charge is exact after any number of steps; more of them come nearer, where the iteration converges at all."""
    structure = structures[name]
    stiff = functional(0) + Hardness(2.0)
    law = Stiff()

    def model(steps):
        return Model(Hartree(), basis(0), Response(law, steps), readout=stiff)

    fixed = model(None)(structure)
    distance = []
    for steps in (1, 2, 4, 8, 30):
        solution = model(steps)(structure)
        torch.testing.assert_close(solution.total_charge.detach(), structure.charge, atol=1e-11, rtol=0)
        distance.append(float((solution.charges - fixed.charges).detach().abs().max()))
        assert float(solution.problem.departure(solution.coefficients.detach()).detach().abs().max()) < 1e-12
    assert distance[0] > distance[1] > distance[2] > distance[3]
    assert distance[0] > 1e-3
    assert distance[4] < 1e-8


class Stiff(ResponseLaw):
    """Of charges with so much hardness that plain iteration converges."""

    def forward(self, structure, v):
        return -(v[:, :1] + values(CHI, structure)[:, None]) / (2.0 + values(HARDNESS, structure)[:, None])


@pytest.mark.parametrize("readout", [None, "functional"])
@pytest.mark.parametrize("steps", [1, 3])
def test_derivatives_of_so_many_steps(structures, steps, readout):
    """Forces are those of what is computed, whatever it is worth; so is the polarizability."""
    structure = structures["batch"]
    model = recursion(1, steps, functional(1) if readout else None)
    solution = model(structure)
    torch.testing.assert_close(solution.forces(), numerical_forces(model, structure), atol=2e-7, rtol=0)
    step = 1e-4
    sides = [(model + UniformField([0.0, 0.0, sign * step]))(structure).dipole.detach() for sign in (1, -1)]
    torch.testing.assert_close(solution.polarizability()[:, :, 2], (sides[0] - sides[1]) / (2 * step), atol=1e-6, rtol=0)
    torch.testing.assert_close(sum(solution.energies.values()), solution.energy, atol=1e-12, rtol=0)


def test_what_cannot_be_is_refused(structures):
    structure = structures["methanol"]
    with pytest.raises(ValueError, match="`readout` must be given with a response law"):
        dual(0, Law())(structure)
    with pytest.raises(ValueError, match="`solver` must be one for the self-consistency of a response law, .* FixedPoint"):
        dual(0).replace(solver=FixedPoint())(structure)
    with pytest.raises(ValueError, match="`solver` must be one for a minimum, .* SelfConsistent"):
        QEq().replace(solver=SelfConsistent())(structure)
    twice = dual(0).replace(ansatz=Response(dual(0).ansatz.law, steps=2), solver=SelfConsistent())
    with pytest.raises(
        ValueError, match="`solver` must be one for a response law that answers so many times, .* SelfConsistent"
    ):
        twice(structure)  # which has another solution
    with pytest.raises(TypeError, match="`law` must be a ResponseLaw"):
        Response(lambda structure, v: v)
    with pytest.raises(TypeError, match="`readout` must be a Functional"):
        Model(functional(0), basis(0), readout=3)
    with pytest.raises(SolverError, match="not converged"):
        dual(0).replace(solver=SelfConsistent(max_iterations=2))(structure)
    assert np.isfinite(float(dual(0)(structure).energy))
    with pytest.raises(ValueError, match="`hardness_matrix` needs a functional"):
        dual(0)(structure).hardness_matrix()
    with pytest.raises(ValueError, match="`steps` must be at least 1"):
        Response(Quadratic(), 0)


class Bounded(ResponseLaw):
    """No more than an electron a site."""

    def forward(self, structure, v):
        return torch.tanh(-2 * v)


class Unmoved(ResponseLaw):
    """Charges that answer to nothing."""

    def forward(self, structure, v):
        return 0 * v + 0.2


@pytest.mark.parametrize("steps", [None, 2])
@pytest.mark.parametrize(("law", "possible"), [(Bounded(), 1.0), (Unmoved(), 0.6)])
def test_charges_that_a_law_cannot_have(law, possible, steps):
    structure = Structure.from_ase(molecule("H2O"))
    energy = Hartree() + Electronegativity({"H": 0.1, "O": 0.2})
    model = Model(energy, Multipoles(0, width=1.5), Response(law, steps), [TotalCharge(possible)], readout=Hartree())
    assert float(model(structure).total_charge) == pytest.approx(possible, abs=1e-10)
    with pytest.raises(SolverError, match="has the charges asked for") as error:
        model.replace(constraints=[TotalCharge(5.0)])(structure)
    assert error.value.status == [Status.UNMET]
