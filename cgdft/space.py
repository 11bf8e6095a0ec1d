"""The allowed densities of one structure: p = p0 + L x, and what x itself costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cgdft.finite import require_tensor

if TYPE_CHECKING:
    from cgdft.basis import Multipoles
    from cgdft.structure import Structure


@dataclass(frozen=True, eq=False)
class Space:
    """The allowed densities of one structure: p = p0 + L x, with energy 1/2 sum_k stiffness_k x_k^2.

    Attributes:
        origin: p0, (n_atoms, size).
        index: structure of each x, (n_x,).
        rows, columns, values: L as (row of the flat coefficients, column, value); None for L = 1.
        stiffness: (n_x,); None for zero.
        carried: dipole of the charge that x moves, (n_x, 3), through the walls of a cell as well; None where it is not said
            whence charges come.
    """

    origin: Float[Tensor, "n_atoms size"]
    index: Int[Tensor, " n_x"]
    rows: Int[Tensor, " n_entries"] | None = None
    columns: Int[Tensor, " n_entries"] | None = None
    values: Float[Tensor, " n_entries"] | None = None
    stiffness: Float[Tensor, " n_x"] | None = None
    carried: Float[Tensor, "n_x 3"] | None = None

    def coefficients(self, x: Float[Tensor, " n_x"]) -> Float[Tensor, "n_atoms size"]:
        """p0 + L x."""
        return self.origin + self.push(x)

    def push(self, x: Float[Tensor, " n_x"]) -> Float[Tensor, "n_atoms size"]:
        """L x."""
        if self.values is None:
            return x.reshape(self.origin.shape)
        assert self.rows is not None
        assert self.columns is not None
        flat = x.new_zeros(self.origin.numel()).index_add(0, self.rows, self.values * x[self.columns])
        return flat.reshape(self.origin.shape)

    def crossed(self, x: Float[Tensor, " n_x"], structure: Structure) -> Float[Tensor, "n_structures 3"] | None:
        """sum_k x_k carried_k - sum_i (L x)_i R_i of charges: what came through walls, e bohr; None where it is not said."""
        if self.carried is None or not structure.pbc.any():
            return None
        there = structure.total(self.push(x)[:, :1] * structure.positions)
        return (-there).index_add(0, self.index, x[:, None] * self.carried)

    def pull(self, p: Float[Tensor, "n_atoms size"]) -> Float[Tensor, " n_x"]:
        """L^T p."""
        flat = p.reshape(-1)
        if self.values is None:
            return flat
        assert self.rows is not None
        assert self.columns is not None
        return p.new_zeros(len(self.index)).index_add(0, self.columns, self.values * flat[self.rows])

    def picked(self, p: Float[Tensor, "n_atoms size"]) -> Float[Tensor, " n_x"] | None:
        """x with L x = p wherever L picks coefficients; None of another L."""
        if self.values is None:
            return p.reshape(-1)
        assert self.rows is not None
        assert self.columns is not None
        once = len(self.values) == len(self.index) == len(self.rows.unique()) == len(self.columns.unique())
        return self.pull(p) if once and bool((self.values == 1).all()) else None

    @property
    def kept(self) -> Float[Tensor, " n_atoms"]:
        """Charges that no x changes, e; zero of all other atoms."""
        if self.values is None:
            return torch.zeros_like(self.origin[:, 0])
        assert self.rows is not None
        moved = torch.zeros(self.origin.numel(), dtype=torch.bool, device=self.origin.device)
        moved[self.rows[self.values.detach() != 0]] = True
        return torch.where(moved.reshape(self.origin.shape)[:, 0], 0.0, self.origin[:, 0])

    def check(self, structure: Structure, basis: Multipoles) -> None:
        """See that attributes are what they must be, and modes carry charge along open axes to where it is.

        Raises:
            ValueError: naming the attribute that is not.
        """
        n, width, like = structure.n_atoms, len(self.index), structure.positions
        entries = 0 if self.values is None else len(self.values)
        shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
            "origin": ((n, basis.size), like.dtype),
            "index": ((width,), torch.int64),
            "rows": ((entries,), torch.int64),
            "columns": ((entries,), torch.int64),
            "values": ((entries,), like.dtype),
            "stiffness": ((width,), like.dtype),
            "carried": ((width, 3), like.dtype),
        }
        needed = ("origin", "index") if self.values is None else ("origin", "index", "rows", "columns")
        for name, (shape, dtype) in shapes.items():
            one = getattr(self, name)
            if one is not None or name in needed:
                require_tensor(f"`{name}` of a Space", one, shape, like, dtype)
        limits = {"index": len(structure)}
        if self.values is None:
            if width != n * basis.size:
                raise ValueError(f"`index` of a Space without `values` must be ({n * basis.size},), got ({width},)")
        else:
            limits |= {"rows": n * basis.size, "columns": width}
        for name, limit in limits.items():
            one = getattr(self, name)
            if len(one) and not (int(one.min()) >= 0 and int(one.max()) < limit):
                raise ValueError(f"`{name}` of a Space must be from 0 to {limit - 1}, got {int(one.min())} to {int(one.max())}")
        if self.carried is not None:
            self._check_carried(self.carried, structure, basis)

    def _check_carried(self, carried: Tensor, structure: Structure, basis: Multipoles) -> None:
        if not len(carried) or structure.pbc.all():
            return
        assert self.rows is not None
        assert self.columns is not None
        assert self.values is not None
        with torch.no_grad():
            charge = self.values * (self.rows % basis.size == 0)
            moved = charge[:, None] * structure.positions[self.rows // basis.size]
            found = torch.zeros_like(carried).index_add(0, self.columns, moved)
            off = (structure.open_projector[self.index] @ (carried - found)[:, :, None])[:, :, 0].norm(dim=1)
            k = int(off.argmax())
            if not off[k] <= 1e-6 * (1 + found[k].norm()):
                raise ValueError(
                    "`carried` must be, along open axes, the dipole of the charge that a mode moves, "
                    f"{found[k].tolist()} e bohr of mode {k}, got {carried[k].tolist()}"
                )

    def energy(self, x: Float[Tensor, " n_x"], n_structures: int) -> Float[Tensor, " n_structures"]:
        """1/2 sum_k stiffness_k x_k^2 of each structure."""
        zero = x.new_zeros(n_structures)
        return zero if self.stiffness is None else zero.index_add(0, self.index, 0.5 * self.stiffness * x * x)
