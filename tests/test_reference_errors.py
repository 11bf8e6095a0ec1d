"""What integration grids and fitted integrals change in references: the numbers that docs/validation.md states."""

import numpy as np
import pytest
from ase.build import molecule

from cgdft.units import angstrom
from cgdft.validation.dft import mean_field
from cgdft.validation.dft.linear_response import second_derivatives

pytestmark = pytest.mark.usefixtures("one_thread")


def solved(name, basis="def2-svp", fit=True):
    atoms = molecule(name)
    mol = mean_field.build(atoms.get_chemical_symbols(), atoms.positions * angstrom, f"pbe/{basis}")
    return mean_field.solve(mol, "pbe", density_fit=fit, field=np.zeros(3))


@pytest.mark.parametrize(("name", "stated"), [("H2O", 1.7e-6), ("LiF", 3.9e-4)])
def test_forces_err_by_their_grid_as_stated(name, stated, monkeypatch):
    forces = {}
    for level in (mean_field.GRID_LEVEL, 5):
        monkeypatch.setattr(mean_field, "GRID_LEVEL", level)
        forces[level] = mean_field.forces(solved(name), "pbe", np.zeros(3))
    assert set(forces) == {3, 5}
    assert np.abs(forces[3] - forces[5]).max() == pytest.approx(stated, rel=0.3)


@pytest.mark.parametrize(("basis", "stated"), [("def2-svp", 2.4e-3), ("def2-svpd", 1.9e-4)])
def test_fitted_integrals_change_the_polarizability_as_stated(basis, stated):
    alpha = [-second_derivatives(mf, mf.mol.intor("int1e_r")) for mf in (solved("H2O", basis, fit) for fit in (True, False))]
    fitted, exact = map(np.diag, alpha)
    assert np.abs(fitted / exact - 1).max() == pytest.approx(stated, rel=0.1)
