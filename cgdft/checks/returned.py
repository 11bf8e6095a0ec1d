"""What a solver returned, looked at before it is believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from cgdft.derivatives.probe import Probe
from cgdft.finite import finite
from cgdft.foreign import is_foreign
from cgdft.problems.law_problem import LawProblem
from cgdft.problems.minimisation import RUNAWAY, Minimisation
from cgdft.problems.problem import KEPT, Problem
from cgdft.problems.self_consistency import SelfConsistency
from cgdft.solver import LEFT, Minimum, Solver, Status, beginning, norm_scale


def accepted(minimum: Any, problem: Problem, solver: Solver) -> Minimum:
    """What any solver must return, a user's too; charges too large for their sum to mean anything are no minimum.

    Where a failed solve left no numbers, there are equal charges.

    Raises:
        TypeError: something else than a minimum of this problem.
        ValueError: where it is said to have converged, no numbers, charges that are fixed and are not kept, a gradient or a
            difference of input and output that is left, or a saddle point.
    """
    check_types(minimum, problem, solver)
    claimed = torch.tensor([status is Status.CONVERGED for status in minimum.status], device=minimum.x.device)
    if is_foreign(solver):
        _check_claims(minimum, problem, solver, claimed)
    if not finite(minimum.x):
        there = claimed[problem.index] | minimum.x.isfinite()
        minimum = replace(minimum, x=torch.where(there, minimum.x, problem.rows.particular(problem.rows.target)))
    if not problem.fixed:
        return minimum
    off = torch.where(problem.rows.active, problem.excess(minimum.x), 0.0).abs().amax(1)
    size = problem.rows.largest(minimum.x)
    wrong = claimed & ~(off <= KEPT)
    if (wrong & ~(size > RUNAWAY)).any():
        raise ValueError(
            f"`solver` must keep the charges that are fixed, got {float(off[wrong].max()):.2e} e away by {solver!r}; see "
            "cgdft.check_solver"
        )
    ends = zip(minimum.status, wrong.tolist(), strict=True)
    return replace(minimum, status=[Status.UNBOUNDED if bad else status for status, bad in ends])


def check_types(minimum: Any, problem: Problem, solver: Solver) -> None:
    """Raise a TypeError of something else than a minimum of this problem."""
    if not isinstance(minimum, Minimum):
        raise TypeError(f"`solver` must return a cgdft.Minimum, got {minimum!r} of {solver!r}")
    like = problem.space.origin
    for name in ("x", "multipliers", "history"):
        one = getattr(minimum, name)
        if not isinstance(one, Tensor) or (one.dtype, one.device) != (like.dtype, like.device):
            got = f"{one.dtype} on {one.device}" if isinstance(one, Tensor) else f"a {type(one).__name__}"
            raise TypeError(
                f"`solver` must return `{name}` as a tensor, {like.dtype} on {like.device}, got {got} of {solver!r}"
            )
    for one in minimum.status:
        if not isinstance(one, Status):
            raise TypeError(f"`solver` must return a list of cgdft.Status, got {one!r} in it of {solver!r}")
    sizes = tuple(minimum.x.shape), tuple(minimum.multipliers.shape), len(minimum.status)
    expected = tuple(problem.index.shape), (problem.n, len(problem.fixed)), problem.n
    if sizes != expected:
        raise TypeError(f"`solver` must return x, multipliers and status of sizes {expected}, got {sizes} of {solver!r}")
    shape = tuple(minimum.history.shape)
    if len(shape) != 2 or shape[0] < 1 or shape[1] != problem.n:
        raise TypeError(
            f"`solver` must return `history` of a row for the start and each iteration, (iterations + 1, {problem.n}), got "
            f"shape {shape} of {solver!r}"
        )


def _check_claims(minimum: Minimum, problem: Problem, solver: Solver, claimed: Tensor) -> None:
    """Raise a ValueError of what is called CONVERGED and is not; of the rest nothing is asked."""
    said = claimed[problem.index]
    if not finite(minimum.x[said]):
        raise ValueError(
            f"`solver` must say that it did not converge where it has no number, got NaN or infinity of {solver!r}"
        )
    cold = problem.rows.particular(problem.rows.target)
    looked_at = replace(minimum, x=torch.where(said, minimum.x, cold))
    if isinstance(problem, Minimisation):
        _check_stationary(looked_at, problem, solver, claimed)
        _check_curvature(looked_at, problem, solver, claimed)
    elif isinstance(problem, LawProblem):
        _check_answered(looked_at, problem, solver, claimed, cold)


def inconsistency(problem: LawProblem, x: Tensor, multipliers: Tensor) -> Tensor:
    """Norm of input less output of each structure, e."""
    r = problem.residual(x, multipliers, Probe.of(problem))
    return problem.rows.dot(r.x, r.x).sqrt()


def _check_answered(minimum: Minimum, problem: LawProblem, solver: Solver, claimed: Tensor, cold: Tensor) -> None:
    none = torch.zeros_like(minimum.multipliers)
    multipliers = problem.equilibrate(problem.potentials(problem.space.coefficients(cold), none))
    norm, first = inconsistency(problem, minimum.x, minimum.multipliers), inconsistency(problem, cold, multipliers)
    wrong = torch.nonzero(claimed & ~(norm <= LEFT * first + KEPT)).flatten().tolist()
    if wrong:
        raise ValueError(
            "`solver` must end where the density is the answer to its potential less those of the fixed charges, the "
            f"multipliers, or say that it did not, got {float(norm[wrong[0]]):.1e} e, of {float(first[wrong[0]]):.1e} at "
            f"first, left as CONVERGED by {solver!r}; see cgdft.check_solver"
        )
    down = problem.bends_down(minimum.x, minimum.multipliers) if isinstance(problem, SelfConsistency) else claimed & False
    if (claimed & down).any():
        _complain_of_saddle(solver, int(torch.nonzero(claimed & down)[0]))


def _check_stationary(minimum: Minimum, problem: Minimisation, solver: Solver, claimed: Tensor) -> None:
    _, gradient, cold = beginning(problem, minimum.x)
    norm, floor = norm_scale(problem, gradient)
    wrong = torch.nonzero(claimed & ~(norm <= LEFT * cold + 1e3 * floor)).flatten().tolist()
    if wrong:
        raise ValueError(
            f"`solver` must end where the projected gradient vanishes, or say that it did not, got {float(norm[wrong[0]]):.1e} "
            f"hartree/e, of {float(cold[wrong[0]]):.1e} at first, left as CONVERGED by {solver!r}; see cgdft.check_solver"
        )
    right = problem.rows.multipliers(gradient)
    off = torch.where(problem.rows.active & claimed[:, None], (minimum.multipliers - right).abs(), 0.0)
    if (far := ~(off <= LEFT * (right.abs() + cold[:, None]) + 1e3 * floor[:, None])).any():
        s, k = torch.nonzero(far)[0].tolist()
        raise ValueError(
            f"`solver` must return the multipliers dE/dq of the fixed charges, problem.rows.multipliers(gradient), got "
            f"{float(minimum.multipliers[s, k]):.6g} in place of {float(right[s, k]):.6g} hartree/e of {solver!r}; see "
            "cgdft.check_solver"
        )


def _check_curvature(minimum: Minimum, problem: Minimisation, solver: Solver, claimed: Tensor) -> None:
    from cgdft.solvers.curvature import negative_curvature

    if not claimed.any():
        return
    wrong = torch.nonzero(claimed & negative_curvature(problem, minimum.x)[0]).flatten().tolist()
    if wrong:
        _complain_of_saddle(solver, wrong[0])


def _complain_of_saddle(solver: Solver, structure: int) -> None:
    raise ValueError(
        f"`solver` must not call a saddle point CONVERGED, got negative curvature where {solver!r} ended in structure "
        f"{structure}; ask negative_curvature of cgdft.solvers.curvature, or choose a solver of cgdft.solvers"
    )
