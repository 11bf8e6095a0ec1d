"""What users write: terms, modes and constraints that depend on the structure in ways of their own, and mistakes in them."""

from dataclasses import dataclass

import pytest
import torch
from ase.build import molecule

import cgdft
from cgdft import Model, Multipoles, ResponseModes, Structure, Term, check_model, check_term
from cgdft.constraint import Row
from cgdft.electrostatics.pairs import near_pairs
from cgdft.functionals import Hardness, Hartree, LatentCharges, QEq, UniformField
from cgdft.learning.training.architecture import code_of
from cgdft.user_code import names_of

D = torch.float64


@pytest.fixture
def water():
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=1)
    return Structure.from_ase(atoms)


def slope(value, structure, atom, axis, h=1e-3):
    """Of a function of the structure by a coordinate, by differences."""
    step, none = torch.zeros_like(structure.positions), torch.zeros_like(structure.cell)
    step[atom, axis] = h
    return (value(structure.deformed(step, none)) - value(structure.deformed(-step, none))) / (2 * h)


def test_modes_that_are_zero_where_they_are_may_have_derivatives():
    """Dipoles along a bond, which lies along z."""

    def along(s):
        u = 1.5 * torch.nn.functional.normalize(s.positions[1] - s.positions[0], dim=0)
        one = torch.cat([torch.zeros(1, dtype=D), u])
        return torch.stack([torch.cat([one, 0 * one]), torch.cat([0 * one, one])], 1)

    reference = torch.tensor([0.4, -0.4], dtype=D)
    model = Model(Hartree() + UniformField([0.02, 0, 0.03]), Multipoles(1, width=1.0), ResponseModes(along, p0=reference))
    pair = Structure([1, 9], [[0.0, 0, 0], [0, 0, 1.9]])
    solution = model(pair)
    assert float(solution.forces()[1, 0]) == pytest.approx(-float(slope(lambda s: model(s).energy, pair, 1, 0)), abs=1e-7)
    by_differences = slope(lambda s: model(s).dipole[0], pair, 1, 0)
    torch.testing.assert_close(solution.born_charges()[1, :, 0], by_differences, atol=1e-6, rtol=0)


class Dipole(cgdft.Constraint):
    """D_z = 0.3 e bohr, by charges alone."""

    def rows(self, structure, basis):
        return [Row("dipole", basis.padded(structure.positions[:, 2:3]), torch.full((len(structure),), 0.3, dtype=D))]


def test_constraints_may_depend_on_positions(water):
    """Also where they are zero: the first atom is in the plane z = 0."""
    height = float(water.positions[0, 2])
    there = Structure(water.numbers, water.positions - water.positions.new_tensor([0, 0, height]))
    model = QEq().replace(constraints=[cgdft.TotalCharge(), Dipole()])
    forces = model(there).forces()
    for atom in range(3):
        expected = -slope(lambda s: model(s).energy, there, atom, 2)
        assert float(forces[atom, 2]) == pytest.approx(float(expected), abs=1e-6)
    x = there.positions.clone().requires_grad_()
    (by_positions,) = torch.autograd.grad(model(Structure(there.numbers, x)).charges[0], x)
    assert float(by_positions[0, 2]) == pytest.approx(float(slope(lambda s: model(s).charges[0], there, 0, 2)), abs=1e-6)


@dataclass
class Chosen:
    """Settings of a term."""

    k: torch.Tensor


class Quartic(Term):
    local = True

    def __init__(self, chosen):
        super().__init__()
        self.chosen = chosen

    def energy(self, rho):
        return rho.total(self.chosen.k * rho.charges**4)


def test_tensors_in_settings_of_a_term_are_seen(water):
    k = torch.tensor(0.3, dtype=D, requires_grad=True)
    solution = (QEq() + Quartic(Chosen(k)))(water)
    (found,) = torch.autograd.grad(solution.energy.sum(), k)
    assert float(found) == pytest.approx(float((solution.charges.detach() ** 4).sum()), rel=1e-10)
    with torch.no_grad():
        k += 0.1
    assert solution.outdated


def test_third_derivatives_by_what_a_function_hides_are_refused(water):
    k = torch.tensor(0.3, dtype=D, requires_grad=True)

    @cgdft.term
    def hidden(rho, a=1.0):
        return rho.total(a * k * rho.charges**4)

    value = (QEq() + hidden())(water).charges[0]
    for _ in range(2):
        (value,) = torch.autograd.grad(value, k, create_graph=True)
    with pytest.raises(RuntimeError, match="would not be exact"):
        torch.autograd.grad(value, k, create_graph=True)


def test_terms_that_learn_are_checked(water):
    check_term(Hardness(torch.nn.Parameter(torch.tensor(0.3, dtype=D))), water)
    check_term(Quartic(Chosen(torch.tensor(0.3, dtype=D, requires_grad=True))), water)


@cgdft.term
def as_if_alike(rho):
    return (rho.charges**2).reshape(len(rho.structure), -1).sum(1)


@cgdft.term
def of_the_first(rho):
    return rho.total(rho.charges**2) * (1 + rho.structure.charge[0])


@cgdft.term
def handed(rho):
    i, j, apart = near_pairs(rho.structure, 6.0)
    triple = (rho.dipoles[i] * torch.linalg.cross(rho.dipoles[j], apart)).sum(1) * torch.exp(-(apart**2).sum(1))
    return rho.total(torch.zeros_like(rho.charges).index_add(0, i, rho.charges[i] * triple))


@cgdft.term
def rough_spin(rho):
    return rho.total(rho.spin_moments.abs())


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (as_if_alike, "is invalid for input of size 9"),
        (of_the_first, "unlike"),
        (handed, "inversion"),
        (rough_spin, "kink|no density|derivative"),
    ],
)
def test_mistakes_that_are_found(water, wrong, check):
    charged = Structure(water.numbers, water.positions, charge=1.0, spin=1.0)
    with pytest.raises((AssertionError, RuntimeError), match=check):
        check_term(wrong(), charged)


@pytest.mark.parametrize("axis", range(3))
def test_images_are_looked_for_along_every_axis(axis):
    """A minimum-image term whose cutoff is beyond half of one edge alone."""

    @cgdft.term
    def nearest_images(rho):
        s = rho.structure
        apart = s.positions[:, None] - s.positions
        apart = apart - torch.round(apart @ torch.linalg.inv(s.cell[0])) @ s.cell[0]
        near = torch.exp(-((apart**2).sum(2))) * (1 - torch.eye(len(apart), dtype=D))
        return (rho.charges @ near @ rho.charges)[None].expand(len(s))

    edges = torch.full((3,), 18.0, dtype=D)
    edges[axis] = 3.0
    positions = torch.tensor([[0.0, 0.0, 0.0], [1.1, 0.9, 1.2]], dtype=D)
    with pytest.raises(AssertionError, match=f"supercell along axis {axis}"):
        check_term(nearest_images(), Structure([11, 17], positions, torch.diag(edges), True))


def test_charges_of_elements_are_checked_where_no_atom_is_neutral(water):
    errors = check_model(LatentCharges({"O": -0.8, "H": 0.4}, width=1.0), water)
    assert "polarizability" in errors
    assert "size consistency" not in errors


def test_a_mirrored_cell_is_a_cell():
    """Deformed to the other handedness, its energy keeps its sign."""
    cell = torch.diag(torch.tensor([8.0, 8.5, 9.0], dtype=D))
    salt = Structure([11, 17], [[0.1, 0.2, 0.3], [4.0, 4.1, 4.4]], cell, True)
    mirrored = salt.deformed(torch.zeros_like(salt.positions), -2 * torch.eye(3, dtype=D)[None])
    torch.testing.assert_close(QEq()(mirrored).energy, QEq()(salt).energy)


def test_files_have_their_own_neighbours(tmp_path):
    """Of one name in two folders, edited since, and in a package."""
    for folder in ("a", "b"):
        (tmp_path / folder / "parts").mkdir(parents=True)
        (tmp_path / folder / "mine.py").write_text("from helper_of_mine import x\nfrom parts.inner import y\n")
        (tmp_path / folder / "helper_of_mine.py").write_text(f"x = '{folder}'")
        (tmp_path / folder / "parts" / "inner.py").write_text(f"y = '{folder}'")

    def found(folder):
        names = names_of(tmp_path / folder / "mine.py")
        return names["x"] + names["y"]

    assert [found(folder) for folder in ("a", "b", "a")] == ["aa", "bb", "aa"]
    before = code_of(str(tmp_path / "a" / "mine.py"))
    (tmp_path / "a" / "parts" / "inner.py").write_text("y = 'edited'")
    assert found("a") == "aedited"
    assert code_of(str(tmp_path / "a" / "mine.py")) != before
    (tmp_path / "a" / "wave.py").write_text("z = 1")
    (tmp_path / "a" / "mine.py").write_text("import wave\n")
    with pytest.raises(ValueError, match=r"wave.py must have another name, got that of a module of Python"):
        names_of(tmp_path / "a" / "mine.py")
