"""Self-consistency of a response law: the potential makes the density, which makes the potential.

    p <- mix(p, F(R, v[p] - sum_k lambda_k a_k)),   lambda by Newton's method from a_k.F = c_k,

so that every iteration has the charges asked for exactly. The correction is shared out by the local softness -(dF/dv) a; over
its sum, the global one -a.(dF/dv) a, others call it the Fukui function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cgdft.problems.problem import Problem
from cgdft.problems.self_consistency import SelfConsistency
from cgdft.solver import Minimum, Solver, Status, check_settings
from cgdft.solvers.anderson import Anderson

LARGEST = 1e8  # growth of the residual that is divergence


@dataclass(frozen=True)
class SelfConsistent(Solver):
    """Anderson's mixing of input and output densities of a response law.

    Args:
        mixing: fraction of the output taken over.
        history: earlier steps that are combined; 0 for linear mixing.
        tolerance: of output less input, relative to that of the first iteration.
        max_iterations: more raise.
    """

    solves: ClassVar[type[Problem]] = SelfConsistency
    residual_unit: ClassVar[str] = "e"

    mixing: float = 0.3
    history: int = 10
    tolerance: float = 1e-12
    max_iterations: int = 500

    def __post_init__(self) -> None:
        check_settings(self)

    def minimise(self, problem: SelfConsistency, start: Tensor | None = None) -> Minimum:
        """Mix until input and output agree, which of a grand potential may be no minimum."""
        rows = problem.rows
        cold = rows.particular(rows.target)
        x = cold if start is None else cold + rows.project(start - cold)
        residuals: list[Tensor] = []
        mixer = Anderson(rows, self.mixing, self.history)
        none = x.new_zeros(problem.n, len(problem.fixed))
        while True:
            bare = problem.potentials(problem.space.coefficients(x), none).detach()
            multipliers = problem.equilibrate(bare).detach()
            output = problem.answer(problem.shifted(bare, multipliers)).detach().reshape(-1)
            f = output - x
            residuals.append(rows.dot(f, f).sqrt())
            norm = residuals[-1]
            size = rows.dot(output, output).sqrt()
            target = self.tolerance * torch.maximum(residuals[0], size) + 1e-15
            lost = ~torch.isfinite(norm) | (norm > LARGEST * (residuals[0] + 1e-10))
            if bool((norm <= target).all()) or bool(lost.any()) or len(residuals) > self.max_iterations:
                break
            x = x + torch.where((norm > target)[rows.index], mixer.move(x, f), 0.0)
        unmet, met = problem.unmet(problem.space.coefficients(output)), norm <= target
        ends: list[Status] = []
        down = problem.bends_down(x, multipliers) if bool(met.any()) else torch.zeros_like(met)
        for away, other, good, bad in zip(lost.tolist(), unmet.tolist(), met.tolist(), down.tolist(), strict=True):
            converged = Status.SADDLE if bad else Status.CONVERGED
            ends.append(Status.DIVERGED if away else Status.UNMET if other else converged if good else Status.NOT_CONVERGED)
        return Minimum(x, multipliers, ends, torch.stack(residuals))
