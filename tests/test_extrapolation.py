"""Starts from the past of a trajectory."""

import numpy as np
import pytest
import torch
from ase.build import molecule

from cgdft import Extrapolation, Structure
from cgdft.ase import CGDFT
from cgdft.extrapolation import coefficients
from cgdft.functionals import ACKS2, SQE, Anharmonic, BondSoftness, Electronegativity, Hardness, Hartree, QEq
from cgdft.functionals.models.qeq import CHI, HARDNESS
from cgdft.solvers import CG
from cgdft.validation.speed import dynamics


def test_published_coefficients():
    """J. Kolafa, J. Comput. Chem. 25, 335 (2004), table 1."""
    assert coefficients(0) == [2, -1]
    assert coefficients(1) == [2.5, -2, 0.5]
    assert coefficients(2) == pytest.approx([2.8, -2.8, 1.2, -0.2])
    assert coefficients(3) == pytest.approx([3, -24 / 7, 27 / 14, -4 / 7, 1 / 14])


def at(t):
    atoms = molecule("H2O")
    atoms.positions[1] += [0.0, 0.03 * np.sin(t), 0.02 * np.cos(0.7 * t)]
    return Structure.from_ase(atoms)


def test_smooth_motion_is_foreseen():
    model, past = QEq(), Extrapolation(2)
    assert past.start(at(0.0)) is None
    for t in np.arange(-0.5, 0.0, 0.1):
        past.add(model(at(t)))
    exact = model(at(0.0)).coefficients
    last = model(at(-0.1)).coefficients
    miss = float((past.start(at(0.0)) - exact).norm() / (last - exact).norm())
    assert miss < 0.05
    assert float((past.start(at(3.0)) - last).norm()) < 0.2  # a jump: nothing that was extrapolated far
    other = Structure.from_ase(molecule("NH3"))
    assert past.start(other) is None
    with pytest.raises(ValueError, match="`order` must be at least 0"):
        Extrapolation(-1)


def test_after_a_jump_the_last_one_is_taken():
    model, past = QEq(), Extrapolation(2)
    solutions = [model(at(t)) for t in (-0.3, -0.2, -0.1)]
    for one in solutions:
        past.add(one)
    assert torch.equal(past.start(at(-0.1)), solutions[-1].coefficients)


MODELS = {
    "SQE": SQE(0.3),
    "ACKS2": ACKS2(BondSoftness(1.0, 3.0)),
    "not quadratic": SQE(0.3).replace(functional=Hartree() + Electronegativity(CHI) + Hardness(HARDNESS) + Anharmonic(0.1)),
    "soft bonds": SQE(0.0),
}


@pytest.mark.parametrize("name", MODELS)
def test_dynamics_goes_on_where_bonds_break(name):
    """There are other modes then, and their past is that of the density."""
    atoms = molecule("H2O")
    atoms.calc, fresh = CGDFT(MODELS[name]), molecule("H2O")
    for _ in range(12):
        atoms.positions[1] *= 1.1
        fresh.positions, fresh.calc = atoms.positions, CGDFT(MODELS[name])
        assert atoms.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=1e-8)
    modes = [len(MODELS[name].problem(Structure.from_ase(one)).index) for one in (molecule("H2O"), atoms)]
    assert modes[0] > modes[1]


@pytest.mark.parametrize("name", ["SQE", "ACKS2"])
def test_a_density_foreseen_is_a_start_of_modes(name):
    """Fewer iterations than from nothing, whichever modes there were before."""
    waters = molecule("H2O")
    waters.set_cell([3.1] * 3)
    waters = waters.repeat(2)
    waters.pbc = True
    waters.rattle(0.05, seed=1)
    model = MODELS[name].replace(solver=CG(1e-10))
    before = model(Structure.from_ase(waters))
    waters.rattle(0.002, seed=2)
    after = Structure.from_ase(waters)
    assert model(after, start=before).iterations < model(after).iterations


@pytest.mark.slow
def test_melt_needs_few_iterations_and_moves_as_if_converged():
    runs = (CGDFT(dynamics.model(1e-5)), dynamics.FromScratch(dynamics.model(1e-11)))
    seen, exact = (dynamics.follow(one, 15, atoms=dynamics.melt((2, 2, 2)), first=10) for one in runs)
    assert seen.iterations <= 3 < exact.iterations
    assert seen.drift == pytest.approx(exact.drift, abs=2e-3)  # hartree / atom / ns: 3e-8 hartree / atom in 15 fs
    assert seen.temperature == pytest.approx(exact.temperature, rel=1e-6)
