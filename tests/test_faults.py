"""What goes wrong is told, and nothing of before is shown in its place."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import CalculatorSetupError, InputError

from cgdft import Structure
from cgdft.ase import CGDFT
from cgdft.functionals import SQE, QEq, QEqDipoles
from cgdft.units import eV


def water(**info):
    atoms = molecule("H2O")
    atoms.info.update(info)
    return atoms


@pytest.mark.parametrize(
    "change",
    [
        lambda atoms: atoms.set_positions(atoms.positions[[0, 2, 2]]),
        lambda atoms: atoms.info.update(charge="abc"),
        lambda atoms: atoms.info.update(charge=np.array([1.0, 2.0])),
        lambda atoms: atoms.set_atomic_numbers([2, 1, 1]),
    ],
)
def test_a_failed_solve_leaves_no_results_behind(change):
    """Of the atoms as they were: the error is raised every time, until the atoms are right again."""
    atoms = water()
    atoms.calc = CGDFT(QEq())
    before = atoms.get_potential_energy()
    start = atoms.copy()
    change(atoms)
    for _ in range(2):
        with pytest.raises(InputError):
            atoms.get_potential_energy()
        with pytest.raises(InputError):
            atoms.get_forces()
    atoms.set_atomic_numbers(start.numbers)
    atoms.set_positions(start.positions)
    atoms.info.clear()
    assert atoms.get_potential_energy() == pytest.approx(before, abs=1e-12)


def test_settings_of_the_calculator_may_change():
    atoms = water()
    atoms.calc = CGDFT(QEq())
    neutral = atoms.get_potential_energy()
    assert set(atoms.calc.set(charge=1.0)) == {"charge"}
    assert atoms.get_charges().sum() == pytest.approx(1.0)
    atoms.calc.charge = None
    assert atoms.get_potential_energy() == pytest.approx(neutral, abs=1e-12)
    atoms.calc.potential = 0.5
    assert float(atoms.calc.get_property("energy", atoms)) != pytest.approx(neutral, abs=1e-3)
    assert float(atoms.calc.solution.potentials["total"][0]) == pytest.approx(0.5 * eV)
    atoms.calc.set(potential=None, model=QEqDipoles())
    assert np.abs(atoms.get_potential_energy() - neutral) > 1e-3
    with pytest.raises(CalculatorSetupError, match="`set` must be given some of model, charge, potential, spin, got chrage"):
        atoms.calc.set(chrage=1)
    with pytest.raises(CalculatorSetupError, match="`charge` must be a number, got 'a'"):
        CGDFT(QEq(), charge="a")
    with pytest.raises(CalculatorSetupError, match="`atoms` must be given"):
        CGDFT(QEq()).get_property("energy")


def test_nothing_is_zero_for_want_of_a_graph():
    solution = QEq()(Structure.from_ase(water()))
    with torch.inference_mode():
        for ask in (solution.forces, solution.virial, solution.polarizability, solution.fukui):
            with pytest.raises(RuntimeError, match="inference_mode"):
                ask()
    assert float(solution.forces().abs().max()) > 1e-3


def test_a_solution_of_what_has_changed_is_refused():
    """Energies of before and derivatives of now would be shown side by side."""
    structure = Structure.from_ase(water())
    solution = QEq()(structure)
    structure.positions[0, 0] += 0.3
    with pytest.raises(RuntimeError, match="changed in place since it was solved"):
        solution.forces()
    assert float(QEq()(structure).forces().abs().max()) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"charge": 100.0}, "`charge` must be one that 10 protons and their electrons can have, got 100 in structure 0"),
        ({"spin": -2.0}, "`spin` must be one that 10 protons and their electrons can have, got -2"),
        ({"spin": 11.0}, "`spin` must be"),
    ],
)
def test_impossible_states(arguments, message):
    with pytest.raises(ValueError, match=message):
        Structure.from_ase(water(), **arguments)


def test_the_total_charge_of_a_file_goes_by_either_name():
    assert float(Structure.from_ase(water(total_charge=-1)).charge) == -1.0
    with pytest.raises(ValueError, match=r"`charge` must be one number, got atoms.info\['charge'\] = 1, atoms.info\['total_"):
        Structure.from_ase(water(charge=1, total_charge=-1))


def test_a_charge_that_cannot_change_is_held_at_no_potential():
    with pytest.raises(
        ValueError, match="`potential` must be of a charge that the ansatz can change, got total of SplitCharges"
    ):
        SQE(0.3).at_potential(0.1)(Structure.from_ase(Atoms("OH2", [[0, 0, 0], [0, 0, 0.96], [0.93, 0, -0.24]])))
