"""Factorise the Hessian once; solve and differentiate with the same factors."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from cgdft.finite import finite
from cgdft.problems.minimisation import Minimisation
from cgdft.solver import (
    Inverse,
    Minimum,
    Solver,
    SolverError,
    Status,
    norm_scale,
    require_quadratic,
    require_stationary,
    saddle_point_inverse,
)
from cgdft.solvers.factors import Factors, factorise

#: Solves with the same factors at most, each of what the last ones left.
REFINED = 6
#: Condition number from which three digits are left of sixteen.
LOST_DIGITS = 1e13
#: What there is to say where a response is driven along directions without curvature.
SINGULAR = (
    "the linear response has no solution: something moves at no cost, as in a conductor (charges around a cell through bonds "
    "without a hardness, say)"
)


@dataclass(frozen=True)
class Direct(Solver):
    """Cholesky factors for every structure of the batch at once (see `factors`); quadratic functionals only.

    A singular Hessian (charges around a ring of bonds without hardness) is solved by its pseudo-inverse when the problem has
    a solution.
    """

    def minimise(self, problem: Minimisation, start: Tensor | None = None) -> Minimum:
        """One solve, where that leaves more than rounding a step of iterative refinement, more where scales are far apart."""
        require_quadratic(problem, self)
        rows = problem.rows
        x = rows.particular(rows.target)
        factors = factorise(problem, x)
        gradient = problem.gradient(x)
        first, _ = norm_scale(problem, gradient)
        for step in range(1, REFINED):
            x = x - factors.solve(rows.project(gradient))
            gradient = problem.gradient(x)
            norm, floor = norm_scale(problem, gradient)
            met = norm <= 1e-9 * first + 1e3 * floor
            if (norm <= floor).all() or (step > 1 and (not factors.rough or (norm <= 1e-13 * first + 1e3 * floor).all())):
                break
        if factors.rough and isinstance(factors, Factors):
            _warn_of_lost_digits(factors)
        unbounded = factors.negative | ~met
        require_stationary(problem, x, met | factors.negative | factors.singular)
        status = [Status.UNBOUNDED if bad else Status.CONVERGED for bad in unbounded.tolist()]
        return Minimum(x, rows.multipliers(gradient), status, torch.stack([first, norm]))

    def linearise(self, problem: Minimisation, x: Tensor) -> Inverse:
        """Solves with the factors of the Hessian at x."""
        factors, rows = factorise(problem, x), problem.rows
        looked = factors.rough or bool(factors.singular.any())
        product = problem.curvature(x) if looked else None

        def solve(b: Tensor, floor: Tensor, noise: Tensor) -> Tensor:
            y = factors.solve(b)
            known = finite(y)
            if known and product is not None:
                size = rows.dot(b, b).sqrt()
                for _ in range(REFINED):
                    left = b - rows.project(product(y))
                    off = rows.dot(left, left).sqrt()
                    if (off <= 1e-14 * size + floor).all():
                        break
                    y = y + factors.solve(left)
                known = bool((off <= 1e-6 * size + 10 * noise).all())
            if not known:
                raise SolverError(SINGULAR, [], y)
            return y

        return saddle_point_inverse(problem, x, solve)


def _warn_of_lost_digits(factors: Factors) -> None:
    """Of a Hessian so nearly singular that what is solved for has few digits, or none."""
    condition = factors.condition()
    if (condition > LOST_DIGITS).any():
        s = int(condition.argmax())
        warnings.warn(
            f"the functional is nearly flat: its Hessian in structure {s} has a condition number of {condition[s]:.0e} or "
            "more, which leaves few digits to the density; give it hardnesses, or Gaussians narrower than their distances",
            stacklevel=2,
        )
