"""The answers of a response law one after another, as often as its ansatz says."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import ClassVar

import torch
from torch import Tensor

from cgdft.problems.minimisation import RUNAWAY
from cgdft.problems.problem import KEPT, Problem
from cgdft.problems.recursion import Recursion
from cgdft.solver import Minimum, Solver, Status

#: Where one more answer moves the density so many times as far as the first did, they go apart.
APART = 2.0


@dataclass(frozen=True)
class Answers(Solver):
    """p_n = F(R, v[p_n-1]) from p_0 = 0: nothing is sought, and no start is of use.

    The history is |p_k+1 - p_k|, what is left of self-consistency after k answers; a warning tells where it has grown.
    """

    solves: ClassVar[type[Problem]] = Recursion
    residual_unit: ClassVar[str] = "e"

    def minimise(self, problem: Recursion, start: Tensor | None = None) -> Minimum:
        """The last answer, after which one more says how far it is from self-consistent."""
        rows = problem.rows
        with torch.no_grad():
            found = list(islice(problem.answers(), problem.steps + 1))
            path = [torch.zeros_like(found[0].p), *(one.p for one in found)]
            moves = [(after - before).reshape(-1) for before, after in pairwise(path)]
            lengths = torch.stack([rows.dot(one, one).sqrt() for one in moves])
            history = torch.where(torch.stack([one.away for one in found]), RUNAWAY, lengths)
        last = found[problem.steps - 1]
        status = [
            Status.DIVERGED if gone else Status.UNMET if bad else Status.CONVERGED
            for gone, bad in zip(last.away.tolist(), problem.unmet(last.p).tolist(), strict=True)
        ]
        converged = [one is Status.CONVERGED for one in status]
        if ((history[-1] > APART * history[0].clamp(min=KEPT)) & torch.tensor(converged, device=history.device)).any():
            warnings.warn(
                "answers of a response law, one after the other, go apart (see `history`): more of them lead further away; a "
                "fixed point, where there is one, is found by a Response without `steps`",
                stacklevel=2,
            )
        return Minimum(last.p.reshape(-1), last.multipliers, status, history)
