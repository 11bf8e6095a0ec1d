"""The preconditioner that treats long waves apart, so that iteration counts do not grow with the system.

The Hessian is a local part plus Coulomb, whose long waves grow as the square of the box. With D the inverse of the local part,
less what the long waves do to a charge itself, S the spline that takes a mesh to the sites and K the Coulomb kernel of the
waves on a coarse mesh, z = P r is the solution of

    z / D + S phi = r,    (K^-1 + S^T D S) phi = S^T D r,    P = (D^-1 + S K S^T)^-1.

S^T D S is the softness where it is; within constraints C z = 0, D - D C^T (C D C^T)^-1 C D is in place of D, so that charge
which cannot leave its molecule screens no long waves. This screened Poisson equation is solved by a few conjugate-gradient
iterations, with a softness that is even within layers in its place as a preconditioner (see `layers`); where they turn out to
be many and unknowns few, P is factorised instead. Only charges have long waves that grow; multipoles above keep D.

Source: L. Lin, C. Yang, SIAM J. Sci. Comput. 35, S277 (2013), for metals in density-functional theory; G. P. Kerker, Phys.
Rev. B 23, 3082 (1981), for a constant softness.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from cgdft.electrostatics.compiled_mesh import Array
from cgdft.problems.constraint_rows import ConstraintRows
from cgdft.problems.minimisation import Minimisation
from cgdft.solvers.coarse_mesh import CoarseMesh, coarse_meshes
from cgdft.solvers.factors import Factors

#: The screened Poisson equation is solved until this part of a residual is left unscreened, in at most so many iterations.
RESIDUAL, MOST = 0.05, 200
#: Measured times, ns: of an iteration and its part for each mesh point; of P as a matrix, for each unknown and mesh point, and
#: its part for each unknown more. Only the speed depends on them, and on how often a residual is preconditioned.
ITERATION, OF_POINT, MATRIX, OF_UNKNOWN, TIMES = 1e5, 60.0, 20.0, 0.1, 10


def precondition(problem: Minimisation, x: Tensor) -> Callable[[Tensor], Tensor]:
    """r -> z for the problem at x, with z in the space that keeps every fixed charge."""
    space = problem.space
    meshes: list[CoarseMesh] = problem.cached("long waves", lambda: coarse_meshes(problem))
    itself = torch.zeros_like(space.origin)
    for mesh in meshes:
        itself[mesh.sites, 0] = mesh.itself
    inverse = 1 / problem.diagonal(x, itself)
    respond = within(problem.rows, inverse)
    if not meshes:
        return respond

    def push(z: Tensor) -> list[Array]:
        """S^T of the charges of z."""
        q = space.push(z)[:, :1].cpu().numpy()
        return [mesh.mesh.spread(q[mesh.sites]) for mesh in meshes]

    def pull(phi: list[Array]) -> Tensor:
        """S phi, as it acts on z."""
        felt = torch.zeros_like(space.origin)
        for mesh, values in zip(meshes, phi, strict=True):
            felt[mesh.sites, :1] = torch.from_numpy(mesh.mesh.take(values)).to(felt)
        return space.pull(felt)

    of = [int(problem.structure.index[mesh.sites.start]) for mesh in meshes]
    softness = _softness(problem, meshes, of, inverse, respond, pull)
    meshes = [mesh.screened_by(one) for mesh, one in zip(meshes, softness, strict=True)]
    counts = torch.bincount(problem.index, minlength=problem.n)

    factors: Factors | None = None

    def apply(r: Tensor) -> Tensor:
        nonlocal factors
        if factors is not None:
            return factors.solve(r)
        z = respond(r)
        largest = problem.rows.largest(z)
        largest = torch.where(largest == 0, 1.0, largest)
        scale = problem.rows.each(largest)
        b = push(z / scale)  # squares of small numbers would be zero in float32
        accepted = (RESIDUAL**2 * problem.rows.dot(r, r) / largest**2 / counts).tolist()
        phi, iterations = _screened(b, meshes, lambda phi: push(respond(pull(phi))), [accepted[s] for s in of])
        if _dearer(iterations, problem.rows.longest, max(mesh.points for mesh in meshes)):
            coupling = problem.cached("long waves as a matrix", lambda: _coupling(problem, meshes, of))
            factors = Factors(problem.rows, coupling + torch.diag_embed(problem.rows.pad(1 / inverse)))
        return z - scale * respond(pull(phi))

    return apply


def _dearer(iterations: int, unknowns: int, points: int) -> bool:
    """Whether so many iterations for each residual take longer than P as a matrix."""
    once = unknowns * points * (MATRIX + OF_UNKNOWN * unknowns)
    return TIMES * iterations * (ITERATION + OF_POINT * points) > once


def _coupling(problem: Minimisation, meshes: list[CoarseMesh], of: list[int]) -> Tensor:
    """L^T S K S^T L of each structure, padded with zeros."""
    space, size, local = problem.space, problem.basis.size, problem.rows.local
    every = torch.arange(len(space.index), device=local.device)
    rows, columns, values = (
        (every, every, torch.ones_like(space.origin).reshape(-1)) if space.entries is None else space.entries[:3]
    )
    matrix = space.origin.new_zeros(problem.n, problem.rows.longest, problem.rows.longest)
    for mesh, s in zip(meshes, of, strict=True):
        charges = (space.index[columns] == s) & (rows % size == 0)
        atoms, which = (rows[charges] // size).unique(return_inverse=True)
        waves = torch.from_numpy(mesh.waves((atoms - mesh.sites.start).cpu().numpy())).to(values)
        moved = waves.new_zeros(problem.rows.longest, waves.shape[1])
        moved.index_add_(0, local[columns[charges]], values[charges, None] * waves[which])
        matrix[s] = moved @ moved.T
    return matrix


def _softness(
    problem: Minimisation,
    meshes: list[CoarseMesh],
    of: list[int],
    inverse: Tensor,
    respond: Callable[[Tensor], Tensor],
    pull: Callable[[list[Array]], Tensor],
) -> list[Array]:
    """Of each site, less the part that constraints do not leave to random waves."""
    space = problem.space
    ones = torch.zeros_like(space.origin)
    ones[:, 0] = 1.0
    random = np.random.default_rng(0)
    waves = pull([random.standard_normal(mesh.mesh.shape, dtype=np.float32) for mesh in meshes])
    whole = space.push(inverse * space.pull(ones))[:, 0].clamp(min=0.0).cpu().numpy()
    alone, left = (problem.rows.dot(waves, z).tolist() for z in (inverse * waves, respond(waves)))
    return [whole[mesh.sites] * max(0.0, left[s] / max(alone[s], 1e-300)) for mesh, s in zip(meshes, of, strict=True)]


def within(rows: ConstraintRows, inverse: Tensor) -> Callable[[Tensor], Tensor]:
    """z = D r - D B^T (B D B^T)^-1 B D r, D diagonal: what each x answers by itself, with every fixed charge kept."""
    if not len(rows):
        return lambda r: inverse * r
    solve = rows.weighted(inverse)

    def constrained(r: Tensor) -> Tensor:
        z = inverse * r
        return z - inverse * rows.along(solve(rows.coordinates(z)))

    return constrained


def _screened(
    b: list[Array], meshes: list[CoarseMesh], respond: Callable[[list[Array]], list[Array]], accepted: list[float]
) -> tuple[list[Array], int]:
    """phi with (K^-1 + S^T D S) phi = b, and after how many iterations; K^-1 of the directions is known without applying it.

    What is left unscreened is a potential whose mean square is at most `accepted`, of each mesh, as each is solved by itself.
    """

    def dot(u: list[Array], v: list[Array]) -> Array:
        return np.array([float(np.vdot(one, two)) for one, two in zip(u, v, strict=True)])

    def moved(u: list[Array], t: Array, v: list[Array]) -> list[Array]:
        return [one + np.float32(step) * two for one, step, two in zip(u, t, v, strict=True)]

    def over(u: Array, v: Array, where: Array) -> Array:
        return np.divide(u, v, out=np.zeros_like(u), where=where)

    phi = [np.zeros_like(one) for one in b]
    r, p, image = b, phi, phi
    target, rd = np.array(accepted) * [mesh.points for mesh in meshes], np.zeros(len(meshes))
    for iterations in range(MOST):
        d, errors = zip(*(mesh.kerker(one) for mesh, one in zip(meshes, r, strict=True)), strict=True)
        left = np.array(errors) > target
        if not left.any():
            return phi, iterations
        induced = respond(list(d))
        curved = [one + (n - m.softness * f) for m, one, n, f in zip(meshes, r, induced, d, strict=True)]
        rd, before = dot(r, list(d)), rd
        beta = over(rd, before, before > 0)
        p, image = moved(list(d), beta, p), moved(curved, beta, image)
        curvature = dot(p, image)
        alpha = over(rd, curvature, left & (curvature > 0))
        phi, r = moved(phi, alpha, p), moved(r, -alpha, image)
    return phi, MOST
