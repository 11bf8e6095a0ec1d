"""Charges outside the density: embedding, counter-ions, a tip."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density
from cgdft.electrostatics.coulomb import Coulomb, Sites
from cgdft.terms import Term

if TYPE_CHECKING:
    from collections.abc import Sequence


class PointCharges(Term):
    """E = sum_k Q_k V(r_k), V the potential of the density: its energy in the field of fixed charges.

    The fixed charges' interaction among themselves is not included. In a periodic cell they repeat with it.

    Args:
        positions: r_k, (n_points, 3), bohr.
        charges: Q_k, (n_points,), e.
        width: of each charge as a Gaussian, bohr; 0 for points.
        index: structure of each charge, (n_points,), ascending; default: the first (so needed for a batch).

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, an `index` outside the batch.
    """

    quadratic = True
    local = True
    convex = True
    external = True

    def __init__(
        self,
        positions: Tensor | Sequence[Sequence[float]],
        charges: Tensor | Sequence[float],
        width: float = 0.0,
        index: Tensor | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        positions = torch.as_tensor(positions, dtype=torch.float64)
        charges = torch.as_tensor(charges, dtype=torch.float64)
        if positions.ndim != 2 or positions.shape[1] != 3 or not torch.isfinite(positions.detach()).all():
            raise ValueError(f"`positions` must be finite and (n_points, 3) in bohr, got shape {tuple(positions.shape)}")
        if charges.shape != (len(positions),) or not torch.isfinite(charges.detach()).all():
            raise ValueError(f"`charges` must be finite and ({len(positions)},), got {charges.tolist()}")
        if width < 0:
            raise ValueError(f"`width` must be zero or positive, got {width}")
        self.register_buffer("positions", positions)
        self.register_buffer("charges", charges)
        self.width = width
        self._batched = index is not None
        self.register_buffer("index", torch.as_tensor(index) if self._batched else torch.zeros(len(positions)).long())

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """sum_k Q_k V(r_k) of each structure, hartree."""
        n = len(rho.structure)
        if n > 1 and not self._batched:
            raise ValueError(f"`index` must say to which of the {n} structures each external charge belongs")
        if len(self.index) and not 0 <= int(self.index.min()) <= int(self.index.max()) < n:
            raise ValueError(f"`index` must be from 0 to {n - 1}, got {self.index.tolist()}")
        width = torch.full_like(self.charges, self.width)
        sites = Sites(self.positions, self.index, width, 0)
        return Coulomb(rho.structure, rho.sites, sites).bilinear(self.charges[:, None], rho.coefficients)
