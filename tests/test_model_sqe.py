"""Split-charge equilibration: its limits, and what it cures."""

import numpy as np
import pytest
import torch
from ase.build import molecule

from cgdft import Model, Multipoles, SplitCharges, Structure
from cgdft.functionals import SQE, Hartree, QEq, UniformField
from cgdft.functionals.models.qeq import CHI, HARDNESS, WIDTH
from cgdft.units import angstrom

D = torch.float64


@pytest.mark.parametrize("charge", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("name", ["CH3OH", "C2H6", "SiH4", "C6H6"])
def test_without_bond_hardness_it_is_qeq(name, charge):
    """On a graph without rings, and on one with: there a charge that circles has no energy."""
    structure = Structure.from_ase(molecule(name), charge=charge)
    split, free = SQE(0.0)(structure), QEq()(structure)
    assert float((split.charges - free.charges).abs().max()) < 1e-9
    assert float((split.energy - free.energy).abs().max()) < 1e-10
    assert torch.allclose(split.forces(), free.forces(), atol=1e-9)
    assert torch.allclose(split.polarizability(), free.polarizability(), atol=1e-7)


def test_two_atoms():
    """x = -(chi_1 - chi_2) / (J_1 + J_2 - 2 J_12 + kappa), with atomic hardness and without."""
    r, kappa = 2.4 * angstrom, 0.4
    structure = Structure([11, 17], [[0.0, 0, 0], [0, 0, r]])
    coulomb = torch.erf(torch.tensor(r / np.sqrt(2 * (WIDTH["Na"] ** 2 + WIDTH["Cl"] ** 2)), dtype=D)).item() / r
    difference = CHI["Na"] - CHI["Cl"]
    for hardness, atomic in ((HARDNESS, HARDNESS["Na"] + HARDNESS["Cl"]), (None, 0.0), (1e-12, 0.0)):
        solution = SQE(kappa, hardness=hardness, bonds=[[0, 1]])(structure)
        assert float(solution.charges[0]) == pytest.approx(-difference / (atomic - 2 * coulomb + kappa), rel=1e-10)


def test_bond_hardness_alone_makes_dipoles_of_bonds():
    """Far from each other, bonds without atomic hardness polarize by themselves: alpha = sum_bonds d d^T / (kappa - 2 J_12)."""
    r, kappa = 2.0, 1.5
    turned = torch.tensor([[0.0, 0, 0], [0.0, 0.6 * r, 0.8 * r]], dtype=D)
    positions = torch.cat([turned, torch.tensor([[9e3, 0.0, 0.0], [9e3 + r, 0.0, 0.0]], dtype=D)])
    solution = SQE(kappa, hardness=None, bonds=[[0, 1], [2, 3]], p0=0.0)(Structure([1, 1, 1, 1], positions))
    self_term = torch.erf(torch.tensor(r / (2 * WIDTH["H"]), dtype=D)) / r
    arms = torch.stack([positions[1] - positions[0], positions[3] - positions[2]])
    expected = torch.einsum("ka,kb->ab", arms, arms) / (kappa - 2 * self_term)
    assert torch.allclose(solution.polarizability()[0], expected, atol=1e-8)


def test_molecules_keep_their_charge():
    """Two waters in a field: nothing moves between them, where QEq moves charge."""
    water = molecule("H2O")
    other = water.copy()
    other.translate([0.0, 2.8, 0.4])
    other.rotate(50, "x", center="com")
    pair = Structure.from_ase(water + other)
    field = UniformField((0.0, 0.02, 0.0))
    solution = (SQE(0.2) + field)(pair)
    assert float(solution.charges.abs().max()) > 0.3
    assert solution.charges[:3].sum().item() == pytest.approx(0.0, abs=1e-14)
    assert abs(float((QEq() + field)(pair).charges[:3].sum())) > 0.02
    assert float(solution.forces().sum(0).abs().max()) < 1e-10
    ions = Structure([11, 17], [[0.0, 0, 0], [0, 0, 20.0]])
    assert SQE(0.1, p0={"Na": 1.0, "Cl": -1.0}, bonds=[])(ions).charges.tolist() == [1.0, -1.0]


def test_bonds_that_break():
    """A bond hardness that grows with distance lets sodium chloride go apart as atoms."""

    class Breaking(torch.nn.Module):
        def forward(self, structure, bonds):
            r = (structure.positions[bonds[:, 0]] - structure.positions[bonds[:, 1]]).norm(dim=1)
            return 0.1 * torch.exp(r / 3.0)

    charges = []
    for r in (4.5, 8.0, 20.0, 60.0):
        pair = Structure([11, 17], [[0.0, 0, 0], [0, 0, r]])
        solution = SQE(Breaking(), bonds=[[0, 1]])(pair)
        charges.append(float(solution.charges[0]))
        assert float(solution.forces()[1, 2]) < 0.0
    assert charges[0] > 2 * charges[1] > 40 * charges[2] > 0.1
    assert charges[3] < 1e-8
    assert float(QEq()(pair).charges[0]) > 0.4


def test_polarizability_of_a_chain():
    """Per unit it tends to a constant with bond hardness, and grows as the square of the length without."""

    def per_unit(n, kappa):
        zigzag = [[1.25 * angstrom * k, 0.4 * angstrom * (k % 2), 0.0] for k in range(n)]
        chain = Structure([6] * n, zigzag)
        alpha = SQE(kappa, bonds=[[k, k + 1] for k in range(n - 1)])(chain).polarizability()
        return float(alpha[0, 0, 0]) / n

    stiff, free = [[per_unit(n, kappa) for n in (20, 40, 80)] for kappa in (1.0, 0.0)]
    assert stiff[2] - stiff[1] == pytest.approx(0.5 * (stiff[1] - stiff[0]), rel=0.05)  # a constant and ends
    assert stiff[2] / stiff[1] < 1.05
    assert free[2] / free[1] > 2.5


def test_batch_and_gradients_of_parameters():
    """Bond hardness per pair of elements, differentiated through a tensor per bond."""
    water = Structure.from_ase(molecule("H2O"))
    both = Structure.batch([water, Structure.from_ase(molecule("CH4"), charge=1.0)])
    model = SQE({("O", "H"): 0.2, ("H", "C"): 0.4})
    assert torch.allclose(model(both).charges[:3], model(water).charges, atol=1e-13)
    kappa = torch.tensor([0.2, 0.2], dtype=D, requires_grad=True)

    def charges(kappa):
        ansatz = SplitCharges([[0, 1], [0, 2]], kappa)
        return Model(SQE(0.0).functional, Multipoles(width=WIDTH), ansatz)(water).charges

    assert torch.autograd.gradcheck(charges, kappa)
    with pytest.raises(ValueError, match="`hardness` must have a value for every pair of elements"):
        SQE({("O", "H"): 0.2})(both)
    assert isinstance(next(iter(SQE(0.1).functional)), Hartree)


def test_bond_hardness_of_elements_is_learnt():
    """A parameter per pair of elements is one of the model's, and has a derivative."""
    kappa = torch.nn.Parameter(torch.tensor(0.3, dtype=D))
    model = SQE({("O", "H"): kappa, ("C", "H"): 0.4, ("O", "C"): 0.2})
    methanol = Structure.from_ase(molecule("CH3OH"))
    assert [name for name, _ in model.named_parameters()] == ["ansatz.hardness.table.H-O"]
    (slope,) = torch.autograd.grad(model(methanol).dipole[0, 0], kappa)
    sides = [SQE({("O", "H"): 0.3 + h, ("C", "H"): 0.4, ("O", "C"): 0.2})(methanol).dipole[0, 0] for h in (1e-4, -1e-4)]
    assert float(slope) == pytest.approx(float(sides[0] - sides[1]) / 2e-4, rel=1e-5)
    plain = torch.tensor(0.3, dtype=D, requires_grad=True)  # of a user's own optimiser
    dipole = SQE({("O", "H"): plain, ("C", "H"): 0.4, ("O", "C"): 0.2})(methanol).dipole[0, 0]
    assert float(torch.autograd.grad(dipole, plain)[0]) == pytest.approx(float(slope), rel=1e-12)
