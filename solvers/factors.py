"""The Hessian of a problem within its constraints, factorised once for many solves.

Of coefficients, P H P + B^T B by Cholesky. Of more modes than coefficients, p = p0 + L x with energy 1/2 x.D.x, in the space of
p, with H = C C^T the Hessian there:

    A^-1 = (D + L^T H L)^-1 = D^-1 - D^-1 L^T C (1 + C^T S C)^-1 C^T L D^-1,    S = L D^-1 L^T,

and within constraints A^-1 - A^-1 B^T (B A^-1 B^T)^-1 B A^-1.

Source: of the second, M. A. Woodbury, Memorandum Report 42, Statistical Research Group, Princeton (1950).
"""

from __future__ import annotations

from functools import cached_property

import torch
from scipy.sparse import csr_array
from torch import Tensor

from cgdft.problems.constraint_rows import ConstraintRows
from cgdft.problems.minimisation import Minimisation
from cgdft.slopes import askew

#: Ratio of pivots of a Cholesky factor from which so much is lost that solutions are refined.
ROUGH = 1e3
#: Of the condition number, which they have to within one or two orders.
INVERSE_ITERATIONS = 4


def factorise(problem: Minimisation, x: Tensor) -> Factors | ModeFactors:
    """The factors at x; of a quadratic functional, which has the same everywhere, those that are known."""

    def made() -> Factors | ModeFactors:
        modes = ModeFactors.of(problem, x) if problem.many_modes else None
        return Factors(problem.rows, problem.hessian(x)) if modes is None else modes

    return problem.cached("factors", made) if problem.functional.quadratic else made()


class ModeFactors:
    """The second form: a minimum wherever H is positive definite.

    Attributes:
        negative, singular: as of `Factors`; neither can be.
        rough: whether modes are so soft that solutions are refined.
    """

    def __init__(self, problem: Minimisation, lower: Tensor) -> None:
        structure, space = problem.structure, problem.space
        assert space.stiffness is not None
        self.space, self.rows, self.lower, self.soft = space, problem.rows, lower, 1 / space.stiffness
        self.place, self.size = (structure.index, structure.local), problem.basis.size
        self.negative = torch.zeros(problem.n, dtype=torch.bool, device=lower.device)
        self.singular = self.negative
        inside = lower.transpose(1, 2) @ self._softened(problem)
        inside.diagonal(dim1=1, dim2=2).add_(1.0)
        self.inner, info = torch.linalg.cholesky_ex(inside)
        self.failed = bool(info.any())
        self.rough = bool((self.inner.diagonal(dim1=1, dim2=2) > ROUGH).any())
        self.upper = lower.transpose(1, 2).contiguous()
        self.moved = torch.stack([self._unconstrained(row) for row in self.rows.basis]) if len(self.rows) else None
        if self.moved is not None:
            met = torch.stack([self.rows.coordinates(one) for one in self.moved], 2)
            met.diagonal(dim1=1, dim2=2).add_(self.rows.idle)
            self.met = met

    @classmethod
    def of(cls, problem: Minimisation, x: Tensor) -> ModeFactors | None:
        """None if H is not positive definite, or modes are too soft."""
        hessian = problem.hessian_of_coefficients(x)
        counts = problem.structure.counts * problem.basis.size
        padding = torch.arange(hessian.shape[1], device=x.device) >= counts[:, None]
        hessian.diagonal(dim1=1, dim2=2).add_(padding.to(hessian))
        lower, info = torch.linalg.cholesky_ex(hessian)
        made = None if info.any() else cls(problem, lower)
        return None if made is None or made.failed else made

    def solve(self, b: Tensor) -> Tensor:
        """y with P A y = P b, B y = 0."""
        y = self._unconstrained(b)
        if self.moved is None:
            return y
        c = torch.linalg.solve(self.met, self.rows.coordinates(y))
        return y - (self.moved * c[self.space.index].T).sum(0)

    def _unconstrained(self, b: Tensor) -> Tensor:
        """A^-1 b."""
        y = self.soft * b
        felt = self.space.push(y)
        padded = felt.new_zeros(len(self.lower), self.lower.shape[1] // self.size, self.size).index_put(self.place, felt)
        right = torch.bmm(padded.reshape(len(self.lower), 1, -1), self.lower).transpose(1, 2)
        moved = torch.bmm(torch.cholesky_solve(right, self.inner).transpose(1, 2), self.upper)
        return y - self.soft * self.space.pull(moved.reshape(padded.shape)[self.place])

    def _softened(self, problem: Minimisation) -> Tensor:
        """S C of each structure, padded with zeros."""
        space, lower, index = self.space, self.lower, problem.structure.index
        assert space.entries is not None
        rows, columns, values = space.entries[:3]
        values = values * self.soft.sqrt()[columns]
        place = (rows.cpu().numpy(), columns.cpu().numpy())
        factor = csr_array((values.cpu().numpy(), place), shape=(len(index) * self.size, len(space.index)))
        rows = lower.reshape(problem.n, -1, self.size, lower.shape[2])[self.place].flatten(0, 1)
        softened = torch.from_numpy(factor @ (factor.T @ rows.cpu().numpy())).to(lower)
        by_atom = lower.new_zeros(problem.n, lower.shape[1] // self.size, self.size, lower.shape[2])
        return by_atom.index_put(self.place, softened.reshape(-1, *by_atom.shape[2:])).reshape(lower.shape)


class Factors:
    """A Hessian, (n_structures, longest, longest), within the constraints, factorised in each structure.

    Attributes:
        difficult: structures with negative curvature, or next to none, along some direction.
        negative: those with negative curvature.
        singular: those with directions without curvature, which `solve` leaves alone.
        rough: whether solutions are refined, as the smallest pivot is far below the largest.
    """

    def __init__(self, rows: ConstraintRows, hessian: Tensor) -> None:
        self.rows, hessian = rows, rows.within(hessian)
        diagonal = hessian.diagonal(dim1=1, dim2=2).abs()
        self.scale = diagonal.clamp(min=1e-300).rsqrt().where(diagonal > 1e-16 * diagonal.amax(1, keepdim=True), 1.0)
        hessian = self.scale[:, :, None] * hessian * self.scale[:, None]
        self.lower, info = torch.linalg.cholesky_ex(hessian)
        pivots = self.lower.diagonal(dim1=1, dim2=2)
        self.difficult = info != 0
        self.rough = bool(self.difficult.any())
        if pivots.shape[1]:
            spread = self.scale.amax(1) / self.scale.amin(1) * (pivots.amax(1) / pivots.amin(1))
            self.rough = bool((spread > ROUGH).any())
            self.difficult = self.difficult | (pivots.amin(1) ** 2 < 1e-12 * pivots.amax(1) ** 2)
        self._left = {s: hessian[s] for s in torch.nonzero(self.difficult).flatten().tolist()}
        for s, one in self._left.items():
            self.lower[s] = torch.eye(len(one)).to(one)

    @cached_property
    def _spectra(self) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
        """Eigenvalues of what is difficult, which of them are not zero, and eigenvectors."""
        spectra = {s: torch.linalg.eigh(one) for s, one in self._left.items()}
        return {s: (values, values.abs() > 1e-10 * values.abs().max(), vectors) for s, (values, vectors) in spectra.items()}

    @cached_property
    def _pseudo(self) -> dict[int, Tensor]:
        """Inverses of what is difficult, without the directions that have no curvature."""
        found = {}
        for s, (values, keep, vectors) in self._spectra.items():
            inverse = torch.where(keep, 1 / values.where(keep, torch.ones_like(values)), 0.0)
            found[s] = (vectors * inverse) @ vectors.T
        return found

    @cached_property
    def negative(self) -> Tensor:
        """(n_structures,)."""
        return self._where({s for s, (values, _, _) in self._spectra.items() if values[0] < -1e-10 * values.abs().max()})

    @cached_property
    def singular(self) -> Tensor:
        """(n_structures,)."""
        return self._where({s for s, (_, keep, _) in self._spectra.items() if not keep.all()})

    def condition(self) -> Tensor:
        """|A| |A^-1| of the scaled Hessian of each structure, (n_structures,), rather too low, by some inverse iterations."""
        unit = askew(self.scale)[..., None]
        for _ in range(INVERSE_ITERATIONS):
            unit = unit / unit.norm(dim=1, keepdim=True).clamp(min=1e-300)
            unit = torch.cholesky_solve(unit, self.lower)
        largest = (self.lower @ self.lower.transpose(1, 2)).abs().sum(2).amax(1)
        return largest * unit.norm(dim=1)[:, 0]

    def _where(self, structures: set[int]) -> Tensor:
        return torch.tensor([s in structures for s in range(self.rows.n)], device=self.lower.device)

    def solve(self, b: Tensor) -> Tensor:
        """y with P H y = P b, C y = 0."""
        padded = self.scale * self.rows.pad(b)
        y = torch.cholesky_solve(padded[..., None], self.lower)[..., 0]
        for s, pseudo in self._pseudo.items():
            y[s] = pseudo @ padded[s]
        return self.rows.project(self.rows.unpad(self.scale * y))
