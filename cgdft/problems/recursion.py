"""A response law that answers so many times, in place of self-consistency."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, NamedTuple

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


class Answer(NamedTuple):
    """One of a law.

    Attributes:
        p: (n_atoms, size); where it has left all bounds, the last that had not.
        multipliers: lambda, (n_structures, n_rows), hartree / e.
        v: what it answers to, (n_atoms, size).
        away: structures where it has left all bounds, (n_structures,).
    """

    p: Float[Tensor, "n_atoms size"]
    multipliers: Float[Tensor, "n_structures n_rows"]
    v: Float[Tensor, "n_atoms size"]
    away: Bool[Tensor, " n_structures"]


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

    def answers(self, probe: Probe | None = None) -> Iterator[Answer]:
        """One answer after another, without end, differentiable by what probe and law depend on."""
        if probe is None:
            probe = Probe.of(self)
        p = torch.zeros_like(self.space.origin)
        none = p.new_zeros(self.n, len(self.fixed))
        while True:
            bare = self.potentials(p, none, probe)
            multipliers = self.equilibrate(bare)
            v = self.shifted(bare, multipliers)
            found = self.answer(v)
            away = ~(self.rows.largest(found.reshape(-1)) <= RUNAWAY)
            p = torch.where(away[self.structure.index, None], p, found) if away.any() else found
            yield Answer(p, multipliers, v, away)

    def last(self, probe: Probe | None = None) -> Answer:
        """The last answer."""
        return next(islice(self.answers(probe), self.steps - 1, None))

    def residual(self, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"], probe: Probe) -> Residual:
        """p and lambda less those of the last answer, with a graph."""
        last = self.last(probe)
        return Residual(x - last.p.reshape(-1), torch.where(self.rows.active, multipliers - last.multipliers, 0.0), None)

    def departure(self, p: Float[Tensor, "n_atoms size"]) -> Float[Tensor, " n"]:
        """The last answer less p."""
        return (self.last().p - p).reshape(-1)

    def felt(self, rho: Density, multipliers: Tensor, probe: Probe) -> Tensor:
        """That of the last answer."""
        return self.last(probe).v

    def linearised(
        self, solver: Solver, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"]
    ) -> tuple[Inverse, Inverse]:
        """K^-1 = 1."""
        return (lambda rx, rl: (rx, rl)), (lambda rx, rl: (rx, rl))
