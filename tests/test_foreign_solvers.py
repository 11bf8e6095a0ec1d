"""What a user's solver returns is looked at: charges, gradient, potentials, the linear problem, starts."""

import math
from dataclasses import replace

import pytest
import torch

import cgdft
from cgdft import check_solver
from cgdft.functionals import Hartree, QEq
from cgdft.problems.self_consistency import SelfConsistency
from cgdft.solvers import Newton


class Soft(cgdft.GrandPotential):
    """Dual to chi q + eta q^2 / 2."""

    def forward(self, structure, v):
        chi = torch.where(structure.numbers == 8, 0.32, 0.26)
        return -structure.total((v[:, 0] + chi) ** 2 / 1.2)


@cgdft.term
def overflowing(rho, k=1.0):
    return rho.total(k * torch.exp(rho.charges))


class Wrong(cgdft.Solver):
    """Newton's result, changed by what a test wants."""

    def __init__(self, change):
        self.change = change

    def minimise(self, problem, start=None):
        return self.change(Newton().minimise(problem, start))

    def linearise(self, problem, x):
        return Newton().linearise(problem, x)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda m: (m.x, m.status), TypeError, "must return a cgdft.Minimum"),
        (lambda m: replace(m, status=m.status[:-1]), TypeError, "must return x, multipliers and status of sizes"),
        (lambda m: replace(m, x=m.x[:-1]), TypeError, "must return x, multipliers and status of sizes"),
        (lambda m: replace(m, status=["fine"] * len(m.status)), TypeError, "must return a list of cgdft.Status, got 'fine'"),
        (lambda m: replace(m, x=m.x.numpy()), TypeError, "must return `x` as a tensor, .* got a ndarray"),
        (lambda m: replace(m, x=m.x.float()), TypeError, "must return `x` as a tensor, torch.float64 .* got torch.float32"),
        (lambda m: replace(m, history=m.history[:, 0]), TypeError, r"must return `history` .* got shape \(\d+,\)"),
        (lambda m: replace(m, history=m.history[:0]), TypeError, r"must return `history` .* got shape \(0, \d\)"),
        (lambda m: replace(m, history=m.history.tolist()), TypeError, "must return `history` as a tensor"),
        (lambda m: replace(m, x=m.x / 0), ValueError, "must say that it did not converge where it has no number"),
        (lambda m: replace(m, x=m.x + 0.1), ValueError, "must keep the charges that are fixed"),
        (lambda m: replace(m, multipliers=-m.multipliers), ValueError, "must return the multipliers dE/dq"),
        (lambda m: replace(m, multipliers=0 * m.multipliers), ValueError, "must return the multipliers dE/dq"),
    ],
)
def test_what_solvers_return_is_looked_at(change, error, match, structures):
    with pytest.raises(error, match=match):
        QEq().replace(solver=Wrong(change))(structures["batch"])


@pytest.mark.parametrize("wrong", [(1.1, 1.0), (1.0, 1.1), (0.0, 0.0), (-1.0, 1.0)])
@pytest.mark.parametrize("name", ["water", "batch"])
def test_linearisations_are_put_into_the_linear_problem(wrong, name, structures):
    """A user's K^-1 that is none gives no response; a right one gives all of them."""

    class Scaled(Wrong):
        def linearise(self, problem, x):
            inverse = Newton().linearise(problem, x)
            return lambda rx, rl: tuple(factor * one for factor, one in zip(self.change, inverse(rx, rl), strict=True))

        def minimise(self, problem, start=None):
            return Newton().minimise(problem, start)

    right, own, other = (QEq().replace(solver=one)(structures[name]) for one in (None, Scaled((1.0, 1.0)), Scaled(wrong)))
    for ask in ("polarizability", "fukui", "hardness"):
        if ask != "polarizability" or not structures[name].pbc.all(1).any():
            assert torch.allclose(value(own, ask), value(right, ask), atol=1e-8)
            with pytest.raises(ValueError, match="`linearise` of the solver must give"):
                value(other, ask)
    assert torch.allclose(other.forces(), right.forces(), atol=1e-9)  # of first order, without the inverse


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda dx, dl: dx, "Tensor"),
        (lambda dx, dl: (dl, dx), r"\[\(1, 1\), \(3,\)\]"),
        (lambda dx, dl: (dx[:1], dl), r"\[\(1,\), \(1, 1\)\]"),
        (lambda dx, dl: (dx, 0.0), r"\[\(3,\)\]"),
        (lambda dx, dl: (dx, dl, dl), r"\[\(3,\), \(1, 1\), \(1, 1\)\]"),
    ],
)
def test_shapes_of_linearisations_are_looked_at(change, got, structures):
    class Shaped(Wrong):
        def linearise(self, problem, x):
            inverse = Newton().linearise(problem, x)
            return lambda rx, rl: self.change(*inverse(rx, rl))

    solution = QEq().replace(solver=Shaped(lambda minimum: minimum))(structures["water"])
    solution.solver.change = change
    with pytest.raises(ValueError, match=rf"tensors of shapes \(3,\) and \(1, 1\), got {got}"):
        solution.polarizability()


def value(solution, ask):
    one = getattr(solution, ask)
    return one() if callable(one) else one


def test_a_solver_that_runs_away_is_not_blamed_on_a_term(structures):
    problem, far = QEq().problem(structures["water"]), torch.tensor([1e160, -1e160, 0.0], dtype=torch.float64)
    assert problem.objective(far).tolist() == [math.inf]
    rough = (QEq() + overflowing(k=1.0)).problem(structures["water"])
    with pytest.raises(ValueError, match="the solver must not leave all bounds"):
        rough.gradient(far)


def test_failures_without_numbers_are_those_of_their_structures(structures):
    """The rest of a batch is solved, whatever a failed solve leaves behind."""

    def lost(minimum):
        gone = QEq().problem(structures["batch"]).index == 0
        status = [cgdft.Status.DIVERGED, *minimum.status[1:]]
        return replace(minimum, x=torch.where(gone, torch.nan, minimum.x), status=status)

    model = QEq().replace(solver=Wrong(lost))
    with pytest.raises(cgdft.SolverError, match=r"Wrong on structure 0 \(1 of \d failed\)"):
        model(structures["batch"])
    solution = model(structures["batch"], throw=False)
    assert solution.status[0] is cgdft.Status.DIVERGED
    assert solution.energy[1:].tolist() == pytest.approx(QEq()(structures["batch"]).energy[1:].tolist())


class Stopped(cgdft.Solver):
    """Linear mixing of a response law that ends early, and says that it is done."""

    solves = SelfConsistency

    def __init__(self, steps, fraction=0.3):
        self.steps, self.fraction = steps, fraction

    def minimise(self, problem, start=None):
        rows = problem.rows
        x = rows.particular(rows.target)
        for _ in range(self.steps):
            bare = problem.potentials(problem.space.coefficients(x), x.new_zeros(problem.n, len(problem.fixed)))
            multipliers = problem.equilibrate(bare)
            x = x + self.fraction * (problem.answer(problem.shifted(bare, multipliers)).reshape(-1) - x)
        return cgdft.Minimum(x, multipliers, [cgdft.Status.CONVERGED] * problem.n, torch.zeros(2, problem.n, dtype=x.dtype))


@pytest.mark.parametrize(
    ("solver", "match"),
    [
        (Stopped(1), "density is the answer to its potential .*, or say that it did not, got 5.4e-02 e, of 8.2e-02 at first"),
        (Stopped(10), "density is the answer to its potential"),
        (Stopped(30, 3.0), "where it has no number|density is the answer to its potential"),
    ],
)
def test_answers_that_are_none_are_looked_at(solver, match, structures):
    model = cgdft.Model(Hartree(), cgdft.Multipoles(0, width=1.0), cgdft.Response(Soft()))
    with pytest.raises(ValueError, match=match):
        model.replace(solver=solver)(structures["water"])
    with pytest.raises(AssertionError, match="self-consistency: expected an error below"):
        check_solver(solver, model.problem(structures["water"]))
    check_solver(Stopped(100), model.problem(structures["water"]), 1e-8)
    right = model(structures["water"]).charges
    assert model.replace(solver=Stopped(100))(structures["water"]).charges.tolist() == pytest.approx(right.tolist(), abs=1e-8)


def test_starts_are_looked_at(structures):
    """A start that does not have the charges asked for, taken as it is."""

    class Trusting(cgdft.Solver):
        def minimise(self, problem, start=None):
            minimum = Newton().minimise(problem)
            return minimum if start is None else replace(minimum, x=start)

        def linearise(self, problem, x):
            return Newton().linearise(problem, x)

    with pytest.raises(AssertionError, match="from a start"):
        check_solver(Trusting(), QEq().problem(structures["water"]))


class Stationary(cgdft.Solver):
    """Newton's method for the root of the projected gradient, wherever that is."""

    def minimise(self, problem, start=None):
        rows = problem.rows
        x = rows.particular(rows.target)
        for _ in range(30):
            pseudo = torch.linalg.pinv(tangent(problem, x))
            x = x - rows.project(pseudo @ rows.project(problem.gradient(x)))
        multipliers = rows.multipliers(problem.gradient(x))
        return cgdft.Minimum(x, multipliers, [cgdft.Status.CONVERGED], torch.zeros(2, 1, dtype=x.dtype))


def tangent(problem, x):
    kept = torch.eye(len(x), dtype=x.dtype) - problem.rows.basis.T @ problem.rows.basis
    return kept @ problem.hessian(x)[0] @ kept


@cgdft.term(local=True)
def double_well(rho):
    """Two minima for each charge, and none between."""
    return rho.total(0.8 * (rho.charges**2 - 0.25) ** 2)


@pytest.mark.parametrize(
    ("model", "numbers"), [(QEq() + double_well(), [8, 1]), (QEq(), [1, 1])], ids=["double well", "no minimum"]
)
def test_saddles_are_not_minima(model, numbers):
    structure = cgdft.Structure(numbers, [[0, 0, 0], [0, 0, 1.4]])
    with pytest.raises(ValueError, match="`solver` must not call a saddle point CONVERGED"):
        model.replace(solver=Stationary())(structure)
    above = cgdft.Structure([8, 1], [[0, 0, 0], [0, 0, 1.8]])
    assert QEq().replace(solver=Stationary())(above).charges.tolist() == pytest.approx(QEq()(above).charges.tolist())


def test_what_a_check_is_given_is_told(structures):
    with pytest.raises(TypeError, match="must return a cgdft.Minimum, got None"):
        check_solver(Wrong(lambda m: None), QEq().problem(structures["water"]))
