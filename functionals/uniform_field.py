"""A uniform external electric field."""

from __future__ import annotations

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
        ValueError: another shape; at the call, a component along a periodic axis, where the potential -F . r has no meaning.
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
        """Checked against the periodic axes."""
        if self.field.ndim == 2 and len(self.field) != len(structure):
            raise ValueError(
                f"`field` must be (3,), or (n_structures, 3) = ({len(structure)}, 3) here, got shape {tuple(self.field.shape)}"
            )
        along = (structure.cell.detach() @ self.field.detach().expand(len(structure), 3)[..., None])[..., 0]
        scale = structure.cell.detach().norm(dim=2) * self.field.detach().norm(dim=-1, keepdim=True) + 1e-300
        wrong = torch.nonzero(structure.pbc & (along.abs() > 1e-10 * scale))
        if len(wrong):
            s, axis = wrong[0].tolist()
            raise ValueError(
                f"`field` must not point along a periodic axis, got {self.field.tolist()} with lattice vector {axis} = "
                f"{structure.cell[s, axis].tolist()} in structure {s}; set pbc False along it or change the field"
            )
        return self

    def energy(self, rho: Density) -> Float[Tensor, " n_structures"]:
        """-F . D of each structure, hartree."""
        return -(self.field * rho.dipole).sum(1)
