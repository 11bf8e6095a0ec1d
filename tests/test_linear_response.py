"""The coarse susceptibility: from coupled-perturbed Kohn-Sham and from models, one object, against finite differences."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from cgdft import Structure
from cgdft.functionals import QEq, QEqDipoles
from cgdft.units import angstrom
from cgdft.validation.definitions import CoulombFit, Hirshfeld
from cgdft.validation.dft import mean_field
from cgdft.validation.dft.electrons import ElectronDensity
from cgdft.validation.dft.linear_response import second_derivatives
from cgdft.validation.dft.mean_field import NotConverged
from cgdft.validation.dft.reference import reference
from cgdft.validation.exact.local_hardness import fit_local_hardness, response
from cgdft.validation.exact.susceptibility import Susceptibility

pytestmark = pytest.mark.usefixtures("one_thread")

CASES = {
    "H2O": (molecule("H2O"), 0),
    "LiF": (Atoms("LiF", [[0.0, 0, 0], [0, 0, 1.564]]), 0),
    "CH3": (molecule("CH3"), 1),
}


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    folder = tmp_path_factory.mktemp("response")
    return {name: reference(atoms, spin=spin, response=True, cache=folder) for name, (atoms, spin) in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_polarizability_of_chi_is_that_of_finite_fields(references, name):
    """Charges and dipoles of Hirshfeld carry the molecule's dipole exactly, so chi carries alpha; RKS and UKS."""
    ref = references[name]
    chi = Susceptibility.of_reference(ref)
    np.testing.assert_allclose(chi.polarizability, ref.polarizability, atol=5e-4)
    atoms, spin = CASES[name]
    step = 1e-3
    mol = mean_field.build(atoms.get_chemical_symbols(), atoms.positions * angstrom, ref.method, 0, spin)
    fields = [mean_field.solve(mol, "pbe", density_fit=True, field=np.array([0.0, 0.0, s * step])) for s in (1, -1)]
    plus, minus = (mean_field.dipole(mol, mean_field.total_density_matrix(mf)) for mf in fields)
    assert ref.polarizability[2, 2] > 1
    assert (plus - minus)[2] / (2 * step) == pytest.approx(ref.polarizability[2, 2], rel=2e-4)


@pytest.mark.parametrize("name", CASES)
def test_chi_is_a_susceptibility(references, name):
    """Symmetric, no charge out of nothing, negative semidefinite: the energy is concave in the potential."""
    chi = Susceptibility.of_reference(references[name])
    assert chi.size == 4
    np.testing.assert_allclose(chi.matrix[:, ::4].sum(axis=1), 0, atol=1e-5)
    values = np.linalg.eigvalsh(chi.matrix)
    assert values.max() < 1e-5
    assert values.min() < -1
    softness, modes = chi.modes
    assert softness[0] == pytest.approx(-np.linalg.eigvalsh(chi.charges).min())
    np.testing.assert_allclose(modes @ np.diag(-softness) @ modes.T, chi.charges, atol=1e-10)
    np.testing.assert_allclose(chi.charges @ chi.hardness_kernel @ chi.charges, -chi.charges, atol=1e-7)


def test_chi_is_the_change_of_charges_in_a_potential(references):
    """One column, by solving in the potential itself: h -> h - v W."""
    ref = references["LiF"]
    mol = mean_field.build(["Li", "F"], ref.positions, ref.method)
    electrons = ElectronDensity.of(mean_field.solve(mol, "pbe", density_fit=True, field=np.zeros(3)), ref.method)
    operator = Hirshfeld(0).operators(electrons)[:, 0]
    charges = []
    for v in (1e-3, -1e-3):
        from pyscf import dft

        mf = dft.RKS(mol, xc="pbe").density_fit()
        mean_field.no_checkpoint(mf)
        core = mf.get_hcore() - v * operator[0]
        mf.get_hcore = lambda *_, core=core: core
        mf.conv_tol, mf.conv_tol_grad = 1e-11, 1e-7
        mf.kernel()
        charges.append(-np.einsum("aij,ji->a", operator, mf.make_rdm1()))
    slope = (charges[0] - charges[1]) / 2e-3
    np.testing.assert_allclose(slope, Susceptibility.of_reference(ref).charges[:, 0], rtol=2e-3)


def test_models_have_the_same_object():
    structure = Structure.from_ase(molecule("CH3OH"))
    for model, size in ((QEq(), 1), (QEqDipoles(), 4)):
        solution = model(structure)
        chi = Susceptibility.of_solution(solution)
        assert chi.size == size
        np.testing.assert_allclose(chi.polarizability, solution.polarizability()[0].numpy(), atol=1e-8)
        assert chi.error(chi) == 0
    with pytest.raises(ValueError, match="`solution` must be of one structure, got 2"):
        Susceptibility.of_solution(QEq()(Structure.batch([structure, structure])))


def test_local_hardness_is_found_where_there_is_one():
    """From the chi of charge equilibration itself: its hardness comes back, by both fits, and nothing is left over."""
    atoms = molecule("CH3OH")
    symbols, positions = tuple(atoms.get_chemical_symbols()), atoms.positions * angstrom
    from cgdft.validation.definitions.coulomb_fit import gaussian_metric

    eta = {"C": 0.31, "H": 0.42, "O": 0.27}
    repulsion = gaussian_metric(positions, CoulombFit().widths(symbols))
    exact = Susceptibility(symbols, positions, response(np.array([eta[s] for s in symbols]), repulsion))
    for to_kernel in (False, True):
        fit = fit_local_hardness(exact, to_kernel=to_kernel)
        assert fit.eta == pytest.approx(eta, abs=1e-5)
        assert fit.error < 1e-5
        assert np.abs(fit.remainder).max() < 1e-4


def test_insulators_have_no_local_hardness(references):
    """Two waters: charge does not go from one to the other, so the best local hardness is far too soft between them."""
    chi = Susceptibility.of_reference(references["H2O"])
    n = len(chi.symbols)
    apart = np.zeros((2 * n * 4, 2 * n * 4))
    apart[: 4 * n, : 4 * n] = apart[4 * n :, 4 * n :] = chi.matrix
    far = chi.positions + np.array([0.0, 0.0, 6.0])
    both = Susceptibility(chi.symbols * 2, np.concatenate([chi.positions, far]), apart)
    fit = fit_local_hardness(both)
    assert fit.error > 0.1
    assert fit.susceptibility.charge_polarizability[2, 2] > 1.5 * both.charge_polarizability[2, 2]
    assert both.range < 3.2
    edges = [0.0, 3.0, 20.0]
    near, off = both.by_distance(edges)
    assert near > 5 * off
    assert np.isnan(both.by_distance([50.0, 60.0])[0])


def test_no_answer_is_no_number():
    mol = mean_field.build(["H", "H"], np.array([[0.0, 0, 0], [0, 0, 1.4]]), "pbe/sto-3g")
    mf = mean_field.solve(mol, "pbe", density_fit=True, field=np.zeros(3))
    mf.mo_energy = np.zeros(2)
    with pytest.raises(NotConverged, match="needs a gap"):
        second_derivatives(mf, mol.intor("int1e_r"))
    mf.mo_occ = np.array([1.5, 0.5])
    with pytest.raises(ValueError, match="needs whole occupations"):
        second_derivatives(mf, mol.intor("int1e_r"))
    with pytest.raises(ValueError, match="`matrix` must be square"):
        Susceptibility(("H", "H"), np.zeros((2, 3)), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="response=True"):
        Susceptibility.of_reference(type("Bare", (), {"susceptibility": None})())


def test_one_electron_responds_as_it_does_in_a_field(tmp_path):
    """PySCF's own Hartree-Fock of one electron has no response to be coupled."""
    alone = {"method": "hf/def2-svpd", "spin": 1, "cache": tmp_path}
    alpha = reference(Atoms("H"), **alone).polarizability[2, 2]
    sides = [reference(Atoms("H"), field=[0, 0, f], polarizability=False, **alone).dipole[2] for f in (1e-3, -1e-3)]
    assert alpha == pytest.approx((sides[0] - sides[1]) / 2e-3, rel=1e-3)
