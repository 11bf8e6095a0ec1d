"""What lies beyond the cell: the Coulomb kernel of waves for bulk, slab and wire, and the box of open space.

Along the open axes of a slab or wire the density has an end. There the cell is replaced by a box as long as the density and R
together, where no two points of the density are further apart than R, and 1/r by a kernel cut at R: exact, since no pair sees
the cut, nor, across the box, an image. Its Fourier transform is known,

    bulk  4 pi / k^2, and nothing for k = 0: a uniform background neutralises the cell, the average potential is zero
    slab  4 pi / k^2 [1 - exp(-k_p R) cos(k_n R)],  k = 0: -2 pi R^2;  a far charged plane has the potential -2 pi sigma |z|
    wire  4 pi / k^2 [1 + k_p R J_1(k_p R) K_0(|k_a| R) - |k_a| R J_0(k_p R) K_1(|k_a| R)],
          k_a = 0: 4 pi / k^2 [1 - J_0(k_p R) - k_p R ln(R) J_1(k_p R)],  k = 0: pi R^2 (1 - 2 ln R);
          a far charged line has the potential -2 lambda ln(r)

with k_n along the normal of a slab, k_a along the axis of a wire and k_p perpendicular to these. A box of 2 R has no wave for
which the term of a slab with sin(k_n R) does not vanish. That of open space would need a box as wide as it is long; its
kernel is one of distances (see `open_kernel`), and its box, along the principal axes, twice as long as the structure.

Source: C. A. Rozzi, D. Varsano, A. Marini, E. K. U. Gross, A. Rubio, Phys. Rev. B 73, 205119 (2006), eqs. 19-26.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Any

import numpy as np
import torch
from ase.geometry import minkowski_reduce
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

#: Extent of what has none, bohr.
SHORTEST = 1e-3


@dataclass(frozen=True, eq=False)
class Box:
    """The periodic box of the waves: `cell` (3, 3), right-handed, and which of its axes are periodic in the structure, (3,).

    The lattice vectors are the shortest that there are, so that a mesh is as good in any cell of a lattice. `radius` is R
    above; there is none in bulk and in open space.
    """

    cell: Float[Tensor, "3 3"]
    periodic: Bool[Tensor, " 3"]
    radius: float

    @classmethod
    def around(cls, cell: Float[Tensor, "3 3"], pbc: Bool[Tensor, " 3"], positions: Float[Tensor, "n 3"], tail: float) -> Box:
        """The box of a density that reaches `tail` (bohr, for pairs) beyond its centres at `positions`.

        In open space it has no margin yet, see `widened`.
        """
        return cls.growing(cell, pbc, positions)(tail)

    @classmethod
    def growing(
        cls, cell: Float[Tensor, "3 3"], pbc: Bool[Tensor, " 3"], positions: Float[Tensor, "n 3"]
    ) -> Callable[[float], Box]:
        """`around` as a function of the tail."""
        open_axes = torch.nonzero(~pbc).flatten().tolist()
        cell = reduction(cell, pbc) @ cell
        if len(open_axes) in (0, 3):
            box = cls(_around(positions.detach()) if open_axes else cell, pbc, math.inf)
            return lambda tail: box
        directions = perpendicular(cell, pbc)
        across = positions.detach() @ directions[open_axes].detach().T
        low, high = across.min(0).values, across.max(0).values
        diameter = min((high - low).norm(), 2 * (across - 0.5 * (low + high)).norm(dim=1).max())

        def grown(tail: float) -> Box:
            radius = float(diameter) + tail
            length = dict(zip(open_axes, (high - low + tail + radius).tolist(), strict=True))
            rows = [length[axis] * directions[axis] if axis in open_axes else cell[axis] for axis in range(3)]
            return cls(torch.stack(rows), pbc, radius)

        return grown

    def widened(self, margin: float) -> Box:
        """In open space the box with a margin, bohr; else itself."""
        if self.periodic.any():
            return self
        longer = 1 + 2 * margin / self.cell.norm(dim=1, keepdim=True)
        return type(self)(longer * self.cell, self.periodic, self.radius)

    @property
    def folded(self) -> bool:
        """Whether its kernel is that of open space."""
        return not self.periodic.any()

    @cached_property
    def heights(self) -> list[float]:
        """Distances of opposite faces, bohr."""
        return (1 / torch.linalg.inv(self.cell.detach()).norm(dim=0)).tolist()

    @cached_property
    def cosines(self) -> tuple[float, float, float]:
        """Between reciprocal vectors, to a tenth: so many boxes share an estimate."""
        vectors = torch.nn.functional.normalize(torch.linalg.inv(self.cell.detach()), dim=0)
        among = (vectors.T @ vectors).tolist()
        a, b, c = (round(10 * among[i][j]) / 10 for i, j in ((1, 2), (2, 0), (0, 1)))
        return a, b, c

    @property
    def detached(self) -> Box:
        """The same without a graph."""
        return type(self)(self.cell.detach(), self.periodic, self.radius)

    @property
    def volume(self) -> Float[Tensor, ""]:
        """Volume, bohr^3."""
        return torch.linalg.det(self.cell).abs()

    @property
    def background(self) -> bool:
        """Whether a net charge is neutralised by a uniform background."""
        return bool(self.periodic.all())

    def kernel(self, k: Float[Tensor, "K 3"], k2: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """Fourier transform of the kernel where an axis is periodic, (K,), bohr^2; differentiable in k and k2, its square.

        k = 0 is meant to be at most one row.
        """
        zero = k2.detach() == 0
        n_open = int((~self.periodic).sum())
        if n_open == 0:
            return 4 * math.pi / torch.where(zero, math.inf, k2)
        safe = torch.where(zero, 1.0, k2)
        r = self.radius
        if n_open == 1:
            normal = torch.nn.functional.normalize(self.cell[~self.periodic][0], dim=0)
            along = k @ normal
            parallel = _length(k - along[:, None] * normal)
            cut = 1 - torch.exp(-parallel * r) * torch.cos(along * r)
            return torch.where(zero, -2 * math.pi * r**2, 4 * math.pi / safe * cut)
        axis = torch.nn.functional.normalize(self.cell[self.periodic][0], dim=0)
        along = (k @ axis).abs()
        across = _length(k - (k @ axis)[:, None] * axis)
        j0, j1 = _Bessel.apply(across * r, "j")  # type: ignore[no-untyped-call]
        flat = along.detach() < 1e-12
        k0, k1 = _Bessel.apply(torch.where(flat, 1.0, along * r), "k")  # type: ignore[no-untyped-call]
        waves = 1 + across * r * j1 * k0 - along * r * j0 * k1
        line = 1 - j0 - across * r * math.log(r) * j1
        cut = torch.where(flat, line, waves)
        return torch.where(zero, math.pi * r**2 * (1 - 2 * math.log(r)), 4 * math.pi / safe * cut)


def _around(positions: Tensor) -> Tensor:
    """Rows along the principal axes or those of space, whichever enclose less, twice as long as positions reach."""
    centred = positions - positions.mean(0)
    principal = torch.linalg.eigh(centred.T @ centred).eigenvectors.T
    boxes = []
    for axes in (torch.eye(3).to(positions), principal * torch.linalg.det(principal).sign()):
        along = centred @ axes.T
        lengths = 2 * (along.max(0).values - along.min(0).values).clamp(min=SHORTEST)
        boxes.append((float(lengths.prod()), lengths[:, None] * axes))
    (volume, of_space), (other, along_axes) = boxes
    return along_axes if other < 0.8 * volume else of_space


def reduction(cell: Tensor, pbc: Tensor) -> Float[Tensor, "3 3"]:
    """The whole numbers by which the shortest lattice vectors are made of those of the cell, along periodic axes."""
    rows = tuple(tuple(row) for row in cell.detach().cpu().tolist())
    return torch.tensor(_reduction(rows, tuple(pbc.tolist()))).to(cell)


@lru_cache(maxsize=256)
def _reduction(rows: tuple[tuple[float, ...], ...], pbc: tuple[bool, ...]) -> list[list[float]]:
    cell, axes = np.array(rows), [axis for axis in range(3) if pbc[axis]]
    steps = np.array(list(product(*((-1, 0, 1) if periodic else (0,) for periodic in pbc))))
    changed = [steps[steps[:, axis] == 1] @ cell for axis in axes]
    lengths = [(cell[axis] ** 2).sum() for axis in axes]
    if all((one**2).sum(1).min() > (1 - 1e-6) * length for one, length in zip(changed, lengths, strict=True)):
        return np.eye(3).tolist()
    found: NDArray[np.int64] = minkowski_reduce(cell, pbc)[1]
    return found.astype(float).tolist()


def square(v: Tensor) -> Tensor:
    """v . v of each row, (n, 3) to (n,); quick for columns that are contiguous, unlike a sum over short rows."""
    return (v.T * v.T).sum(0)


def _length(v: Tensor) -> Tensor:
    """|v| with a derivative of zero where v = 0."""
    v2 = square(v)
    zero = v2.detach() < 1e-24
    return torch.where(zero, 0.0, torch.where(zero, 1.0, v2).sqrt())


def perpendicular(cell: Tensor, pbc: Tensor) -> Tensor:
    """Rows: unit vectors, for open axes perpendicular to the periodic ones and to each other, right-handed in their place."""
    periodic = torch.nonzero(pbc).flatten().tolist()
    if not periodic:
        return torch.eye(3).to(cell)
    rows: list[Tensor] = [torch.nn.functional.normalize(cell[a], dim=0) if a in periodic else cell[a] for a in range(3)]
    if len(periodic) == 3:
        return torch.stack(rows)
    if len(periodic) == 2:
        (a,) = (axis for axis in range(3) if axis not in periodic)
        rows[a] = torch.nn.functional.normalize(torch.linalg.cross(cell[(a + 1) % 3], cell[(a + 2) % 3]), dim=0)
    else:
        (a,) = periodic
        least = torch.eye(3).to(cell)[int(rows[a].detach().abs().argmin())]
        rows[(a + 1) % 3] = torch.nn.functional.normalize(torch.linalg.cross(least, rows[a]), dim=0)
        rows[(a + 2) % 3] = torch.linalg.cross(rows[a], rows[(a + 1) % 3])
    return torch.stack(rows)


class _Bessel(torch.autograd.Function):
    """(J_0, J_1) or (K_0, K_1), to any order: J_0' = -J_1, J_1' = J_0 - J_1/x; K_0' = -K_1, K_1' = -K_0 - K_1/x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kind: str) -> tuple[Tensor, Tensor]:
        ctx.kind = kind
        ctx.save_for_backward(x)
        from scipy import special  # torch.special.bessel_j0 and j1 are wrong by 4e-7 for large x

        functions = (special.j0, special.j1) if kind == "j" else (special.k0, special.k1)
        values = x.detach().cpu().numpy()
        zeroth, first = (torch.from_numpy(function(values)).to(x) for function in functions)
        return zeroth, first

    @staticmethod
    def backward(ctx: Any, g0: Tensor, g1: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        zeroth, first = _Bessel.apply(x, ctx.kind)  # type: ignore[no-untyped-call]
        zero = x.detach() == 0
        ratio = torch.where(zero, 0.5, first / torch.where(zero, 1.0, x))
        sign = 1 if ctx.kind == "j" else -1
        return -g0 * first + g1 * (sign * zeroth - ratio), None
