"""Linear constraints C x = c of a batch, made orthonormal in each structure, and vectors padded per structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

#: Up to so many rows are multiplied as a matrix.
FEW = 8


@dataclass(frozen=True, eq=False)
class ConstraintRows:
    """C = T B with B orthonormal in each structure, T lower triangular, rows in an order of their own.

    Most rows are apart: no x is in two of them, so that B has them as they are, but for their lengths, and T is diagonal there.
    Those that overlap, such as the total charge beside fragments, come last and are made orthogonal to all before. A row that
    the ansatz cannot change (C_k = 0) is inactive: B_k = 0, T_kk = 1, its multiplier is not determined.

    Attributes:
        order: which constraint is each row of B, (n_rows,).
        owner: of which row apart each x is, (n_x,); as many as there are of these: of none.
        share: its entry of B there, (n_x,).
        length: T_kk of rows apart, (n_structures, n_apart).
        overlapping: B of the others, (n_overlapping, n_x).
        lower, triangle: T of the others with rows apart and among themselves, (n_structures, n_overlapping, ...).
        target: c, (n_structures, n_rows).
        active: (n_structures, n_rows).
        index, local: structure of each x and its place there, (n_x,).
        longest: most x of a structure.
    """

    order: Int[Tensor, " n_rows"]
    owner: Int[Tensor, " n_x"]
    share: Float[Tensor, " n_x"]
    length: Float[Tensor, "n_structures n_apart"]
    overlapping: Float[Tensor, "n_overlapping n_x"]
    lower: Float[Tensor, "n_structures n_overlapping n_apart"]
    triangle: Float[Tensor, "n_structures n_overlapping n_overlapping"]
    target: Float[Tensor, "n_structures n_rows"]
    active: Bool[Tensor, "n_structures n_rows"]
    index: Int[Tensor, " n_x"]
    local: Int[Tensor, " n_x"]
    longest: int

    @classmethod
    def build(
        cls, rows: Sequence[Tensor], index: Tensor, n: int, target: Tensor, names: Sequence[str], like: Tensor
    ) -> ConstraintRows:
        """Orthonormalise the rows of C, (n_x,) each, in each structure.

        Args:
            like: a tensor of their dtype and device.

        Raises:
            ValueError: a constraint that follows from the others or contradicts them, or that the ansatz cannot meet.
        """
        parts = [torch.nonzero(row).flatten() for row in rows]
        width = len(index)
        squares = [like.new_zeros(n).index_add(0, index[k], row[k] ** 2) for row, k in zip(rows, parts, strict=True)]
        lengths = torch.stack(squares, 1).sqrt() if rows else like.new_zeros(n, 0)
        active = lengths > 1e-12
        wrong = ~active & (target.abs() > 1e-6)
        if wrong.any():
            k, s = torch.nonzero(wrong.T)[0].tolist()
            raise ValueError(
                f"`constraints` must be such that the ansatz can meet them: it leaves '{names[k]}' {float(-target[s, k]):+.6g} "
                f"away from the value asked for in structure {s}; change the reference density, ask for what it has (a total "
                "charge by `charge`, --charge), or give constraints=[] to leave it"
            )
        taken = torch.zeros(width, dtype=torch.bool, device=index.device)
        apart: list[int] = []
        for k in sorted(range(len(rows)), key=lambda k: len(parts[k])):
            if not taken[parts[k]].any():
                apart.append(k)
                taken[parts[k]] = True
        others = sorted(set(range(len(rows))) - set(apart))
        order = torch.tensor([*apart, *others], dtype=torch.int64, device=index.device)
        owner, share = torch.full_like(index, len(apart)), like.new_zeros(width)
        for place, k in enumerate(apart):
            owner[parts[k]] = place
            share[parts[k]] = rows[k][parts[k]]
        length = torch.where(active, lengths, 1.0)[:, order[: len(apart)]]
        share = torch.where(owner < len(apart), share / torch.cat([length, length.new_ones(n, 1)], 1)[index, owner], 0.0)
        count = len(others)
        made = cls(
            *(order, owner, share, length, like.new_zeros(count, width), like.new_zeros(n, count, len(apart))),
            torch.eye(count, dtype=like.dtype, device=like.device).repeat(n, 1, 1),
            *(torch.where(active, target, 0.0), active, index, *_places(index, n)),
        )
        for place, k in enumerate(others):
            made._orthogonalise(place, rows[k], active[:, k])
        last = order[len(apart) :]
        dependent = active[:, last] & (made.triangle.diagonal(dim1=1, dim2=2) < 1e-8 * lengths[:, last])
        if dependent.any():
            place, s = torch.nonzero(dependent.T)[0].tolist()
            k = others[place]
            known = [other for other in [*apart, *others[:place]] if (rows[other] * rows[k]).any()]
            raise ValueError(
                f"`constraints` must be independent, got '{names[k]}', which follows from or contradicts "
                f"{', '.join(repr(names[one]) for one in sorted(known))} in structure {s}; remove one of them"
            )
        return made

    def _orthogonalise(self, place: int, row: Tensor, active: Tensor) -> None:
        """Fill in an overlapping row; twice is enough for orthogonality to rounding."""
        rest = row
        for _ in range(2):
            known = self._coordinates(rest)  # those to come are still zero
            self.lower[:, place] += known[:, : self.length.shape[1]]
            self.triangle[:, place, :place] += known[:, self.length.shape[1] :][:, :place]
            rest = rest - self._along(known)
        norm = self.dot(rest, rest).sqrt()
        self.triangle[:, place, place] = torch.where(active, norm, 1.0)
        self.overlapping[place] = torch.where(self.each(active), rest / self.each(norm.clamp(min=1e-300)), 0.0)

    @property
    def n(self) -> int:
        """Number of structures."""
        return self.length.shape[0]

    def __len__(self) -> int:
        return len(self.order)

    @cached_property
    def basis(self) -> Float[Tensor, "n_rows n_x"]:
        """B as a matrix."""
        apart = self.share.new_zeros(self.length.shape[1] + 1, len(self.share))
        apart[self.owner, torch.arange(len(self.share), device=self.share.device)] = self.share
        return torch.cat([apart[:-1], self.overlapping])

    @cached_property
    def even(self) -> bool:
        """Whether each structure has as many x as the next, one structure after the other: then nothing is padded."""
        return self.n * self.longest == len(self.index) and bool((self.index.diff() >= 0).all())

    @property
    def idle(self) -> Bool[Tensor, "n_structures n_rows"]:
        """Which rows of B are zero."""
        return ~self.active[:, self.order]

    def dot(self, u: Float[Tensor, " n_x"], v: Float[Tensor, " n_x"]) -> Float[Tensor, " n_structures"]:
        """u . v of each structure."""
        if self.n == 1:
            return torch.dot(u, v)[None]
        return u.new_zeros(self.n).index_add(0, self.index, u * v)

    def largest(self, v: Float[Tensor, " n_x"]) -> Float[Tensor, " n_structures"]:
        """max |v| of each structure; infinite where one is no number."""
        return v.new_zeros(self.n).scatter_reduce(0, self.index, v.detach().abs().nan_to_num(torch.inf), "amax")

    def each(self, values: Tensor) -> Tensor:
        """A value per structure for each x, or one for all."""
        return values if self.n == 1 else values[self.index]

    def coordinates(self, v: Float[Tensor, " n_x"]) -> Float[Tensor, "n_structures n_rows"]:
        """B v."""
        if len(self) > FEW:
            return self._coordinates(v)
        return (
            (self.basis @ v)[None]
            if self.n == 1
            else v.new_zeros(self.n, len(self)).index_add(0, self.index, (self.basis * v).T)
        )

    def _coordinates(self, v: Tensor) -> Tensor:
        apart = self.length.shape[1]
        found = v.new_zeros(self.n * (apart + 1)).index_add(0, self.index * (apart + 1) + self.owner, self.share * v)
        found = found.reshape(self.n, apart + 1)[:, :apart]
        if not len(self.overlapping):
            return found
        if self.n == 1:
            return torch.cat([found, (self.overlapping @ v)[None]], 1)
        return torch.cat(
            [found, v.new_zeros(self.n, len(self.overlapping)).index_add(0, self.index, (self.overlapping * v).T)], 1
        )

    def along(self, c: Float[Tensor, "n_structures n_rows"]) -> Float[Tensor, " n_x"]:
        """B^T c."""
        if len(self) > FEW:
            return self._along(c)
        return c[0] @ self.basis if self.n == 1 else (self.basis * c[self.index].T).sum(0)

    def _along(self, c: Tensor) -> Tensor:
        apart = self.length.shape[1]
        known = torch.cat([c[:, :apart], c.new_zeros(self.n, 1)], 1)
        found = self.share * known[self.index, self.owner]
        if not len(self.overlapping):
            return found
        left = c[:, apart:]
        return found + (left[0] @ self.overlapping if self.n == 1 else (self.overlapping * left[self.index].T).sum(0))

    def project(self, v: Float[Tensor, " n_x"]) -> Float[Tensor, " n_x"]:
        """(1 - B^T B) v: the part that changes no constrained charge."""
        return v - self.along(self.coordinates(v)) if len(self) else v

    def tangent(self, v: Float[Tensor, " n_x"]) -> Float[Tensor, " n_x"]:
        """The same once more: of a slope that is nearly normal, what one projection leaves is rounding of the whole."""
        return self.project(self.project(v))

    def within(self, matrix: Float[Tensor, "n_structures longest longest"]) -> Float[Tensor, "n_structures longest longest"]:
        """P A P + B^T B of symmetric A, with ones where it is padded: positive definite where A is within constraints."""
        if len(self):
            basis = torch.stack([self.pad(row) for row in self.basis], 1)
            along = basis @ matrix
            half = along - 0.5 * (along @ basis.transpose(1, 2) + torch.eye(len(self)).to(matrix)) @ basis
            crossed = basis.transpose(1, 2) @ half
            matrix = matrix - crossed - crossed.transpose(1, 2)
        return matrix if self.even else matrix + torch.diag_embed(1 - self.pad(torch.ones_like(self.share)))

    def charges(self, v: Float[Tensor, " n_x"]) -> Float[Tensor, "n_structures n_rows"]:
        """C v."""
        c, apart = self.coordinates(v), self.length.shape[1]
        rest = self.lower @ c[:, :apart, None] + self.triangle @ c[:, apart:, None]
        return self._asked(torch.cat([self.length * c[:, :apart], rest[..., 0]], 1))

    def forces(self, multipliers: Float[Tensor, "n_structures n_rows"]) -> Float[Tensor, " n_x"]:
        """C^T lambda."""
        c, apart = multipliers[:, self.order], self.length.shape[1]
        rest = c[:, apart:, None]
        first = self.length * c[:, :apart] + (self.lower.transpose(1, 2) @ rest)[..., 0]
        return self.along(torch.cat([first, (self.triangle.transpose(1, 2) @ rest)[..., 0]], 1))

    def particular(self, c: Float[Tensor, "n_structures n_rows"]) -> Float[Tensor, " n_x"]:
        """The shortest x with C x = c."""
        c, apart = c[:, self.order], self.length.shape[1]
        first = c[:, :apart] / self.length
        if not len(self.overlapping):
            return self.along(first)
        rest = c[:, apart:, None] - self.lower @ first[..., None]
        return self.along(torch.cat([first, torch.linalg.solve_triangular(self.triangle, rest, upper=False)[..., 0]], 1))

    def multipliers(self, g: Float[Tensor, " n_x"]) -> Float[Tensor, "n_structures n_rows"]:
        """lambda with C^T lambda = B^T B g."""
        c, apart = self.coordinates(g), self.length.shape[1]
        if not len(self.overlapping):
            return self._asked(c / self.length)
        rest = torch.linalg.solve_triangular(self.triangle.transpose(1, 2), c[:, apart:, None], upper=True)
        first = (c[:, :apart] - (self.lower.transpose(1, 2) @ rest)[..., 0]) / self.length
        return self._asked(torch.cat([first, rest[..., 0]], 1))

    def weighted(self, d: Float[Tensor, " n_x"]) -> Callable[[Tensor], Tensor]:
        """c -> (B D B^T)^-1 c with D diagonal and positive, (n_structures, n_rows) to the same."""
        apart = self.length.shape[1]
        one = self.idle.to(d)
        flat = d.new_zeros(self.n * (apart + 1)).index_add(0, self.index * (apart + 1) + self.owner, self.share**2 * d)
        own = flat.reshape(self.n, apart + 1)[:, :apart] + one[:, :apart]
        if not len(self.overlapping):
            return lambda c: c / own
        felt = torch.stack([self.coordinates(d * row) for row in self.overlapping], 2)
        crossed = felt[:, :apart]
        small = felt[:, apart:] + torch.diag_embed(one[:, apart:]) - crossed.transpose(1, 2) @ (crossed / own[..., None])
        factor = torch.linalg.cholesky(small)

        def solve(c: Tensor) -> Tensor:
            first = c[:, :apart] / own
            rest = torch.cholesky_solve(c[:, apart:, None] - crossed.transpose(1, 2) @ first[..., None], factor)
            return torch.cat([first - (crossed @ rest)[..., 0] / own, rest[..., 0]], 1)

        return solve

    def _asked(self, c: Tensor) -> Tensor:
        """From the order of B to that of the constraints."""
        return torch.empty_like(c).index_copy(1, self.order, c)

    def pad(self, v: Float[Tensor, " n_x"]) -> Float[Tensor, "n_structures longest"]:
        """Vector per structure, padded with zeros."""
        if self.even:
            return v.reshape(self.n, self.longest)
        return v.new_zeros(self.n, self.longest).index_put((self.index, self.local), v)

    def unpad(self, v: Float[Tensor, "n_structures longest"]) -> Float[Tensor, " n_x"]:
        """The reverse of `pad`."""
        return v.reshape(-1) if self.even else v[self.index, self.local]


def _places(index: Tensor, n: int) -> tuple[Tensor, int]:
    """Place of each x in its structure, and most x of one."""
    if n == 1:
        return torch.arange(len(index), device=index.device), len(index)
    counts = torch.bincount(index, minlength=n)
    local = torch.empty_like(index)
    order = torch.argsort(index, stable=True)
    local[order] = torch.arange(len(index), device=index.device) - (counts.cumsum(0) - counts)[index[order]]
    return local, int(counts.max()) if len(counts) else 0
