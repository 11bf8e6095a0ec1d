"""Chemical potential, hardness and Fukui function are derivatives of the energy by the total charge, whatever depends on it."""

from __future__ import annotations

import pytest
import torch
from ase.build import bulk, molecule

from cgdft import (
    FragmentCharge,
    Free,
    Model,
    Multipoles,
    PotentialDifference,
    ResponseModes,
    SplitCharges,
    Structure,
    Term,
    TotalCharge,
)
from cgdft.functionals import (
    ACKS2,
    SQE,
    BondSoftness,
    Electronegativity,
    FourthGeneration,
    Hardness,
    Hartree,
    QEq,
    Stiffening,
)
from cgdft.units import eV

D = torch.float64
H = 1e-3
CHI = {"H": 4.5 * eV, "O": 8.7 * eV, "Na": 2.8 * eV, "Cl": 8.3 * eV}
ETA = {"H": 0.51, "O": 0.49, "Na": 0.17, "Cl": 0.34}
BASIS = Multipoles(1, width=1.1)
LOCAL = Hartree() + Electronegativity(CHI) + Stiffening(ETA, scale=0.5) + Hardness(2.0, l=1)


class OfTotalCharge(Term):
    """E = 0.1 Q^2 sum_i q_i^3: a term that knows what charge is asked for."""

    local = True

    def energy(self, rho):
        cubes = rho.structure.total(rho.charges**3)
        return 0.1 * rho.structure.charge**2 * cubes


def modes(structure):
    """Of every coefficient one of its own: charge may go to each atom."""
    size = BASIS.size
    return torch.diag(torch.linspace(0.8, 1.4, structure.n_atoms * size, dtype=D))


def learnt(structure):
    """A reference density that depends on the charge, not linearly."""
    Q = structure.charge[structure.index]
    higher = structure.positions.new_zeros(structure.n_atoms, 3)
    return torch.cat([((0.2 * Q + 0.1 * Q**2) / structure.counts[structure.index])[:, None], higher], 1)


MODELS = {
    "free": Model(LOCAL, BASIS),
    "p0 by default": Model(LOCAL, BASIS, ResponseModes(modes)),
    "p0 of the charge": Model(LOCAL, BASIS, ResponseModes(modes, learnt)),
    "a term of the charge": Model(LOCAL + OfTotalCharge(), BASIS),
    "read out": Model(LOCAL, BASIS, readout=Hartree() + OfTotalCharge()),
    "fourth generation": FourthGeneration(CHI, ETA, 1.1, Hardness(0.2) + Electronegativity(0.1)),
    "within held": Model(LOCAL, BASIS, constraints=[TotalCharge(), FragmentCharge([0], potential=0.2)]),
}


def structures():
    water = molecule("H2O")
    water.positions += 0.1
    return Structure.batch(
        [Structure.from_ase(water, charge=0.3), Structure.from_ase(bulk("NaCl", "rocksalt", a=5.64), charge=-0.2)]
    )


def at(structure, Q):
    return structure.charged(structure.charge + Q)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("given", ["by the structure", "by the constraint"])
def test_derivatives_by_the_total_charge(name, given):
    """To differences of the energy and of the charges, of a molecule and a charged crystal; their own derivatives as well."""
    model, batch = MODELS[name], structures()

    def solved(Q):
        if given == "by the structure":
            return model(at(batch, Q))
        fixed = [TotalCharge(batch.charge + Q), *model.constraints[1:]]
        return model.replace(constraints=fixed)(at(batch, 0.1))

    solution = solved(0.0)
    near = {k: solved(k * H) for k in (-2, -1, 1, 2)}

    def slope(what):
        value = {k: what(one) for k, one in near.items()}
        return (8 * (value[1] - value[-1]) - (value[2] - value[-2])) / (12 * H)

    torch.testing.assert_close(-solution.chemical_potential, slope(lambda s: s.grand_potential), atol=1e-9, rtol=0)
    torch.testing.assert_close(-solution.hardness(), slope(lambda s: s.chemical_potential), atol=1e-8, rtol=0)
    torch.testing.assert_close(solution.fukui(), slope(lambda s: s.charges), atol=1e-8, rtol=0)
    torch.testing.assert_close(batch.total(solution.fukui()), torch.ones(2, dtype=D), atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", ["p0 of the charge", "read out"])
def test_they_are_differentiable(name):
    """By a charge and a position of the structure."""
    start = structures()

    def values(Q, x):
        moved = start.positions + torch.tensor([[0.0, 0.0, 1.0]], dtype=D) * x * (torch.arange(5)[:, None] == 1)
        structure = Structure(start.numbers, moved, start.cell, start.pbc, charge=start.charge + Q, index=start.index)
        solution = MODELS[name](structure)
        return solution.chemical_potential, solution.hardness(), solution.fukui()

    zero = torch.zeros((), dtype=D)
    assert torch.autograd.gradcheck(values, (zero.clone().requires_grad_(), zero.clone().requires_grad_()), atol=1e-6)


def test_a_charge_given_to_the_constraint_is_that_of_all_of_the_model():
    """Of p0 too: split charges have a charge from nowhere else; and it is differentiable."""
    water = Structure.from_ase(molecule("H2O"))
    charged = SQE(0.3)(Structure.from_ase(molecule("H2O"), charge=1.0))
    Q = torch.tensor(1.0, dtype=D, requires_grad=True)
    given = SQE(0.3).replace(constraints=[TotalCharge(Q)])(water)
    torch.testing.assert_close(given.charges, charged.charges)
    (slope,) = torch.autograd.grad(given.charges.sum(), Q)
    assert float(slope) == pytest.approx(1.0)
    same = SQE(0.3).replace(constraints=[TotalCharge(Q)])(Structure.from_ase(molecule("H2O"), charge=1.0))
    assert float(torch.autograd.grad(same.charges.sum(), Q)[0]) == pytest.approx(1.0)


def test_without_a_total_charge_that_may_change_there_is_none():
    water = Structure.from_ase(molecule("H2O"))
    for model in (
        ACKS2(BondSoftness(3000.0, 6.0)),
        Model(LOCAL, BASIS, SplitCharges()),
        Model(LOCAL, BASIS, constraints=[PotentialDifference([0], [1, 2], 0.1)]),
        Model(LOCAL, BASIS, Free(), [FragmentCharge([0, 1, 2], charge=0.0)]),
    ):
        with pytest.raises(ValueError, match="`chemical_potential` needs a total charge that may change"):
            _ = model(water).chemical_potential
        with pytest.raises(ValueError, match="needs a total charge that is fixed"):
            model(water).hardness()
    assert float(QEq().at_potential(0.2)(water).chemical_potential) == -0.2
