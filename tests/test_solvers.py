"""One test for every solver: convex problems of every kind to 1e-10, and honest ends of the others."""

from dataclasses import dataclass
from itertools import product

import pytest
import torch
from ase.build import bulk, molecule
from every_solver import QUADRATIC_ONLY, SLOW, SOLVERS

import cgdft
from cgdft import (
    FragmentCharge,
    Free,
    Model,
    Multipoles,
    PotentialDifference,
    ResponseModes,
    SolverError,
    SplitCharges,
    Status,
    Structure,
    TotalCharge,
    check_solver,
)
from cgdft.functionals import Anharmonic, Electronegativity, Hardness, Hartree, QEq, QEqDipoles, Stiffening
from cgdft.solvers import CG, Direct, FixedPoint, Newton
from cgdft.solvers.factors import Factors, ModeFactors, factorise
from cgdft.space import Entries

ETA = {"H": 0.5, "C": 0.4, "N": 0.43, "O": 0.49, "Na": 0.2, "Cl": 0.36}
CHI = {"H": 0.17, "C": 0.2, "N": 0.26, "O": 0.32, "Na": 0.1, "Cl": 0.31}
WIDTH = {"H": 0.8, "C": 1.2, "N": 1.1, "O": 1.0, "Na": 1.8, "Cl": 1.5}
FUNCTIONAL = Hartree() + Electronegativity(CHI) + Hardness(ETA)


def modes(structure):
    """Every pair of neighbours exchanges charge a little, and every atom has one polar mode."""
    n = structure.n_atoms
    factor = torch.zeros(4 * n, 2 * n, dtype=torch.float64)
    for i in range(n):
        other = i + 1 if i + 1 < n and structure.index[i + 1] == structure.index[i] else i - 1
        if structure.index[other] == structure.index[i]:
            factor[4 * i, i], factor[4 * other, i] = 0.6, -0.6
        factor[4 * i + 1 + i % 3, n + i] = 0.8
    return factor


def many_modes(structure):
    """Every pair exchanges charge, and every atom has each of its dipoles twice: more modes than coefficients."""
    return _many_modes(structure, takes_charge=False)


def modes_that_take_charge(structure):
    """The same, and every atom takes up charge of its own."""
    return _many_modes(structure, takes_charge=True)


def _many_modes(structure, takes_charge):
    i, j = torch.nonzero((structure.index[:, None] == structure.index).triu(1), as_tuple=True)
    n, pair = structure.n_atoms, torch.arange(len(i))
    dipoles = (4 * torch.arange(n)[:, None] + torch.arange(1, 4)).flatten().repeat(2)
    columns = torch.cat([pair, pair, len(i) + torch.arange(6 * n)])
    values = torch.cat([torch.full((len(i),), 0.5), torch.full((len(i),), -0.5), torch.full((6 * n,), 0.7)])
    rows, width = torch.cat([4 * i, 4 * j, dipoles]), len(i) + 6 * n
    if takes_charge:
        site = torch.arange(n)
        rows, columns = torch.cat([rows, 4 * site]), torch.cat([columns, width + site])
        values, width = torch.cat([values, 0.3 + 0.1 * (site % 3)]), width + n
    return Entries(rows, columns, values.double(), width)


MODELS = {
    "QEq": QEq(),
    "QEq + dipoles": QEqDipoles(),
    "up to quadrupoles": Model(FUNCTIONAL + Hardness(0.2, l=1) + Hardness(0.1, l=2), Multipoles(2, width=WIDTH)),
    "no constraint": Model(FUNCTIONAL, Multipoles(width=WIDTH), constraints=[]),
    "grand canonical": Model(FUNCTIONAL, Multipoles(width=WIDTH), constraints=[TotalCharge(potential=0.12)]),
    "fragments": Model(
        FUNCTIONAL, Multipoles(width=WIDTH), constraints=[FragmentCharge([0], 0.2), FragmentCharge([1], -0.1), TotalCharge()]
    ),
    "battery": Model(
        FUNCTIONAL, Multipoles(width=WIDTH), constraints=[PotentialDifference([0], [1], 0.3), TotalCharge()]
    ),
    "split charges": Model(
        FUNCTIONAL, Multipoles(1, width=WIDTH), ansatz=SplitCharges(hardness=0.3, reach=1.6)
    ) + Hardness(0.3, l=1),
    "response modes": Model(
        Hartree() + Electronegativity(CHI), Multipoles(1, width=WIDTH), ansatz=ResponseModes(modes), constraints=[]
    ),
    "many response modes": Model(
        Hartree() + Electronegativity(CHI), Multipoles(1, width=WIDTH), ansatz=ResponseModes(many_modes), constraints=[]
    ),
    "modes that take charge": Model(
        Hartree() + Electronegativity(CHI), Multipoles(1, width=WIDTH), ansatz=ResponseModes(modes_that_take_charge)
    ),
}  # fmt: skip


SLOWLY_MIXED = {
    ("water", "QEq"): [pytest.mark.slow],
    ("salt", "QEq + dipoles"): [pytest.mark.slow],
    ("batch", "response modes"): [],
}


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("power", [-1.0, 0.5, 1.0, 3.0])
def test_a_term_without_derivatives_is_named(power, local):
    """Dipoles are zero at the start."""

    @cgdft.term(local=local)
    def rough(rho, k=0.1):
        return rho.total(k * (rho.dipoles**2).sum(1) ** (power / 2))

    water = Structure.from_ase(molecule("H2O"))
    with pytest.raises(ValueError, match="the (first|second) derivative of `rough` must be finite"):
        (QEqDipoles() + rough())(water)


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_saddle_is_called_a_minimum(solver):
    """The two atoms of QEq's H2 are too near: charge separates without end, from zero by symmetry at first."""
    pair = Structure([1, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.4]])
    assert check_solver(SOLVERS[solver], QEq().problem(pair)) == {"saddles": 0.0}


CONVEX = [
    pytest.param(solver, model, where, marks=SLOWLY_MIXED[where, model] if solver in SLOW else [])
    for solver in SOLVERS
    for model in MODELS
    for where in ("water", "cation", "salt", "slab", "batch")
    if solver not in SLOW or (where, model) in SLOWLY_MIXED  # elsewhere it takes thousands of iterations
]


@pytest.mark.parametrize(("solver", "model", "where"), CONVEX)
def test_solver_on_convex_problems(solver, model, where, structures):
    problem = MODELS[model].problem(structures[where])
    if where == "slab" and model in ("no constraint", "grand canonical"):
        with torch.no_grad():  # the energy of a charged slab falls without bound: its field reaches to infinity
            ended = SOLVERS[solver].minimise(problem).status[0]
        assert ended is not Status.CONVERGED
        return
    check_solver(SOLVERS[solver], problem)
    with torch.no_grad():
        expected = Direct().minimise(problem)
        got = SOLVERS[solver].minimise(problem)
    assert float(expected.x.abs().max()) > 1e-2  # not 0 == 0
    assert float((got.x - expected.x).abs().max()) < 1e-10
    if problem.fixed:
        assert float((got.multipliers - expected.multipliers).abs().max()) < 1e-10


HELD = {"modes at a potential": MODELS["modes that take charge"].replace(constraints=[TotalCharge(potential=0.12)])}


@pytest.mark.parametrize("name", [*MODELS, *HELD])
def test_nothing_departs_from_a_solution(name, structures):
    """The charges of the solution are what they answer to, at fixed charges and potentials; others are not."""
    solution = {**MODELS, **HELD}[name](structures["batch"])
    p = solution.coefficients.detach()
    if name == "split charges":
        with pytest.raises(ValueError, match="must have a stiffness of all that it changes"):
            solution.problem.departure(p)
        return
    assert float(solution.problem.departure(p.clone()).detach().abs().max()) < 1e-9
    assert float(solution.problem.departure(p + 0.1).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("of", ["many response modes", "modes that take charge"])
def test_factors_in_the_smaller_space(of, structures):
    """Of more modes than coefficients those of the coefficients, with the same solutions as those of the modes."""
    model = MODELS[of]
    for name in ("water", "batch"):
        problem = model.problem(structures[name])
        x = torch.zeros(len(problem.index), dtype=torch.float64)
        b = torch.randn(len(x), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        found = factorise(problem, x)
        assert isinstance(found, ModeFactors)
        expected = Factors(problem.rows, problem.hessian(x)).solve(b)
        assert float((found.solve(b) - expected).abs().max()) < 1e-11 * float(expected.abs().max())


def test_modes_by_entries_are_those_of_the_matrix(structures):
    structure = structures["batch"]
    rows, columns, values, width, _ = many_modes(structure)
    matrix = torch.zeros(4 * structure.n_atoms, width, dtype=torch.float64)
    matrix[rows, columns] = values
    model = MODELS["many response modes"]
    dense = model.replace(ansatz=ResponseModes(matrix))(structure).charges
    assert float((model(structure).charges - dense).abs().max()) < 1e-13
    with pytest.raises(ValueError, match="rows from 0 to"):
        model.replace(ansatz=ResponseModes(Entries(rows + 1000, columns, values, width)))(structure)


@pytest.mark.parametrize("where", ["water", "cation", "batch"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_what_is_not_quadratic_is_minimised_or_refused(solver, where, structures):
    """By what can, as by Newton's method; a solver of quadratic functionals says which term it cannot."""
    model = QEq() + Anharmonic(cubic=0.3, quartic=2.0)
    problem = model.problem(structures[where])
    if isinstance(SOLVERS[solver], QUADRATIC_ONLY):
        with pytest.raises(ValueError, match="'Anharmonic', which is not quadratic; use Newton"):
            model.replace(solver=SOLVERS[solver])(structures[where])
        return
    assert check_solver(SOLVERS[solver], problem)["constraints from a start"] < 1e-11
    charges = model.replace(solver=SOLVERS[solver])(structures[where]).charges
    assert float((charges - model(structures[where]).charges).abs().max()) < 1e-10
    assert float((charges - QEq()(structures[where]).charges).abs().max()) > 1e-3


@pytest.mark.parametrize("solver", [Newton(), FixedPoint()])
def test_sums_in_single_precision_end(solver):
    """Where their rounding is reached, not where that of doubles would be."""
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    atoms.rattle(0.1, seed=1)
    terms = Electronegativity({"Na": 0.1, "Cl": 0.3}) + Hardness(0.3) + Stiffening(0.2)
    found, right = (
        Model(hartree + terms, Multipoles(width=1.5), solver=solver)(Structure.from_ase(atoms))
        for hartree in (Hartree(dtype=torch.float32), Hartree())
    )
    assert float((found.charges - right.charges).abs().max()) < 1e-5


def test_every_solver_is_tested():
    """But those of response laws, which minimise nothing: see test_response_models.py."""
    exported = {one for one in vars(cgdft.solvers).values() if isinstance(one, type) and issubclass(one, cgdft.Solver)}
    untested = {one.__name__ for one in exported - {type(one) for one in SOLVERS.values()}}
    assert untested - {"Solver"} == {"Answers", "SelfConsistent"}


def test_newton_says_when_energy_and_gradient_disagree(structures):
    @cgdft.term
    def kink(rho, k):
        return rho.total(k * rho.charges.abs())

    @cgdft.term
    def detached(rho, k):
        return rho.total(k * rho.charges.detach() * rho.charges)

    with pytest.raises(SolverError, match="energy and gradient disagree.*check_term"):
        (QEq() + kink(k=2.0))(structures["water"])
    with pytest.raises(SolverError, match="check_term"):
        (QEq() + detached(k=20.0)).replace(solver=Newton(max_iterations=20))(structures["water"])


def test_a_solver_that_diverges_blames_no_term(structures):
    with pytest.raises((SolverError, ValueError), match="diverged"):
        QEq().replace(solver=FixedPoint(mixing=900.0, history=0, max_iterations=400))(structures["water"])


@pytest.mark.parametrize(
    ("solver", "local"),
    [*product([Direct(), CG(), None], [True, False]), (Newton(max_iterations=20), True)],  # which needs no declaration
)
def test_what_is_not_quadratic_is_told_apart(solver, local, structures):
    """Whatever it says of itself; the charges would be wrong."""

    @cgdft.term(quadratic=True, local=local)
    def quartic(rho, k):
        return rho.total(k * rho.charges**4)

    with pytest.raises(ValueError, match="`quartic` is declared quadratic, but its second derivatives change"):
        (QEq() + quartic(k=0.3)).replace(solver=solver)(structures["water"])
    assert (QEq() + quartic(k=0.0)).replace(solver=solver)(structures["water"]).total_charge.abs() < 1e-12


@pytest.mark.parametrize("solver", [Direct(), CG(), Newton(), None])
def test_unbounded_functional_says_so(solver):
    """Two dipoles closer than the cube root of four polarizabilities: the polarization catastrophe."""
    pair = Structure([18, 18], [[0.0, 0, 0], [0, 0, 3.0]])
    model = Model(
        Hartree(self_interaction=False) + Hardness(1.0) + Hardness(1 / 30, l=1), Multipoles(1, width=0.3), solver=solver
    )
    with pytest.raises(SolverError, match="no minimum.*polarization catastrophe") as failure:
        model(pair)
    assert failure.value.status == [Status.UNBOUNDED]
    assert len(failure.value.history)
    solution = model(pair, throw=False)
    assert solution.status == [Status.UNBOUNDED]


@pytest.mark.parametrize("quadratic", [True, False])
@pytest.mark.parametrize("solver", [Newton(), None])
def test_what_is_not_local_is_told_apart(solver, quadratic, structures):
    """Charges would be right where it is not declared quadratic, and all that is derived from second derivatives wrong."""

    @cgdft.term(quadratic=quadratic, local=True)
    def squared(rho, k):
        return k[:1] * rho.total(rho.charges * rho.structure.positions[:, 2]) ** 2

    with pytest.raises(ValueError, match="`squared` is declared local, but its second derivatives couple atoms"):
        (QEq() + squared(k=0.3)).replace(solver=solver)(structures["water"])
    assert (QEq() + squared(k=0.0)).replace(solver=solver)(structures["water"]).total_charge.abs() < 1e-12


def test_charges_without_bounds_are_no_minimum():
    """So soft that rounding is all there is of the total charge."""
    water = Structure.from_ase(molecule("H2O"))
    soft = Model(Electronegativity({"H": 1e5, "O": -1e5}) + Hardness(1e-14), Multipoles(width=1.0))
    with pytest.raises(SolverError) as error:
        soft(water)
    assert error.value.status == [Status.UNBOUNDED]


def test_unbounded_cubic():
    model = QEq() + Anharmonic(cubic={"Na": -30.0, "Cl": 0.0})
    with pytest.raises(SolverError, match="no minimum"):
        model(Structure([11, 17], [[0.0, 0, 0], [0, 0, 4.5]]))


def test_saddle_is_left_or_reported():
    """A double well in the charges of two like atoms: zero charge is stationary by symmetry, and a saddle."""

    @cgdft.term(local=True)
    def integer_preferring(rho):
        return rho.total((rho.charges**2 - 1) ** 2)

    pair = Structure([1, 1], [[0.0, 0, 0], [0, 0, 30.0]])
    model = Model(Hartree(self_interaction=False) + integer_preferring(), Multipoles(width=1.0), solver=Newton())
    solution = model(pair)
    assert float(solution.charges.abs().min()) > 0.9
    with pytest.raises(SolverError, match="not a minimum"):
        model.replace(solver=FixedPoint())(pair)


def test_no_convergence_raises_with_history(structures):
    for solver in (CG(max_iterations=2), Newton(max_iterations=1), FixedPoint(max_iterations=3)):
        model = (QEqDipoles() + Anharmonic(quartic=1.0)) if not isinstance(solver, CG) else QEqDipoles()
        with pytest.raises(SolverError, match="not converged within max_iterations") as failure:
            model.replace(solver=solver)(structures["cation"])
        assert failure.value.history.shape[1] == 1


def test_divergence_raises(structures):
    with pytest.raises(SolverError, match="diverged; reduce the mixing"):
        QEq().replace(solver=FixedPoint(mixing=3.0, history=0))(structures["cation"])


def test_singular_but_solvable_ring():
    """Split charges around a ring without bond hardness: a null mode that costs nothing; the charges are those of QEq."""
    ring = Structure([8, 1, 1], [[0.0, 0, 0], [1.8, 0, 0], [0.4, 1.7, 0]])
    base = Model(FUNCTIONAL, Multipoles(width=WIDTH))
    expected = base(ring).charges
    split = base.replace(ansatz=SplitCharges([[0, 1], [1, 2], [2, 0]]))
    assert float((split(ring).charges - expected).abs().max()) < 1e-12
    assert float((split.replace(solver=CG())(ring).charges - expected).abs().max()) < 1e-10


def test_model_picks_a_solver_that_can(structures):
    assert type(QEq()(structures["water"]).solver) is Direct
    assert type((QEq() + Anharmonic(quartic=1.0))(structures["water"]).solver) is Newton
    assert isinstance(Model(FUNCTIONAL, Multipoles(width=WIDTH)).ansatz, Free)


def test_settings_of_a_solver_of_ones_own_are_its_own():
    @dataclass(frozen=True)
    class Mine(cgdft.Solver):
        mixing: str = "pulay"

        def minimise(self, problem, start=None):
            return Direct().minimise(problem, start)

    assert QEq().replace(solver=Mine())(Structure.from_ase(molecule("H2O"))).iterations == 1
    with pytest.raises(ValueError, match="`mixing` must be greater than zero, got -1"):
        FixedPoint(mixing=-1.0)


@pytest.mark.parametrize("seed", range(4))
def test_newton_where_the_energy_has_lost_its_digits(seed):
    """Large energies that cancel hide what a step gains; the gradient still knows."""

    @cgdft.term(local=True, convex=True)
    def cancelling(rho, large=1e3):
        return rho.total(large + rho.charges**4 / 48) - rho.total(large)

    atoms = molecule("H2O")
    atoms.rattle(0.1, seed=seed)
    assert (QEq() + cancelling())(cgdft.Structure.from_ase(atoms)).iterations < 10
