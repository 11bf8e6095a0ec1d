"""The preconditioner that treats long waves apart, so that iteration counts do not grow with the system.

The Hessian is a local part plus Coulomb, whose long waves grow as the square of the box. With D the inverse of the local part,
less what the long waves do to a charge itself, S the spline that takes a mesh to the sites and K the Coulomb kernel of the
waves on a coarse mesh, z = P r is the solution of

    z / D + S phi = r,    (K^-1 + S^T D S) phi = S^T D r,    P = (D^-1 + S K S^T)^-1.

S^T D S is the softness where it is; within constraints C z = 0, D - D C^T (C D C^T)^-1 C D is in place of D, so that charge
which cannot leave its molecule screens no long waves. This screened Poisson equation is solved by a few conjugate-gradient
iterations, with a softness that is even in its place as a preconditioner (see `screening`); where they are so many that P
as a matrix takes less time, P is factorised. Only charges have long waves that grow; multipoles above keep D.

Source: L. Lin, C. Yang, SIAM J. Sci. Comput. 35, S277 (2013), for metals in density-functional theory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cgdft.electrostatics.compiled_mesh import Array
from cgdft.problems.constraint_rows import ConstraintRows
from cgdft.problems.minimisation import Minimisation
from cgdft.solvers.coarse_mesh import CoarseMesh, coarse_meshes
from cgdft.solvers.factors import Factors
from cgdft.solvers.screening import screening

#: The screened Poisson equation is solved until this part of a residual is left unscreened, in at most so many iterations.
RESIDUAL, MOST = 0.05, 200
#: Measured times, ns: of an iteration and its part for each mesh point; of P as a matrix, for each unknown and mesh point, its
#: part for each unknown more, and for each number of the matrix. Only the speed depends on them.
ITERATION, OF_POINT, MATRIX, OF_UNKNOWN, OF_NUMBER = 1e5, 30.0, 10.0, 0.05, 10.0
#: Most numbers of matrices, and of waves of all sites (160 MB).
NUMBERS = 20_000_000


@dataclass
class _Kept:
    """What the preconditioners of a problem share: meshes, and L^T S K S^T L of each structure once it is made."""

    meshes: list[CoarseMesh]
    coupling: Tensor | None = None


def precondition(problem: Minimisation, x: Tensor, times: float = 10.0) -> Callable[[Tensor], Tensor]:
    """r -> z for the problem at x, with z in the space that keeps every fixed charge; each time to within `RESIDUAL`.

    Args:
        times: about how often it will be called; only the speed depends on it.
    """
    kept: _Kept = problem.cached("long waves", lambda: _Kept(coarse_meshes(problem)))
    return LongWaves(problem, x, kept, times) if kept.meshes else within(problem.rows, 1 / problem.diagonal(x))


class LongWaves:
    """r -> P r: by iterations, or by P as a matrix, if iterations show that this takes less time for the times to come."""

    def __init__(self, problem: Minimisation, x: Tensor, kept: _Kept, times: float) -> None:
        self.problem, self.kept, self.meshes, self.times = problem, kept, kept.meshes, times
        itself = torch.zeros_like(problem.space.origin)
        for mesh in self.meshes:
            itself[mesh.sites, 0] = mesh.itself
        self.inverse = 1 / problem.diagonal(x, itself)
        self.respond = within(problem.rows, self.inverse)
        self.screenings = [screening(mesh, one) for mesh, one in zip(self.meshes, self._softness(), strict=True)]
        self.counts = torch.bincount(problem.index, minlength=problem.n)
        self.factors: Factors | None = None

    def __call__(self, r: Tensor) -> Tensor:
        """z."""
        return self._iterated(r) if self.factors is None else self.factors.solve(r)

    def _iterated(self, r: Tensor) -> Tensor:
        rows = self.problem.rows
        z = self.respond(r)
        largest = rows.largest(z)
        largest = torch.where(largest == 0, 1.0, largest)
        scale = rows.each(largest)
        accepted = (RESIDUAL**2 * rows.dot(r, r) / largest**2 / self.counts).tolist()
        b = self._push(z / scale)  # squares of small numbers would be zero in float32
        phi, iterations = self._screened(b, [accepted[mesh.structure] for mesh in self.meshes])
        self.times -= 1
        if self.times * iterations * sum(ITERATION + OF_POINT * mesh.points for mesh in self.meshes) > self._cost_of_matrix():
            self._factorise()
        return z - scale * self.respond(self._pull(phi))

    def _factorise(self) -> None:
        if self.kept.coupling is None:
            self.kept.coupling = _coupling(self.problem, self.meshes)
        local = torch.diag_embed(self.problem.rows.pad(1 / self.inverse))
        self.factors = Factors(self.problem.rows, self.kept.coupling + local)

    def _push(self, z: Tensor) -> list[Array]:
        """S^T of the charges of z."""
        q = self.problem.space.push(z)[:, :1].cpu().numpy()
        return [mesh.spread(q[mesh.sites]) for mesh in self.meshes]

    def _pull(self, phi: list[Array]) -> Tensor:
        """S phi, as it acts on z."""
        felt = torch.zeros_like(self.problem.space.origin)
        for mesh, values in zip(self.meshes, phi, strict=True):
            felt[mesh.sites, :1] = torch.from_numpy(mesh.take(values)).to(felt)
        return self.problem.space.pull(felt)

    def _softness(self) -> list[Array]:
        """Of each site, less the part that constraints do not leave to random waves."""
        space, rows = self.problem.space, self.problem.rows
        ones = torch.zeros_like(space.origin)
        ones[:, 0] = 1.0
        random = np.random.default_rng(0)
        waves = self._pull([random.standard_normal(mesh.shape, dtype=np.float32) for mesh in self.meshes])
        whole = space.push(self.inverse * space.pull(ones))[:, 0].clamp(min=0.0).cpu().numpy()
        alone, left = (rows.dot(waves, z).tolist() for z in (self.inverse * waves, self.respond(waves)))
        return [whole[m.sites] * max(0.0, left[m.structure] / max(alone[m.structure], 1e-300)) for m in self.meshes]

    def _screened(self, b: list[Array], accepted: list[float]) -> tuple[list[Array], int]:
        """phi with (K^-1 + S^T D S) phi = b, and iterations; K^-1 of the directions is known without applying it.

        What is left unscreened is a potential whose mean square is at most `accepted`, of each mesh, each solved by itself.
        """

        def dot(u: list[Array], v: list[Array]) -> Array:
            return np.array([float(np.vdot(one, two)) for one, two in zip(u, v, strict=True)])

        def moved(u: list[Array], t: Array, v: list[Array]) -> list[Array]:
            return [one + np.float32(step) * two for one, step, two in zip(u, t, v, strict=True)]

        def over(u: Array, v: Array, where: Array) -> Array:
            return np.divide(u, v, out=np.zeros_like(u), where=where)

        phi = [np.zeros_like(one) for one in b]
        r, p, image = b, phi, phi
        target, rd = np.array(accepted) * [mesh.points for mesh in self.meshes], np.zeros(len(self.meshes))
        for iterations in range(MOST):
            waves = [screen.waves(one) for screen, one in zip(self.screenings, r, strict=True)]
            left = np.array([screen.felt(one) for screen, one in zip(self.screenings, waves, strict=True)]) > target
            if not left.any():
                return phi, iterations
            d = [screen(one) for screen, one in zip(self.screenings, waves, strict=True)]
            induced = self._push(self.respond(self._pull(d)))
            curved = [one + (n - screen.softness * f) for screen, one, n, f in zip(self.screenings, r, induced, d, strict=True)]
            rd, before = dot(r, d), rd
            beta = over(rd, before, before > 0)
            p, image = moved(d, beta, p), moved(curved, beta, image)
            curvature = dot(p, image)
            alpha = over(rd, curvature, left & (curvature > 0))
            phi, r = moved(phi, alpha, p), moved(r, -alpha, image)
        return phi, MOST

    def _cost_of_matrix(self) -> float:
        """ns; infinite of one that is too large."""
        n, points = self.problem.rows.longest, [mesh.points for mesh in self.meshes]
        numbers = self.problem.n * n**2
        if max(numbers, n * max(points)) > NUMBERS:
            return math.inf
        made = sum(n * one * (MATRIX + OF_UNKNOWN * n) for one in points) if self.kept.coupling is None else 0.0
        return made + OF_NUMBER * numbers


def _coupling(problem: Minimisation, meshes: list[CoarseMesh]) -> Tensor:
    """L^T S K S^T L of each structure, padded with zeros."""
    space, size, local = problem.space, problem.basis.size, problem.rows.local
    every = torch.arange(len(space.index), device=local.device)
    rows, columns, values = (
        (every, every, torch.ones_like(space.origin).reshape(-1)) if space.entries is None else space.entries[:3]
    )
    matrix = space.origin.new_zeros(problem.n, problem.rows.longest, problem.rows.longest)
    for mesh in meshes:
        charges = (space.index[columns] == mesh.structure) & (rows % size == 0)
        if not charges.any():
            continue
        atoms, which = (rows[charges] // size).unique(return_inverse=True)
        vectors = torch.from_numpy(mesh.vectors((atoms - mesh.sites.start).cpu().numpy())).to(values)
        moved = vectors.new_zeros(problem.rows.longest, vectors.shape[1])
        moved.index_add_(0, local[columns[charges]], values[charges, None] * vectors[which])
        matrix[mesh.structure] = moved @ moved.T
    return matrix


def within(rows: ConstraintRows, inverse: Tensor) -> Callable[[Tensor], Tensor]:
    """z = D r - D B^T (B D B^T)^-1 B D r, D diagonal: what each x answers by itself, with every fixed charge kept."""
    if not len(rows):
        return lambda r: inverse * r
    solve = rows.weighted(inverse)

    def constrained(r: Tensor) -> Tensor:
        z = inverse * r
        return z - inverse * rows.along(solve(rows.coordinates(z)))

    return constrained
