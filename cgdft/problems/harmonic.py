"""The quadratic local terms as one expansion: start.p + p.blocks.p / 2, computed once."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from cgdft.density import Density
from cgdft.foreign import is_foreign
from cgdft.terms import Term, expansion


class _Together(Term):
    """Local terms as one: their derivatives cost no more than those of one."""

    local = True

    def __init__(self, terms: list[Term]) -> None:
        super().__init__()
        self.terms = terms

    def energy(self, rho: Density) -> Tensor:
        return sum((term.energy(rho) for term in self.terms), rho.coefficients.new_zeros(len(rho.structure)))


class Harmonic:
    """What the quadratic local ones among some terms are together, without a graph.

    Attributes:
        start: their gradient at p = 0, (n_atoms, size).
        blocks: their Hessian, (n_atoms, size, size).
    """

    def __init__(self, terms: Iterable[Term], nothing: Density) -> None:
        self.terms, self._nothing = [term for term in terms if term.quadratic and term.local], nothing
        self._together = _Together(self.terms)
        with torch.no_grad():
            self.start, self.blocks = expansion(self._together, nothing)

    def slope(self, rho: Density) -> Tensor:
        """start + blocks p, (n_atoms, size)."""
        return _expanded(self.start, self.blocks, rho)

    def misses(self, rho: Density) -> Term | None:
        """A user's term whose gradient at a density is not that of its expansion; None where there is none."""
        foreign = [term for term in self.terms if is_foreign(term)]
        if not foreign:
            return None
        allowed = 1e-6 * float(self.start.abs().max()) + 1e-12

        def differs(term: Term, expected: Tensor) -> bool:
            return not ((term.gradient(rho) - expected).abs() <= 1e-6 * expected.abs() + allowed).all()

        if not differs(self._together, self.slope(rho)):
            return None
        found = (
            term for term in foreign if differs(term, _expanded(term.gradient(self._nothing), term.blocks(self._nothing), rho))
        )
        return next(found, None)


def _expanded(start: Tensor, blocks: Tensor, rho: Density) -> Tensor:
    return start + (blocks * rho.coefficients[:, None]).sum(2)
