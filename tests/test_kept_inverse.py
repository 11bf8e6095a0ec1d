"""Where what relaxes stays, solves after some come from an inverse that is kept; they are right whatever else changes."""

import numpy as np
import pytest
import torch

from cgdft import Free, Model, Multipoles, SplitCharges, Structure, Term, term
from cgdft.functionals import Electronegativity, Hardness, Hartree, Operator
from cgdft.functionals.models.electrodes import Electrodes
from cgdft.solvers import CG, Direct, kept_inverse

D = torch.float64
SIDE, LAYER = 3, 9
METAL = np.array([[5.0 * i, 5.0 * j, z] for z in (0.0, 25.0) for i in range(SIDE) for j in range(SIDE)])
IONS = np.array([[2.5, 2.5, 7.0], [7.5, 7.5, 9.0], [12.5, 2.5, 13.0], [2.5, 12.5, 17.0]])
CELL = np.diag([5.0 * SIDE, 5.0 * SIDE, 0.0])


def structure(ions, metal=METAL):
    return Structure([79] * 2 * LAYER + [11, 17, 11, 17], np.concatenate([metal, ions]), CELL, [True, True, False])


def electrodes(solver):
    model = Electrodes(range(LAYER), range(LAYER, 2 * LAYER), 0.1, width=1.5, charges={"Au": 0, "Na": 1, "Cl": -1})
    return model.replace(functional=Hartree(operator=Operator.COMPILED), solver=solver)


def following(model, steps=12, metal=lambda k: METAL, one=structure):
    """Solutions while ions move."""
    random, ions = np.random.default_rng(0), IONS.copy()
    for k in range(steps):
        ions = ions + random.normal(0, 0.05, ions.shape)
        yield model(one(ions, metal(k)))


def close(one, other):
    assert float((one.charges - other.charges).abs().max()) < 1e-9
    assert float((one.energy - other.energy).abs().max()) < 1e-10
    assert float((one.forces() - other.forces()).abs().max()) < 1e-8
    assert one.potentials.keys() == other.potentials.keys()


@pytest.fixture
def made(monkeypatch):
    """How many Hessians were made."""
    count, hessian = [], kept_inverse._hessian
    monkeypatch.setattr(kept_inverse, "_hessian", lambda *given: count.append(0) or hessian(*given))
    return count


def batch(ions, metal):
    return Structure.batch([structure(ions, metal), structure(ions[::-1].copy(), metal)])


@pytest.mark.parametrize("one", [structure, batch])
def test_solves_beside_what_moves(made, one):
    found = list(following(electrodes(CG(1e-12)), one=one))
    taken = [solution.iterations for solution in found]
    assert min(taken[:2]) > 3 >= max(taken[-4:])
    assert len(made) == 1
    for solution, other in zip(found[::4], list(following(electrodes(Direct()), one=one))[::4], strict=True):
        close(solution, other)


def test_other_potentials_have_the_same_inverse(made):
    """Of one model with others put in its place, as a calculator at a potential does at each step."""
    metal = Hartree(operator=Operator.COMPILED) + Electronegativity({"Au": 0.1, "Na": 0.0, "Cl": 0.0})
    charges = torch.cat([torch.zeros(2 * LAYER, dtype=D), torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=D)])
    model = Model(metal, Multipoles(width=1.5), Free(range(2 * LAYER), charges), solver=CG(1e-12))
    box = structure(IONS).holding(
        pbc=torch.ones(1, 3, dtype=torch.bool), cell=structure(IONS).cell + torch.diag(torch.tensor([0.0, 0, 60]))
    )
    for k in range(12):
        held = model.at_potential(0.01 * k)
        solution = held(box)
    assert len(made) == 1
    close(solution, held.replace(solver=Direct())(box))


def test_nothing_is_kept_of_what_moves(made):
    def moved(k):
        return METAL + 0.01 * k * np.eye(len(METAL), 3)

    for solution, other in zip(
        following(electrodes(CG(1e-12)), metal=moved), following(electrodes(Direct()), metal=moved), strict=True
    ):
        close(solution, other)
    assert not made


def test_what_changes_unseen_is_seen_of_the_residual(made):
    """A coupling of all charges whose strength no one tells of: solved anew, and another inverse kept."""
    strength = [0.0]

    class Coupled(Term):
        quadratic = True

        def energy(self, rho):
            q = rho.charges
            return strength[0] * rho.total(q * torch.roll(q, 1))

    def model(solver):
        return electrodes(solver).replace(functional=Hartree(operator=Operator.COMPILED) + Coupled())

    kept, direct, s = model(CG(1e-12)), model(Direct()), structure(IONS)
    for strength[0] in (-0.05, 0.05):
        for _ in range(12):
            solution = kept(s)
        assert solution.iterations <= 3
        close(solution, direct(s))
    assert len(made) == 2


@pytest.mark.parametrize("driven", [False, True])
def test_minima_that_are_none_any_more(made, driven):
    """A coupling that grows as an ion comes near, across which nothing drives charge or something does."""

    @term(quadratic=True)
    def exchange(rho):
        ends, q = rho.structure.positions, rho.charges
        return 4 * torch.exp(-(ends[2] - 0.5 * (ends[0] + ends[1])).norm()) * (q[0] * q[1]).reshape(1)

    def at(distance):
        return Structure([3, 3, 17], [[0, 0, 0], [0, 0, 5.0], [distance, 0, 2.8 if driven else 2.5]], charge=1.0)

    functional = Hartree() + Hardness(0.3) + exchange()
    kept, direct = (
        Model(functional, Multipoles(width=1.0), Free([0, 1], [0.0, 0.0, 1.0]), solver=one) for one in (CG(1e-10), Direct())
    )
    for k in range(8):
        assert kept(at(12 - 0.1 * k)).status[0].name == "CONVERGED"
    assert made
    for model in (kept, direct):
        assert model(at(1.5), throw=False).status[0].name == "UNBOUNDED"


def test_flat_directions_are_looked_at_once(made):
    """Around a ring of bonds charge moves at no cost."""
    grid = Structure([6] * 16, [[2.8 * i, 2.8 * j, 0.0] for i in range(4) for j in range(4)])
    functional = Hartree(operator=Operator.COMPILED) + Electronegativity(torch.linspace(0, 0.1, 16, dtype=D)) + Hardness(0.3)
    model = Model(functional, Multipoles(width=1.5), SplitCharges(reach=1.25), solver=CG(1e-8))
    for _ in range(20):
        solution = model(grid)
    assert len(made) == 1
    assert float((solution.charges - model.replace(solver=Direct())(grid).charges).abs().max()) < 1e-7


def test_only_of_minima(made):
    """Two atoms of negative hardness: found to be no minimum, each time."""
    hardness = torch.full((2 * LAYER,), 0.3, dtype=D)
    hardness[:2] = -0.5
    functional = (
        Hartree(operator=Operator.COMPILED) + Electronegativity(torch.linspace(0, 0.2, 2 * LAYER, dtype=D)) + Hardness(0.0)
    )

    @term(quadratic=True)
    def bent(rho):
        return rho.total(0.5 * hardness * rho.charges**2)

    model = Model(functional + bent(), Multipoles(width=1.5), solver=CG(1e-10))
    s = Structure([79] * 2 * LAYER, METAL)
    for _ in range(15):
        assert model(s, throw=False).status[0].name == "UNBOUNDED"
