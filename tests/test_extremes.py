"""Numbers that are far apart, ways that cost nothing, and what runs away: as good as the problem's condition, or named."""

import itertools

import numpy as np
import pytest
import torch
from ase.build import molecule

import cgdft
from cgdft import GrandPotential, Model, Multipoles, Response, Row, SolverError, SplitCharges, Status, Structure, TotalCharge
from cgdft.functionals import Electronegativity, Hardness, Hartree, QEq, UniformField
from cgdft.solvers import CG, FixedPoint, Newton

D = torch.float64
POSITIONS = torch.tensor(np.random.default_rng(0).normal(size=(6, 3)) * 3)
SIX = Structure([8] * 6, POSITIONS)
CHI = torch.tensor(np.random.default_rng(1).normal(size=6) * 0.2)
WATER = Structure.from_ase(molecule("H2O"))


def alike(one, two, tolerance):
    return float((one - two).abs().max()) <= tolerance * float(two.abs().max())


@pytest.mark.parametrize("solver", [None, CG(), Newton()])
@pytest.mark.parametrize("ask", ["energy", "charges", "forces", "alpha"])
def test_derivatives_around_rings_without_hardness(solver, ask):
    """Charges around the ring move at no cost, and nothing drives them: derivatives are those of hardly any hardness."""
    ring = molecule("C6H6")
    ring.rattle(0.05, seed=1)
    structure, slopes = Structure.from_ase(ring), []
    for kappa in (0.0, 1e-11):
        eta = torch.tensor(0.4, dtype=D, requires_grad=True)
        functional = Hartree() + Electronegativity({"C": 0.25, "H": 0.17}) + Hardness(eta)
        solution = Model(functional, Multipoles(width=1.0), SplitCharges(hardness=kappa), solver=solver)(structure)
        values = {
            "energy": lambda one: one.energy.sum(),
            "charges": lambda one: (one.charges**2).sum(),
            "forces": lambda one: (one.forces() ** 2).sum(),
            "alpha": lambda one: one.polarizability().sum(),
        }
        values[ask](solution).backward()
        slopes.append(eta.grad)
    assert alike(slopes[0], slopes[1], 1e-8)


@pytest.mark.parametrize("kappa", [1e-6, 1e-9, 1e-11])
def test_more_soft_bonds_than_atoms(kappa):
    bonds = list(itertools.combinations(range(6), 2))
    found = []
    for solver in (None, CG()):
        functional = Hartree() + Electronegativity(CHI) + Hardness(0.4)
        found.append(Model(functional, Multipoles(width=1.0), SplitCharges(bonds, kappa), solver=solver)(SIX))
    assert alike(found[0].charges, found[1].charges, 1e-11)
    assert alike(found[0].polarizability(), found[1].polarizability(), 1e-11)
    assert alike(found[0].born_charges(), found[1].born_charges(), 1e-11)


@pytest.mark.parametrize("eta", [1e6, 1e10, 1e12])
def test_an_atom_that_is_pinned(eta):
    found = []
    for solver in (None, CG()):
        hardness = torch.tensor([0.4] * 5 + [eta], dtype=D)
        found.append(Model(Hartree() + Electronegativity(CHI) + Hardness(hardness), Multipoles(width=1.0), solver=solver)(SIX))
    assert alike(found[0].charges, found[1].charges, 1e-11)
    assert alike(found[0].polarizability(), found[1].polarizability(), 1e-11)


def test_widths_that_are_far_apart():
    pair = Structure([1, 8], [[0.0, 0, 0], [0, 0, 8.0]])
    functional = Hartree() + Hardness(0.5) + UniformField([0, 0, 1e-3])
    one, two = (Model(functional, Multipoles(2, width={"H": 0.05, "O": 20.0}), solver=solver)(pair) for solver in (None, CG()))
    assert alike(one.polarizability(), two.polarizability(), 1e-10)


class Soft(GrandPotential):
    """q = -(v + chi) / eta."""

    def __init__(self, eta):
        super().__init__()
        self.eta = eta

    def forward(self, structure, v):
        return -structure.total((v[:, 0] + 0.1 * structure.local) ** 2) / (2 * self.eta)


@pytest.mark.parametrize(("eta", "steps"), [(0.1, 30), (0.05, 60), (0.02, 200)])
def test_recursions_that_run_away(eta, steps):
    """Beside one that does not."""
    far = Structure([8] * 6, 1e3 * POSITIONS)
    model = Model(Hartree(), Multipoles(width=1.0), Response(Soft(eta), steps=steps))
    both = model(Structure.batch([far, SIX]), throw=False)
    alone = Model(Hartree(), Multipoles(width=1.0), Response(Soft(2.0), steps=steps))(far)
    assert alone.status == [Status.CONVERGED]
    assert both.status[1] is Status.DIVERGED
    with pytest.raises(SolverError, match="diverged"):
        model(SIX)


class Saturating(cgdft.ResponseLaw):
    """q = -0.8 tanh(4 v)."""

    def forward(self, structure, v):
        return -0.8 * torch.tanh(4 * v)


@pytest.mark.parametrize("charge", [0.5, 2.0, 2.5, -2.9])
def test_charges_near_to_the_bounds_of_a_law(charge):
    four = Structure([8] * 4, POSITIONS[:4], charge=charge)
    solution = Model(Hartree(), Multipoles(width=1.0), Response(Saturating()), [TotalCharge()], readout=Hartree())(four)
    assert float(solution.total_charge) == pytest.approx(charge, abs=1e-9)
    five = Structure([8] * 4, POSITIONS[:4], charge=3.3)
    with pytest.raises(SolverError, match="out of its bounds"):
        solution.model(five)


class Dipoles(GrandPotential):
    """d = -grad v: no charges, whose total is kept all the same."""

    def forward(self, structure, v):
        return -0.5 * structure.total((v[:, 1:] ** 2).sum(1))


def test_a_law_without_charges():
    """TotalCharge() is there by default, and asks for what there is."""
    functional = Hartree() + UniformField([0, 0, 0.01])
    one, two = (
        Model(functional, Multipoles(1, width=1.0), Response(Dipoles()), **rest)(WATER) for rest in ({}, {"constraints": []})
    )
    assert torch.allclose(one.forces(), two.forces(), atol=1e-13)
    assert torch.allclose(one.polarizability(), two.polarizability(), atol=1e-11)


@pytest.mark.parametrize("what", ["weights", "charge"])
@pytest.mark.parametrize("solver", [None, CG(), Newton(), FixedPoint()])
def test_rows_that_are_no_numbers(what, solver):
    class Bad(cgdft.Constraint):
        def rows(self, structure, basis):
            right = {"weights": basis.padded(structure.positions[:, 2:]), "charge": torch.zeros(len(structure), dtype=D)}
            return [Row("bad", **{**right, what: right[what] * torch.nan})]

    with pytest.raises(ValueError, match=f"`{what}` of the Row bad must be finite, got NaN"):
        QEq().replace(constraints=[Bad()], solver=solver)(WATER)


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("solver", [Newton(), FixedPoint()])
def test_curvature_that_is_none_is_named(local, solver):
    @cgdft.term(local=local)
    def root(rho):
        return rho.total(0.1 * rho.charges.abs() ** 1.5)

    model = Model(Hartree() + Hardness(0.3) + root(), Multipoles(width=1.0), solver=solver)
    with pytest.raises(ValueError, match="the second derivative of `root` must be finite"):
        model(WATER)
