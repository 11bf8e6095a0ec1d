"""The allowed densities of one structure: p = p0 + L x, and what x itself costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cgdft.finite import finite, require_tensor

if TYPE_CHECKING:
    from cgdft.basis import Multipoles
    from cgdft.structure import Structure


class Entries(NamedTuple):
    """A matrix by its entries: rows, columns and values, (n_entries,), those of one place added; and how many columns.

    Of modes that move charge, `carried` may say how far, (width, 3): the dipole of the charge that one x moves, e bohr, without
    the atomic dipoles that it changes. In periodic structures polarizability, Born charges and fields need it, and believe
    it along periodic axes: no one else knows through which walls charges came. NaN of a mode of which it is not known.
    """

    rows: Int[Tensor, " n_entries"]
    columns: Int[Tensor, " n_entries"]
    values: Float[Tensor, " n_entries"]
    width: int
    carried: Float[Tensor, "width 3"] | None = None


@dataclass(frozen=True, eq=False)
class Space:
    """The allowed densities of one structure: p = p0 + L x, with energy 1/2 sum_k stiffness_k x_k^2.

    Attributes:
        origin: p0, (n_atoms, size).
        index: structure of each x, (n_x,).
        entries: of L, whose rows are the flat coefficients; None for L = 1.
        stiffness: (n_x,), hartree, for an x without a unit; None for zero.
    """

    origin: Float[Tensor, "n_atoms size"]
    index: Int[Tensor, " n_x"]
    entries: Entries | None = None
    stiffness: Float[Tensor, " n_x"] | None = None

    @property
    def carried(self) -> Float[Tensor, "n_x 3"] | None:
        """Dipole of the charge that x moves, through the walls of cells as well; None where it is not said how charges come."""
        return None if self.entries is None else self.entries.carried

    def coefficients(self, x: Float[Tensor, " n_x"]) -> Float[Tensor, "n_atoms size"]:
        """p0 + L x."""
        return self.origin + self.push(x)

    def push(self, x: Float[Tensor, " n_x"]) -> Float[Tensor, "n_atoms size"]:
        """L x."""
        if self.entries is None:
            return x.reshape(self.origin.shape)
        rows, columns, values = self.entries[:3]
        flat = x.new_zeros(self.origin.numel()).index_add(0, rows, values * x[columns])
        return flat.reshape(self.origin.shape)

    def says_ways(self, n: int) -> Bool[Tensor, " n_structures"]:
        """In which of n structures it is said of every x how charges come through walls."""
        unsaid = self.index if self.carried is None else self.index[self.carried.detach().isnan().any(1)]
        return torch.bincount(unsaid, minlength=n) == 0

    def crossed(self, x: Float[Tensor, " n_x"], structure: Structure) -> Float[Tensor, "n_structures 3"] | None:
        """sum_k x_k carried_k - sum_i (L x)_i R_i of charges: what came through walls, e bohr; NaN or None where not said."""
        if not structure.pbc.any():
            return None
        said = self.says_ways(len(structure))
        if not said.any():
            return None
        total = -structure.total(self.push(x)[:, :1] * structure.positions)
        if self.carried is not None:
            total = total.index_add(0, self.index, x[:, None] * self.carried.nan_to_num())
        return torch.where(said[:, None], total, torch.nan)

    def pull(self, p: Float[Tensor, "n_atoms size"]) -> Float[Tensor, " n_x"]:
        """L^T p."""
        flat = p.reshape(-1)
        if self.entries is None:
            return flat
        rows, columns, values = self.entries[:3]
        return p.new_zeros(len(self.index)).index_add(0, columns, values * flat[rows])

    def picked(self, p: Float[Tensor, "n_atoms size"]) -> Float[Tensor, " n_x"] | None:
        """x with L x = p wherever L picks coefficients; None of another L."""
        if self.entries is None:
            return p.reshape(-1)
        rows, columns, values = self.entries[:3]
        once = len(values) == len(self.index) == len(rows.unique()) == len(columns.unique())
        return self.pull(p) if once and bool((values == 1).all()) else None

    @property
    def unmoved(self) -> Float[Tensor, " n_atoms"]:
        """Charges that no x changes, e; zero of all other atoms."""
        if self.entries is None:
            return torch.zeros_like(self.origin[:, 0])
        moved = torch.zeros(self.origin.numel(), dtype=torch.bool, device=self.origin.device)
        moved[self.entries.rows[self.entries.values.detach() != 0]] = True
        return torch.where(moved.reshape(self.origin.shape)[:, 0], 0.0, self.origin[:, 0])

    def check(self, structure: Structure, basis: Multipoles) -> None:
        """See that attributes are what they must be, and modes carry charge along open axes to where it is.

        Raises:
            ValueError: naming the attribute that is not.
        """
        n, width, like = structure.n_atoms, len(self.index), structure.positions

        def check(name: str, one: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype, limit: int = 0) -> None:
            require_tensor(f"`{name}` of a Space", one, shape, like, dtype)
            assert one is not None
            if not finite(torch.where(one.isnan(), 0.0, one) if name == "carried" else one):
                raise ValueError(f"`{name}` of a Space must be finite, got NaN or infinity")
            if limit and len(one) and not (int(one.min()) >= 0 and int(one.max()) < limit):
                raise ValueError(f"`{name}` of a Space must be from 0 to {limit - 1}, got {int(one.min())} to {int(one.max())}")

        check("origin", self.origin, (n, basis.size), like.dtype)
        check("index", self.index, (width,), torch.int64, len(structure))
        if self.stiffness is not None:
            check("stiffness", self.stiffness, (width,), like.dtype)
        if self.entries is None:
            if width != n * basis.size:
                raise ValueError(f"`index` of a Space without `entries` must be ({n * basis.size},), got ({width},)")
            return
        if not isinstance(self.entries, Entries) or self.entries.width != width:
            got = f"a width of {self.entries.width}" if isinstance(self.entries, Entries) else type(self.entries).__name__
            raise ValueError(f"`entries` of a Space must be cgdft.Entries of as many columns as x, {width}, got {got}")
        count = self.entries.rows.numel() if isinstance(self.entries.rows, Tensor) else 0
        check("rows", self.entries.rows, (count,), torch.int64, n * basis.size)
        check("columns", self.entries.columns, (count,), torch.int64, width)
        check("values", self.entries.values, (count,), like.dtype)
        across = structure.index[self.entries.rows // basis.size] != self.index[self.entries.columns]
        if across.any():
            k = int(across.nonzero()[0])
            s, x = int(self.index[self.entries.columns[k]]), int(self.entries.columns[k])
            raise ValueError(
                f"`entries` of a Space must lie within a structure, got mode {x} of structure {s} with coefficient "
                f"{int(self.entries.rows[k])}, which is of another"
            )
        if self.carried is not None:
            check("carried", self.carried, (width, 3), like.dtype)
            self._check_carried(self.carried, structure, basis)

    def _check_carried(self, carried: Tensor, structure: Structure, basis: Multipoles) -> None:
        if self.entries is None or not len(carried) or structure.pbc.all():
            return
        rows, columns, values = self.entries[:3]
        with torch.no_grad():
            charge = values * (rows % basis.size == 0)
            moved = charge[:, None] * structure.positions[rows // basis.size]
            found = torch.zeros_like(carried).index_add(0, columns, moved)
            off = (structure.open_projector[self.index] @ (carried - found)[:, :, None])[:, :, 0].norm(dim=1)
            k = int(off.nan_to_num().argmax())
            if off[k] > 1e-6 * (1 + found[k].norm()):
                raise ValueError(
                    "`carried` must be, along open axes, the dipole of the charge that a mode moves, "
                    f"{found[k].tolist()} e bohr of mode {k}, got {carried[k].tolist()}"
                )

    def energy(self, x: Float[Tensor, " n_x"], n_structures: int) -> Float[Tensor, " n_structures"]:
        """1/2 sum_k stiffness_k x_k^2 of each structure."""
        zero = x.new_zeros(n_structures)
        return zero if self.stiffness is None else zero.index_add(0, self.index, 0.5 * self.stiffness * x * x)
