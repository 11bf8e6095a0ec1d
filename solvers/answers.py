"""The answers of a response law one after another, as often as its ansatz says."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import ClassVar

import torch
from torch import Tensor

from cgdft.problems.problem import Problem
from cgdft.problems.recursion import Recursion
from cgdft.solver import Minimum, Solver, Status

#: Where one more answer moves the density so many times as far as the first did, they have nothing to do with a fixed point.
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
            history = torch.where(torch.stack([one.away for one in found]), torch.inf, lengths)
        last = found[problem.steps - 1]
        status = [
            Status.DIVERGED if gone else Status.UNMET if bad else Status.CONVERGED
            for gone, bad in zip(last.away.tolist(), problem.unmet(last.p).tolist(), strict=True)
        ]
        apart = (history[-1] > APART * history[0]).tolist()
        for s in [s for s, one in enumerate(status) if one is Status.CONVERGED and apart[s]][:1]:
            told = ", ".join(f"{float(one):.2g}" for one in history[:, s])
            warnings.warn(
                f"the answers of a response law go apart in structure {s}: one by one, and one more, they move the density by "
                f"{told} e; there is no fixed point near, as where widths are small for the softness",
                stacklevel=2,
            )
        return Minimum(last.p.reshape(-1), last.multipliers, status, history)
