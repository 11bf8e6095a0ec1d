"""Mistakes of those who write their first term, ansatz, constraint, law or solver: each is named, none is solved."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from ase.build import molecule

import cgdft
from cgdft import Density, Entries, Model, Multipoles, Response, Row, Space, Structure, TotalCharge
from cgdft.electrostatics.pairs import near_pairs
from cgdft.functionals import Electronegativity, Hardness, Hartree, QEq

D = torch.float64
ATOMS = molecule("H2O")
WATER = Structure.from_ase(ATOMS)
HYDROGEN = Structure.from_ase(molecule("H2"))
BASIS = Multipoles(width=1.0)
PARAMETER = torch.nn.Parameter(torch.zeros(1, dtype=D))


@cgdft.term
def through_numpy(rho):
    return rho.total(torch.as_tensor(0.05 * rho.charges.detach().numpy()))


@cgdft.term
def first_atom(rho):
    return rho.total(0.1 * rho.charges * rho.charges[0])


@cgdft.term(convex=True)
def pulled(rho):
    """Not convex: charges of two atoms are pulled apart."""
    return 4.0 * rho.charges[::2] * rho.charges[1::2] + rho.total(0.1 * rho.charges**4)


@cgdft.term
def near(rho, cutoff):
    i, _, _ = near_pairs(rho.structure, cutoff)
    return rho.total(rho.charges.index_add(0, i, rho.charges[i]))


class Unmade(cgdft.Term):
    def __init__(self):
        self.k = 1.0

    def energy(self, rho):
        return rho.total(self.k * rho.charges**2)


class Listed(cgdft.Term):
    """Parameters where torch does not look."""

    local = True

    def __init__(self, held):
        super().__init__()
        self.held = held

    def energy(self, rho):
        return rho.total(0.1 * rho.charges**4)


def chi(function):
    return Model(Hartree() + Electronegativity(function) + Hardness(0.3), BASIS)


class Made(cgdft.Ansatz):
    """Bonds of water, with some attributes that are wrong."""

    def __init__(self, **wrong):
        super().__init__()
        self.wrong = wrong

    def prepare(self, structure, basis):
        right = {
            "origin": torch.zeros(3, 1, dtype=D),
            "index": torch.tensor([0, 0]),
            "rows": torch.tensor([0, 0, 1, 2]),
            "columns": torch.tensor([0, 1, 0, 1]),
            "values": torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=D),
            "stiffness": torch.tensor([0.3, 0.3], dtype=D),
        }
        given = {**right, **self.wrong}
        entries = Entries(given.pop("rows"), given.pop("columns"), given.pop("values"), 2, given.pop("carried", None))
        return Space(entries=entries, **given)


class Matrix(cgdft.Ansatz):
    def prepare(self, structure, basis):
        return torch.eye(3)


class Rows(cgdft.Constraint):
    def __init__(self, found):
        self.found = found

    def rows(self, structure, basis):
        return self.found


def constrained(found):
    return QEq().replace(constraints=[TotalCharge(), Rows(found)])


HEIGHTS = WATER.positions[:, 2:]


class Law(cgdft.GrandPotential):
    """Omega of soft atoms, by a function of the squares."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, structure, v):
        return self.function(structure, (v[:, 0] + 0.3 - 0.13 * (structure.numbers == 1)) ** 2 / 0.8)


class Answer(cgdft.ResponseLaw):
    def forward(self, structure, v):
        return -(v[:, 0] + 0.3) / 0.4


def law(function):
    return Model(Hartree(), BASIS, Response(Law(function)))


@dataclass(frozen=True)
class Lying(cgdft.Solver):
    def minimise(self, problem, start=None):
        x = torch.zeros(3, dtype=D)
        multipliers = problem.rows.multipliers(problem.gradient(x))
        return cgdft.Minimum(x, multipliers, [cgdft.Status.CONVERGED], torch.zeros(2, 1, dtype=D))


MISTAKES = {
    "a term through numpy": (lambda: (QEq() + through_numpy())(WATER), "`through_numpy` must be seen by torch"),
    "a term that is not convex": (lambda: (chi(0.1) + pulled())(HYDROGEN), "`pulled` is declared convex, but bends downwards"),
    "a cutoff of atoms": (lambda: (QEq() + near(cutoff=5.0))(WATER), "`cutoff` must be a number .* parameters are per atom"),
    "no cutoff": (lambda: near_pairs(WATER, 0.0), "`cutoff` must be a number greater than zero, bohr, got 0.0"),
    "a term without torch's start": (lambda: QEq() + Unmade(), r"must call super\(\).__init__\(\)"),
    "parameters in a list": (
        lambda: QEq() + Listed([PARAMETER]),
        "`held` of Listed must be a torch.nn.ParameterList, got a list",
    ),
    "modules in a dict": (
        lambda: QEq() + Listed({"H": torch.nn.Linear(1, 1)}),
        "`held` of Listed must be a torch.nn.ModuleDict, got a dict",
    ),
    "a term as a model": (lambda: Hartree()(WATER), "`Hartree` is a term, not a model"),
    "a parameter as array": (lambda: chi(lambda s: s.numbers.numpy() * 0.1)(WATER), "`chi` must be .* got a ndarray"),
    "a parameter as number": (lambda: chi(lambda s: 0.3)(WATER), "`chi` must be .* got a float"),
    "a parameter as nothing": (lambda: chi(lambda s: None)(WATER), "`chi` must be .* got a NoneType"),
    "a complex parameter": (lambda: chi(lambda s: s.numbers * 1j)(WATER), "`chi` must be .* got a torch.complex"),
    "a density of an array": (lambda: Density(WATER, BASIS, np.zeros((3, 1))), "`coefficients` must be .* got ndarray"),
    "a density in float32": (lambda: Density(WATER, BASIS, torch.zeros(3, 1)), "`coefficients` must be .* got torch.float32"),
    "no space": (lambda: QEq().replace(ansatz=Matrix())(WATER), "`Matrix` must prepare a cgdft.Space, got Tensor"),
    "an origin in float32": (lambda: made(origin=torch.zeros(3, 1)), "`origin` of a Space must be .* got .*float32"),
    "a row out of range": (lambda: made(rows=torch.tensor([0, 0, 1, 5])), "`rows` of a Space must be from 0 to 2, got 0 to 5"),
    "too few values": (lambda: made(values=torch.ones(3, dtype=D)), "`values` of a Space must be a tensor"),
    "values as array": (lambda: made(values=np.ones(4)), "`values` of a Space must be .* got ndarray"),
    "a value that is none": (lambda: made(values=torch.full((4,), torch.nan, dtype=D)), "`values` of a Space must be finite"),
    "a mode between structures": (
        lambda: made(Structure.batch([WATER, WATER]), origin=torch.zeros(6, 1, dtype=D), rows=torch.tensor([0, 0, 3, 2])),
        "`entries` of a Space must lie within a structure, got mode 0 of structure 0 with coefficient 3",
    ),
    "a row that is called total": (lambda: constrained([Row("total", HEIGHTS)])(WATER), "must not be 'total', which is that"),
    "one stiffness": (lambda: made(stiffness=torch.tensor([0.3], dtype=D)), "`stiffness` of a Space must be a tensor"),
    "a constraint of nothing": (lambda: constrained([Row("d", HEIGHTS)])(WATER), "must be given of the Row d, got neither"),
    "a constraint by a number": (lambda: constrained([Row("d", HEIGHTS, 0.3)])(WATER), "`charge` of the Row d .* got float"),
    "weights of atoms": (lambda: constrained([Row("d", HEIGHTS[:, 0])])(WATER), "`weights` of the Row d must be a tensor"),
    "a row alone": (lambda: constrained(Row("d", HEIGHTS))(WATER), "`rows` of Rows must give a list"),
    "Omega per atom": (lambda: law(lambda s, w: -w)(WATER), r"`Law` must return \(1,\), structure.total"),
    "Omega with its sign turned": (lambda: law(lambda s, w: s.total(w))(WATER), "turn its sign"),
    "answers of atoms": (
        lambda: Model(Hartree(), BASIS, Response(Answer()), readout=Hartree())(WATER),
        r"`Answer` must return \(3, 1\)",
    ),
    "a solver that lies": (lambda: QEq().replace(solver=Lying())(WATER), "left as CONVERGED by Lying"),
    "atoms for a term": (lambda: cgdft.check_term(Hardness(0.3), ATOMS), "must be a cgdft.Structure, got Atoms"),
    "atoms for a model": (lambda: cgdft.check_model(QEq(), ATOMS), "must be a cgdft.Structure, got Atoms"),
    "atoms for a problem": (lambda: QEq().problem(ATOMS), "must be a cgdft.Structure, got Atoms"),
    "a model for a problem": (lambda: cgdft.check_solver(Lying(), QEq()), "what model.problem"),
}


def made(structure=WATER, **wrong):
    return QEq().replace(ansatz=Made(**wrong))(structure)


def test_what_is_made_right_is_solved():
    frozen = torch.nn.Linear(1, 1).requires_grad_(False)
    for held in ([], [0.1, WATER], {"H": D}, torch.nn.ParameterList([PARAMETER]), torch.nn.GRU(1, 1), [frozen]):
        assert float((QEq() + Listed(held))(WATER).charges[0]) < -0.1
    term = Listed(torch.nn.ModuleList([torch.nn.Linear(1, 1)]))
    term.alias = tuple(term.held)
    assert isinstance(QEq() + term, Model)
    assert float(made().charges[0]) < -0.1
    assert float(law(lambda s, w: -s.total(w))(WATER).charges[0]) < -0.01


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(mistake):
    run, message = MISTAKES[mistake]
    with pytest.raises((TypeError, ValueError), match=message):
        run()


def test_checks_say_what_to_do():
    @cgdft.term
    def placed(rho):
        return rho.total(rho.charges * rho.structure.positions[:, 2])

    with pytest.raises(AssertionError, match="translation: .* says external = True"):
        cgdft.check_term(placed(), WATER)
    with pytest.raises(AssertionError, match="do not depend|must not"):
        cgdft.check_term(first_atom(), WATER)


def test_answers_with_their_sign_turned_do_not_pass():
    class Backwards(cgdft.GrandPotential):
        def forward(self, structure, v):
            return structure.total(-(v[:, 0] ** 2) + 0.5 * (v[:, 1:4] ** 2).sum(1))

    model = Model(Hartree(), Multipoles(1, width=1.0), Response(Backwards()))
    with pytest.raises(AssertionError, match="susceptibility without a positive eigenvalue"):
        cgdft.check_model(model, WATER)


def test_shapes_are_those_of_one_structure_or_of_each():
    """Three lengths are no cell, though they can be spread to one."""
    with pytest.raises(
        ValueError, match=r"`cell` must be \(1, 3, 3\) or \(3, 3\), .* as rows, got \(3,\); .* take np.diag\(cell\)"
    ):
        Structure([8], [[0.0, 0, 0]], cell=[10.0, 20.0, 20.0], pbc=[True, False, False])
    with pytest.raises(ValueError, match=r"`charge` must be \(1,\) or \(\), got \(3,\)"):
        Structure([8], [[0.0, 0, 0]], charge=[0.0, 0.0, 0.0])
    assert Structure([8], [[0.0, 0, 0]], cell=9 * torch.eye(3), pbc=True).pbc.all()
    with pytest.raises(TypeError, match="a batch takes whole numbers in brackets, got slice"):
        Structure([8], [[0.0, 0, 0]])[0:1]


@pytest.mark.parametrize(
    "energy",
    [
        lambda t: (QEq() + cgdft.functionals.UniformField([0.0, t, 2 * t]))(WATER).energy,
        lambda t: (QEq() + Hardness([t, 0.2, 0.3]))(WATER).energy,
        lambda t: (QEq() + cgdft.functionals.PointCharges([[5.0, 0, t], [5, 5, 5]], [t, 0.1]))(WATER).energy,
        lambda t: QEq().replace(constraints=[TotalCharge([t])])(WATER).energy,
        lambda t: QEq()(Structure([8, 1, 1], [[0, 0, t], [0, 1.4, -1.1], [0, -1.4, -1.1]])).energy,
    ],
)
def test_numbers_in_lists_keep_their_graphs(energy):
    t = torch.tensor(0.1, dtype=D, requires_grad=True)
    (slope,) = torch.autograd.grad(energy(t).sum(), t)
    with torch.no_grad():
        difference = float((energy(t + 1e-4) - energy(t - 1e-4)).sum()) / 2e-4
    assert float(slope) == pytest.approx(difference, rel=1e-6)
    assert abs(difference) > 1e-3


@pytest.mark.parametrize("made", [lambda p: Hardness([p, p, p]), lambda p: cgdft.functionals.UniformField([0.0, 0.0, p])])
def test_lists_of_parameters_are_refused(made):
    with pytest.raises(ValueError, match="must be one torch.nn.Parameter to train, got a list of them"):
        made(torch.nn.Parameter(torch.tensor(0.1, dtype=D)))


@pytest.mark.parametrize("odd", [torch.ones(1, dtype=D), torch.tensor(1 + 2j)])
def test_lists_of_unlike_tensors_are_refused(odd):
    for made in (Hardness, cgdft.functionals.UniformField, lambda x: Structure([1, 1], [x, [0.0, 0.0, 3.0]])):
        with pytest.raises(ValueError, match="must be of real numbers, those of a list of one shape, got a list of a tensor"):
            made([odd, 0.0, 0.0])


def test_modules_may_give_lists_of_their_parameters():
    class Charges(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Parameter(torch.tensor(0.2, dtype=D))

        def forward(self, structure):
            return [self.first, -0.5 * self.first, -0.5 * self.first]

    charges = Charges()
    model = Model(Hartree(), Multipoles(width=1.0), cgdft.Fixed(charges), constraints=[])
    energy = model(WATER).energy.sum()
    (slope,) = torch.autograd.grad(energy, charges.first)
    assert float(slope) == pytest.approx(10 * float(energy.detach()))  # quadratic in 0.2
