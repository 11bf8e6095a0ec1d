"""Energies straight between whole charges: of an atom, of fragments, and at dissociation."""

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.data import atomic_numbers

from cgdft import Model, Multipoles, SolverError, Status, Structure, TotalCharge, check_term
from cgdft.functionals import (
    DerivativeDiscontinuity,
    Electronegativity,
    Hardness,
    Hartree,
    IntegerCharges,
    QEq,
    UniformField,
)
from cgdft.functionals.models.integer_charges import AFFINITY, IONISATION, LEVELS
from cgdft.functionals.models.qeq import WIDTH
from cgdft.solvers import Newton
from cgdft.units import eV

D = torch.float64


@pytest.mark.parametrize("smoothing", [0.05, 0.5])
@pytest.mark.parametrize("where", ["water", "cation", "batch", "triclinic"])
def test_term(structures, where, smoothing):
    check_term(DerivativeDiscontinuity(IONISATION, AFFINITY, smoothing), structures[where])


def test_term_of_fragments(structures):
    term = DerivativeDiscontinuity({"H": 0.5, "C": 0.45, "O": 0.6}, 0.1, 0.3, fragments=torch.tensor([0, 7, 7, 7, 0, 2]))
    check_term(term, structures["cation"])
    check_term(DerivativeDiscontinuity(0.5, 0.1, 0.3, fragments=lambda s: s.index), structures["batch"])


@pytest.mark.parametrize("element", LEVELS)
def test_energy_of_an_atom_is_straight(element):
    """E(Q) between whole charges, its slopes -mu = I and A, and its kinks smoothed within 0.05 e only."""
    charges = torch.tensor([-1.0, -0.95, -0.5, -0.05, 0.0, 0.05, 0.3, 0.95, 1.0], dtype=D)
    atoms = Structure.batch([Structure([atomic_numbers[element]], [[0.0, 0, 0]], charge=q) for q in charges])
    solution = IntegerCharges()(atoms)
    ionisation, affinity = (value * eV for value in LEVELS[element])
    whole = dict(zip(charges.tolist(), solution.energy.tolist(), strict=True))
    assert whole[0.0] == 0.0
    assert whole[1.0] == pytest.approx(ionisation, abs=1e-12)
    assert whole[-1.0] == pytest.approx(-affinity, abs=1e-12)
    shift = (ionisation - affinity) * 5 / 32 * 0.05  # the kinks at whole charges are that much rounded
    for q in (-0.95, -0.5, -0.05, 0.05, 0.3, 0.95):
        straight = q * (ionisation if q > 0 else affinity)
        assert whole[q] == pytest.approx(straight - shift, abs=1e-12)
    inside = [2, 6]
    slopes = -solution.chemical_potential[inside]
    assert slopes.tolist() == pytest.approx([affinity, ionisation], abs=1e-12)
    assert float(solution.hardness()[inside].abs().max()) < 1e-12


@pytest.mark.parametrize(("first", "second", "inside", "outside"), [(3, 9, 8.0, 15.0), (11, 17, 13.0, 19.0)])
def test_dissociation(first, second, inside, outside):
    """Ions where J(r) > I - A, atoms beyond; QEq leaves a charge at any distance.

    The distances on both sides are those of 1 / r = I - A, 13.7 bohr (LiF) and 17.8 bohr (NaCl), with a margin.
    """
    for r, charge in ((4.0, 1.0), (inside, 1.0), (outside, 0.0), (50.0, 0.0), (500.0, 0.0)):
        pair = Structure([first, second], [[0.0, 0, 0], [0, 0, r]])
        wide = IntegerCharges(0.5)(pair)
        solution = IntegerCharges()(pair, start=wide)
        assert float(solution.charges[0]) == pytest.approx(charge, abs=0.05)
        assert solution.status == [Status.CONVERGED]
        sharp = IntegerCharges(0.001)(pair, start=solution)
        assert float(sharp.charges[0]) == pytest.approx(charge, abs=0.001)
        slope = [float(IntegerCharges()(pair.deformed(dr, pair.cell), start=solution).energy) for dr in _steps(pair)]
        assert float(solution.forces()[1, 2]) == pytest.approx(-(slope[0] - slope[1]) / 2e-3, abs=1e-7)
    assert float(QEq()(pair).charges[0]) > 0.39


def _steps(pair):
    step = torch.zeros_like(pair.positions)
    step[1, 2] = 1e-3
    return step, -step


def test_a_saddle_point_is_left_or_named():
    """Half a charge on each of two sodium atoms is stationary and no minimum."""
    pair = Structure([11, 11], [[0.0, 0, 0], [0, 0, 12.0]], charge=1.0)
    half = torch.tensor([0.5, 0.5], dtype=D)
    problem = IntegerCharges().problem(pair)
    with torch.no_grad():
        assert float(problem.rows.project(problem.gradient(half)).abs().max()) < 1e-14
    stopped = IntegerCharges().replace(solver=Newton(max_iterations=0))
    assert stopped(pair, start=half, throw=False).status == [Status.SADDLE]
    with pytest.raises(SolverError, match="a stationary point that is not a minimum"):
        stopped(pair, start=half)
    solution = IntegerCharges()(pair, start=half)
    assert solution.status == [Status.CONVERGED]
    assert sorted(solution.charges.tolist()) == pytest.approx([0.0, 1.0], abs=0.05)
    assert float(solution.energy) < float(problem.objective(half)) - 0.01


def test_charge_against_potential_goes_in_steps():
    """At fixed potential an atom holds whole charges but within the smoothing: the steps are at I and A."""
    sodium = Structure([11], [[0.0, 0, 0]])
    for potential, charge in ((0.3, 0.0), (4.0, 0.0), (5.3, 1.0), (9.0, 1.0)):
        model = IntegerCharges(0.01).replace(constraints=[TotalCharge(potential=potential * eV)])
        assert float(model(sodium).charges[0]) == pytest.approx(charge - (potential < 0.5), abs=0.011)


def test_fragments_keep_whole_charges():
    """Two molecules as fragments, charges free within each: no fraction passes between them, a whole electron may."""
    water = molecule("H2O")
    other = molecule("H2O")
    other.translate([0.0, 3.0, 0.0])
    pair = Structure.from_ase(water + other)
    inner = Hartree(self_interaction=False) + Electronegativity({"H": 4.5 * eV, "O": 8.7 * eV})
    inner = inner + Hardness({"H": 13.9 * eV, "O": 13.4 * eV}) + UniformField((0.0, 0.01, 0.0))
    whole = DerivativeDiscontinuity(0.46, 0.0, 0.02, fragments=torch.tensor([0, 0, 0, 1, 1, 1]))
    basis = Multipoles(width=WIDTH)
    leaking, kept = Model(inner, basis)(pair), Model(inner + whole, basis)(pair)
    assert abs(float(leaking.charges[:3].sum())) > 0.02
    assert abs(float(kept.charges[:3].sum())) < 0.02
    assert float(kept.charges.abs().max()) > 0.3
    assert np.isfinite(kept.polarizability().numpy()).all()


def test_messages():
    with pytest.raises(ValueError, match="`smoothing` must be above 0 and at most 0.5"):
        DerivativeDiscontinuity(0.5, 0.1, 0.6)
    with pytest.raises(ValueError, match="`affinity` must be below `ionisation`"):
        Model(DerivativeDiscontinuity(0.1, 0.5), Multipoles(width=1.0))(Structure([1], [[0.0, 0, 0]]))


def test_the_minimum_of_a_batch_is_that_of_its_structures():
    """Of several minima the same one, whoever is beside."""
    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    salt.rattle(0.1, seed=1)
    model, one = IntegerCharges(), Structure.from_ase(salt, charge=1.0)
    alone = model(one)
    together = model(Structure.batch([Structure.from_ase(molecule("H2O")), one]))
    assert float((together.charges[3:] - alone.charges).abs().max()) < 1e-9
