"""Coarse-graining definitions, all by one table, and each against numbers found elsewhere."""

import dataclasses
import inspect

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from cgdft.units import angstrom
from cgdft.validation import definitions
from cgdft.validation.definitions import MBIS, CoulombFit, Definition, ESPFit, Hirshfeld, LinearDefinition
from cgdft.validation.definitions.coulomb_fit import gaussian_metric
from cgdft.validation.dft import mean_field
from cgdft.validation.dft.electrons import ElectronDensity
from cgdft.validation.dft.moments import molecular_moments
from cgdft.validation.dft.reference import reference
from cgdft.validation.report.merit import coarse_interaction, frozen_interaction, merit

pytestmark = pytest.mark.usefixtures("one_thread")
METHOD = "pbe/def2-tzvp"
MOLECULES = {
    "H2O": molecule("H2O"),
    "LiF": Atoms("LiF", [[0.1, -0.2, 0.3], [0.1, -0.2, 1.864]]),
}
DEFINITIONS = (Hirshfeld(0), Hirshfeld(1), Hirshfeld(2), MBIS(), ESPFit(), ESPFit(1), CoulombFit())
#: Largest charge, e, found by an independent program to the digits given; another number for every definition.
LARGEST = {
    ("H2O", "Hirshfeld"): 0.31,
    ("LiF", "Hirshfeld"): 0.57,
    ("H2O", "MBIS"): 0.86,
    ("LiF", "MBIS"): 0.85,
    ("H2O", "ESPFit"): 0.71,
    ("LiF", "ESPFit"): 0.79,
    ("H2O", "CoulombFit"): 0.12,
    ("LiF", "CoulombFit"): 0.76,
}


def solved(atoms, method=METHOD, charge=0):
    mol = mean_field.build(atoms.get_chemical_symbols(), atoms.positions * angstrom, method, charge=charge)
    mf = mean_field.solve(mol, "pbe", density_fit=True, field=np.zeros(3))
    return ElectronDensity.of(mf, method)


@pytest.fixture(scope="module")
def electrons(one_thread):
    return {name: solved(atoms) for name, atoms in MOLECULES.items()}


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda one: one.name)
@pytest.mark.parametrize("name", MOLECULES)
def test_every_definition(electrons, name, definition):
    """Charge and what moments it promises; where it is linear in the density, its operators are the derivative."""
    density = electrons[name]
    p = definition(density)
    assert p.shape == (density.mol.natm, (definition.lmax + 1) ** 2)
    charge, dipole, quadrupole = molecular_moments(density.positions, p)
    assert abs(charge) < 1e-5
    if isinstance(definition, (Hirshfeld, MBIS)) and definition.lmax >= 1:
        np.testing.assert_allclose(dipole, density.dipole, atol=1e-5)
    if isinstance(definition, (Hirshfeld, MBIS)) and definition.lmax >= 2:
        np.testing.assert_allclose(quadrupole, density.quadrupole, atol=1e-4)
    assert isinstance(definition, LinearDefinition) == (not isinstance(definition, MBIS))
    if isinstance(definition, LinearDefinition):
        small = definition.up_to(1)
        change = np.random.default_rng(0).normal(size=density.matrix.shape) * 1e-3
        change = change + change.T
        count = np.einsum("ij,ji->", change, density.mol.intor("int1e_ovlp"))
        change -= density.matrix * count / density.mol.nelectron  # the charge stays
        moved = dataclasses.replace(density, matrix=density.matrix + change)
        expected = -np.einsum("asij,ji->as", small.operators(density), change)
        grid = dataclasses.replace(small, level=3) if isinstance(small, Hirshfeld) else small
        np.testing.assert_allclose(grid_free(grid, moved) - grid_free(grid, density), expected, atol=2e-6)
        assert np.abs(expected).max() > 1e-4


def grid_free(definition, density):
    """Multipoles where the density is changed to one whose dipole a coarse grid may miss."""
    from cgdft.validation.definitions import hirshfeld

    check, hirshfeld.check_residual = hirshfeld.check_residual, lambda _, p, level: p
    try:
        return definition(density)
    finally:
        hirshfeld.check_residual = check


@pytest.mark.parametrize(("name", "definition"), LARGEST, ids=str)
def test_charges_known_from_elsewhere(electrons, name, definition):
    made = {"Hirshfeld": Hirshfeld(0), "MBIS": MBIS(0), "ESPFit": ESPFit(), "CoulombFit": CoulombFit()}[definition]
    assert np.abs(made(electrons[name])[:, 0]).max() == pytest.approx(LARGEST[name, definition], abs=0.006)


def test_widths_are_named_and_shared_with_the_functional(electrons):
    definition = CoulombFit({"Li": 2.0, "F": 1.0})
    np.testing.assert_array_equal(definition.widths(("Li", "F")), [2.0, 1.0])
    basis = definition.basis(("Li", "F"))
    assert basis.lmax == 0
    assert definition(electrons["LiF"])[0, 0] != pytest.approx(CoulombFit()(electrons["LiF"])[0, 0], abs=1e-3)
    assert definition.name == "CoulombFit(width={'Li': 2.0, 'F': 1.0})"
    assert (Hirshfeld().name, ESPFit(1).name) == ("Hirshfeld", "ESPFit(lmax=1)")
    for width, message in (({"Li": 1.0}, "none for F"), (-1.0, "must be positive"), (float("nan"), "must be positive")):
        with pytest.raises(ValueError, match=message):
            CoulombFit(width)(electrons["LiF"])
    for made in (Hirshfeld, MBIS, ESPFit):
        with pytest.raises(ValueError, match="`lmax` must be 0, 1 or 2, got 3"):
            made(3)


def test_mbis_of_alike_shells(one_thread):
    """Without valence electrons two shells share a core, and exchange electrons for ever: charges are steady, and are taken."""
    for symbol, charge in (("Li", 1), ("Be", 2)):
        density = solved(Atoms(symbol), charge=charge)
        np.testing.assert_allclose(MBIS()(density), [[charge, *[0.0] * 8]], atol=1e-6)
    far = molecule("H2O") + Atoms("Li", [[0.0, 0.0, -10.0]])
    apart, alone = MBIS()(solved(far, charge=1)), MBIS()(solved(molecule("H2O")))
    assert apart[3, 0] == pytest.approx(1.0, abs=1e-4)
    assert np.abs(apart[:3, 0] - alone[:, 0]).max() < 0.03  # in the field of the ion


def test_gaussian_metric():
    """Two far Gaussians are points; one has the energy q^2 / (2 sqrt(pi) sigma)."""
    metric = gaussian_metric(np.array([[0.0, 0, 0], [0, 0, 30.0]]), np.array([0.7, 1.3]))
    assert metric[0, 1] == pytest.approx(1 / 30)
    np.testing.assert_allclose(np.diag(metric), 1 / (np.sqrt(np.pi) * np.array([0.7, 1.3])))


def test_coulomb_fit_is_a_projection():
    """The density of Gaussians that it finds has itself as its fit: b = A q, so q comes back."""
    positions, widths = np.array([[0.0, 0, 0], [0, 0, 2.5]]), np.array([1.1, 1.4])
    from cgdft.validation.definitions.coulomb_fit import held_inverse

    metric, q = gaussian_metric(positions, widths), np.array([0.8, -0.3])
    inward, outward = held_inverse(metric, np.ones(2))
    np.testing.assert_allclose(inward @ metric @ q + outward * q.sum(), q)


def test_figures_of_merit(tmp_path):
    """More multipoles are better; l <= 2 leaves a few per cent outside; a wide Gaussian is worse than a narrow one."""
    ref = reference(MOLECULES["H2O"], "pbe/def2-svp", definitions=(Hirshfeld(), MBIS(), ESPFit(), CoulombFit()), cache=tmp_path)
    merits = [merit(ref, "Hirshfeld", lmax) for lmax in (0, 1, 2)]
    assert merits[0].inner > 3 * merits[1].inner > 3 * merits[2].inner
    assert merits[2].outer < 0.03
    assert merits[0].dipole > 0.2
    assert merits[1].dipole < 1e-6
    assert merit(ref, "Hirshfeld", 2, width=2.0).inner > 2 * merits[2].inner
    assert merit(ref, "ESPFit", 0).inner < merit(ref, "CoulombFit", 0).inner
    with pytest.raises(ValueError, match="`definition` must be one of Hirshfeld, MBIS, ESPFit, CoulombFit, got 'Mulliken'"):
        merit(ref, "Mulliken", 0)
    with pytest.raises(ValueError, match="`lmax` must be at most that of ESPFit"):
        merit(ref, "ESPFit", 1)


def test_frozen_interaction_of_two_waters():
    """Multipoles up to l = 2 give the exact interaction of frozen densities where they do not overlap, here to 2 %."""
    one, other = molecule("H2O"), molecule("H2O")
    other.positions += [0.0, 0.4, -4.6]
    first, second = solved(one, "pbe/def2-svp"), solved(other, "pbe/def2-svp")
    exact = frozen_interaction(first, second)
    assert exact * 627.5 < -0.5
    errors = []
    for lmax in (0, 1, 2):
        moments = Hirshfeld(lmax)(first), Hirshfeld(lmax)(second)
        errors.append(abs(coarse_interaction(first, second, moments) / exact - 1))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


@dataclasses.dataclass(frozen=True)
class Told(Definition):
    """What it is told to give."""

    lmax: int = 0
    width: float | None = None
    charges: tuple = (0.0, 0.0)

    def __call__(self, electrons):
        return np.array(self.charges).reshape(2, -1)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (Told(charges=(1.0, 1.0)), "add up to the total charge 0 e, got \\+2 e more"),
        (Told(charges=(0.0, np.nan)), "must give numbers, got nan on atom 1"),
        (Told(lmax=1), r"of shape \(n_atoms, \(lmax \+ 1\)\^2\) = \(2, 4\), got \(2, 1\)"),
    ],
)
def test_what_definitions_of_ones_own_give_is_checked(told, message, tmp_path):
    hydrogen = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])
    with pytest.raises(ValueError, match=message):
        reference(hydrogen, "pbe/sto-3g", definitions=(told,), polarizability=False, cache=tmp_path)


def test_results_of_ones_own_definition_are_kept_apart(tmp_path, monkeypatch):
    """By the content of its file; those of the package by their call."""

    @dataclasses.dataclass(frozen=True)
    class Hirshfeld(Told):  # called as the one of the package
        pass

    assert definitions.Hirshfeld().identity == repr(definitions.Hirshfeld())
    own = Hirshfeld(charges=(1.0, -1.0)).identity
    assert own != repr(Hirshfeld(charges=(1.0, -1.0)))
    monkeypatch.setattr(inspect, "getsource", lambda where: "edited")
    assert Hirshfeld(charges=(1.0, -1.0)).identity != own
