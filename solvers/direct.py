"""Factorise the Hessian once; solve and differentiate with the same factors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cgdft.problem import Problem
from cgdft.solver import Inverse, Minimum, Solver, SolverError, Status, norm_scale, require_quadratic, saddle_point_inverse
from cgdft.solvers.curvature import tangent_hessian


@dataclass(frozen=True)
class Direct(Solver):
    """Cholesky factors of P H P + B^T B for every structure of the batch at once; quadratic functionals only.

    A singular Hessian (charges around a ring of bonds without hardness) is solved by its pseudo-inverse when the problem has
    a solution.
    """

    def minimise(self, problem: Problem, start: Tensor | None = None) -> Minimum:
        """One solve, and one step of iterative refinement."""
        require_quadratic(problem, self)
        rows = problem.rows
        x = rows.particular(rows.target)
        factors = Factors(problem, x)
        gradient = problem.gradient(x)
        first, _ = norm_scale(problem, gradient)
        history = [first]
        for _ in range(2):
            x = x - factors.solve(rows.project(gradient))
            gradient = problem.gradient(x)
            norm, floor = norm_scale(problem, gradient)
            history.append(norm)
        met = norm <= 1e-9 * first + 1e3 * floor
        unbounded = factors.negative | ~met
        if (~met & ~factors.negative & ~factors.singular).any():
            names = ", ".join(term.name for term in problem.functional)
            raise ValueError(f"terms declared quadratic must be so, but the gradient does not vanish at the solution: one of "
                             f"{names} is not; check it with cgdft.check_term")  # fmt: skip
        status = [Status.UNBOUNDED if bad else Status.CONVERGED for bad in unbounded.tolist()]
        return Minimum(x, rows.multipliers(gradient), status, 1, torch.stack(history))

    def linearise(self, problem: Problem, x: Tensor) -> Inverse:
        """Solves with the factors of the Hessian at x."""
        factors = Factors(problem, x)

        def solve(b: Tensor) -> Tensor:
            y = factors.solve(b)
            if not torch.isfinite(y).all():
                raise SolverError("the linear response has no solution: the Hessian is singular", [], y)
            return y

        return saddle_point_inverse(problem, x, solve)


class Factors:
    """The Hessian of a problem at x within the constraints, factorised in each structure.

    Attributes:
        negative: structures with negative curvature.
        singular: structures with directions without curvature, which `solve` leaves alone.
    """

    def __init__(self, problem: Problem, x: Tensor) -> None:
        self.rows = problem.rows
        hessian = tangent_hessian(problem, x)
        self.negative = torch.zeros(problem.n, dtype=torch.bool, device=x.device)
        self.singular = self.negative.clone()
        self.lower, info = torch.linalg.cholesky_ex(hessian)
        pivots = self.lower.diagonal(dim1=1, dim2=2)
        difficult = info != 0
        if pivots.shape[1]:
            difficult = difficult | (pivots.amin(1) ** 2 < 1e-12 * pivots.amax(1) ** 2)
        self.pseudo: dict[int, Tensor] = {}
        for s in torch.nonzero(difficult).flatten().tolist():
            values, vectors = torch.linalg.eigh(hessian[s])
            scale = values.abs().max()
            self.negative[s] = values[0] < -1e-10 * scale
            keep = values.abs() > 1e-10 * scale
            self.singular[s] = not keep.all()
            inverse = torch.where(keep, 1 / values.where(keep, torch.ones_like(values)), 0.0)
            self.pseudo[s] = (vectors * inverse) @ vectors.T
            self.lower[s] = torch.eye(len(values)).to(values)

    def solve(self, b: Tensor) -> Tensor:
        """y with P H y = P b, C y = 0."""
        padded = self.rows.pad(b)
        y = torch.cholesky_solve(padded[..., None], self.lower)[..., 0]
        for s, pseudo in self.pseudo.items():
            y[s] = pseudo @ padded[s]
        return self.rows.project(self.rows.unpad(y))
