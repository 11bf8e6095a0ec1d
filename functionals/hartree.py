"""The classical Coulomb energy of the coarse density."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density, sites_of
from cgdft.electrostatics.coulomb import Coulomb, Sites
from cgdft.electrostatics.multipole import gaussian_coulomb
from cgdft.terms import Term

if TYPE_CHECKING:
    from cgdft.basis import Multipoles
    from cgdft.structure import Structure

#: Up to so many coefficients in a structure, and numbers in all (1.6 GB), the operator is kept as a matrix.
DENSE, NUMBERS = 3000, 200_000_000


class Hartree(Term):
    """E = 1/2 integral integral rho(r) rho(r') / |r - r'|, rho the Gaussian multipoles of the basis.

    Open structures exactly; slabs, wires and bulk by Ewald sums. A net charge in bulk has a uniform background; in slabs and
    wires it is felt as it is, and the potential of a far plane or line has no zero at infinity (`electrostatics/boundary.py`).

    Args:
        self_interaction: whether a multipole interacts with itself (q^2 / (2 sqrt(pi) sigma) for a charge). With it the
            Hessian is positive semidefinite; models that put it into their hardness leave it out.
        accuracy: relative truncation of the Ewald sums.
    """

    quadratic = True

    def __init__(self, self_interaction: bool = True, accuracy: float = 1e-12) -> None:
        super().__init__()
        if not 1e-15 <= accuracy < 1:
            raise ValueError(f"`accuracy` must be between 1e-15 and 1, got {accuracy!r}")
        self.self_interaction, self.accuracy = self_interaction, accuracy
        self.convex = self_interaction

    def prepare(self, structure: Structure, basis: Multipoles) -> Term:
        """The Coulomb operator of these positions."""
        return _HartreeAt(self._operator(structure, sites_of(structure, basis)), self.self_interaction)

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """1/2 p . A . p of each structure, hartree."""
        return 0.5 * self._operator(rho.structure, rho.sites).bilinear(rho.coefficients, rho.coefficients)

    def _operator(self, structure: Structure, sites: Sites) -> Coulomb:
        return Coulomb(structure, sites, self_interaction=self.self_interaction, accuracy=self.accuracy)


class _HartreeAt(Term):
    """Hartree with its operator; as a matrix where it is small and no derivative by positions or widths is asked for."""

    quadratic = True

    def __init__(self, coulomb: Coulomb, self_interaction: bool) -> None:
        super().__init__()
        self.coulomb, self.self_interaction = coulomb, self_interaction
        # the kernels of slabs and wires are positive for neutral densities only: their zero of potential is not at infinity
        pbc = coulomb.structure.pbc
        self.convex = self_interaction and not bool((pbc.any(1) & ~pbc.all(1)).any())
        n = int(coulomb.structure.counts.max()) * coulomb.sources.size
        constant = not (torch.is_grad_enabled() and coulomb.radial.requires_grad)
        self.dense = coulomb.matrix() if constant and n <= DENSE and len(coulomb.structure) * n * n <= NUMBERS else None
        self._place = (coulomb.structure.index, coulomb.structure.local)

    @property
    def name(self) -> str:
        return "Hartree"

    def energy(self, rho: Density) -> Tensor:
        p = rho.coefficients
        if self.dense is None:
            return 0.5 * self.coulomb.bilinear(p, p)
        return 0.5 * rho.total((p * self.gradient(rho)).sum(1))

    def gradient(self, rho: Density) -> Tensor:
        return self._potential(rho.coefficients)

    def curvature(self, rho: Density) -> Callable[[Tensor], Tensor]:
        return self._potential

    def _potential(self, p: Tensor) -> Tensor:
        if self.dense is None:
            return self.coulomb.potential(p)
        n, size = self.dense.shape[1], p.shape[1]
        padded = p.new_zeros(len(self.dense), n // size, size).index_put(self._place, p)
        return torch.bmm(self.dense, padded.reshape(-1, n, 1)).reshape(-1, n // size, size)[self._place]

    def hessian(self, rho: Density) -> Tensor:
        return self.dense if self.dense is not None else self.coulomb.matrix()

    def diagonal(self, rho: Density) -> Tensor:
        if not self.self_interaction:
            return torch.zeros_like(rho.coefficients)
        width, lmax = self.coulomb.sources.width, rho.basis.lmax
        itself = gaussian_coulomb(torch.zeros_like(width), 1 / (4 * width**2), lmax)
        shells = [(itself[l] / (3 if l == 2 else 1))[:, None].expand(-1, 2 * l + 1) for l in range(lmax + 1)]  # noqa: E741
        return torch.cat(shells, 1)
