"""Conjugate gradients in the space of changes that keep every fixed charge, for a batch of structures at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cgdft.problems.constraint_rows import ConstraintRows

#: What an approximate solve takes off a residual before the right operator is asked again.
CORRECTION = 1e-3


@dataclass(frozen=True, eq=False)
class TangentResult:
    """y with P H y = b, (n_x,).

    Attributes:
        converged: where the residual is below the target, (n_structures,).
        negative: where negative curvature was met, (n_structures,), along `direction`, (n_x,).
        history: norm of the residual after each step, (n_structures,) each.
    """

    y: Tensor
    converged: Tensor
    negative: Tensor
    direction: Tensor
    history: list[Tensor]


def tangent_cg(
    product: Callable[[Tensor], Tensor],
    b: Tensor,
    rows: ConstraintRows,
    precondition: Callable[[Tensor], Tensor],
    target: Tensor,
    max_iterations: int,
) -> TangentResult:
    """Projected conjugate gradients for P H y = b, b in the tangent space; the preconditioner may change a little meanwhile.

    Inner products are per structure: a member's convergence does not depend on its neighbours in the batch.

    Args:
        product: H v.
        target: residual norm at which a structure is done, (n_structures,).

    Source: N. I. M. Gould, M. E. Hribar, J. Nocedal, SIAM J. Sci. Comput. 23, 1376 (2001), algorithm 2.1; the flexible beta of
    Y. Notay, SIAM J. Sci. Comput. 22, 1444 (2000).
    """
    y, r = torch.zeros_like(b), b.clone()
    norm = rows.dot(r, r).sqrt()
    history = [norm]
    running = ~(norm <= target)  # as NaN is none
    negative = torch.zeros_like(running)
    direction = torch.zeros_like(b)
    before, rz, p = r, torch.ones_like(norm), torch.zeros_like(b)
    for _ in range(max_iterations):
        if not running.any():
            break
        z = precondition(r)
        overlap, previous, rz = rows.dot(before, z), rz, rows.dot(r, z)
        beta = torch.where(running, (rz - overlap) / previous.where(running, torch.ones_like(previous)), 0.0)
        p = torch.where(rows.each(running), z + rows.each(beta) * p, p)
        hp = rows.project(product(p))
        curvature, length = rows.dot(p, hp), rows.dot(p, p)
        bad = running & (curvature <= 1e-14 * length)
        if bad.any():
            negative = negative | bad
            direction = torch.where(bad[rows.index], p, direction)
            running = running & ~bad
        alpha = torch.where(running, rz / curvature.where(running, torch.ones_like(curvature)), 0.0)
        y = y + rows.each(alpha) * p
        before, r = r, rows.project(r - rows.each(alpha) * hp)
        norm = rows.dot(r, r).sqrt()
        history.append(norm)
        running = running & ~(norm <= target)
    return TangentResult(y, ~running & ~negative, negative, direction, history)


def exactly(inverse: Callable[[Tensor], Tensor], rows: ConstraintRows) -> Callable[[Tensor, Tensor], TangentResult]:
    """(b, target) -> y by an inverse that is taken to be right."""

    def solve(b: Tensor, target: Tensor) -> TangentResult:
        none = torch.zeros(rows.n, dtype=torch.bool, device=b.device)
        return TangentResult(inverse(b), ~none, none, torch.zeros_like(b), [])

    return solve


def refined(
    residual: Callable[[Tensor], Tensor],
    solve: Callable[[Tensor, Tensor], TangentResult],
    b: Tensor,
    rows: ConstraintRows,
    target: Tensor,
) -> TangentResult:
    """y with P H y = b, solved with an approximate H and corrected by residuals of the right one until these are small.

    Args:
        residual: y -> b - P H y.
        solve: (b, target) -> the approximate solution with its residual norm below the target.
    """
    y, r = torch.zeros_like(b), b
    norm = rows.dot(r, r).sqrt()
    history = [norm]
    negative, direction = torch.zeros_like(norm, dtype=torch.bool), torch.zeros_like(b)
    while (norm > target).any():
        goal = torch.where(norm > target, torch.maximum(CORRECTION * norm, 0.3 * target), torch.inf)
        step = solve(r, goal)
        negative, direction = negative | step.negative, torch.where(rows.each(step.negative), step.direction, direction)
        y = y + step.y
        r = residual(y)
        norm, before = rows.dot(r, r).sqrt(), norm
        history += [*step.history[1:-1], norm]
        if negative.any() or not step.converged.all() or (norm > target).logical_and(norm > 0.5 * before).any():
            break
    return TangentResult(y, (norm <= target) & ~negative, negative, direction, history)
