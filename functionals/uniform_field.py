"""A uniform external electric field."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density
from cgdft.finite import numbers_of, refuse_parameters
from cgdft.terms import Term

if TYPE_CHECKING:
    from collections.abc import Sequence


class UniformField(Term):
    """E = -F . D, D the dipole about the origin.

    Args:
        field: the physical field F (it pushes positive charge along itself), (3,) or (n_structures, 3), hartree / (e bohr).

    Raises:
        ValueError: another shape; at the call, a component along a periodic axis where it is not known how charges move there.

    Along periodic axes F is the macroscopic field, and D counts charges as they came through the walls of the cell: see
    `Solution.polarization`. Stress is the derivative at this F.
    """

    quadratic = True
    local = True
    convex = True
    external = True
    field: Tensor

    def __init__(self, field: Tensor | Sequence[float]) -> None:
        super().__init__()
        refuse_parameters("field", field)
        field = numbers_of("field", field, torch.float64)
        if field.ndim not in (1, 2) or field.shape[-1] != 3 or not torch.isfinite(field.detach()).all():
            raise ValueError(f"`field` must be finite and (3,) or (n_structures, 3), got {field.tolist()}")
        self.register_buffer("field", field)

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """-F . D of each structure, hartree, D the itinerant dipole; where that is unknown, of F across all periodic axes."""
        structure = rho.structure
        if self.field.ndim == 2 and len(self.field) != len(structure):
            raise ValueError(
                f"`field` must be (3,), or (n_structures, 3) = ({len(structure)}, 3) here, got shape {tuple(self.field.shape)}"
            )
        field = self.field.to(structure.positions).expand(len(structure), 3)
        known = rho.ways_known
        if known.all():
            return -(field * rho.itinerant_dipole).sum(1)
        across = (structure.open_projector @ field[..., None])[..., 0]  # where a cell is sheared it is another part
        dipoles = structure.total(rho.dipoles)
        unknown = (field * dipoles).sum(1) + (across * (rho.dipole - dipoles)).sum(1)
        return -torch.where(known, (field * rho.followed_dipole).sum(1), unknown)
