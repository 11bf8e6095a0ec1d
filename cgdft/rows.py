"""Linear constraints C x = c of a batch, made orthonormal in each structure, and vectors padded per structure."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ConstraintRows:
    """C = T B with B orthonormal in each structure, T lower triangular.

    A row that the ansatz cannot change (C_k = 0) is inactive: B_k = 0, T_kk = 1, its multiplier is not determined.

    Attributes:
        basis: B, (n_rows, n_x).
        triangle: T, (n_structures, n_rows, n_rows).
        target: c, (n_structures, n_rows).
        active: (n_structures, n_rows).
        index, local: structure of each x and its place there, (n_x,).
        longest: most x of a structure.
    """

    basis: Float[Tensor, "n_rows n_x"]
    triangle: Float[Tensor, "n_structures n_rows n_rows"]
    target: Float[Tensor, "n_structures n_rows"]
    active: Bool[Tensor, "n_structures n_rows"]
    index: Int[Tensor, " n_x"]
    local: Int[Tensor, " n_x"]
    longest: int

    @classmethod
    def build(cls, matrix: Tensor, index: Tensor, n: int, target: Tensor, names: list[str]) -> ConstraintRows:
        """Orthonormalise C (n_rows, n_x) in each structure.

        Raises:
            ValueError: a constraint that follows from the others or contradicts them, or that the ansatz cannot meet.
        """
        n_rows = len(matrix)
        triangle = torch.eye(n_rows, dtype=matrix.dtype, device=matrix.device).repeat(n, 1, 1)
        length = matrix.new_zeros(n, n_rows).index_add(0, index, (matrix * matrix).T).sqrt()
        active = length > 1e-12
        basis = torch.zeros_like(matrix)

        def dot(u: Tensor, v: Tensor) -> Tensor:
            """Of rows u, (k, n_x), and v, (n_x,), in each structure, (n_structures, k)."""
            return (u @ v)[None] if n == 1 else u.new_zeros(n, len(u)).index_add(0, index, (u * v).T)

        for k in range(n_rows):
            rest = matrix[k]
            for _ in range(2 if k else 0):  # twice is enough for orthogonality to rounding
                overlap = dot(basis[:k], rest)
                triangle[:, k, :k] += overlap
                rest = rest - (overlap[0] @ basis[:k] if n == 1 else (overlap[index] * basis[:k].T).sum(1))
            norm = dot(rest[None], rest)[:, 0].sqrt()
            triangle[:, k, k] = torch.where(active[:, k], norm, 1.0)
            basis[k] = torch.where(active[index, k], rest / norm.clamp(min=1e-300)[index], 0.0)
        dependent = active & (triangle.diagonal(dim1=1, dim2=2) < 1e-8 * length)
        if dependent.any():
            k, s = torch.nonzero(dependent.T)[0].tolist()
            raise ValueError(
                f"`constraints` must be independent, got '{names[k]}', which follows from or contradicts "
                f"{', '.join(repr(name) for name in names[:k])} in structure {s}; remove one of them"
            )
        wrong = ~active & (target.abs() > 1e-6)
        if wrong.any():
            k, s = torch.nonzero(wrong.T)[0].tolist()
            raise ValueError(
                f"`constraints` must be such that the ansatz can meet them: it leaves the charge of '{names[k]}' "
                f"{float(-target[s, k]):+.6g} e away from the value asked for in structure {s}; change the reference "
                f"density or the charge, or give constraints=[] to leave it"
            )
        target = torch.where(active, target, 0.0)
        counts = torch.bincount(index, minlength=n)
        local = torch.empty_like(index)
        order = torch.argsort(index, stable=True)
        local[order] = torch.arange(len(index), device=index.device) - (counts.cumsum(0) - counts)[index[order]]
        return cls(basis, triangle, target, active, index, local, int(counts.max()) if len(counts) else 0)

    @property
    def n(self) -> int:
        """Number of structures."""
        return self.triangle.shape[0]

    def dot(self, u: Float[Tensor, " n_x"], v: Float[Tensor, " n_x"]) -> Float[Tensor, " n_structures"]:
        """u . v of each structure."""
        if self.n == 1:
            return torch.dot(u, v)[None]
        return u.new_zeros(self.n).index_add(0, self.index, u * v)

    def each(self, values: Tensor) -> Tensor:
        """A value per structure for each x, or one for all."""
        return values if self.n == 1 else values[self.index]

    def coordinates(self, v: Float[Tensor, " n_x"]) -> Float[Tensor, "n_structures n_rows"]:
        """B v."""
        if self.n == 1:
            return (self.basis @ v)[None]
        return v.new_zeros(self.n, len(self.basis)).index_add(0, self.index, (self.basis * v).T)

    def along(self, c: Float[Tensor, "n_structures n_rows"]) -> Float[Tensor, " n_x"]:
        """B^T c."""
        return c[0] @ self.basis if self.n == 1 else (self.basis * c[self.index].T).sum(0)

    def project(self, v: Float[Tensor, " n_x"]) -> Float[Tensor, " n_x"]:
        """(1 - B^T B) v: the part that changes no constrained charge."""
        return v - self.along(self.coordinates(v)) if len(self.basis) else v

    def particular(self, c: Float[Tensor, "n_structures n_rows"]) -> Float[Tensor, " n_x"]:
        """The shortest x with C x = c."""
        return self.along(torch.linalg.solve_triangular(self.triangle, c[..., None], upper=False)[..., 0])

    def multipliers(self, g: Float[Tensor, " n_x"]) -> Float[Tensor, "n_structures n_rows"]:
        """lambda with C^T lambda = B^T B g."""
        c = self.coordinates(g)[..., None]
        return torch.linalg.solve_triangular(self.triangle.transpose(1, 2), c, upper=True)[..., 0]

    def pad(self, v: Float[Tensor, " n_x"]) -> Float[Tensor, "n_structures longest"]:
        """Vector per structure, padded with zeros."""
        return v.new_zeros(self.n, self.longest).index_put((self.index, self.local), v)

    def unpad(self, v: Float[Tensor, "n_structures longest"]) -> Float[Tensor, " n_x"]:
        """The reverse of `pad`."""
        return v[self.index, self.local]
