"""The preconditioner that treats long waves apart, so that iteration counts do not grow with the system.

The Hessian is local hardness plus Coulomb, whose long waves grow as the square of the box. With D the inverse of the local
part, z = P r is the solution of

    z / D + phi = r,    (K^-1 + s) phi = rho[D r]

on a coarse mesh: K the Coulomb kernel of the long waves, rho the density of charges spread on the mesh, s(r) >= 0 the softness
where it is, dq_i / dphi_j of the local part summed over j. The screened Poisson equation for phi is solved by conjugate
gradients with the mean of s in its place (one transform each way an iteration) as a preconditioner. Multipoles above charges
keep D: their long waves are bounded.

Source: L. Lin, C. Yang, SIAM J. Sci. Comput. 35, S277 (2013), for metals in density-functional theory, where s is the density
of states; G. P. Kerker, Phys. Rev. B 23, 3082 (1981), for constant s.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import fft
from torch import Tensor

from cgdft.electrostatics.boundary import Box
from cgdft.electrostatics.compiled_mesh import CompiledMesh
from cgdft.electrostatics.mesh import mesh_shape
from cgdft.problem import Problem
from cgdft.rows import ConstraintRows

#: Spacing of the coarse mesh, bohr; order of its splines; fewest atoms of a structure with long waves.
SPACING, ORDER, FEWEST = 4.0, 3, 50
#: The screened Poisson equation is solved to this relative residual, in at most so many iterations.
RESIDUAL, MOST = 0.1, 60


def precondition(problem: Problem, x: Tensor) -> Callable[[Tensor], Tensor]:
    """r -> z for the problem at x, with z in the space that keeps every fixed charge."""
    inverse = 1 / problem.diagonal(x)
    meshes = [_Screened(problem, s, inverse) for s in range(problem.n) if int(problem.structure.counts[s]) >= FEWEST]
    space = problem.space

    def apply(r: Tensor) -> Tensor:
        z = inverse * r
        if not meshes:
            return z
        moved = space.push(z)
        felt = torch.zeros_like(moved)
        for mesh in meshes:
            felt[mesh.sites, 0] = mesh.potential(moved[mesh.sites, 0])
        return z - inverse * space.pull(felt)

    return within(problem.rows, apply)


def within(rows: ConstraintRows, apply: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """z = P r - P B^T w with B z = 0: a preconditioner P that respects the constraints exactly."""
    if not len(rows.basis):
        return apply
    along = torch.stack([apply(row) for row in rows.basis])
    inactive = torch.diag_embed((~rows.active).to(along.dtype))
    small = torch.stack([rows.coordinates(one) for one in along], 2) + inactive

    def constrained(r: Tensor) -> Tensor:
        z = apply(r)
        w = torch.linalg.solve(small, rows.coordinates(z)[..., None])[..., 0]
        return z - (w[0] @ along if rows.n == 1 else (along * w[rows.index].T).sum(0))

    return constrained


class _Screened:
    """phi on the coarse mesh of one structure."""

    def __init__(self, problem: Problem, s: int, inverse: Tensor) -> None:
        structure, width = problem.structure, problem.basis.width(problem.structure)
        first, count = int(structure.first[s]), int(structure.counts[s])
        self.sites = slice(first, first + count)
        positions, width = structure.positions[self.sites].detach(), width[self.sites].detach()
        smooth = float((width**2).mean())
        box = Box.around(structure.cell[s].detach(), structure.pbc[s], positions, 4 * math.sqrt(smooth))
        shape = [max(ORDER, n) for n in mesh_shape(box, SPACING)]
        self.mesh = CompiledMesh(positions, torch.full_like(width, math.sqrt(smooth)), 0, box, shape, ORDER, np.float32)
        ones = torch.zeros_like(problem.space.origin)
        ones[:, 0] = 1.0
        soft = problem.space.push(inverse * problem.space.pull(ones))[self.sites, :1].clamp(min=0).numpy()
        self.softness = self.mesh.spread(soft)
        self.mean = float(self.softness.mean())
        kernel = np.maximum(self.mesh.influence, 0)  # cut kernels are negative for the net charge of slabs and wires
        self.kerker = (kernel / (1 + kernel * self.mean)).astype(np.float32)

    def potential(self, q: Tensor) -> Tensor:
        b = self.mesh.spread(q.numpy()[:, None])
        phi = self._inverse(b)
        r = (self.mean - self.softness) * phi
        target = RESIDUAL * float(np.linalg.norm(b))
        d = self._inverse(r)
        p, image = d, r + (self.softness - self.mean) * d
        rd = float(np.vdot(r, d))
        for _ in range(MOST):
            if float(np.linalg.norm(r)) <= target or rd <= 0:
                break
            alpha = np.float32(rd / float(np.vdot(p, image)))
            phi = phi + alpha * p
            r = r - alpha * image
            d = self._inverse(r)
            rd, before = float(np.vdot(r, d)), rd
            beta = np.float32(rd / before)
            p, image = d + beta * p, r + (self.softness - self.mean) * d + beta * image
        return torch.from_numpy(self.mesh.take(phi)[:, 0])

    def _inverse(self, r: Any) -> Any:
        """(K^-1 + mean of s)^-1 r."""
        waves = fft.rfftn(r, workers=self.mesh.threads)
        waves *= self.kerker
        return fft.irfftn(waves, s=self.mesh.shape, workers=self.mesh.threads, overwrite_x=True)
