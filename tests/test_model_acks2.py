"""ACKS2 as response modes against the saddle point of the paper, and what it cures."""

import numpy as np
import pytest
import torch
from ase.build import molecule

from cgdft import Structure
from cgdft.functionals import ACKS2, SQE, BondSoftness, QEq, UniformField
from cgdft.functionals.models.qeq import CHI, HARDNESS, WIDTH
from cgdft.units import angstrom

D = torch.float64


def matrix(factor):
    """L of its entries, whose rows are atoms."""
    full = torch.zeros(int(factor.rows.max()) + 1, factor.width, dtype=D)
    return full.index_put((factor.rows, factor.columns), factor.values, accumulate=True)


def saddle_point(structure, factor, q0):
    """Charges, energy and polarizability from the stationary point in q and u, both multipliers kept; numpy alone."""
    symbols, r, n = structure.symbols, structure.positions.numpy(), structure.n_atoms
    chi, eta, width = (np.array([table[s] for s in symbols]) for table in (CHI, HARDNESS, WIDTH))
    distance = np.linalg.norm(r[:, None] - r[None], axis=2) + np.eye(n)
    spread = np.sqrt(2 * (width[:, None] ** 2 + width[None] ** 2))
    coulomb = torch.erf(torch.from_numpy(distance / spread)).numpy() / distance
    matrix = np.where(np.eye(n) > 0, np.diag(eta), coulomb)
    response = -factor @ factor.T  # X
    one, zero, eye = np.ones((n, 1)), np.zeros((n, 1)), np.eye(n)
    system = np.block(
        [
            [matrix, one, eye, zero],
            [one.T, np.zeros((1, 1)), zero.T, np.zeros((1, 1))],
            [eye, zero, response, one],
            [zero.T, np.zeros((1, 1)), one.T, np.zeros((1, 1))],
        ]
    )
    right = np.concatenate([-chi, [q0.sum()], q0, [0.0]])
    solution = np.linalg.solve(system, right)
    q, u = solution[:n], solution[n + 1 : 2 * n + 1]
    energy = chi @ q + q @ matrix @ q / 2 + u @ (q - q0) + u @ response @ u / 2
    moved = np.linalg.solve(system, np.concatenate([r, np.zeros((n + 2, 3))]))[:n]
    return q, energy, moved.T @ r


@pytest.mark.parametrize("charge", [0.0, 1.0])
@pytest.mark.parametrize("name", ["CH3OH", "C6H6", "SiH4", "NaCl"])
def test_equals_the_saddle_point(name, charge):
    structure = Structure.from_ase(molecule(name), charge=charge)
    factor = BondSoftness(2000.0, {"H": 5.0, "C": 7.0, "O": 6.5, "Si": 8.0, "Na": 9.0, "Cl": 8.0})
    solution = ACKS2(factor)(structure)
    n = structure.n_atoms
    q, energy, alpha = saddle_point(structure, matrix(factor(structure)).numpy(), np.full(n, charge / n))
    assert np.ptp(q) > 0.01
    assert np.abs(solution.charges.numpy() - q).max() < 1e-9
    assert float(solution.energy) == pytest.approx(energy, abs=1e-9)
    assert np.abs(solution.polarizability()[0].numpy() - alpha).max() < 1e-9 * np.abs(alpha).max()


def test_response_matrix():
    """X is negative semidefinite, X 1 = 0, X_ij = b_ij; atoms out of reach have none."""
    structure = Structure.from_ase(molecule("CH3OH"))
    factor = matrix(BondSoftness(2000.0, 4.5)(structure))
    response = -factor @ factor.T
    assert float(torch.linalg.eigvalsh(response).max()) < 1e-12
    assert float(response.sum(0).abs().max()) < 1e-12
    x = float((structure.positions[0] - structure.positions[1]).norm()) / 4.5
    assert float(response[0, 1]) == pytest.approx(2000.0 * x**3 * (1 - x) ** 6, rel=1e-12)
    with pytest.raises(ValueError, match="`softness` must be at least zero"):
        BondSoftness(-1.0, 4.0)


def test_limits():
    """Very soft bonds give QEq, none give fixed charges, softness 1 / kappa gives SQE."""
    structure = Structure.from_ase(molecule("CH3OH"), charge=1.0)
    share = 1 / structure.n_atoms
    assert torch.allclose(ACKS2(BondSoftness(1e12, 8.0))(structure).charges, QEq()(structure).charges, atol=1e-7)
    assert torch.allclose(ACKS2(BondSoftness(0.0, 8.0))(structure).charges, torch.full((6,), share, dtype=D))
    bonds, kappa = torch.tensor([[0, 1], [0, 2], [0, 4], [0, 5], [1, 3]]), 0.4
    incidence = torch.zeros(6, 5, dtype=D)
    incidence[bonds[:, 0], range(5)], incidence[bonds[:, 1], range(5)] = kappa**-0.5, -(kappa**-0.5)
    soft, split = ACKS2(incidence)(structure), SQE(kappa, bonds=bonds)(structure)
    assert torch.allclose(soft.charges, split.charges, atol=1e-10)
    assert float(soft.energy) == pytest.approx(float(split.energy), abs=1e-10)


def test_polarizability_of_a_chain():
    """Per unit it tends to a constant."""
    per_unit = []
    for n in (20, 40, 80):
        zigzag = [[1.25 * angstrom * k, 0.4 * angstrom * (k % 2), 0.0] for k in range(n)]
        alpha = ACKS2(BondSoftness(1500.0, 5.5))(Structure([6] * n, zigzag)).polarizability()
        per_unit.append(float(alpha[0, 0, 0]) / n)
    assert per_unit[2] - per_unit[1] == pytest.approx(0.5 * (per_unit[1] - per_unit[0]), rel=0.1)
    assert per_unit[2] / per_unit[1] < 1.05


def test_dissociation():
    """Sodium chloride goes apart as atoms, smoothly; forces are those of the energy."""
    model = ACKS2(BondSoftness(3000.0, 12.0))

    def at(r):
        return model(Structure([11, 17], [[0.0, 0, 0], [0, 0, r]]))

    charges = [float(at(r).charges[0]) for r in (4.5, 8.0, 11.0, 11.9, 12.0, 50.0)]
    assert charges == sorted(charges, reverse=True)
    assert charges[0] > 0.5
    assert charges[4:] == [0.0, 0.0]
    for r in (4.5, 11.0):
        slope = float(at(r + 1e-4).energy - at(r - 1e-4).energy) / 2e-4
        assert float(at(r).forces()[1, 2]) == pytest.approx(-slope, abs=1e-8)
    assert float(QEq()(Structure([11, 17], [[0.0, 0, 0], [0, 0, 50.0]])).charges[0]) > 0.4


def test_batch_field_and_softness_to_learn():
    water, methane = (Structure.from_ase(molecule(name)) for name in ("H2O", "CH4"))
    field = UniformField((0.0, 0.01, 0.003))
    model = ACKS2(BondSoftness(3000.0, 6.0)) + field
    both = model(Structure.batch([water, methane]))
    assert torch.allclose(both.charges, torch.cat([model(water).charges, model(methane).charges]), atol=1e-12)

    def charges(softness):
        return ACKS2(BondSoftness(softness, 6.0))(water).charges

    assert torch.autograd.gradcheck(charges, torch.tensor(3000.0, dtype=D, requires_grad=True), eps=0.1)
