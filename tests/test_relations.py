"""The relations between models, each a limit or an identity; docs/relations.md has them in a line each."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from ase.build import molecule

from cgdft import Model, Multipoles, Structure
from cgdft.functionals import ACKS2, LES, SQE, BondSoftness, Electronegativity, Hardness, Hartree, QEq, StiffeningResponse
from cgdft.functionals.models.energy_functional import EnergyFunctional
from cgdft.functionals.models.fixed_point_response import FixedPointResponse
from cgdft.functionals.models.qeq import CHI, HARDNESS, WIDTH
from cgdft.functionals.models.truncated_recursion import TruncatedRecursion

D = torch.float64


@pytest.fixture(scope="module")
def methanol():
    return Structure.from_ase(molecule("CH3OH"))


@pytest.fixture(scope="module")
def cell():
    atoms = molecule("CH3OH")
    atoms.set_cell([[6.0, 0, 0], [0.7, 6.5, 0], [0.2, -0.3, 7.0]])
    atoms.pbc = True
    return Structure.from_ase(atoms)


def test_latent_ewald_sum(cell):
    """Its published formula, summed here in reciprocal space alone."""
    q = torch.tensor([0.3, -0.5, 0.2, 0.1, -0.05, -0.05], dtype=D)
    sigma = 1.9
    found = LES(q, sigma)(cell)
    vectors, r = cell.cell[0].numpy(), cell.positions.numpy()
    volume, dual = np.linalg.det(vectors), 2 * np.pi * np.linalg.inv(vectors).T
    whole = np.stack(np.meshgrid(*[np.arange(-14, 15)] * 3, indexing="ij"), -1).reshape(-1, 3)
    k = whole[np.abs(whole).sum(1) > 0] @ dual
    k2 = (k**2).sum(1)
    structure_factor = np.exp(1j * k @ r.T) @ q.numpy()
    energy = 2 * np.pi / volume * (np.exp(-(sigma**2) * k2 / 2) / k2 * abs(structure_factor) ** 2).sum()
    energy -= (q.numpy() ** 2).sum() / (math.sqrt(2 * math.pi) * sigma)
    assert float(found.energy) == pytest.approx(energy, abs=1e-10)
    assert abs(energy) > 1e-2


def test_rigid_limit_of_charge_equilibration_is_latent(methanol):
    """QEq -> LES as the hardness grows at given charges: the energy comes nearer as 1 / eta."""
    q = torch.tensor([0.3, -0.5, 0.2, 0.1, -0.05, -0.05], dtype=D)
    latent = LES(q, 1.8)(methanol)
    gaps = []
    for eta in (10.0, 100.0, 1000.0):
        functional = Hartree(self_interaction=False) + Electronegativity(-eta * q) + Hardness(eta)
        soft = Model(functional, Multipoles(width=1.8 / math.sqrt(2)))(methanol)
        gaps.append(float((soft.energy + 0.5 * eta * (q**2).sum() - latent.energy).abs()))
        assert float((soft.charges - q).abs().max()) < 5 / eta
    assert gaps[0] > 9 * gaps[1] > 81 * gaps[2] > 0
    torch.testing.assert_close(soft.forces(), latent.forces(), atol=1e-3, rtol=0)


def test_split_charges_without_bond_hardness_are_free(methanol):
    """SQE -> QEq as the bond hardness vanishes, on a connected molecule."""
    torch.testing.assert_close(SQE(0.0)(methanol).charges, QEq()(methanol).charges, atol=1e-10, rtol=0)
    near = (SQE(1e-6)(methanol).charges - QEq()(methanol).charges).abs().max()
    assert 0 < float(near) < 1e-5


def test_quadratic_functional_is_a_linear_response(methanol):
    """The energy functional with a parabola, and the fixed point of p = p0 - chi_s v: one density, one energy."""
    functional = EnergyFunctional(Electronegativity(CHI) + Hardness(HARDNESS), WIDTH, 0)(methanol)
    law = FixedPointResponse(StiffeningResponse(CHI, HARDNESS, 1e6), WIDTH, 0)(methanol)
    torch.testing.assert_close(law.charges, functional.charges, atol=1e-9, rtol=0)
    torch.testing.assert_close(law.energy, functional.energy, atol=1e-9, rtol=0)


def test_response_modes_are_the_kohn_sham_part(methanol):
    """ACKS2 with all pairs soft without limit is QEq; without softness nothing moves."""
    soft = ACKS2(BondSoftness(1e9, 30.0))(methanol).charges
    torch.testing.assert_close(soft, QEq()(methanol).charges, atol=1e-5, rtol=0)
    assert float(ACKS2(BondSoftness(0.0, 30.0))(methanol).charges.abs().max()) < 1e-12


def test_steps_become_self_consistent(methanol):
    """K answers of a stiff law approach its fixed point geometrically."""
    law = StiffeningResponse(CHI, 4.0)
    fixed = FixedPointResponse(law, 1.6, 0)(methanol)
    gaps = [float((TruncatedRecursion(law, 1.6, k, 0)(methanol).charges - fixed.charges).abs().max()) for k in (1, 2, 3, 4)]
    assert all(late < 0.5 * early for early, late in pairwise(gaps))
    assert gaps[0] > 1e-4
    steps = [TruncatedRecursion(law, 1.6, k, 0)(methanol) for k in (1, 2, 3)]
    moved = [float((after.charges - before.charges).norm()) for before, after in pairwise(steps)]
    assert steps[1].history[1:, 0].tolist() == pytest.approx([moved[0], moved[1]])
    assert float(steps[0].history[0]) == pytest.approx(float(steps[0].charges.norm()))


def test_steps_that_go_apart_are_told(methanol):
    """A soft law of narrow charges has no fixed point that its answers would come near to."""
    with pytest.warns(UserWarning, match="go apart .see `history`.: more of them lead further away"):
        TruncatedRecursion(StiffeningResponse(CHI, 0.5), 0.4, 3, 0)(methanol)
    oxygen = TruncatedRecursion(StiffeningResponse(CHI, 0.5, 0.5, 3.0), 0.4)(Structure.from_ase(molecule("O2"), spin=0))
    assert float(oxygen.history.max()) < 1e-12  # rounding, of which nothing is told
