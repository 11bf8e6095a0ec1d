"""The ASE calculator: units, forces and stress against finite differences, charge and potential, errors."""

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import CalculatorSetupError, InputError, PropertyNotImplementedError, SCFError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.md.verlet import VelocityVerlet

from cgdft import FragmentCharge, Structure
from cgdft.ase import CGDFT
from cgdft.functionals import Anharmonic, Electronegativity, Hardness, LatentCharges, Pairwise, QEq, QEqDipoles, UniformField
from cgdft.units import angstrom, eV, volt_per_angstrom


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Three atoms are not worth sharing between processors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def water(rattle=0.0):
    atoms = molecule("H2O")
    atoms.rattle(rattle, seed=1)
    return atoms


def salt():
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.1, seed=1)
    return atoms


def bound():
    """QEq with walls that keep the atoms of water apart."""
    return QEq() + Pairwise(strength=20.0, length=0.35)


CASES = {
    "water": (water, lambda: CGDFT(QEqDipoles())),
    "anion": (water, lambda: CGDFT(QEq(), charge=-1.0)),
    "held": (water, lambda: CGDFT(QEq(), potential=4.0)),
    "field": (water, lambda: CGDFT(QEqDipoles() + UniformField([0.1 * volt_per_angstrom, 0.0, 0.0]))),
    "anharmonic": (water, lambda: CGDFT(QEq() + Anharmonic(cubic=0.1, quartic=0.2))),
    "salt": (salt, lambda: CGDFT(QEq() + Pairwise(strength=20.0, length=0.6))),
    "charged cell": (salt, lambda: CGDFT(QEqDipoles(), charge=1.0)),
    "held cell": (salt, lambda: CGDFT(QEq(), potential=5.0)),
}


@pytest.mark.parametrize("case", CASES)
def test_forces_are_minus_the_slope_of_the_free_energy(case):
    make, calculator = CASES[case]
    atoms = make()
    atoms.rattle(0.05, seed=2)
    atoms.calc = calculator()
    forces = atoms.get_forces()
    some = [0, 2]
    numerical = calculate_numerical_forces(atoms, eps=1e-3, iatoms=some, force_consistent=True)
    assert np.abs(forces).max() > 0.05
    np.testing.assert_allclose(forces[some], numerical, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("case", ["salt", "charged cell", "held cell"])
def test_stress_is_the_slope_by_strain(case):
    make, calculator = CASES[case]
    atoms = make()
    atoms.calc = calculator()
    stress = atoms.get_stress()
    numerical = calculate_numerical_stress(atoms, eps=1e-4, force_consistent=True)
    assert stress.shape == (6,)
    assert np.abs(stress).max() > 1e-3
    np.testing.assert_allclose(stress, numerical, rtol=1e-5, atol=1e-7)


def test_stress_of_slabs_is_that_in_their_plane():
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.pbc = (True, True, False)
    atoms.cell[2, 2] += 6.0
    atoms.calc = CGDFT(QEq())
    stress, numerical = atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-4, force_consistent=True)
    np.testing.assert_allclose(stress[[0, 1, 5]], numerical[[0, 1, 5]], rtol=1e-5, atol=1e-8)
    assert np.abs(stress[[0, 1]]).min() > 1e-4
    assert not stress[[2, 3, 4]].any()
    assert not atoms.get_dipole_moment()[:2].any()
    assert atoms.get_dipole_moment()[2] != 0


def test_units_are_those_of_ase():
    atoms = water()
    atoms.calc = CGDFT(QEqDipoles())
    solution = QEqDipoles()(Structure.from_ase(atoms))
    assert atoms.get_potential_energy() == pytest.approx(float(solution.energy[0]) * 27.211386, rel=1e-7)
    assert atoms.calc.get_property("free_energy") == atoms.get_potential_energy()
    np.testing.assert_allclose(atoms.get_charges(), solution.charges)
    np.testing.assert_allclose(atoms.get_dipole_moment(), solution.dipole[0] * 0.529177211, rtol=1e-7)
    np.testing.assert_allclose(atoms.get_forces(), solution.forces() * 51.4220675, rtol=1e-7, atol=1e-12)
    assert atoms.get_charges().sum() == pytest.approx(0.0, abs=1e-12)


def test_at_a_potential_the_free_energy_is_the_grand_potential():
    atoms = water()
    at_charge = CGDFT(QEq(), charge=0.3)
    at_charge.calculate(atoms)
    potential = float(at_charge.solution.potentials["total"][0]) / eV
    atoms.calc = CGDFT(QEq(), potential=potential)
    assert atoms.get_charges().sum() == pytest.approx(0.3, abs=1e-10)
    assert atoms.get_potential_energy() == pytest.approx(at_charge.results["energy"], abs=1e-9)
    omega = atoms.get_potential_energy() - 0.3 * potential
    assert atoms.get_potential_energy(force_consistent=True) == pytest.approx(omega, abs=1e-9)
    assert abs(0.3 * potential) > 1.0


def test_charge_from_argument_info_or_initial_charges():
    told = water()
    told.info["charge"] = -1.0
    initial = water()
    initial.set_initial_charges([-1.0, 0.0, 0.0])
    energies = []
    for atoms, calculator in ((water(), CGDFT(QEq(), charge=-1.0)), (told, CGDFT(QEq())), (initial, CGDFT(QEq()))):
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
    assert energies == pytest.approx([energies[0]] * 3)
    told.info["charge"] = 1.0  # ASE does not notice a change of info
    assert told.get_charges().sum() == pytest.approx(1.0)
    initial.calc = CGDFT(QEq(), charge=1.0)  # initial charges give way to what is told
    assert initial.get_charges().sum() == pytest.approx(1.0)
    told.calc = CGDFT(QEq(), charge=-1.0)
    with pytest.raises(InputError, match=r"charge.* must be one number"):
        told.get_potential_energy()


def test_a_second_property_reuses_the_solution():
    atoms = water(0.02)
    atoms.calc = CGDFT(QEq() + Anharmonic(quartic=0.2))
    atoms.get_potential_energy()
    first = atoms.calc.solution
    atoms.get_forces()
    assert atoms.calc.solution is first
    atoms.rattle(1e-3, seed=3)
    atoms.get_forces()
    assert atoms.calc.solution is not first
    assert atoms.calc.solution.history[0, 0] < 0.05 * first.history[0, 0]  # it started from the one before
    atoms.calc.calculate(molecule("NH3"))
    assert len(atoms.calc.results["charges"]) == 4


def test_parameters_that_change_are_noticed():
    """And a model with parameters that are trained warns of nothing."""
    chi = torch.nn.Parameter(torch.tensor(0.1, dtype=torch.float64))
    atoms = water(0.02)
    atoms.calc = CGDFT(QEq() + Electronegativity({"H": chi, "O": 0.0}))
    before, forces = atoms.get_potential_energy(), atoms.get_forces()
    with torch.no_grad():
        chi += 0.1
    changed = water(0.02)
    changed.calc = CGDFT(QEq() + Electronegativity({"H": 0.2, "O": 0.0}))
    assert atoms.get_potential_energy() == pytest.approx(changed.get_potential_energy(), abs=1e-10) != before
    assert np.allclose(atoms.get_forces(), changed.get_forces(), atol=1e-8)
    assert np.abs(atoms.get_forces() - forces).max() > 1e-3


def test_energy_is_conserved_to_second_order_in_the_time_step():
    swings = []
    for dt in (0.4, 0.2):
        atoms = water()
        atoms.calc = CGDFT(bound())
        rng = np.random.default_rng(0)
        atoms.set_velocities(rng.normal(size=(3, 3)) * np.sqrt(units.kB * 300 / atoms.get_masses())[:, None])
        energies = []
        dynamics = VelocityVerlet(atoms, timestep=dt * units.fs)
        dynamics.attach(lambda atoms, energies: energies.append(_energies(atoms)), 1, atoms, energies)
        dynamics.run(round(24 / dt))
        total, kinetic = np.array(energies).T
        assert np.ptp(kinetic) > 0.02
        assert np.ptp(total) < 0.05 * np.ptp(kinetic)
        swings.append(np.ptp(total))
    assert 3 < swings[0] / swings[1] < 5


def _energies(atoms):
    return [atoms.get_total_energy(), atoms.get_kinetic_energy()]


def test_properties_that_have_no_meaning():
    atoms = water()
    atoms.calc = CGDFT(QEq())
    with pytest.raises(PropertyNotImplementedError, match="stress"):
        atoms.get_stress()
    atoms = salt()
    atoms.calc = CGDFT(QEq())
    with pytest.raises(PropertyNotImplementedError, match="dipole"):
        atoms.get_dipole_moment()


def test_a_field_is_a_term():
    """In V/angstrom it is ASE's force on a charge in eV/angstrom; on all of an ion."""
    atoms = molecule("OH", calculator=CGDFT(QEq() + UniformField([0, 0, 0.1 * volt_per_angstrom]), charge=-1))
    assert atoms.get_forces().sum(0) == pytest.approx([0, 0, -0.1], abs=1e-9)


def test_errors_are_those_of_ase():
    with pytest.raises(CalculatorSetupError, match=r"charge.*potential"):
        CGDFT(QEq(), charge=0.0, potential=1.0)
    with pytest.raises(CalculatorSetupError, match="model"):
        CGDFT(QEq)
    with pytest.raises(CalculatorSetupError, match="`spin` must be left out, got 2: QEq has no spin"):
        CGDFT(QEq(), spin=2)
    with pytest.raises(CalculatorSetupError, match="TotalCharge"):
        CGDFT(QEq().replace(constraints=[FragmentCharge([0, 1, 2], charge=0.0)]), potential=1.0)
    with pytest.raises(InputError, match="every element, got none for He"):
        CGDFT(QEq()).calculate(Atoms("He"))
    with pytest.raises(InputError, match="finite"):
        CGDFT(QEq()).calculate(Atoms("H2", positions=[[0, 0, 0], [0, 0, np.nan]]))
    soft = QEq().replace(functional=QEq().functional.terms[0] + Hardness(0.01))
    with pytest.raises(SCFError, match="no minimum"):
        CGDFT(soft).calculate(water())


def test_charges_that_do_not_respond():
    charges = [-0.8, 0.4, 0.4]
    atoms = water()
    atoms.calc = CGDFT(LatentCharges({"O": -0.8, "H": 0.4}))
    np.testing.assert_allclose(atoms.get_charges(), charges)
    np.testing.assert_allclose(atoms.get_dipole_moment(), np.array(charges) @ atoms.positions, atol=1e-12)
    assert float(atoms.calc.solution.density.structure.positions[1, 1]) == pytest.approx(atoms.positions[1, 1] * angstrom)
