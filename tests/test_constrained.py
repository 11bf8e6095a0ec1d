"""The exact coarse functional: curves of LiF known from elsewhere, slopes, honest failures; and what is fitted to it."""

import numpy as np
import pytest
from ase import Atoms
from ase.collections import s22
from scipy.special import erf

from cgdft.units import angstrom, eV
from cgdft.validation.definitions import MBIS, CoulombFit, Hirshfeld
from cgdft.validation.dft.mean_field import NotConverged
from cgdft.validation.exact.concave_dual import hold
from cgdft.validation.exact.constrained import ExactFunctional
from cgdft.validation.exact.fit_hardness import ANHARMONIC, LINEAR, PARABOLA, PIECEWISE, QUADRATIC, QUARTIC, Curve, fit_hardness
from cgdft.validation.exact.fractional import atom_curve

pytestmark = pytest.mark.usefixtures("one_thread")

#: LiF at 1.564 angstrom, PBE/def2-TZVP: energies above the minimum in eV at q(Li), by an independent program.
CURVES = {
    "CoulombFit": (CoulombFit(), 0.760, {0.0: 3.25, 0.2: 1.89, 0.4: 0.84, 0.6: 0.18, 0.8: 0.01, 1.0: 0.50}),
    "Hirshfeld": (Hirshfeld(0), 0.570, {0.0: 4.05, 0.2: 1.94, 0.4: 0.50, 0.6: 0.02, 0.8: 2.75, 1.0: 16.7}),
}
#: d2F/dq2 + 2 J in eV with Coulomb-fitted charges, by the same: nearly independent of the distance at small charge.
SECOND = {0.05: 20.5, 0.35: 22.7, 0.55: 25.0, 0.75: 28.6}


def lithium_fluoride(distance=1.564):
    return Atoms("LiF", [[0, 0, 0], [0, 0, distance]])


@pytest.fixture(scope="module", params=["Hirshfeld", pytest.param("CoulombFit", marks=pytest.mark.slow)])
def case(request):
    definition, free, energies = CURVES[request.param]
    return ExactFunctional(lithium_fluoride(), "pbe/def2-tzvp", definition), free, energies


def test_curve_of_lithium_fluoride(case):
    functional, free, energies = case
    assert functional.free.target[0] == pytest.approx(free, abs=0.005)
    points = functional.along(list(energies))
    assert [one.reason for one in points] == [""] * len(points)
    found = [(one.energy - functional.free.energy) / eV for one in points]
    np.testing.assert_allclose(found, list(energies.values()), rtol=0.01, atol=0.006)
    for one in points:
        assert one.charges[0] == pytest.approx(one.target[0], abs=1e-6)
        assert one.charges.sum() == pytest.approx(0, abs=1e-5)  # Hirshfeld's grid
        assert one.seconds < 30


def test_slope_is_the_derivative_of_the_energy(case):
    functional, _, _ = case
    middle, step = functional([0.5]), 1e-3
    plus, minus = functional([0.5 + step], middle), functional([0.5 - step], middle)
    assert abs(middle.slope[0]) > 1e-3
    assert middle.slope[0] == pytest.approx((plus.energy - minus.energy) / (2 * step), rel=1e-4)
    curvature = functional.curvature(middle)[0, 0]
    assert curvature == pytest.approx((plus.slope[0] - minus.slope[0]) / (2 * step), rel=2e-3)


def test_second_derivative_with_coulomb_charges():
    functional = ExactFunctional(lithium_fluoride(), "pbe/def2-tzvp")
    width = np.linalg.norm(functional.definition.widths(functional.symbols))
    distance = 1.564 * angstrom
    repulsion = erf(distance / np.sqrt(2) / width) / distance
    points = functional.along(list(SECOND))
    found = [(functional.curvature(one)[0, 0] + 2 * repulsion) / eV for one in points]
    np.testing.assert_allclose(found, list(SECOND.values()), rtol=0.02)


@pytest.mark.slow
def test_charge_between_molecules_and_radicals():
    """A sum of charges: what one molecule of a dimer gives to the other; and an unrestricted molecule."""
    dimer = ExactFunctional(s22["Water_dimer"], "pbe/def2-svp", constrained=[[1, 1, 1, 0, 0, 0]])
    point = dimer([-0.05])
    assert point.charges[:3].sum() == pytest.approx(-0.05, abs=1e-6)
    assert point.energy > dimer.free.energy
    assert point.slope[0] > 0 > dimer.free.target[0] + 0.05
    heights = []
    for way in ([0, 0, 0.97], [0.122, 0.13, -0.953], [0.3, 0.55, 0.74]):  # the hole of a radical turns freely
        radical = ExactFunctional(Atoms("OH", [[0, 0, 0], way]), "pbe/def2-svp", spin=1)
        held = radical(radical.free.target + 0.1)
        assert held.slope[0] > 0
        heights.append(held.energy - radical.free.energy)
    assert heights[0] == pytest.approx(6.03e-3, abs=1e-4)
    assert heights == pytest.approx([heights[0]] * 3, rel=0.02)


def test_failure_is_told_within_seconds():
    """More charge than the electrons can make: no number, the reason, soon; on a path the others go on."""
    functional = ExactFunctional(lithium_fluoride(), "pbe/def2-svp", Hirshfeld(0))
    good, bad = functional.along([[0.5], [4.0]])
    assert not good.reason
    assert "did not converge" in bad.reason
    assert np.isnan(bad.energy)
    assert bad.seconds < 60
    with pytest.raises(NotConverged, match=r"F at \[4.0\] e did not converge"):
        functional([4.0])
    with pytest.raises(ValueError, match="`point` must be converged"):
        functional.curvature(bad)


def test_the_dual_finds_populations_or_says_so():
    """Two levels: any population between, none beyond."""
    hamiltonian, operator = np.array([[[0.0, 0.2], [0.2, 0.5]]]), np.array([[[1.0, 0.0], [0.0, 0.0]]])
    held = hold(hamiltonian, operator, np.array([0.7]), (2,), np.zeros(1), 1e-10)
    lowest = held.orbitals[0, :, 0]
    assert 2 * lowest[0] ** 2 == pytest.approx(0.7, abs=1e-9)
    with pytest.raises(NotConverged, match="these populations"):
        hold(hamiltonian, operator, np.array([2.1]), (2,), np.zeros(1), 1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"definition": MBIS()}, "`definition` must be linear in the density"),
        ({"constrained": [[1, 0, 0]]}, "`constrained` must be rows of 2 numbers"),
        ({"constrained": [[1, 1]]}, "`constrained` must be independent"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ExactFunctional(lithium_fluoride(), "pbe/sto-3g", **arguments)


# What the curves say


def made_curves(chi, eta, kappa=0.0):
    """Curves of a functional that is local and Coulomb, at three distances."""
    curves = []
    for distance in (2.5, 3.0, 4.0):
        positions, widths = np.array([[0.0, 0, 0], [0, 0, distance]]), np.array([1.2, 0.9])
        q = np.linspace(-0.3, 1.0, 14)
        charges = np.stack([q, -q], axis=1)
        local = charges @ chi + charges**2 @ eta / 2 + kappa * (charges**4).sum(axis=1) / 24
        from cgdft.validation.definitions.coulomb_fit import gaussian_metric

        coulomb = 0.5 * np.einsum("mi,ij,mj->m", charges, gaussian_metric(positions, widths), charges)
        curves.append(Curve(("Li", "F"), positions, widths, charges, local + coulomb - 7.0 * distance))
    return curves


def test_fit_finds_what_was_put_in():
    chi, eta = np.array([0.1, 0.4]), np.array([0.15, 0.35])
    fit = fit_hardness(made_curves(chi, eta))
    assert fit.combination({("Li", "chi"): 1, ("F", "chi"): -1}) == (pytest.approx(-0.3), pytest.approx(0, abs=1e-10))
    assert fit.combination({("Li", "eta"): 1, ("F", "eta"): 1}) == (pytest.approx(0.5), pytest.approx(0, abs=1e-10))
    assert fit.rms < 1e-10
    assert fit.determined() == {}
    with pytest.raises(ValueError, match="must be a sum that the curves determine"):
        fit.combination({("Li", "eta"): 1})
    with pytest.raises(ValueError, match="must name parameters"):
        fit.combination({("Na", "eta"): 1})
    bent = made_curves(chi, eta, kappa=0.8)
    assert fit_hardness(bent).rms > 100 * fit_hardness(bent, (LINEAR, QUADRATIC, QUARTIC)).rms
    with pytest.raises(ValueError, match="`curves` must have more points"):
        fit_hardness([])


@pytest.mark.slow
def test_quartic_term_is_better_for_lithium_fluoride():
    curves = []
    for distance in (1.4, 1.564, 1.8):
        functional = ExactFunctional(lithium_fluoride(distance), "pbe/def2-svp")
        curves.append(Curve.of_points(functional, functional.along(np.linspace(0.1, 1.0, 7))))
    parabola, anharmonic = (fit_hardness(curves, shapes) for shapes in (PARABOLA, ANHARMONIC))
    assert anharmonic.rms < 0.7 * parabola.rms
    assert anharmonic.left_out < 0.8 * parabola.left_out
    value, error = parabola.combination({("Li", "eta"): 1, ("F", "eta"): 1})
    assert 0 < error < 0.2 * value


#: IP, EA, curvature gaining and losing, jump (eV), UKS/def2-TZVPD, by an independent program.
ATOMS = {
    ("Li", "pbe"): (5.59, 0.33, 3.5, 4.5, 1.2),
    ("F", "pbe"): (17.65, 3.67, 10.9, 14.9, 1.1),
    ("O", "pbe"): (14.05, 1.78, 9.1, 13.2, 1.2),
    ("F", "hf"): (15.66, 1.19, -5.6, -5.0, 19.8),
}


@pytest.mark.parametrize(
    ("symbol", "xc"),
    [pytest.param(*one, marks=[] if one in [("Li", "pbe"), ("F", "hf")] else pytest.mark.slow) for one in ATOMS],
)
def test_atoms_with_fractional_charge(symbol, xc):
    """A semilocal atom is the parabola of charge equilibration; a Hartree-Fock atom bends the other way and jumps."""
    curve = atom_curve(symbol, f"{xc}/def2-tzvpd", (-1, -0.5, 0, 0.5, 1))
    found = [curve.ionisation_energy, curve.electron_affinity, curve.curvature(1), curve.curvature(-1), curve.jump]
    np.testing.assert_allclose(np.array(found) / eV, ATOMS[symbol, xc], atol=0.1)
    with pytest.raises(ValueError, match="`x` must be one of"):
        curve.at(0.25)
    parabola, kinked = (fit_hardness([Curve.of_atom(curve, CoulombFit())], shapes) for shapes in (PARABOLA, PIECEWISE))
    assert (kinked.rms < 0.1 * parabola.rms) == (xc == "hf")
    chi, error = parabola.determined()[symbol, "chi"]
    assert chi / eV == pytest.approx((found[0] + found[1]) / 2 / eV, abs=0.6)
    assert error == np.inf  # one curve has no other to be compared with


def test_atom_curve_of_one_electron():
    """PySCF's UHF of one electron is another method, which knows of no second one."""
    from pyscf import gto, scf

    curve = atom_curve("H", "hf/def2-svp", (-1, 0, 1))
    minus = scf.RHF(gto.M(atom="H", basis="def2-svp", charge=-1, verbose=0)).kernel()
    assert curve.energies[0] == pytest.approx(0, abs=1e-9)
    assert curve.electron_affinity == pytest.approx(curve.at(0) - minus, abs=1e-7)


def test_atom_curve_names_bad_steps():
    with pytest.raises(ValueError, match="`steps` must be between -1 and 1"):
        atom_curve("Li", steps=(2.0,))
    with pytest.raises(ValueError, match="the spin of the free atom must be known, got Og: elements go to Lr"):
        atom_curve("Og", "pbe/def2-svp")


def test_spread_needs_two_distances():
    """What converged at one distance, or at none, has no spread over distances."""
    from cgdft.validation.locality import BONDS, Locality, as_table

    local = np.array([[0.8, np.nan, 0.5], [0.9, np.nan, np.nan]])
    found = Locality(BONDS["LiF"], CoulombFit(), (), local, local, ())
    np.testing.assert_allclose(found.spread(), [0.1, np.nan, np.nan])
    table = as_table("LiF", found, (1.2, 1.5), (0.1, 0.2, 0.3))
    assert list(table.columns[-1].cells) == ["2.7", "-", "-"]
