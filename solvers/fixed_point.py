"""Self-consistency by mixing, as most electronic-structure codes do it.

Each atom answers to the potential by its own (diagonal) susceptibility D^-1; x is moved by f(x) = -D^-1 (g - C^T lambda), which
vanishes at the solution. Linear mixing moves by a fraction of f; Anderson's takes the best combination of the last steps.
With linear mixing convergence needs a fraction below 2 / (largest eigenvalue of D^-1 H), which grows with the size of a metal.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cgdft.problems.minimisation import Minimisation
from cgdft.solver import Minimum, Solver, Status, beginning, check_settings, norm_scale
from cgdft.solvers.anderson import Anderson
from cgdft.solvers.curvature import negative_curvature
from cgdft.solvers.long_waves import within


@dataclass(frozen=True)
class FixedPoint(Solver):
    """Mixing of input and output densities.

    Args:
        mixing: fraction of the output taken over.
        history: earlier steps that Anderson's method combines; 0 for linear mixing.
        tolerance: of the projected gradient's norm, relative to that at the start, in each structure.
        max_iterations: more raise.
    """

    mixing: float = 0.3
    history: int = 10
    tolerance: float = 1e-12
    max_iterations: int = 1000

    def __post_init__(self) -> None:
        check_settings(self)

    def minimise(self, problem: Minimisation, start: Tensor | None = None) -> Minimum:
        """Mix until input and output agree."""
        rows = problem.rows
        cold = rows.particular(rows.target)
        x, _, scale = beginning(problem, start)
        residuals: list[Tensor] = []
        mixer = Anderson(rows, self.mixing, self.history)
        for iteration in range(self.max_iterations + 1):
            gradient = problem.gradient(x)
            norm, floor = norm_scale(problem, gradient)
            residuals.append(norm)
            target = max(self.tolerance, problem.rounding) * scale + floor
            lost = ~torch.isfinite(norm) | (norm > 1e8 * (torch.maximum(scale, residuals[0]) + floor))
            if bool(((norm <= target) | lost).all()) or lost.any() or iteration == self.max_iterations:
                break
            f = -within(rows, 1 / problem.diagonal(x))(rows.project(gradient))
            x = x + torch.where((norm > target)[rows.index], mixer.move(x, f), 0.0)
            x = cold + rows.project(x - cold)
        negative = torch.zeros_like(lost) if lost.any() else negative_curvature(problem, x)[0]
        status = [
            Status.DIVERGED if away else Status.SADDLE if bad and good else Status.CONVERGED if good else Status.NOT_CONVERGED
            for away, bad, good in zip(lost.tolist(), negative.tolist(), (norm <= target).tolist(), strict=True)
        ]
        return Minimum(x, rows.multipliers(gradient), status, torch.stack(residuals))
