"""Definitions of coarse multipoles of a density, each against published or independent numbers."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.data import atomic_numbers, covalent_radii

from cgdft.units import angstrom
from cgdft.validation import mean_field
from cgdft.validation.coarse_grain import molecular_moments
from cgdft.validation.coulomb_fit import coulomb_fit, gaussian_metric
from cgdft.validation.mbis import mbis
from cgdft.validation.pro_atoms import pro_atoms

METHOD = "pbe/def2-tzvp"
MOLECULES = {
    "H2O": molecule("H2O"),
    "LiF": Atoms("LiF", [[0.1, -0.2, 0.3], [0.1, -0.2, 1.864]]),
}


@pytest.fixture(scope="module")
def solved():
    from pyscf import lib

    found = {}
    with lib.with_omp_threads(1):
        for name, atoms in MOLECULES.items():
            mol = mean_field.build(atoms.get_chemical_symbols(), atoms.positions * angstrom, METHOD)
            mf = mean_field.solve(mol, "pbe", field=np.zeros(3), density_fit=True)
            found[name] = (mol, np.asarray(mf.make_rdm1()))
        yield found


@pytest.mark.parametrize(("name", "largest"), [("H2O", 0.86), ("LiF", 0.85)])
def test_mbis(solved, name, largest):
    """Largest charge, as found elsewhere to two digits; every molecular moment."""
    mol, density = solved[name]
    multipoles = mbis(mol, density)
    assert np.abs(multipoles[:, 0]).max() == pytest.approx(largest, abs=0.01)
    charge, dipole, quadrupole = molecular_moments(mol.atom_coords(), multipoles)
    assert abs(charge) < 1e-5
    np.testing.assert_allclose(dipole, mean_field.dipole(mol, density), atol=1e-5)
    np.testing.assert_allclose(quadrupole, mean_field.quadrupole(mol, density), atol=1e-4)


def test_coulomb_fit(solved):
    """LiF, covalent radii: 0.760 e; the residual is orthogonal to every change that keeps the charge."""
    mol, density = solved["LiF"]
    symbols = ["Li", "F"]
    widths = np.array([covalent_radii[atomic_numbers[s]] * angstrom for s in symbols])
    atoms = pro_atoms(symbols, METHOD)
    q = coulomb_fit(mol, density, atoms, widths)
    assert q[0] == pytest.approx(0.760, abs=0.005)
    assert abs(q.sum()) < 1e-12
    with pytest.raises(ValueError, match="`widths` must be 2 positive numbers"):
        coulomb_fit(mol, density, atoms, [1.0])


def test_gaussian_metric():
    """Two far Gaussians are points; one has the energy q^2 / (2 sqrt(pi) sigma)."""
    metric = gaussian_metric(np.array([[0.0, 0, 0], [0, 0, 30.0]]), np.array([0.7, 1.3]))
    assert metric[0, 1] == pytest.approx(1 / 30)
    np.testing.assert_allclose(np.diag(metric), 1 / (np.sqrt(np.pi) * np.array([0.7, 1.3])))
