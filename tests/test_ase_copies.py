"""Calculators that are copied, sent to other processes, asked without ASE's ways, and set wrongly."""

import copy
import pickle
from multiprocessing.reduction import ForkingPickler

import ase.calculators.calculator
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import CalculatorSetupError, SCFError

from cgdft import Model, Multipoles
from cgdft.ase import CGDFT
from cgdft.functionals import Anharmonic, Electronegativity, Hardness, Hartree, Pairwise, QEq


def water(model=None, **settings):
    atoms = molecule("H2O")
    atoms.calc = CGDFT(QEq() if model is None else model, **settings)
    return atoms


def test_solved_calculators_can_be_sent_to_processes():
    """Tensors that are sent are moved to memory that processes share, which is no change of them."""
    atoms = water()
    forces = atoms.get_forces()
    for _ in range(2):
        assert len(ForkingPickler.dumps(atoms))
        assert atoms.calc.solution.structure.positions.is_shared()
        assert not atoms.calc.solution.outdated
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(atoms)).get_forces(), forces)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))], ids=["copy", "pickle"])
def test_copies_of_what_is_outdated_compute_anew(copied):
    chi = torch.nn.Parameter(torch.tensor(0.1, dtype=torch.float64))
    atoms = water(QEq() + Electronegativity({"H": chi, "O": 0.0}))
    before = atoms.get_potential_energy()
    with torch.no_grad():
        chi += 0.1
    other = copied(atoms)
    assert other.get_potential_energy() == atoms.get_potential_energy() != before


@pytest.mark.parametrize("settings", [{"charge": 1.0}, {"potential": -2.5}])
def test_results_stay_where_settings_are_numbers(settings):
    atoms = water(**settings)
    atoms.get_forces()
    other = pickle.loads(pickle.dumps(atoms))
    assert not other.calc.calculation_required(other, ["energy", "forces"])
    assert other.calc.set(**settings) == {}


def test_results_are_those_of_the_last_atoms():
    calculator, one = CGDFT(QEq()), molecule("H2O")
    other = one.copy()
    other.rattle(0.1, seed=1)
    calculator.calculate(one, ["energy", "forces"])
    calculator.calculate(other, ["energy"])
    other.calc = calculator
    right = other.copy()
    right.calc = CGDFT(QEq())
    np.testing.assert_allclose(other.get_forces(), right.get_forces(), atol=1e-8)
    unbounded = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]], calculator=calculator)
    for _ in range(2):
        with pytest.raises(SCFError):
            unbounded.get_potential_energy()
        with pytest.raises(SCFError):
            calculator.calculate(unbounded)


def test_refused_settings_are_not_kept():
    atoms = water(charge=0)
    with pytest.raises(CalculatorSetupError, match="`charge` or `potential` must be left out"):
        atoms.calc.set(potential=4.0)
    for wrong in (np.array([1.0]), torch.tensor([1.0, 2.0]), "1"):
        with pytest.raises(CalculatorSetupError, match="`charge` must be a number"):
            atoms.calc.set(charge=wrong)
    assert atoms.get_potential_energy() == water().get_potential_energy()


def test_another_charge_is_no_past():
    """Where a functional has several minima, the way to one through another charge does not matter."""
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    atoms.rattle(0.1, seed=0)
    atoms.calc = CGDFT(QEq() + Anharmonic(cubic=0.5, quartic=0.3) + Pairwise(strength=20.0, length=0.6), charge=0)
    first = atoms.get_potential_energy()
    atoms.calc.charge = 2
    atoms.get_potential_energy()
    atoms.calc.charge = 0
    assert atoms.get_potential_energy() == pytest.approx(first, abs=1e-8)


def test_an_interrupt_leaves_no_results_of_other_atoms(monkeypatch):
    """ASE notes the new atoms before anything is solved for them."""
    atoms = water()
    atoms.get_forces()
    atoms.positions[0, 2] += 0.2
    real = CGDFT._solve

    def interrupted(self):
        raise KeyboardInterrupt

    noted = ase.calculators.calculator.Calculator.calculate

    def interrupted_as_they_are_noted(self, *arguments):
        noted(self, *arguments)
        raise KeyboardInterrupt

    for owner, name, breaks, whole in (
        (CGDFT, "_solve", interrupted, real),
        (ase.calculators.calculator.Calculator, "calculate", interrupted_as_they_are_noted, noted),
    ):
        atoms.positions[0, 2] += 0.1
        monkeypatch.setattr(owner, name, breaks)
        with pytest.raises(KeyboardInterrupt):
            atoms.get_potential_energy()
        monkeypatch.setattr(owner, name, whole)
        expected = atoms.copy()
        expected.calc = CGDFT(QEq())
        assert atoms.get_potential_energy() == pytest.approx(expected.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(atoms.get_forces(), expected.get_forces(), atol=1e-8)


@pytest.mark.parametrize("settings", [{}, {"potential": -2.5}])
def test_parts_that_are_replaced_are_seen(settings):
    local = Electronegativity({"H": 0.2, "O": 0.3}) + Hardness({"H": 0.5, "O": 0.5})
    atoms = water(Model(Hartree() + local, Multipoles(0, width=1.5)), **settings)
    before = atoms.get_potential_energy()
    atoms.get_potential_energy()
    atoms.calc.model.functional = atoms.calc.model.functional + Electronegativity({"H": 0.1, "O": 0.0})
    after = atoms.get_potential_energy()
    assert after != before
    atoms.calc.model.basis = Multipoles(1, width=1.5)
    assert atoms.get_potential_energy() not in (before, after)
