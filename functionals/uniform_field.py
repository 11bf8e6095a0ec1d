"""A uniform external electric field."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from cgdft.density import Density
from cgdft.structure import Structure, numbers_of
from cgdft.terms import Term

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cgdft.basis import Multipoles


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
        field = numbers_of("field", field, torch.float64)
        if field.ndim not in (1, 2) or field.shape[-1] != 3 or not torch.isfinite(field.detach()).all():
            raise ValueError(f"`field` must be finite and (3,) or (n_structures, 3), got {field.tolist()}")
        self.register_buffer("field", field)

    def prepare(self, structure: Structure, basis: Multipoles) -> Term:
        """Knowing whether it has a part along periodic axes."""
        if self.field.ndim == 2 and len(self.field) != len(structure):
            raise ValueError(
                f"`field` must be (3,), or (n_structures, 3) = ({len(structure)}, 3) here, got shape {tuple(self.field.shape)}"
            )
        prepared = copy.copy(self)
        along = (self.field - self._across(structure)).norm(dim=1)
        prepared.needs_ways = bool((along > 1e-10 * self.field.norm(dim=-1)).any())
        return prepared

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """-F_open . sum_i q_i R_i - F . sum_i d_i of each structure, hartree, F_open across all periodic axes."""
        open_part = (self._across(rho.structure) * _of_charges(rho)).sum(1)
        return -open_part - (self.field * rho.structure.total(rho.dipoles)).sum(1)

    def energy_of_crossing(self, rho: Density, dipole: Float[Tensor, "n_structures 3"]) -> Float[Tensor, " n_structures"]:
        """What makes of it -F . (D + sum_i d_i), hartree, D the dipole of charges as they came."""
        return (self._across(rho.structure) * _of_charges(rho)).sum(1) - (self.field * dipole).sum(1)

    def _across(self, structure: Structure) -> Float[Tensor, "n_structures 3"]:
        """What of the field is across all periodic axes; where a cell is sheared it is another part."""
        field = self.field.to(structure.positions).expand(len(structure), 3)
        return (structure.open_projector @ field[..., None])[..., 0] if structure.pbc.any() else field


def _of_charges(rho: Density) -> Float[Tensor, "n_structures 3"]:
    """sum_i q_i R_i, e bohr: of charges where they are."""
    return rho.structure.total(rho.charges[:, None] * rho.structure.positions)
