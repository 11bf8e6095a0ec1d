"""A response law that answers so many times, in place of self-consistency."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cgdft.density import Density
from cgdft.derivatives.probe import Probe
from cgdft.problems.law_problem import LawProblem
from cgdft.problems.minimisation import RUNAWAY
from cgdft.problems.problem import Residual

if TYPE_CHECKING:
    from cgdft.solver import Inverse, Solver


class Recursion(LawProblem):
    """p_n = F(R, v[p_n-1] - sum_k lambda_k a_k - sum_k V_k a_k),   p_0 = 0,   lambda such that a_k.p_n = c_k at every step.

    p_n and lambda are explicit: what vanishes is x - p_n, of which K = 1.
    """

    kind: ClassVar[str] = "a response law that answers so many times"
    closed_form: ClassVar[bool] = True

    def usual_solver(self) -> Solver:
        """The answers themselves."""
        from cgdft.solvers import Answers

        return Answers()

    @property
    def steps(self) -> int:
        """How many answers."""
        assert self.ansatz.steps is not None
        return self.ansatz.steps

    def last(self, probe: Probe | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """p, lambda and v of the last answer, differentiable by what probe and law depend on."""
        if probe is None:
            probe = Probe.of(self)
        p = torch.zeros_like(self.space.origin)
        none = p.new_zeros(self.n, len(self.fixed))
        multipliers, v = none, none
        for _ in range(self.steps):
            bare = self.potentials(p, none, probe)
            multipliers = self.equilibrate(bare)
            v = self.shifted(bare, multipliers)
            found = self.answer(v)
            away = self.runaway(found)
            p = torch.where(away[self.structure.index, None], p, found) if away.any() else found
        return p, multipliers, v

    def runaway(self, p: Float[Tensor, "n_atoms size"]) -> Bool[Tensor, " n_structures"]:
        """Structures whose answers have left all bounds; they keep the last that had not."""
        return ~(self.rows.largest(p.reshape(-1)) <= RUNAWAY)

    def residual(self, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"], probe: Probe) -> Residual:
        """p and lambda less those of the last answer, with a graph."""
        p, found, _ = self.last(probe)
        return Residual(x - p.reshape(-1), torch.where(self.rows.active, multipliers - found, 0.0), None)

    def departure(self, p: Float[Tensor, "n_atoms size"]) -> Float[Tensor, " n"]:
        """The last answer less p."""
        return (self.last()[0] - p).reshape(-1)

    def felt(self, rho: Density, multipliers: Tensor, probe: Probe) -> Tensor:
        """That of the last answer."""
        return self.last(probe)[2]

    def linearised(
        self, solver: Solver, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"]
    ) -> tuple[Inverse, Inverse]:
        """K^-1 = 1."""
        return (lambda rx, rl: (rx, rl)), (lambda rx, rl: (rx, rl))
