"""Whether a stationary point is a minimum."""

from __future__ import annotations

import torch
from torch import Tensor

from cgdft.problems.minimisation import Minimisation
from cgdft.solvers.long_waves import precondition
from cgdft.solvers.tangent import tangent_cg

#: Up to so many unknowns in a structure the Hessian's spectrum is computed; above, random probes look for negative curvature.
SPECTRUM = 400


def tangent_hessian(problem: Minimisation, x: Tensor) -> Tensor:
    """P H P + B^T B, padded with ones on the diagonal: positive definite exactly where x is a strict minimum."""
    rows = problem.rows
    hessian = problem.hessian(x)
    if len(rows):
        basis = torch.stack([rows.pad(row) for row in rows.basis], 1)
        along = basis @ hessian
        half = along - 0.5 * (along @ basis.transpose(1, 2) + torch.eye(len(rows.basis)).to(x)) @ basis
        crossed = basis.transpose(1, 2) @ half
        hessian = hessian - crossed - crossed.transpose(1, 2)
    hessian.diagonal(dim1=1, dim2=2).add_(1 - rows.pad(torch.ones_like(x)))
    return hessian


def negative_curvature(problem: Minimisation, x: Tensor) -> tuple[Tensor, Tensor]:
    """Structures with negative curvature at x, (n_structures,), and a direction of it, (n_x,).

    Terms that are convex, or outweighed by the local ones, need no look. Up to SPECTRUM unknowns the answer is exact; above,
    two conjugate-gradient solves with random right-hand sides find it with probability one if they run long enough, which is
    not guaranteed.
    """
    rows = problem.rows
    negative = torch.zeros(problem.n, dtype=torch.bool, device=x.device)
    direction = torch.zeros_like(x)
    known = problem.convex(x)
    if len(x) == 0 or known.all():
        return negative, direction
    if rows.longest <= SPECTRUM:
        hessian = tangent_hessian(problem, x)
        lowest = torch.zeros_like(hessian[:, 0])
        sizes = torch.bincount(rows.index, minlength=problem.n)
        sizes = torch.where(known, 0, sizes)
        for size in sizes[sizes > 0].unique().tolist():  # not those of the largest for all
            which = torch.nonzero(sizes == size).flatten()
            values, vectors = torch.linalg.eigh(hessian[which, :size, :size])
            negative[which] = values[:, 0] < -1e-10 * values.abs().amax(1)
            lowest[which, :size] = vectors[:, :, 0]
        direction = rows.project(rows.unpad(lowest))
        return negative, torch.where(negative[rows.index], direction, 0.0)
    generator = torch.Generator().manual_seed(0)
    condition, product = precondition(problem, x), (problem.approximate() or problem).curvature(x)
    for _ in range(2):
        b = rows.project(torch.randn(len(x), generator=generator, dtype=x.dtype).to(x))
        target = torch.where(known, torch.inf, 1e-3 * rows.dot(b, b).sqrt())
        result = tangent_cg(product, b, rows, condition, target, 200)
        found = result.negative & ~negative
        found = found & bends_down(problem, x, result.direction) if found.any() else found
        direction = torch.where(found[rows.index], result.direction, direction)
        negative = negative | found
    return negative, direction


def bends_down(problem: Minimisation, x: Tensor, direction: Tensor) -> Tensor:
    """Whether the curvature of each structure along a direction, (n_x,), is negative: that of the terms themselves."""
    rows = problem.rows
    within = rows.tangent(direction)
    curved = rows.project(problem.curvature(x)(within))
    return rows.dot(within, curved) <= 1e-14 * rows.dot(within, within)
