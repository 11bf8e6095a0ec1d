"""Whether a stationary point is a minimum."""

from __future__ import annotations

import torch
from torch import Tensor

from cgdft.problems.minimisation import Minimisation
from cgdft.solvers.long_waves import precondition
from cgdft.solvers.tangent import tangent_cg

#: Up to so many unknowns in a structure the Hessian's spectrum is computed; above, a random probe looks for negative curvature.
SPECTRUM = 400
#: A random vector of n unknowns has 1 / sqrt(n) of its length along a direction; to this part of that a residual is taken.
UNSEEN = 1e-3
#: Iterations of a probe after which a Hessian is taken for flat.
LONGEST = 2000
#: Negative curvature, of the mean curvature, from which a disturbed solve sees it.
FLAT = 1e-2
#: Part of a residual by which it may be changed.
LITTLE = 1e-3


def negative_curvature(problem: Minimisation, x: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Structures with negative curvature at x, (n_structures,), and a direction of it, (n_x,).

    Terms that are convex, or outweighed by the local ones, need no look. Up to SPECTRUM unknowns the answer is exact; above, a
    conjugate-gradient solve with a random right-hand side finds it, as what lies along a direction of negative curvature never
    leaves a residual: all but one time in a thousand, as far as the approximate terms know, and if `LONGEST` iterations do.

    Args:
        known: structures that need no look, (n_structures,); default: those `Minimisation.convex`.
    """
    rows = problem.rows
    negative = torch.zeros(problem.n, dtype=torch.bool, device=x.device)
    direction = torch.zeros_like(x)
    known = problem.convex(x) if known is None else known
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
    condition, product = precondition(problem, x), (problem.approximate() or problem).curvature(x)
    b = _random(problem)
    target = torch.where(known, torch.inf, _seen(problem) * rows.dot(b, b).sqrt())
    result = tangent_cg(product, b, rows, condition, target, LONGEST)
    negative = result.negative & bends_down(problem, x, result.direction) if result.negative.any() else negative
    return negative, torch.where(negative[rows.index], result.direction, 0.0)


def disturbance(problem: Minimisation, x: Tensor, norm: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A random dx, P H dx, and where a solve from x + dx to the residual `target` sees negative curvature, (n_structures,).

    Along a direction of curvature -|k| a solve never leaves the residual |k| dx: it sees what is more than FLAT of the mean
    curvature. dx is zero where that would change the residual by more than LITTLE of its `norm`, as of starts that are near;
    and of modes, which may move at no cost: what is flat keeps dx.
    """
    rows, known = problem.rows, problem.convex(x)
    wanted = target / (FLAT * _seen(problem))
    fits = ~known & (wanted <= LITTLE * norm) & (problem.space.picked(problem.space.origin) is not None)
    if not fits.any():
        return torch.zeros_like(x), torch.zeros_like(x), known
    v = _random(problem)
    curved = rows.project(problem.curvature(x)(v))
    scale = rows.each(torch.where(fits, wanted / rows.dot(curved, curved).sqrt().clamp(min=1e-300), 0.0))
    return scale * v, scale * curved, known | fits


def _random(problem: Minimisation) -> Tensor:
    """A vector in the tangent space, (n_x,)."""
    like = problem.space.origin
    drawn = torch.randn(len(problem.index), generator=torch.Generator().manual_seed(0), dtype=like.dtype)
    return problem.rows.project(drawn.to(like))


def _seen(problem: Minimisation) -> Tensor:
    """Part of a random vector's length down to which what it has along a direction is seen, (n_structures,)."""
    return UNSEEN / torch.bincount(problem.index, minlength=problem.n).clamp(min=1).sqrt()


def bends_down(problem: Minimisation, x: Tensor, direction: Tensor) -> Tensor:
    """Whether the curvature of each structure along a direction, (n_x,), is negative: that of the terms themselves."""
    rows = problem.rows
    within = rows.tangent(direction)
    curved = rows.project(problem.curvature(x)(within))
    return rows.dot(within, curved) <= 1e-14 * rows.dot(within, within)
