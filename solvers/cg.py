"""Conjugate gradients: one application of the Coulomb operator an iteration, no matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cgdft.problems.minimisation import Minimisation
from cgdft.solver import (
    Inverse,
    Minimum,
    Solver,
    SolverError,
    Status,
    beginning,
    check_settings,
    norm_scale,
    require_quadratic,
    require_stationary,
    saddle_point_inverse,
)
from cgdft.solvers.curvature import bends_down, disturbance, negative_curvature
from cgdft.solvers.kept_inverse import KeptInverse
from cgdft.solvers.long_waves import precondition
from cgdft.solvers.tangent import TangentResult, exactly, refined, tangent_cg


@dataclass(frozen=True)
class CG(Solver):
    """Projected conjugate gradients, long waves treated apart; quadratic functionals only.

    Where terms have a cheaper approximation, iterations use it and the result is corrected by the right ones until their
    residual is small.

    Args:
        tolerance: of the projected gradient's norm, relative to that at the start of a cold solve, in each structure.
        max_iterations: more raise.
        approximate: whether to iterate with approximate terms.
    """

    tolerance: float = 1e-12
    max_iterations: int = 2000
    approximate: bool = True

    def __post_init__(self) -> None:
        check_settings(self)

    def minimise(self, problem: Minimisation, start: Tensor | None = None) -> Minimum:
        """Conjugate gradients on the constrained quadratic energy."""
        require_quadratic(problem, self)
        rows = problem.rows
        kept = KeptInverse.of_problem(problem)
        factors = None if kept is None else kept.factors
        x, gradient, scale = beginning(problem, start if factors is None else None)  # with which all starts are as good
        _, floor = norm_scale(problem, gradient)
        target = self.tolerance * scale + floor
        b = -rows.tangent(gradient)
        norm = rows.dot(b, b).sqrt()
        moved, curved, seen = disturbance(problem, x, norm, target)
        x, b = x + moved, b - curved
        known: tuple[Tensor, Tensor] = b, gradient

        def residual(y: Tensor) -> Tensor:
            nonlocal known
            known = y, problem.gradient(x + y)
            return -rows.tangent(known[1])

        result = None if factors is None else refined(residual, exactly(factors.solve, rows), b, rows, target)
        if result is None or not result.converged.all():
            result = self._solve(problem, x, norm / target)(b, target, residual)
            if kept is not None:
                kept.took(len(result.history) - 1)
        x, negative = x + result.y, result.negative
        negative = negative | negative_curvature(problem, x, seen | negative)[0]
        status = [
            Status.UNBOUNDED if bad else Status.CONVERGED if good else Status.NOT_CONVERGED
            for bad, good in zip(negative.tolist(), result.converged.tolist(), strict=True)
        ]
        gradient = known[1] if known[0] is result.y else problem.gradient(x)
        norm, floor = norm_scale(problem, gradient)
        require_stationary(problem, x, ~result.converged | negative | (norm <= 1e-3 * scale + 1e3 * (target + floor)))
        return Minimum(x, rows.multipliers(gradient), status, torch.stack([*result.history[:-1], norm]))

    def linearise(self, problem: Minimisation, x: Tensor) -> Inverse:
        """Solves by conjugate gradients to the same tolerance, relative to the right-hand side."""
        rows, product = problem.rows, problem.curvature(x)
        inner = self._solve(problem, x, torch.tensor(1 / self.tolerance))

        def solve(b: Tensor, floor: Tensor, noise: Tensor) -> Tensor:
            target = self.tolerance * rows.dot(b, b).sqrt() + floor + 1e-300
            for accepted in (target, torch.maximum(target, noise)):
                result = inner(b, accepted, lambda y: b - rows.project(product(y)))
                met = result.converged | (result.history[-1] <= 1e3 * target)
                if met.all():
                    break
            if not met.all():
                status = [Status.NOT_CONVERGED if not ok else Status.CONVERGED for ok in result.converged.tolist()]
                raise SolverError(
                    f"the linear response was not solved: residual {float(result.history[-1].max()):.3g} after "
                    f"{len(result.history) - 1} iterations; raise max_iterations or use Direct()",
                    status,
                    torch.stack(result.history),
                )
            return result.y

        return saddle_point_inverse(problem, x, solve)

    def _solve(
        self, problem: Minimisation, x: Tensor, reduction: Tensor
    ) -> Callable[[Tensor, Tensor, Callable[[Tensor], Tensor]], TangentResult]:
        """(b, target, y -> b - P H y) -> y with P H y = b; residuals are to become less by about `reduction`."""
        rows, rough = problem.rows, problem.approximate() if self.approximate else None
        times = float(reduction.nan_to_num(1.0).clamp(1.0, 1e16).max().log10())  # some tenfold each time
        condition, product = precondition(problem, x, times), (rough or problem).curvature(x)

        def inner(b: Tensor, target: Tensor) -> TangentResult:
            return tangent_cg(product, b, rows, condition, target, self.max_iterations)

        def solve(b: Tensor, target: Tensor, residual: Callable[[Tensor], Tensor]) -> TangentResult:
            if rough is None:
                return inner(b, target)
            result = refined(residual, inner, b, rows, target)
            if result.negative.any():
                result = replace(result, negative=result.negative & bends_down(problem, x, result.direction))
            left = ~(result.converged | result.negative)
            if not left.any():
                return result
            goal, exact = torch.where(left, target, torch.inf), problem.curvature(x)  # the rough terms were too rough
            rest = tangent_cg(exact, residual(result.y), rows, condition, goal, self.max_iterations)
            return TangentResult(
                result.y + rest.y,
                torch.where(left, rest.converged, result.converged),
                torch.where(left, rest.negative, result.negative),
                torch.where(rows.each(left), rest.direction, result.direction),
                [*result.history, *rest.history[1:]],
            )

        return solve
