"""The answers of a response law one after another, as often as its ansatz says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cgdft.problems.problem import Problem
from cgdft.problems.recursion import Recursion
from cgdft.solver import Minimum, Solver, Status


@dataclass(frozen=True)
class Answers(Solver):
    """p_n = F(R, v[p_n-1]) from p_0 = 0: nothing is sought, and no start is of use."""

    solves: ClassVar[type[Problem]] = Recursion
    residual_unit: ClassVar[str] = "e"

    def minimise(self, problem: Recursion, start: Tensor | None = None) -> Minimum:
        """The last answer."""
        with torch.no_grad():
            p, multipliers, v = problem.last()
            away = problem.runaway(problem.answer(v)).tolist()
        status = [
            Status.DIVERGED if gone else Status.UNMET if bad else Status.CONVERGED
            for gone, bad in zip(away, problem.unmet(p).tolist(), strict=True)
        ]
        return Minimum(p.reshape(-1), multipliers, status, multipliers.new_zeros(problem.steps + 1, problem.n))
