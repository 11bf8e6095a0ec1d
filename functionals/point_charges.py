"""Charges outside the density: embedding, counter-ions, a tip."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density
from cgdft.electrostatics.coulomb import Coulomb, Sites
from cgdft.finite import numbers_of, refuse_parameters, whole_numbers
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
        index: structure of each charge, (n_points,), ascending; default: all of them around every structure of a batch.

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, an `index` outside the batch.
    """

    quadratic = True
    local = True
    convex = True
    external = True
    positions: Tensor
    charges: Tensor
    index: Tensor | None

    def __init__(
        self,
        positions: Tensor | Sequence[Sequence[float]],
        charges: Tensor | Sequence[float],
        width: float = 0.0,
        index: Tensor | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        for name, one in (("positions", positions), ("charges", charges)):
            refuse_parameters(name, one)
        positions, charges = numbers_of("positions", positions, torch.float64), numbers_of("charges", charges, torch.float64)
        if positions.ndim != 2 or positions.shape[1] != 3 or not torch.isfinite(positions.detach()).all():
            raise ValueError(f"`positions` must be finite and (n_points, 3) in bohr, got shape {tuple(positions.shape)}")
        if charges.shape != (len(positions),) or not torch.isfinite(charges.detach()).all():
            raise ValueError(f"`charges` must be finite and ({len(positions)},), got {charges.tolist()}")
        if not 0 <= width < math.inf:
            raise ValueError(f"`width` must be zero or positive, got {width}")
        self.register_buffer("positions", positions)
        self.register_buffer("charges", charges)
        self.width = width
        self.register_buffer("index", None if index is None else whole_numbers("`index`", index, len(charges)))

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """sum_k Q_k V(r_k) of each structure, hartree."""
        n = len(rho.structure)
        positions, charges, index = self.positions, self.charges, self.index
        if index is None:
            index = torch.arange(n, device=positions.device).repeat_interleave(len(charges))
            positions, charges = positions.repeat(n, 1), charges.repeat(n)
        else:
            whole_numbers("`index`", index, len(charges), n)
        sites = Sites(positions, index, torch.full_like(charges, self.width), 0)
        return Coulomb(rho.structure, rho.sites, sites).bilinear(charges[:, None], rho.multipoles)
