"""Whether a stationary point is a minimum."""

from __future__ import annotations

import torch
from torch import Tensor

from cgdft.problems.minimisation import Minimisation
from cgdft.solvers.long_waves import precondition
from cgdft.solvers.tangent import tangent_cg

#: Up to so many unknowns in a structure the Hessian's spectrum is computed; above, random probes look for negative curvature.
SPECTRUM = 400
#: A probe of n unknowns has 1 / sqrt(n) of its length along a direction; to this part of that its residual is taken.
UNSEEN = 1e-3


def negative_curvature(problem: Minimisation, x: Tensor) -> tuple[Tensor, Tensor]:
    """Structures with negative curvature at x, (n_structures,), and a direction of it, (n_x,).

    Terms that are convex, or outweighed by the local ones, need no look. Up to SPECTRUM unknowns the answer is exact; above,
    conjugate-gradient solves with two random right-hand sides find it, as what lies along a direction of negative curvature
    never leaves a residual: all but one time in a million, as far as the approximate terms know.
    """
    rows = problem.rows
    negative = torch.zeros(problem.n, dtype=torch.bool, device=x.device)
    direction = torch.zeros_like(x)
    known = problem.convex(x)
    if len(x) == 0 or known.all():
        return negative, direction
    if rows.longest <= SPECTRUM:
        hessian = rows.within(problem.hessian(x))
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
    seen = UNSEEN / torch.bincount(rows.index, minlength=problem.n).clamp(min=1).sqrt()
    for _ in range(2):
        b = rows.project(torch.randn(len(x), generator=generator, dtype=x.dtype).to(x))
        target = torch.where(known, torch.inf, seen * rows.dot(b, b).sqrt())
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
