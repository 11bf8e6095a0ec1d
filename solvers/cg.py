"""Conjugate gradients: one application of the Coulomb operator an iteration, no matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cgdft.problem import Problem
from cgdft.solver import (
    Inverse,
    Minimum,
    Solver,
    SolverError,
    Status,
    beginning,
    norm_scale,
    require_quadratic,
    saddle_point_inverse,
)
from cgdft.solvers.curvature import negative_curvature
from cgdft.solvers.tangent import jacobi, tangent_cg


@dataclass(frozen=True)
class CG(Solver):
    """Projected conjugate gradients with Jacobi's preconditioner; quadratic functionals only.

    Args:
        tolerance: of the projected gradient's norm, relative to that at the start of a cold solve, in each structure.
        max_iterations: more raise.
    """

    tolerance: float = 1e-12
    max_iterations: int = 2000

    def minimise(self, problem: Problem, start: Tensor | None = None) -> Minimum:
        """Conjugate gradients on the constrained quadratic energy."""
        require_quadratic(problem, self)
        rows = problem.rows
        x, gradient, scale = beginning(problem, start)
        _, floor = norm_scale(problem, gradient)
        result = tangent_cg(
            problem.curvature(x),
            -rows.project(gradient),
            rows,
            jacobi(rows, problem.diagonal(x)),
            self.tolerance * scale + floor,
            self.max_iterations,
        )
        x = x + result.y
        negative = result.negative | negative_curvature(problem, x)[0]
        status = [
            Status.UNBOUNDED if bad else Status.CONVERGED if good else Status.NOT_CONVERGED
            for bad, good in zip(negative.tolist(), result.converged.tolist(), strict=True)
        ]
        multipliers = rows.multipliers(problem.gradient(x))
        return Minimum(x, multipliers, status, len(result.history) - 1, torch.stack(result.history))

    def linearise(self, problem: Problem, x: Tensor) -> Inverse:
        """Solves by conjugate gradients to the same tolerance, relative to the right-hand side."""
        precondition, product = jacobi(problem.rows, problem.diagonal(x)), problem.curvature(x)

        def solve(b: Tensor) -> Tensor:
            norm = problem.rows.dot(b, b).sqrt()
            target = self.tolerance * norm + 1e-300
            result = tangent_cg(product, b, problem.rows, precondition, target, self.max_iterations)
            reached = result.history[-1] <= 1e3 * target
            if not (result.converged | reached).all():
                status = [Status.NOT_CONVERGED if not ok else Status.CONVERGED for ok in result.converged.tolist()]
                raise SolverError(
                    f"the linear response was not solved: residual {float(result.history[-1].max()):.3g} after "
                    f"{len(result.history) - 1} iterations; raise max_iterations or use Direct()",
                    status,
                    torch.stack(result.history),
                )
            return result.y

        return saddle_point_inverse(problem, x, solve)
