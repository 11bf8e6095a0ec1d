"""Conjugate gradients in the space of changes that keep every fixed charge, for a batch of structures at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cgdft.rows import ConstraintRows


@dataclass(frozen=True, eq=False)
class TangentResult:
    """y with P H y = b; `negative` (n_structures,) where negative curvature was met, along `direction` (n_x,)."""

    y: Tensor
    converged: Tensor
    negative: Tensor
    direction: Tensor
    history: list[Tensor]


def jacobi(rows: ConstraintRows, diagonal: Tensor) -> Callable[[Tensor], Tensor]:
    """z = D^-1 (r - B^T w) with B z = 0: the diagonal preconditioner that respects the constraints exactly."""
    inverse = 1 / diagonal
    scaled = rows.basis * inverse
    n_rows = len(rows.basis)
    small = torch.stack([rows.coordinates(one) for one in scaled], 1) if n_rows else None

    def apply(r: Tensor) -> Tensor:
        z = inverse * r
        if small is None:
            return z
        inactive = torch.diag_embed((~rows.active).to(r.dtype))
        w = torch.linalg.solve(small + inactive, rows.coordinates(z)[..., None])[..., 0]
        return z - inverse * rows.along(w)

    return apply


def tangent_cg(
    product: Callable[[Tensor], Tensor],
    b: Tensor,
    rows: ConstraintRows,
    precondition: Callable[[Tensor], Tensor],
    target: Tensor,
    max_iterations: int,
) -> TangentResult:
    """Projected preconditioned conjugate gradients for P H y = b, b in the tangent space.

    Inner products are per structure: a member's convergence does not depend on its neighbours in the batch.

    Args:
        product: H v.
        target: residual norm at which a structure is done, (n_structures,).

    Source: N. I. M. Gould, M. E. Hribar, J. Nocedal, SIAM J. Sci. Comput. 23, 1376 (2001), algorithm 2.1.
    """
    y, r = torch.zeros_like(b), b.clone()
    norm = rows.dot(r, r).sqrt()
    history = [norm]
    running = norm > target
    negative = torch.zeros_like(running)
    direction = torch.zeros_like(b)
    z = precondition(r)
    p, rz = z.clone(), rows.dot(r, z)
    for _ in range(max_iterations):
        if not running.any():
            break
        hp = rows.project(product(p))
        curvature, length = rows.dot(p, hp), rows.dot(p, p)
        bad = running & (curvature <= 1e-14 * length)
        if bad.any():
            negative = negative | bad
            direction = torch.where(bad[rows.index], p, direction)
            running = running & ~bad
        alpha = torch.where(running, rz / curvature.where(running, torch.ones_like(curvature)), 0.0)
        y = y + alpha[rows.index] * p
        r = rows.project(r - alpha[rows.index] * hp)
        norm = rows.dot(r, r).sqrt()
        history.append(norm)
        running = running & (norm > target)
        z = precondition(r)
        rz, previous = rows.dot(r, z), rz
        beta = torch.where(running, rz / previous.where(running, torch.ones_like(previous)), 0.0)
        p = torch.where(running[rows.index], z + beta[rows.index] * p, p)
    return TangentResult(y, ~running & ~negative, negative, direction, history)
