"""Spin-resolved densities: unpaired electrons against unrestricted Kohn-Sham, total spin kept, both sides of the space."""

import pytest
import torch
from ase import Atoms
from ase.build import molecule

from cgdft import Model, Multipoles, Structure, TotalCharge, TotalSpin, check_model, check_term
from cgdft.functionals import (
    Electronegativity,
    FixedPointResponse,
    Hardness,
    Hartree,
    QEq,
    SpinEquilibration,
    SpinHardness,
    SpinResponse,
    Stiffening,
    StiffeningResponse,
    TruncatedRecursion,
)
from cgdft.functionals.models.qeq import CHI, HARDNESS, WIDTH
from cgdft.functionals.models.qeq_dipoles import POLARIZABILITY
from cgdft.functionals.models.spin_equilibration import FREE, GROWTH, Saturated
from cgdft.validation import Results
from cgdft.validation.suites import stored

HELD_OUT = ("CH3", "NO", "HCO")


@pytest.fixture(scope="module")
def references():
    return Results.load(stored("radicals")).references


def fitted(references):
    """Structures with unpaired electrons that parameters were fitted to: of density-functional theory, m_i and the gap."""
    for name, one in references.items():
        if one.spin and name not in HELD_OUT:
            gap = one.energy - references[name.removesuffix(" triplet")].energy if "triplet" in name else None
            yield one.structure(), torch.from_numpy(one.spin_moments[:, 0]), gap


def test_parameters_are_those_of_the_fit(references):
    """The stated loss, |m / S - m_ref / S|^2 + 0.09 ln^2 of vertical triplet energies, is stationary at them."""
    free = {element: torch.nn.Parameter(torch.tensor(value, dtype=torch.float64).log()) for element, value in FREE.items()}
    growth = torch.nn.Parameter(torch.tensor(GROWTH, dtype=torch.float64))
    hardness = Saturated()

    def eta(s):
        return (torch.stack([free[element] for element in s.symbols]) + growth * hardness.neighbours(s)).exp()

    loss, scale = 0.0, 0.0
    for structure, moments, gap in fitted(references):
        s = float(structure.spin)
        soft = 1 / eta(structure)
        parts = [(soft / soft.sum() - moments / s).square().sum()]
        if gap is not None:
            parts.append(0.09 * (s**2 / 2 / soft.sum() / gap).log() ** 2)
        loss, scale = loss + sum(parts), scale + 1
    slopes = torch.autograd.grad(loss, [*free.values(), growth])
    assert max(float(slope.abs()) for slope in slopes) < 2e-3
    assert float(loss.detach()) / scale < 0.05


@pytest.mark.parametrize(("name", "allowed"), [("O2", 1e-9), ("Li", 1e-9), ("NO", 0.05), ("HCO", 0.11), ("CH3", 0.20)])
def test_moments_of_density_functional_theory(references, name, allowed):
    """O2 and Li by symmetry; NO, CH3 and HCO were not fitted to. The error of CH3 is that of a local spin hardness."""
    one = references[name]
    solution = SpinEquilibration()(one.structure())
    moments = torch.from_numpy(one.spin_moments[:, 0])
    assert float((solution.spin_moments - moments).abs().max()) < allowed + 1e-3
    assert float(solution.spin_moments.sum()) == pytest.approx(one.spin, abs=1e-12)
    assert "spin moment" in str(solution)
    assert solution.to_dict()["spin_moments"] == solution.spin_moments.tolist()


def test_charges_are_those_of_qeq():
    """Nothing couples charge and spin in this functional; a closed shell has no moments."""
    oh = Structure.from_ase(molecule("OH"), spin=1)
    assert torch.allclose(SpinEquilibration()(oh).charges, QEq()(oh).charges, atol=1e-12)
    water = Structure.from_ase(molecule("H2O"))
    solution = SpinEquilibration()(water)
    assert float(solution.spin_moments.abs().max()) < 1e-14
    assert torch.allclose(solution.forces(), QEq()(water).forces(), atol=1e-11)


def test_potential_of_spin():
    """dE/dS by differences; held at that potential, the spin comes back."""
    atoms = molecule("CH3OH")

    def energy(s):
        return float(SpinEquilibration()(Structure.from_ase(atoms, spin=s)).energy)

    solution = SpinEquilibration()(Structure.from_ase(atoms, spin=2.0))
    slope = solution.potentials["spin"]
    assert float(slope) == pytest.approx((energy(2.001) - energy(1.999)) / 0.002, rel=1e-7)
    held = SpinEquilibration().replace(constraints=[TotalCharge(), TotalSpin(potential=float(slope))])
    assert float(held(Structure.from_ase(atoms)).spin_moments.sum()) == pytest.approx(2.0, abs=1e-9)


def whole(lmax):
    """A functional of charges, dipoles and magnetisation, and the grand potential that is its dual."""
    inverse = {element: 1 / alpha for element, alpha in POLARIZABILITY.items()}
    local = Electronegativity(CHI) + Stiffening(HARDNESS, 0.5) + SpinHardness(0.2) + SpinHardness(0.4, l=min(lmax, 1))
    functional = Hartree() + local + Hardness(inverse, l=1) if lmax else Hartree() + local
    return Model(functional, Multipoles(lmax, width=WIDTH, spin=True))


class Twice(SpinResponse):
    """The answer of `whole`: its spin hardness is 0.2 of charges (and 0.4 more without dipoles), 0.4 of dipoles."""

    def forward(self, structure, v):
        charge, spin = v.chunk(2, dim=1)
        monopole, rest = spin[:, 0] ** 2, (spin[:, 1:] ** 2).sum(1)
        soft = monopole / (2 * (0.2 if v.shape[1] > 2 else 0.6)) + rest / 0.8
        return self.charges(structure, charge) - structure.total(soft)


@pytest.mark.parametrize("lmax", [0, 1])
def test_functional_and_response_are_dual(lmax):
    """The same density, energy, forces and potential of the spin from either side."""
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=3)
    structure = Structure.from_ase(atoms, charge=1, spin=1)
    law = Twice(StiffeningResponse(CHI, HARDNESS, 0.5, POLARIZABILITY), 1.0)
    one, two = whole(lmax)(structure), FixedPointResponse(law, WIDTH, lmax, spin=True)(structure)
    assert torch.allclose(one.coefficients, two.coefficients, atol=1e-9)
    assert torch.allclose(one.energy, two.energy, atol=1e-10)
    assert torch.allclose(one.forces(), two.forces(), atol=1e-9)
    assert torch.allclose(one.potentials["spin"], two.potentials["spin"], atol=1e-9)


@pytest.mark.parametrize("steps", [1, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (2, 5))])
def test_truncated_recursion_has_charge_and_spin_at_any_step(steps):
    law = SpinResponse(StiffeningResponse(CHI, HARDNESS, 0.5, POLARIZABILITY), Saturated())
    ion = molecule("CN")
    ion.set_initial_magnetic_moments(None)
    batch = Structure.batch([Structure.from_ase(molecule("NO")), Structure.from_ase(ion, charge=-1)])
    solution = TruncatedRecursion(law, WIDTH, steps, spin=True)(batch)
    assert torch.allclose(solution.total_charge, batch.charge, atol=1e-11)
    assert torch.allclose(batch.total(solution.spin_moments), batch.spin, atol=1e-11)
    one = TruncatedRecursion(law, WIDTH, steps, spin=True)
    check_model(one, Structure.from_ase(molecule("CH3O")), tolerance=1e-5)


def test_spin_needs_a_basis_with_spin():
    with pytest.raises(ValueError, match=r"give Multipoles\(spin=True\)"):
        QEq().replace(constraints=[TotalCharge(), TotalSpin()])(Structure.from_ase(Atoms("H")))
    with pytest.raises(ValueError, match="spin-resolved basis"):
        (QEq() + SpinHardness(0.2))(Structure.from_ase(molecule("H2O")))
    with pytest.raises(ValueError, match="`spin` or `potential`"):
        TotalSpin(1.0, 0.1)


def test_terms_in_a_basis_with_spin():
    """Gradients, Hessians and blocks of terms that act on one half of the coefficients or the other."""
    structure = Structure.from_ase(molecule("CH3OH"), spin=2)
    for term in (Hartree(), SpinHardness(0.3), SpinHardness(0.3, l=1), Hardness(0.3, l=1), Electronegativity(CHI)):
        check_term(term, structure, Multipoles(1, width=WIDTH, spin=True))
