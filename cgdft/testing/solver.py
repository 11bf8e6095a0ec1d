"""The check that every solver must pass, for those of the package and for a user's own."""

from __future__ import annotations

import torch
from torch import Tensor

from cgdft.checks.returned import check_types, inconsistency
from cgdft.problems.law_problem import LawProblem
from cgdft.problems.minimisation import Minimisation
from cgdft.problems.problem import Problem
from cgdft.slopes import slope
from cgdft.solver import Minimum, Solver
from cgdft.solvers.curvature import negative_curvature


def check_solver(solver: Solver, problem: Problem, tolerance: float = 1e-10) -> dict[str, float]:
    """Check a solver: stationarity, constraints, wherever it starts, and K^-1 as the symmetric inverse of K; that no saddle is
    called a minimum. Of a response law, that the density answers to its potential.

    Args:
        solver: the solver.
        problem: convex, or without a minimum, of which only the latter can be asked.
        tolerance: largest allowed error.

    Returns:
        The error of each check.

    Raises:
        AssertionError: naming the check and what was got.
        TypeError: no solver, or no problem.
    """
    if not isinstance(solver, Solver) or not isinstance(problem, Minimisation | LawProblem):
        raise TypeError(
            f"`solver` must be a Solver and `problem` what model.problem(structure) gives, got {solver!r} and {problem!r}"
        )
    with torch.no_grad():
        rows = problem.rows
        minimum = solver.minimise(problem)
        check_types(minimum, problem, solver)
        x, multipliers = minimum.x, minimum.multipliers
        generator = torch.Generator().manual_seed(1)
        start = x + 0.1 * torch.randn(len(x), generator=generator, dtype=x.dtype)
        if isinstance(problem, LawProblem):
            errors = {
                f"{what}{when}": error
                for when, one in (("", minimum), (" from a start", solver.minimise(problem, start)))
                for what, error in _of_law(problem, one).items()
            }
            return _within(errors, solver, tolerance)
        bent = negative_curvature(problem, x)[0].tolist()
        called = sum(bad and s.name == "CONVERGED" for bad, s in zip(bent, minimum.status, strict=True))
        if called:
            raise AssertionError(f"{solver!r}: saddles: expected no status CONVERGED where curvature is negative, got {called}")
        if any(bent):
            return {"saddles": 0.0}
        errors = {"status": float(sum(s.name != "CONVERGED" for s in minimum.status))}
        gradient = problem.gradient(x)
        errors["stationarity"] = float(rows.project(gradient).abs().max())
        errors["constraints"] = float(problem.excess(x).abs().max()) if problem.fixed else 0.0
        elsewhere = solver.minimise(problem, start)
        errors["status from a start"] = float(sum(s.name != "CONVERGED" for s in elsewhere.status))
        errors["stationarity from a start"] = float(rows.project(problem.gradient(elsewhere.x)).abs().max())
        errors["constraints from a start"] = float(problem.excess(elsewhere.x).abs().max()) if problem.fixed else 0.0
        errors["multipliers"] = float((rows.along(rows.coordinates(gradient)) - _transposed(problem, multipliers)).abs().max())
        inverse = solver.linearise(problem, x)
        pairs = [
            (
                torch.randn(len(x), generator=generator, dtype=x.dtype),
                torch.randn(multipliers.shape, generator=generator, dtype=x.dtype) * rows.active,
            )
            for _ in range(2)
        ]
        solved = [inverse(rx, rl) for rx, rl in pairs]
        for (rx, rl), (dx, dl) in zip(pairs, solved, strict=True):
            back = problem.curvature(x)(dx) - _transposed(problem, dl)
            zero = torch.zeros_like(x)
            charges = problem.excess(x + dx) - problem.excess(x + zero)
            errors["inverse"] = max(errors.get("inverse", 0.0), float((back - rx).abs().max()))
            if problem.fixed:
                errors["inverse"] = max(errors["inverse"], float((charges + rl).abs().max()))
        inner = [float((a[0] * b[0]).sum() + (a[1] * b[1]).sum()) for a, b in ((pairs[0], solved[1]), (pairs[1], solved[0]))]
        errors["symmetry"] = abs(inner[0] - inner[1]) / (1 + abs(inner[0]))
    return _within(errors, solver, tolerance)


def _of_law(problem: LawProblem, minimum: Minimum) -> dict[str, float]:
    return {
        "status": float(sum(s.name != "CONVERGED" for s in minimum.status)),
        "self-consistency": float(inconsistency(problem, minimum.x, minimum.multipliers).max()),
        "constraints": float(problem.excess(minimum.x).abs().max()) if problem.fixed else 0.0,
    }


def _within(errors: dict[str, float], solver: Solver, tolerance: float) -> dict[str, float]:
    for what, error in errors.items():
        if not error <= tolerance:
            raise AssertionError(f"{solver!r}: {what}: expected an error below {tolerance}, got {error:.3e}")
    return errors


def _transposed(problem: Minimisation, multipliers: Tensor) -> Tensor:
    """C^T multipliers."""
    x = torch.zeros_like(problem.index, dtype=torch.float64).requires_grad_()
    with torch.enable_grad():
        return slope(problem.excess(x) * multipliers, x)
