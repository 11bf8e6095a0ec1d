"""The Boys function, from which every Gaussian multipole interaction follows."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor


def boys(t: Tensor, n: int) -> Tensor:
    """F_m(t) = integral_0^1 u^(2m) exp(-t u^2) du for m = 0 .. n.

    dF_m/dt = -F_(m+1), which makes it differentiable to any order, at t = 0 too.

    Args:
        t: any shape, >= 0.
        n: highest order.

    Returns:
        (n + 1, *t.shape).

    Source: S. F. Boys, Proc. R. Soc. A 200, 542 (1950); downward recursion as in T. Helgaker, P. Jorgensen, J. Olsen,
    Molecular Electronic-Structure Theory (2000), eq. 9.8.14.
    """
    return _Boys.apply(t, n)  # type: ignore[no-untyped-call]


class _Boys(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: Tensor, n: int) -> Tensor:
        ctx.save_for_backward(t)
        ctx.n = n
        return _values(t, n)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (t,) = ctx.saved_tensors
        return -(grad * boys(t, ctx.n + 1)[1:]).sum(0), None


# F_0 is an error function. Of others, below TABLE_END the highest order is a Taylor step from the nearest tabulated point
# (|dt| <= STEP / 2, TAYLOR terms: truncation below 1e-15); above, what exp(-t) leaves out of the complete integral is below
# 1e-16 of it.
STEP, TAYLOR = 1 / 16, 7


def _table_end(n: int) -> float:
    return 40.0 + 4 * n


@cache
def _table(n: int) -> Tensor:
    """F_(n+k)(t_i) (-1)^k / k!, (grid, TAYLOR): coefficients of the Taylor step from t_i."""
    t = torch.arange(0.0, _table_end(n) + STEP, STEP, dtype=torch.float64)[:, None]
    top = n + TAYLOR - 1
    # F_top = exp(-t) sum_j (2t)^j (2 top - 1)!! / (2 top + 2 j + 1)!!, all terms positive
    term = torch.full_like(t, 1.0 / (2 * top + 1))
    total = term.clone()
    for j in range(1, 200):
        term = term * 2 * t / (2 * top + 2 * j + 1)
        total += term
    orders = [total * torch.exp(-t)]
    for m in range(top, n, -1):
        orders.append((2 * t * orders[-1] + torch.exp(-t)) / (2 * m - 1))
    orders.reverse()
    scale = torch.tensor([(-1) ** k / math.factorial(k) for k in range(TAYLOR)], dtype=torch.float64)
    return torch.cat(orders, 1) * scale


def _values(t: Tensor, n: int) -> Tensor:
    if n == 0:
        root = t.clamp(min=1e-18).sqrt()
        return (math.sqrt(math.pi) / 2 * torch.erf(root) / root)[None]
    end = _table_end(n)
    inside = t.clamp(max=end)
    nearest = (inside / STEP).round()
    step = inside - nearest * STEP
    *lower, highest = _table(n).to(t)[nearest.long()].unbind(-1)
    for coefficient in reversed(lower):
        highest = torch.addcmul(coefficient, highest, step)
    root = t.clamp(min=end).rsqrt()
    complete = math.gamma(n + 0.5) / 2 * root
    for _ in range(n):
        complete = complete * root**2
    values, twice, decay = [torch.where(t < end, highest, complete)], 2 * t, torch.exp(-t)
    for m in range(n, 0, -1):
        values.append(torch.addcmul(decay, twice, values[-1]) / (2 * m - 1))
    values.reverse()
    return torch.stack(values)
