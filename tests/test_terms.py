"""One test for every term: what it declares and what follows from its energy. A new term is tested by a line in TERMS."""

import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.collections import g2

import cgdft
from cgdft import Multipoles, Structure, check_term
from cgdft.functionals import (
    Anharmonic,
    Attenuated,
    DerivativeDiscontinuity,
    Electronegativity,
    Hardness,
    Hartree,
    NuclearRepulsion,
    Pairwise,
    PointCharges,
    QEq,
    SpinHardness,
    Stiffening,
    UniformField,
)
from cgdft.units import angstrom, eV

ELEMENTS = {"H": 0.17, "C": 0.2, "N": 0.26, "O": 0.31, "Na": 0.1, "Cl": 0.3}


@cgdft.term
def quartic(rho, k=0.05):
    """E = sum_i k q_i^4 / 24."""
    return rho.total(k * rho.charges**4 / 24)


@cgdft.term(quadratic=True, local=True)
def stiff_quadrupoles(rho, k=0.5):
    """E = sum_i k_i |Q_i|^2."""
    return rho.total(k * (rho.quadrupoles**2).sum(1))


TERMS = {
    "Hartree": Hartree(),
    "Hartree without self-interaction": Hartree(self_interaction=False),
    "Electronegativity": Electronegativity(ELEMENTS),
    "Electronegativity of the environment": Electronegativity(lambda s: 0.1 * s.numbers.sqrt()),
    "Electronegativity, attenuated": Electronegativity(Attenuated(ELEMENTS, width=1.3)),
    "Hardness": Hardness(ELEMENTS),
    "Hardness l=1": Hardness(0.3, l=1),
    "Hardness l=2": Hardness(ELEMENTS, l=2),
    "DerivativeDiscontinuity": DerivativeDiscontinuity(0.9, ELEMENTS, smoothing=0.3),
    "DerivativeDiscontinuity without straight parts": DerivativeDiscontinuity(0.9, ELEMENTS, smoothing=0.5),
    "DerivativeDiscontinuity of a structure": DerivativeDiscontinuity(0.9, ELEMENTS, smoothing=0.3, fragments=0.0),
    "Anharmonic": Anharmonic(cubic=0.2, quartic=ELEMENTS),
    "SpinHardness": SpinHardness(ELEMENTS),
    "Stiffening": Stiffening(ELEMENTS, 0.7),
    "Pairwise": Pairwise(strength=20.0, length=0.5, cutoff=7.0),
    "NuclearRepulsion": NuclearRepulsion(radius=2.0),
    "UniformField": UniformField((0.01, -0.02, 0.005)),
    "PointCharges": PointCharges([[4.1, 2.0, -3.3], [-4.0, 1.0, 3.7]], [1.0, -0.6]),
    "PointCharges with width": PointCharges([[1.1, 1.0, -1.3]], [0.8], width=0.7),
    "a function": quartic(k=0.1),
    "a function with flags": stiff_quadrupoles(k=ELEMENTS),
}
WIDTHS = {"H": 0.8, "C": 1.1, "N": 1.0, "O": 0.9, "Na": 1.6, "Cl": 1.4}


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("where", ["water", "cation", "triclinic", "charged cell", "slab", "wire", "batch"])
def test_term(name, where, structures):
    structure = structures[where]
    errors = check_term(TERMS[name], structure, Multipoles(2, width=WIDTHS, spin=name == "SpinHardness"))
    assert len(errors) >= 8


def test_every_term_is_tested():
    exported = {one for one in vars(cgdft.functionals).values() if isinstance(one, type) and issubclass(one, cgdft.Term)}
    assert {one.__name__ for one in exported - {type(term) for term in TERMS.values()}} == set()


def test_what_ignores_the_cell_is_found(structures):
    @cgdft.term
    def raw_distances(rho, k=1.0):
        """Of one structure, as if it were in open space."""
        apart = rho.structure.positions[:, None] - rho.structure.positions
        return rho.total(k * rho.charges * (torch.exp(-(apart**2).sum(2) / 20) @ rho.charges))

    with pytest.raises(AssertionError, match="atoms in other cells"):
        check_term(raw_distances(), structures["triclinic"])


def test_permutations_keep_the_spin():
    @cgdft.term(quadratic=True, local=True)
    def polarised(rho, k=0.1):
        return rho.total(k * rho.charges**2) * (1 + rho.structure.spin)

    check_term(polarised(), Structure([8, 8], [[0.0, 0.0, 0.0], [0.0, 0.0, 2.3]], spin=2.0))


def test_nuclear_repulsion_is_a_wall_and_nothing_in_molecules():
    repulsion = NuclearRepulsion()

    def energy(atoms):
        return float(repulsion.of_structure(Structure.from_ase(atoms)))

    # Z_i Z_j / r phi(r / a), phi(1) = 0.41644 by hand; the cutoff far away changes it by 1e-6
    a = 0.88534 / (6**0.23 + 8**0.23)
    touching = Structure.from_ase(Atoms("CO", [[0, 0, 0], [a / angstrom, 0, 0]]))
    assert float(NuclearRepulsion(radius=100.0).of_structure(touching)) * a / 48 == pytest.approx(0.41644, rel=1e-5)
    assert all(energy(molecule(name)) == 0.0 for name in g2.names)
    squeezed = [energy(Atoms("CO", [[0, 0, 0], [r, 0, 0]])) / eV for r in (1.0, 0.9, 0.8, 0.7)]
    assert squeezed[0] == 0.0
    assert squeezed[1] < squeezed[2] < squeezed[3]


def test_names_of_parameters_and_arguments():
    with pytest.raises(TypeError, match="`bent` must not call a parameter 'curvature', which terms have"):

        @cgdft.term
        def bent(rho, curvature=1.0):
            return rho.total(curvature * rho.charges**2)

    @cgdft.term
    def right(rho, k=1.0):
        return rho.total(k * rho.charges**2)

    with pytest.raises(TypeError, match="`right`.*unexpected keyword argument 'kk'"):
        right(kk=0.1)


def test_parameters_by_one_rule(structures):
    water = structures["water"]
    density = cgdft.Density(water, Multipoles(width=1.0), torch.tensor([[-0.8], [0.5], [0.3]], dtype=torch.float64))

    class Environment(torch.nn.Module):
        def forward(self, structure):
            return torch.tensor([4.5, 8.7], dtype=torch.float64)[(structure.numbers == 8).long()] * eV

    table = {"O": 8.7 * eV, "H": 4.5 * eV, "Xe": 1.0}
    learnt = {"O": torch.nn.Parameter(torch.tensor(8.7 * eV, dtype=torch.float64)), "H": 4.5 * eV}
    per_atom = torch.tensor([8.7, 4.5, 4.5], dtype=torch.float64) * eV
    expected = eV * (-0.8 * 8.7 + 0.8 * 4.5)
    for chi in (table, learnt, per_atom, Environment()):
        energy = Electronegativity(chi).energy(density)
        assert energy.shape == (1,)
        assert abs(float(energy.detach()) - expected) < 1e-14
    assert [p.shape for p in Electronegativity(learnt).parameters()] == [()]
    with pytest.raises(ValueError, match="`chi` must have a value for every element, got none for O"):
        Electronegativity({"H": 1.0}).energy(density)
    with pytest.raises(ValueError, match=r"`chi` must be \(n_atoms,\) = \(3,\), got shape \(4,\)"):
        Electronegativity(torch.ones(4)).energy(density)
    with pytest.raises(ValueError, match="`eta` of H must be at least zero, got -1.0"):
        Hardness({"H": -1.0, "O": 1.0})
    with pytest.raises(ValueError, match="`eta` must be at least zero"):
        Hardness(-0.1)
    with pytest.raises(ValueError, match="keyed by chemical symbols, got 'Oxygen'"):
        Electronegativity({"Oxygen": 1.0})
    with pytest.raises(TypeError, match="`chi` must be a number, a dict per element"):
        Electronegativity("high")
    with pytest.raises(ValueError, match="`width` must be greater than zero"):
        Multipoles(width=0.0)
    with pytest.raises(ValueError, match="finite"):
        Hardness(float("nan"))
    for wrong, match in ((-1.0, "at least zero, got -1.0"), (float("nan"), "finite")):
        one = torch.nn.Parameter(torch.tensor(0.4, dtype=torch.float64))
        terms = Hardness(one), Hardness({"H": one, "O": 1.0})
        with torch.no_grad():  # a step of a training
            one.fill_(wrong)
        for term in terms:
            with pytest.raises(ValueError, match=f"`eta`( of H)? must be {match}"):
                term.energy(density)


@pytest.mark.parametrize("bad", [3, -1, 1.5])
def test_lmax(bad):
    with pytest.raises(ValueError, match="`lmax` must be 0, 1 or 2"):
        Multipoles(bad, width=1.0)


def test_terms_are_added_as_numbers_are(structures):
    assert [one.name for one in sum([Hartree(), Hardness(1.0)])] == ["Hartree", "Hardness"]
    before, after = (one(structures["water"]).energy.tolist() for one in (Hardness(0.1) + QEq(), QEq() + Hardness(0.1)))
    assert before == after
    with pytest.raises(TypeError, match="what is added must be a cgdft.Term or Functional, got 1"):
        1 + Hartree()


def test_a_parameter_of_atoms_that_meets_pairs_is_told(structures):
    @cgdft.term
    def screened(rho, length=3.0):
        i, j = torch.triu_indices(rho.structure.n_atoms, rho.structure.n_atoms, 1)
        r = (rho.structure.positions[i] - rho.structure.positions[j]).norm(dim=1)
        return (rho.charges[i] * rho.charges[j] * torch.exp(-r / length)).sum()[None]

    methanol = Structure.from_ase(molecule("CH3OH"))
    with pytest.raises(RuntimeError, match="must match the size") as error:
        (QEq() + screened())(methanol)
    assert error.value.__notes__ == [
        "parameters of `screened` are of atoms, (6,): for pairs i and j take length[i] and length[j]"
    ]
