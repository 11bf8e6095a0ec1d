"""The inverse of a Hessian that stays as it is from solve to solve, as that of electrodes among ions that move.

Where what relaxes has not moved, the minimum is x - H^-1 dE/dx within the constraints, from any x. H is made column by column,
by products, once the solves of a model have taken as many products as that needs, and is factorised; where it has changed all
the same, as by a term that depends on what moves, residuals do not vanish, and it is made anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cgdft.problems.minimisation import Minimisation
from cgdft.solvers.factors import Factors

#: Unknowns of a structure, and numbers of all matrices, up to which an inverse is kept (128 MB).
MOST, NUMBERS = 2000, 16_000_000
#: Products that a solve without it takes, beside its iterations.
BESIDE = 3
#: Where it is in a problem's memory.
NAME = "inverse"


@dataclass
class KeptInverse:
    """What a Hessian depends on, products of the solves with it so far, and its factors once they are made."""

    of: list[Tensor]
    products: float = 0.0
    factors: Factors | None = None

    @classmethod
    def of_problem(cls, problem: Minimisation) -> KeptInverse | None:
        """That of a quadratic functional, from earlier solves of it or without factors; None of one that is too large."""
        longest = problem.rows.longest
        if longest > MOST or problem.n * longest**2 > NUMBERS:
            return None
        anywhere = problem.space.origin.new_zeros(len(problem.index))
        kept, of = problem.memory.get(NAME), _depends_on(problem, anywhere)
        if kept is None or not _same(kept.of, of):
            kept = problem.memory[NAME] = cls(of)
        if kept.factors is None and kept.products >= longest:
            factors = Factors(problem.rows, _hessian(problem, anywhere))
            kept.products, kept.factors = (-math.inf, None) if factors.difficult.any() else (0.0, factors)
        found: KeptInverse = kept
        return found

    def took(self, iterations: int) -> None:
        """Remember that a solve took so many iterations without the inverse, or with one that is none any more."""
        self.factors, self.products = None, self.products + iterations + BESIDE


def _depends_on(problem: Minimisation, x: Tensor) -> list[Tensor]:
    """What is likely to change where the Hessian does; couplings of atoms are not in it."""
    structure, space, rows = problem.structure, problem.space, problem.rows
    positions, entries = structure.positions, [] if space.entries is None else list(space.entries[:3])
    if entries:
        positions = positions[(entries[0] // problem.basis.size).unique()]
    found = [positions, structure.cell, structure.pbc, problem.index, *entries, rows.owner, rows.share, rows.overlapping]
    return [one.detach().clone() for one in (*found, problem.diagonal(x))]


def _same(one: list[Tensor], other: list[Tensor]) -> bool:
    same = len(one) == len(other) and all(a.device == b.device for a, b in zip(one, other, strict=True))
    return same and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def _hessian(problem: Minimisation, x: Tensor) -> Tensor:
    """H of each structure, padded with zeros, (n_structures, longest, longest)."""
    rows, product = problem.rows, problem.curvature(x)
    columns = [rows.pad(product((rows.local == k).to(x))) for k in range(rows.longest)]
    hessian = torch.stack(columns, 2)
    return 0.5 * (hessian + hessian.transpose(1, 2))
