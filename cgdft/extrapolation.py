"""Where to begin the next solve of a trajectory: the last densities, extrapolated so that time may run backwards.

    p(t) = sum_j B_j p(t - j h),   B_j = (-1)^(j + 1) j C(2k + 4, k + 2 - j) / C(2k + 2, k + 1),   j = 1 .. k + 2

errs as h^2 in value but only as h^(2k + 3) in what is not reversible in time, which is what makes energies drift.

Source: J. Kolafa, J. Comput. Chem. 25, 335 (2004), eqs. 6-8: the always stable predictor-corrector method. Its one-step
corrector is replaced by the solver with its tolerance.
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from cgdft.solution import Solution
    from cgdft.structure import Structure


def coefficients(k: int) -> list[float]:
    """B_1 ... B_(k + 2)."""
    return [(-1) ** (j + 1) * j * comb(2 * k + 4, k + 2 - j) / comb(2 * k + 2, k + 1) for j in range(1, k + 3)]


class Extrapolation:
    """Remembers the last solutions of a trajectory.

    Args:
        order: k above; k + 2 solutions are kept.

    Raises:
        ValueError: a negative order.
    """

    def __init__(self, order: int = 2) -> None:
        if order < 0:
            raise ValueError(f"`order` must be at least 0, got {order!r}")
        self.order = order
        self._past: list[tuple[Structure, Tensor]] = []

    def add(self, solution: Solution) -> None:
        """Remember a solution, after those before it in time."""
        with torch.no_grad():
            p = solution.problem.space.coefficients(solution.minimum.x)
        self._past = [(solution.structure, p), *self._past[: self.order + 1]]

    def start(self, structure: Structure) -> Tensor | None:
        """p to begin with, extrapolated if the positions are too, else the last; None without a past of the same kind.

        Of the same kind are the same atoms with the same charge and spin.
        """
        past = [one for one in self._past if _alike(one[0], structure)]
        if not past:
            return None
        best, start = torch.inf, past[0][1]
        for k in range(-1, min(self.order, len(past) - 2) + 1):
            weights = [1.0] if k < 0 else coefficients(k)
            positions = sum(w * one.positions for w, (one, _) in zip(weights, past, strict=False))
            miss = float((positions - structure.positions).norm())
            if miss < best:
                best, start = miss, sum(w * p for w, (_, p) in zip(weights, past, strict=False))  # type: ignore[assignment]
        return start


def _alike(one: Structure, other: Structure) -> bool:
    return all(getattr(one, name).equal(getattr(other, name)) for name in ("numbers", "charge", "spin"))
