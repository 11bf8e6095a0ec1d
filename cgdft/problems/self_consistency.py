"""Input less output of a response law, which makes the density that makes the potential."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cgdft.density import Density
from cgdft.derivatives.probe import Probe
from cgdft.problems.law_problem import LawProblem
from cgdft.problems.problem import Residual
from cgdft.response_law import GrandPotential
from cgdft.slopes import slopes

if TYPE_CHECKING:
    from cgdft.solver import Inverse, Solver


class SelfConsistency(LawProblem):
    """r(p, lambda) = p - F(R, v[p] - sum_k lambda_k a_k - sum_k V_k a_k),   v = dE/dp,   with a_k.p = c_k."""

    kind: ClassVar[str] = "the self-consistency of a response law"

    def usual_solver(self) -> Solver:
        """Mixing."""
        from cgdft.solvers import SelfConsistent

        return SelfConsistent()

    def felt(self, rho: Density, multipliers: Tensor, probe: Probe) -> Tensor:
        """The potential that makes p, (n_atoms, size)."""
        return self.potentials(rho.coefficients, multipliers, probe)

    def residual(self, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"], probe: Probe) -> Residual:
        """p - F and c_k - a_k.p, with a graph."""
        p = self.space.coefficients(x)
        away = p - self.answer(self.potentials(p, multipliers, probe))
        return Residual(away.reshape(-1), -self.excess(x), None)

    def departure(self, p: Float[Tensor, "n_atoms size"]) -> Float[Tensor, " n"]:
        """The answer to the potential of p, with the charges asked for, less p."""
        bare = self.potentials(p, p.new_zeros(self.n, len(self.fixed)))
        return (self.answer(self.shifted(bare, self.equilibrate(bare))) - p).reshape(-1)

    def linearised(
        self, solver: Solver, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"]
    ) -> tuple[Inverse, Inverse]:
        """Solves with the factors of the bordered Jacobian, and with their transpose."""
        factors = torch.linalg.lu_factor(self.jacobian(x, multipliers))

        def solve(transposed: bool) -> Inverse:
            def inverse(rx: Tensor, rl: Tensor) -> tuple[Tensor, Tensor]:
                right = torch.cat([self.rows.pad(rx), torch.where(self.rows.active, rl, 0.0)], 1)[..., None]
                found = torch.linalg.lu_solve(*factors, right, adjoint=transposed)[..., 0]
                return self.rows.unpad(found[:, : self.rows.longest]), found[:, self.rows.longest :]

            return inverse

        return solve(False), solve(True)

    def jacobian(
        self, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"]
    ) -> Float[Tensor, "n_structures n n"]:
        """[[1 - dF/dv K, dF/dv a], [-a, 0]] of each structure, by autograd; padded with ones on the diagonal."""
        rows, fixed = self.rows, len(self.fixed)
        n = rows.longest
        matrix = torch.diag_embed(x.new_ones(self.n, n + fixed))
        there = rows.pad(torch.ones_like(x)) > 0
        with torch.enable_grad():
            x, multipliers = x.detach().requires_grad_(), multipliers.detach().requires_grad_()
            p = self.space.coefficients(x)
            residual = rows.pad((p - self.answer(self.potentials(p, multipliers))).reshape(-1))
            for k in range(n):
                by_x, by_multipliers = slopes(residual[:, k], (x, multipliers), keep=True)
                row = torch.cat([rows.pad(by_x), by_multipliers], 1)
                matrix[:, k] = torch.where(there[:, k, None], row, matrix[:, k])
        for k, one in enumerate(self.fixed):
            border = torch.cat([-rows.pad(one.weights.reshape(-1)), one.weights.new_zeros(self.n, fixed)], 1)
            answers = (matrix[:, :n, n + k] != 0).any(1)  # a law without charges keeps those it has
            matrix[:, n + k] = torch.where((rows.active[:, k] & answers)[:, None], border, matrix[:, n + k])
        return matrix

    def bends_down(
        self, x: Float[Tensor, " n_x"], multipliers: Float[Tensor, "n_structures n_rows"]
    ) -> Bool[Tensor, " n_structures"]:
        """Structures whose energy G + E, dual to a grand potential, is at no minimum: 1 + S K has an eigenvalue below zero.

        K is the Hessian of E and S = -dF/dv that at fixed charges; where K is positive, as terms say, there is no need to look.
        """
        rho = self.density(x)
        least = [term.lower_bound(rho, self.neutral) for term in self.functional]
        known = all(one is not None and bool((one >= 0).all()) for one in least)
        if known or not isinstance(self.law, GrandPotential):
            return torch.zeros(self.n, dtype=torch.bool, device=x.device)
        n, bordered = self.rows.longest, self.jacobian(x, multipliers)
        one = torch.eye(n).to(bordered)
        soft, kept = bordered[:, :n, n:], bordered[:, n:, :n]
        moves = one - soft @ torch.linalg.pinv(kept @ soft) @ kept
        found = torch.linalg.eigvals(one + moves @ (bordered[:, :n, :n] - one))
        return found.real.amin(1) < -1e-10 * found.abs().amax(1)
